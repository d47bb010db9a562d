/**
 * Cuts a TCP connection with RST, for tests of what an abort does to the other end. A socket whose
 * shutdown is under way is only destroyed: libuv refuses to reset it, Node keeps the handle, and the
 * process spins at its exit without an end.
 */
import type { Socket } from 'node:net';

export function resetSocket(socket: Socket): void {
  if (socket.connecting || socket.writableEnded) socket.destroy();
  else socket.resetAndDestroy();
}

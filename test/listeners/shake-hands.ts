/** The client's side of one TLS handshake with a listener. Used by the tests of TLS. */
import { type ConnectionOptions, connect as connectTls, type TLSSocket } from 'node:tls';
import { connectSocket } from './test-client.ts';
import type { Harness } from './transports.ts';

export interface Shaken {
  readonly socket: TLSSocket;
  /** Resolves with the error that ended the connection, or null. */
  readonly closed: Promise<Error | null>;
  /** Tickets to resume with, as they come. */
  readonly sessions: Buffer[];
}

/** Up to the client's view of a finished handshake; the broker may still object. */
export async function shakeHands(harness: Harness, options: ConnectionOptions): Promise<Shaken> {
  const raw = await connectSocket({ address: harness.listener.address });
  const socket = connectTls({
    host: '127.0.0.1',
    ...options,
    socket: raw,
  });
  let failure: Error | null = null;
  socket.on('error', (error) => {
    failure ??= error;
  });
  const sessions: Buffer[] = [];
  socket.on('session', (session) => sessions.push(session));
  const closed = new Promise<Error | null>((resolve) => {
    socket.on('close', () => resolve(failure));
  });
  await new Promise((resolve) => {
    socket.once('secureConnect', resolve);
    socket.once('close', resolve);
  });
  socket.resume();
  return { socket, closed, sessions };
}

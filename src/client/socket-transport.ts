/**
 * A TCP, TLS or Unix socket as a transport. Made by `open-transport.ts`, which connects it.
 */
import type net from 'node:net';
import { TLSSocket } from 'node:tls';
import type { Transport, TransportHandler } from './transport.ts';

export class SocketTransport implements Transport {
  readonly #socket: net.Socket;

  constructor(socket: net.Socket, handler: TransportHandler) {
    this.#socket = socket;
    let failure: Error | null = null;
    const opened = socket instanceof TLSSocket ? 'secureConnect' : 'connect';
    socket.on(opened, () => handler.onOpen());
    socket.on('data', (chunk: Buffer) => handler.onBytes(chunk));
    socket.on('drain', () => handler.onDrained());
    socket.on('error', (error: Error) => {
      failure = error;
    });
    socket.on('close', () => handler.onClosed(failure));
  }

  write(bytes: Buffer): void {
    if (this.#socket.writable) this.#socket.write(bytes);
  }

  unsentBytes(): number {
    return this.#socket.writableLength;
  }

  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  end(): void {
    this.#socket.end();
  }

  destroy(): void {
    this.#socket.destroy();
  }
}

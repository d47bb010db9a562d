/**
 * One connection of a chaos client over TCP: sends bytes, cuts what comes into packets, and says when
 * it is over. It remembers nothing beyond the connection.
 */
import net from 'node:net';
import { type Line, type LineEvents, PacketCutter } from './line.ts';

export class Link implements Line {
  readonly #socket: net.Socket;
  readonly #events: LineEvents;
  readonly #cutter: PacketCutter;
  #isOver = false;

  constructor(port: number, version: 4 | 5, events: LineEvents) {
    this.#cutter = new PacketCutter(version);
    this.#events = events;
    const socket = net.connect({ host: '127.0.0.1', port, noDelay: true });
    this.#socket = socket;
    socket.on('connect', () => {
      if (!this.#isOver) events.opened();
    });
    socket.on('data', (chunk: Buffer) => this.#read(chunk));
    socket.on('end', () => this.close());
    socket.on('error', () => this.close());
    socket.on('close', () => this.close());
  }

  #read(chunk: Buffer): void {
    try {
      this.#cutter.feed(chunk, (packet) => {
        if (!this.#isOver) this.#events.packet(packet);
        return !this.#isOver;
      });
    } catch (error) {
      this.#events.fault((error as Error).message);
      this.close();
    }
  }

  /** Bytes the kernel has not taken. */
  get unsentBytes(): number {
    return this.#socket.writableLength;
  }

  send(...packets: readonly Buffer[]): void {
    if (!this.#isOver) for (const packet of packets) this.#socket.write(packet);
  }

  /** Sends a last packet and ends in order. */
  end(packet: Buffer): void {
    if (this.#isOver) return;
    this.#socket.end(packet);
    this.#over();
  }

  /** Cuts the connection. */
  close(): void {
    this.#socket.destroy();
    this.#over();
  }

  #over(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#events.closed();
  }
}

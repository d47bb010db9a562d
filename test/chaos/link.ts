/**
 * One connection of a chaos client: sends bytes, cuts what comes into packets, and says when it is
 * over. Every packet is held against what a server may send. Used by publisher.ts, subscriber.ts
 * and retained-watch.ts; it remembers nothing beyond the connection.
 */
import net from 'node:net';
import { packetLength, type ReadPacket, readPacket } from '../conformance/reader.ts';

export interface LinkEvents {
  readonly opened: () => void;
  readonly packet: (packet: ReadPacket) => void;
  /** Once, however it ended. */
  readonly closed: () => void;
  /** The broker sent what no server may send. */
  readonly fault: (text: string) => void;
}

export class Link {
  readonly #socket: net.Socket;
  readonly #version: 4 | 5;
  readonly #events: LinkEvents;
  #buffer: Buffer = Buffer.alloc(0);
  #isOver = false;

  constructor(port: number, version: 4 | 5, events: LinkEvents) {
    this.#version = version;
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
    this.#buffer = this.#buffer.length === 0 ? chunk : Buffer.concat([this.#buffer, chunk]);
    while (!this.#isOver) {
      let packet: ReadPacket;
      try {
        const length = packetLength(this.#buffer);
        if (length === 0) return;
        packet = readPacket(this.#buffer.subarray(0, length), this.#version);
        this.#buffer = this.#buffer.subarray(length);
      } catch (error) {
        this.#events.fault((error as Error).message);
        this.close();
        return;
      }
      this.#events.packet(packet);
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

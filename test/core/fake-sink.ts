/**
 * A socket in memory. It takes as many bytes as the test lets it, and reads a buffer it holds on to
 * only at the moment it takes the bytes: memory that is overwritten too early shows in what was sent.
 */
import type { ByteHandler, ByteSink } from '../../src/core/ports.ts';

export class FakeSink implements ByteSink {
  remoteAddress = '192.0.2.1';
  readonly remotePort = 50_000;
  readonly certificate = null;
  readonly pskIdentity = null;
  handler: ByteHandler | null = null;
  /** Bytes it takes before it blocks. */
  room: number;
  /** Copies what it cannot take at once, as TLS does. */
  readonly copies: boolean;
  paused = false;
  ended = false;
  destroyed = false;
  gone = false;
  writes = 0;
  #taken: Buffer[] = [];
  #held: { buffer: Buffer; start: number; end: number } | null = null;

  constructor(room: number = Number.POSITIVE_INFINITY, copies = false) {
    this.room = room;
    this.copies = copies;
  }

  write(buffer: Buffer, start: number, end: number): boolean {
    if (this.#held !== null) throw new Error('write while bytes are unsent');
    if (start >= end) throw new Error('empty write');
    this.writes++;
    if (this.ended || this.destroyed || this.gone) return true;
    const now = Math.min(this.room, end - start);
    this.#take(buffer, start, start + now);
    if (now === end - start) return true;
    if (this.copies) {
      const copy = Buffer.from(buffer.subarray(start + now, end));
      this.#held = { buffer: copy, start: 0, end: copy.length };
      return true;
    }
    this.#held = { buffer, start: start + now, end };
    return false;
  }

  unsentBytes(): number {
    return this.#held === null ? 0 : this.#held.end - this.#held.start;
  }

  pause(): void {
    this.paused = true;
  }

  resume(): void {
    this.paused = false;
  }

  end(): void {
    this.ended = true;
  }

  destroy(): void {
    this.destroyed = true;
  }

  /** The kernel takes `bytes` more; tells the core when nothing is left. */
  drain(bytes: number = Number.POSITIVE_INFINITY): void {
    this.room += bytes;
    const held = this.#held;
    if (held === null) return;
    const now = Math.min(this.room, held.end - held.start);
    this.#take(held.buffer, held.start, held.start + now);
    held.start += now;
    if (held.start < held.end) return;
    this.#held = null;
    if (!this.ended && !this.destroyed && !this.gone) this.handler?.onDrained();
  }

  /** The socket is gone. */
  close(error: Error | null = null): void {
    if (this.gone) return;
    this.gone = true;
    this.#held = null;
    const handler = this.handler;
    this.handler = null;
    handler?.onClosed(error);
  }

  /** What was taken since the last call. */
  taken(): Buffer {
    const taken = Buffer.concat(this.#taken);
    this.#taken = [];
    return taken;
  }

  #take(buffer: Buffer, start: number, end: number): void {
    if (end > start) this.#taken.push(Buffer.from(buffer.subarray(start, end)));
    this.room -= end - start;
  }
}

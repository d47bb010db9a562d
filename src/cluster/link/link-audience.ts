/**
 * The link to another node as a receiver that publishers wait for (core/outlet.ts): pressed above half of
 * its buffer, at rest again below a quarter. Owned by an outbound link.
 */
import type { Audience, PausedPublisher } from '../../core/outlet.ts';

/** So many acked bytes are as good as one ack: a large message is progress too. */
const PROGRESS_BYTES = 1024;

export class LinkAudience implements Audience {
  slow = false;
  progress = 0;
  waiters: PausedPublisher[] | null = null;
  closed = false;
  pressed = false;
  readonly #pressedAboveBytes: number;
  readonly #restBelowBytes: number;

  constructor(bufferBytesMax: number) {
    this.#pressedAboveBytes = bufferBytesMax / 2;
    this.#restBelowBytes = bufferBytesMax / 4;
  }

  /** So much is handed over and not applied now. */
  grown(unackedBytes: number): void {
    if (unackedBytes > this.#pressedAboveBytes) this.pressed = true;
  }

  /** The peer has applied something, or what waited was given up. */
  shrunk(unackedBytes: number, frames: number, bytes: number): void {
    this.progress += frames + Math.floor(bytes / PROGRESS_BYTES);
    if (unackedBytes >= this.#restBelowBytes) return;
    this.pressed = false;
    this.slow = false;
    this.#release();
  }

  /** The peer is gone. */
  close(): void {
    this.closed = true;
    this.pressed = false;
    this.#release();
  }

  #release(): void {
    const waiters = this.waiters;
    if (waiters === null) return;
    this.waiters = null;
    for (const waiter of waiters) waiter.audienceReady();
  }
}

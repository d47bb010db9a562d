/**
 * Numbers of sessions, runs and blocks on the disk, each given once. The disk knows a number that is some
 * thousand ahead: after a crash they go on behind all that was given.
 */
import type { Batch } from './database.ts';
import { Prefix, plainKey } from './keys.ts';
import { encodeNumbers } from './session-codec.ts';

/** Taken from the stored counter at a time. */
const RESERVED = 4096;

export class SerialNumbers {
  #next = 0;
  #reserved = 0;
  #isDirty = false;

  /** As a start has found them. */
  begin(next: number): void {
    this.#next = next;
    this.#reserved = next;
  }

  take(): number {
    if (this.#next >= this.#reserved) {
      this.#reserved = this.#next + RESERVED;
      this.#isDirty = true;
    }
    return this.#next++;
  }

  /** With the records that have them. */
  write(batch: Batch): void {
    if (!this.#isDirty) return;
    this.#isDirty = false;
    batch.put(plainKey(Prefix.NUMBERS), encodeNumbers([this.#reserved], 1));
  }

  /** The write has failed. */
  touch(): void {
    this.#isDirty = true;
  }
}

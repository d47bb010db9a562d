/**
 * What the next commit writes of retained messages: the last state of each topic, and marks of those
 * whose record elsewhere (Cassandra) has not confirmed them; and notes of other rooms. Used by `embedded-store.ts`.
 */
import { Message } from '../../core/message.ts';
import type { RetainedVersion } from '../../core/retained-version.ts';
import type { Batch } from './database.ts';
import { markKey, noteKey } from './keys.ts';
import { type RetainedState, sealedNote, writeRetained } from './state-records.ts';

const NOTHING = Buffer.alloc(0);

export class RetainedChanges {
  readonly #states: Map<string, RetainedState> = new Map();
  /** True: to be marked; false: the mark goes. */
  readonly #marks: Map<string, boolean> = new Map();
  /** Null: to be removed. */
  readonly #notes: Map<string, Buffer | null> = new Map();

  get isEmpty(): boolean {
    return this.#states.size === 0 && this.#marks.size === 0 && this.#notes.size === 0;
  }

  put(message: Message): void {
    this.#states.set(message.topic, message);
  }

  remove(topic: string, version: RetainedVersion | null): void {
    this.#states.set(topic, version);
  }

  mark(topic: string, isMarked: boolean): void {
    this.#marks.set(topic, isMarked);
  }

  note(key: string, value: Buffer | null): void {
    this.#notes.set(key, value);
  }

  forgetTombstone(topic: string): void {
    // A message that is on its way to the disk is in its place.
    if (!(this.#states.get(topic) instanceof Message)) this.#states.set(topic, null);
  }

  write(batch: Batch): void {
    for (const [topic, state] of this.#states) writeRetained(batch, topic, state);
    for (const [topic, isMarked] of this.#marks) {
      if (isMarked) batch.put(markKey(topic), NOTHING);
      else batch.del(markKey(topic));
    }
    for (const [key, value] of this.#notes) {
      if (value === null) batch.del(noteKey(key));
      else batch.put(noteKey(key), sealedNote(value));
    }
  }

  /** A commit has failed: what it had to write and nobody has changed since is to be written again. */
  takeBack(failed: RetainedChanges): void {
    for (const [topic, state] of failed.#states) {
      if (!this.#states.has(topic)) this.#states.set(topic, state);
    }
    for (const [topic, isMarked] of failed.#marks) {
      if (!this.#marks.has(topic)) this.#marks.set(topic, isMarked);
    }
    for (const [key, value] of failed.#notes) {
      if (!this.#notes.has(key)) this.#notes.set(key, value);
    }
  }
}

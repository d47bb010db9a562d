/**
 * Messages of one record, by ordinal, as blocks, runs and bodies records hold them. Decoding walks
 * over the headers only; a message is made when it is asked for, and keeps nothing of the record alive.
 */
import type { Message } from '../../core/message.ts';
import { type MessageMemory, readMessage, skipMessage } from './message-codec.ts';
import { Cursor } from './varint.ts';

export class StoredMessages {
  /** For all that are asked for, one after the other. */
  readonly #cursor: Cursor;
  readonly #starts: number[] = [];
  /** Sequence of the message before; the first has 0. */
  readonly #previous: number[] = [];

  /** Reads `count` messages from the cursor on; what follows them is the caller's. */
  constructor(cursor: Cursor, count: number) {
    let sequence = 0;
    for (let i = 0; i < count; i++) {
      this.#starts.push(cursor.pos);
      this.#previous.push(sequence);
      sequence = skipMessage(cursor, sequence);
    }
    this.#cursor = new Cursor(cursor.buffer, 0, cursor.pos);
  }

  get count(): number {
    return this.#starts.length;
  }

  /** Undefined beyond the last one. */
  at(ordinal: number, memory: MessageMemory): Message | undefined {
    const start = this.#starts[ordinal];
    if (start === undefined) return undefined;
    this.#cursor.pos = start;
    return readMessage(this.#cursor, this.#previous[ordinal]!, memory);
  }
}

/**
 * A block: messages that several runs refer to by ordinal, written once by the commit that brought
 * them.
 *
 *   refs u32 · count u32 · messages · checksum
 */
import type { Message } from '../../core/message.ts';
import { readU32, writeU32 } from '../../util/bytes.ts';
import { RecordDamage } from './damage.ts';
import { writeMessage } from './message-codec.ts';
import { checkSeal, SEAL_BYTES, seal } from './seal.ts';
import { StoredMessages } from './stored-messages.ts';
import { Cursor } from './varint.ts';

const HEADER_BYTES = 8;
export const BLOCK_OVERHEAD_BYTES: number = HEADER_BYTES + SEAL_BYTES;

export interface Block {
  /** How many runs referred to it when it was written. */
  readonly refs: number;
  readonly messages: StoredMessages;
}

/** Appends one block to a slab that has room for it. `finish` follows when `refs` is known. */
export class BlockWriter {
  readonly start: number;
  readonly #out: Buffer;
  #pos: number;
  #count = 0;
  #sequence = 0;

  constructor(out: Buffer, start: number) {
    this.#out = out;
    this.start = start;
    this.#pos = start + HEADER_BYTES;
  }

  /** Appends a message and returns its ordinal. */
  add(message: Message): number {
    this.#pos = writeMessage(this.#out, this.#pos, message, this.#sequence);
    this.#sequence = message.sequence;
    return this.#count++;
  }

  /** Fills in the header and seals; returns where the block ends. */
  finish(refs: number): number {
    writeU32(this.#out, this.start, refs);
    writeU32(this.#out, this.start + 4, this.#count);
    return seal(this.#out, this.start, this.#pos);
  }
}

export function decodeBlock(value: Buffer): Block {
  const end = checkSeal(value);
  if (end < HEADER_BYTES) throw new RecordDamage('block has no header');
  const cursor = new Cursor(value, HEADER_BYTES, end);
  const messages = new StoredMessages(cursor, readU32(value, 4));
  cursor.expectEnd();
  return { refs: readU32(value, 0), messages };
}

/**
 * A run: the entries one commit wrote for one session, about one byte each when they follow one
 * another in queue and block. What is said of the run as a whole stands at the end, where it is known
 * when the entries are written, and where a restart reads it without decoding the entries.
 *
 *   entries · messages kept in the run · footer · footer length u32 · checksum
 *
 * Bodies are referred to as (block, ordinal): block 0 is the run's own (in it, or in its `b` record),
 * block n the n-th of the footer's table of shared blocks.
 */
import type { Message } from '../../core/message.ts';
import { readU32, writeU32 } from '../../util/bytes.ts';
import { RecordDamage } from './damage.ts';
import { messageBytesMax, writeMessage } from './message-codec.ts';
import { checkSeal, SEAL_BYTES, seal } from './seal.ts';
import { StoredMessages } from './stored-messages.ts';
import { Cursor, VARINT_BYTES_MAX, writeVarint } from './varint.ts';

const QOS_2 = 0x01;
const RETAIN = 0x02;
/** A distance from the position before follows; else it is 1. */
const SEQ_JUMPS = 0x04;
const HAS_SUBSCRIPTION_IDS = 0x08;
/** The same ids as the entry before. */
const SAME_SUBSCRIPTION_IDS = 0x10;
/** Block and ordinal follow; else it is the next message of the block before. */
const BODY_JUMPS = 0x20;
const KNOWN_BITS = 0x3f;

/** Where the bodies of block 0 are. */
export const OwnBodies = { NONE: 0, IN_RUN: 1, IN_RECORD: 2 } as const;
export type OwnBodiesPlace = (typeof OwnBodies)[keyof typeof OwnBodies];

/** The run as a whole. */
export interface RunFooter {
  readonly firstSeq: number;
  readonly lastSeq: number;
  readonly count: number;
  /** Sum of `Message.bytes` over the entries. */
  readonly bytes: number;
  readonly ownBodies: OwnBodiesPlace;
  readonly ownCount: number;
  /** Numbers of the shared blocks it refers to. */
  readonly blocks: readonly number[];
  /** Wall-clock ms at which its first entry was queued; 0: not kept. */
  readonly queuedAtMs: number;
  /** Entries end and own messages begin here. */
  readonly entriesEnd: number;
  readonly messagesEnd: number;
}

/** Entries of a run, as parallel arrays in queue order. */
export interface RunEntries {
  readonly seqs: readonly number[];
  readonly qos: readonly (1 | 2)[];
  readonly retain: readonly boolean[];
  readonly subscriptionIds: readonly (readonly number[] | null)[];
  readonly blocks: readonly number[];
  readonly ordinals: readonly number[];
}

/** Writes one run after the other into an area of its own that grows as needed. */
export class RunWriter {
  #area: Buffer;
  readonly #areaBytes: number;
  #pos = 0;
  #entriesEnd = 0;
  #previousSeq = 0;
  #previousBlock = 0;
  #previousOrdinal = -1;
  #previousIds: readonly number[] | null = null;
  #ownCount = 0;
  #ownBodies: OwnBodiesPlace = OwnBodies.NONE;
  readonly #blocks: number[] = [];
  firstSeq = 0;
  lastSeq = 0;
  count = 0;
  bytes = 0;

  constructor(areaBytes: number) {
    this.#areaBytes = areaBytes;
    this.#area = Buffer.allocUnsafeSlow(areaBytes);
  }

  begin(): void {
    if (this.#area.length > 4 * this.#areaBytes) {
      this.#area = Buffer.allocUnsafeSlow(this.#areaBytes);
    }
    this.#pos = 0;
    this.#previousBlock = 0;
    this.#previousOrdinal = -1;
    this.#previousIds = null;
    this.#ownCount = 0;
    this.#ownBodies = OwnBodies.NONE;
    this.#blocks.length = 0;
    this.count = 0;
    this.bytes = 0;
  }

  /** Takes a shared block into the table; what it returns is the `block` of entries. */
  addBlock(blockNumber: number): number {
    return this.#blocks.push(blockNumber);
  }

  get blocks(): readonly number[] {
    return this.#blocks;
  }

  /** Positions rise from entry to entry. */
  entry(
    seq: number,
    qos: 1 | 2,
    retain: boolean,
    subscriptionIds: readonly number[] | null,
    block: number,
    ordinal: number,
    messageBytes: number,
  ): void {
    this.#reserve(1 + (4 + (subscriptionIds?.length ?? 0)) * VARINT_BYTES_MAX);
    if (this.count === 0) {
      this.firstSeq = seq;
      this.#previousSeq = seq - 1;
    }
    const area = this.#area;
    const flagsAt = this.#pos;
    let pos = flagsAt + 1;
    let flags = (qos === 2 ? QOS_2 : 0) | (retain ? RETAIN : 0);
    const distance = seq - this.#previousSeq;
    if (distance !== 1) {
      flags |= SEQ_JUMPS;
      pos = writeVarint(area, pos, distance);
    }
    if (subscriptionIds !== null) {
      flags |= HAS_SUBSCRIPTION_IDS;
      // The ids of one route are one array, so comparing references finds nearly all repetitions.
      if (subscriptionIds === this.#previousIds) {
        flags |= SAME_SUBSCRIPTION_IDS;
      } else {
        pos = writeVarint(area, pos, subscriptionIds.length);
        for (const id of subscriptionIds) pos = writeVarint(area, pos, id);
        this.#previousIds = subscriptionIds;
      }
    }
    if (block !== this.#previousBlock || ordinal !== this.#previousOrdinal + 1) {
      flags |= BODY_JUMPS;
      pos = writeVarint(area, pos, block);
      pos = writeVarint(area, pos, ordinal);
    }
    area[flagsAt] = flags;
    this.#pos = pos;
    this.#previousSeq = seq;
    this.#previousBlock = block;
    this.#previousOrdinal = ordinal;
    this.lastSeq = seq;
    this.count++;
    this.bytes += messageBytes;
  }

  /** After the last entry: the messages of block 0, here or in a record of their own. */
  ownMessages(messages: readonly Message[], place: OwnBodiesPlace): void {
    this.#entriesEnd = this.#pos;
    this.#ownCount = messages.length;
    this.#ownBodies = place;
    if (place !== OwnBodies.IN_RUN) return;
    let sequence = 0;
    for (const message of messages) {
      this.#reserve(messageBytesMax(message));
      this.#pos = writeMessage(this.#area, this.#pos, message, sequence);
      sequence = message.sequence;
    }
  }

  /**
   * The whole record; valid until the next `begin`. `ownMessages` came before. `queuedAtMs` 0: nobody asks for
   * the age of the queue.
   */
  finish(queuedAtMs: number = 0): Buffer {
    const footerAt = this.#pos;
    this.#reserve((8 + this.#blocks.length) * VARINT_BYTES_MAX + 4 + SEAL_BYTES);
    const area = this.#area;
    let pos = writeVarint(area, footerAt, this.lastSeq - this.firstSeq);
    pos = writeVarint(area, pos, this.count);
    pos = writeVarint(area, pos, this.bytes);
    pos = writeVarint(area, pos, this.#ownBodies);
    pos = writeVarint(area, pos, this.#ownCount);
    pos = writeVarint(area, pos, this.#entriesEnd);
    pos = writeVarint(area, pos, this.#blocks.length);
    for (const block of this.#blocks) pos = writeVarint(area, pos, block);
    if (queuedAtMs > 0) pos = writeVarint(area, pos, queuedAtMs);
    pos = writeU32(area, pos, pos - footerAt);
    return area.subarray(0, seal(area, 0, pos));
  }

  #reserve(byteCount: number): void {
    const needed = this.#pos + byteCount;
    if (needed <= this.#area.length) return;
    const larger = Buffer.allocUnsafeSlow(Math.max(needed, this.#area.length * 2));
    this.#area.copy(larger, 0, 0, this.#pos);
    this.#area = larger;
  }
}

/** Checks the record and reads what is said of it as a whole. `lastSeq` is from its key. */
export function readRunFooter(value: Buffer, lastSeq: number): RunFooter {
  const lengthAt = checkSeal(value) - 4;
  const footerAt = lengthAt < 0 ? -1 : lengthAt - readU32(value, lengthAt);
  if (footerAt < 0) throw new RecordDamage('run has no footer');
  const cursor = new Cursor(value, footerAt, lengthAt);
  const firstSeq = lastSeq - cursor.varint();
  const count = cursor.varint();
  const bytes = cursor.varint();
  const ownBodies = cursor.varint();
  const ownCount = cursor.varint();
  const entriesEnd = cursor.varint();
  const blockCount = cursor.varint();
  const blocks: number[] = [];
  for (let i = 0; i < blockCount; i++) blocks.push(cursor.varint());
  const queuedAtMs = cursor.atEnd ? 0 : cursor.varint();
  cursor.expectEnd();
  if (firstSeq < 1 || count < 1 || ownBodies > OwnBodies.IN_RECORD || entriesEnd > footerAt) {
    throw new RecordDamage('run footer makes no sense');
  }
  return {
    firstSeq,
    lastSeq,
    count,
    bytes,
    ownBodies: ownBodies as OwnBodiesPlace,
    ownCount,
    blocks,
    queuedAtMs,
    entriesEnd,
    messagesEnd: footerAt,
  };
}

export function readRunEntries(value: Buffer, footer: RunFooter): RunEntries {
  const { count, entriesEnd } = footer;
  // Each has a byte at least.
  if (count > entriesEnd) throw new RecordDamage('run has fewer entries than it says');
  const cursor = new Cursor(value, 0, entriesEnd);
  const seqs: number[] = new Array(count);
  const qos: (1 | 2)[] = new Array(count);
  const retain: boolean[] = new Array(count);
  const subscriptionIds: (readonly number[] | null)[] = new Array(count);
  const blocks: number[] = new Array(count);
  const ordinals: number[] = new Array(count);
  let seq = footer.firstSeq - 1;
  let ids: readonly number[] | null = null;
  let block = 0;
  let ordinal = -1;
  for (let i = 0; i < count; i++) {
    const flags = cursor.u8();
    if ((flags & ~KNOWN_BITS) !== 0) throw new RecordDamage('entry flags are unknown');
    seq += (flags & SEQ_JUMPS) !== 0 ? cursor.varint() : 1;
    if ((flags & HAS_SUBSCRIPTION_IDS) !== 0 && (flags & SAME_SUBSCRIPTION_IDS) === 0) {
      ids = readIds(cursor);
    }
    if ((flags & BODY_JUMPS) !== 0) {
      block = cursor.varint();
      ordinal = cursor.varint();
    } else {
      ordinal++;
    }
    seqs[i] = seq;
    qos[i] = (flags & QOS_2) !== 0 ? 2 : 1;
    retain[i] = (flags & RETAIN) !== 0;
    subscriptionIds[i] = (flags & HAS_SUBSCRIPTION_IDS) !== 0 ? ids : null;
    blocks[i] = block;
    ordinals[i] = ordinal;
  }
  cursor.expectEnd();
  if (seq !== footer.lastSeq) throw new RecordDamage('run does not end at its last position');
  return { seqs, qos, retain, subscriptionIds, blocks, ordinals };
}

/** The messages that lie in the run itself. */
export function readRunMessages(value: Buffer, footer: RunFooter): StoredMessages {
  const cursor = new Cursor(value, footer.entriesEnd, footer.messagesEnd);
  const messages = new StoredMessages(
    cursor,
    footer.ownBodies === OwnBodies.IN_RUN ? footer.ownCount : 0,
  );
  cursor.expectEnd();
  return messages;
}

function readIds(cursor: Cursor): number[] {
  const count = cursor.varint();
  const ids: number[] = [];
  for (let i = 0; i < count; i++) ids.push(cursor.varint());
  return ids;
}

/**
 * One change to the inbound QoS 2 packet ids of a session: taken with its message, handed on, or forgotten
 * (hard case 10). Made by redis-store.ts for the owner, or from a journal, which has it as an entry whose
 * writer is `i` and the epoch of the owner (docs/adr/0017). A journal has `left` as well: the connection of
 * that epoch is gone, and nobody is to publish its will.
 */
import type { Awaited } from '../../core/awaited.ts';
import { RecordDamage } from '../embedded/damage.ts';
import { Cursor, VARINT_BYTES_MAX, writeVarint } from '../embedded/varint.ts';
import { INBOUND_MARK, type JournalRecord } from '../journal/journal-record.ts';

export type InboundOp = 'pending' | 'done' | 'add' | 'remove';

const OPS: readonly InboundOp[] = ['pending', 'done', 'add', 'remove'];
const LEFT = 4;

export class InboundChange {
  readonly op: InboundOp;
  readonly packetId: number;
  /** Rising under one epoch of the session, without gaps. */
  readonly number: number;
  /** Of what is pending; else 0. */
  readonly publisherSeq: number;
  /** The message, with the members of shared subscriptions that were chosen; null: not pending. */
  readonly value: Buffer | null;
  /** A journal has it: it is written whatever becomes of the owner's lane. */
  isJournaled = false;
  #awaited: Awaited | null;

  constructor(
    op: InboundOp,
    packetId: number,
    number: number,
    publisherSeq = 0,
    value: Buffer | null = null,
    awaited: Awaited | null = null,
  ) {
    this.op = op;
    this.packetId = packetId;
    this.number = number;
    this.publisherSeq = publisherSeq;
    this.value = value;
    this.#awaited = awaited;
    if (awaited !== null) awaited.unsafeCount++;
  }

  /** Whoever waits for it is told, once. */
  tell(failed: boolean): void {
    const awaited = this.#awaited;
    if (awaited === null) return;
    this.#awaited = null;
    awaited.unsafeCount--;
    if (failed) awaited.failed = true;
    if (awaited.unsafeCount === 0) awaited.waiter?.messageSafe();
  }
}

/** Of an incarnation or a sid this is never the beginning. */
const MARK = String.fromCharCode(INBOUND_MARK);

export function isInbound({ writer }: JournalRecord): boolean {
  return writer.startsWith(MARK);
}

export function inboundRecord(
  clientId: string,
  sid: string,
  epoch: number,
  { op, packetId, number, publisherSeq, value }: InboundChange,
): JournalRecord {
  const body = value ?? EMPTY;
  const out = Buffer.allocUnsafe(1 + 2 * VARINT_BYTES_MAX + body.length);
  out[0] = OPS.indexOf(op);
  let pos = writeVarint(out, 1, packetId);
  pos = writeVarint(out, pos, publisherSeq);
  pos += body.copy(out, pos);
  return { clientId, sid, writer: `${MARK}${epoch}`, seq: number, value: out.subarray(0, pos) };
}

/** Of a session that ends, or goes on without owner for so long. */
export function leftRecord(
  clientId: string,
  sid: string,
  epoch: number,
  expiryIntervalS: number,
): JournalRecord {
  const value = Buffer.allocUnsafe(1 + VARINT_BYTES_MAX);
  value[0] = LEFT;
  const end = writeVarint(value, 1, expiryIntervalS);
  return { clientId, sid, writer: `${MARK}${epoch}`, seq: 0, value: value.subarray(0, end) };
}

/** Null: it is another record. Throws RecordDamage. */
export function leftOf(record: JournalRecord): {
  readonly epoch: number;
  readonly expiryIntervalS: number;
} | null {
  const { writer, value } = record;
  if (!isInbound(record) || value[0] !== LEFT) return null;
  const cursor = new Cursor(value, 1, value.length);
  return { epoch: Number(writer.slice(MARK.length)), expiryIntervalS: cursor.varint() };
}

/** Throws RecordDamage. */
export function inboundOf({ writer, seq, value }: JournalRecord): {
  readonly epoch: number;
  readonly change: InboundChange;
} {
  const epoch = Number(writer.slice(MARK.length));
  const cursor = new Cursor(value, 0, value.length);
  const op = OPS[cursor.u8()];
  if (op === undefined || !Number.isSafeInteger(epoch)) {
    throw new RecordDamage('an unknown change to packet ids');
  }
  const packetId = cursor.varint();
  const publisherSeq = cursor.varint();
  const body = op === 'pending' ? Buffer.from(cursor.bytes(cursor.end - cursor.pos)) : null;
  return { epoch, change: new InboundChange(op, packetId, seq, publisherSeq, body) };
}

const EMPTY = Buffer.alloc(0);

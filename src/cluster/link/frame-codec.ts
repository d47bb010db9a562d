/**
 * Frames between nodes but for those with messages (message-codec.ts): announcements, ownership,
 * heartbeats, what members ask of each other. Pairs of pure functions; `decode…` takes what
 * MeshEvents.frame hands out and throws nothing but LinkDamage. Called by the bus and membership.
 */
import type {
  Incarnation,
  Interest,
  SessionImage,
  SubscriptionChange,
} from '../../core/cluster-ports.ts';
import type { SubscriptionRecord } from '../../core/ports.ts';
import type { RedisReply } from '../../drivers/redis/redis-port.ts';
import { FrameType, type Heartbeat } from '../ports.ts';
import { FrameReader } from './frame-reader.ts';
import { emptyFrame, FrameWriter } from './frame-writer.ts';
import { LinkDamage } from './link-damage.ts';

// ---------------------------------------------------------------------------------- live routes

export interface InterestFrame {
  readonly filter: string;
  readonly interest: Interest;
}

export function encodeInterest(filter: string, interest: Interest): Buffer {
  const writer = new FrameWriter();
  writer.u8(interest);
  writer.text(filter);
  return writer.finish(FrameType.INTEREST);
}

export function decodeInterest(buffer: Buffer, start: number, end: number): InterestFrame {
  const reader = new FrameReader(buffer, start, end);
  const interest = reader.choice(2) as Interest;
  return { filter: reader.text(), interest };
}

export interface GroupFrame {
  readonly group: string;
  readonly filter: string;
  readonly members: number;
}

export function encodeGroup(group: string, filter: string, members: number): Buffer {
  const writer = new FrameWriter();
  writer.u32(members);
  writer.text(group);
  writer.text(filter);
  return writer.finish(FrameType.GROUP);
}

export function decodeGroup(buffer: Buffer, start: number, end: number): GroupFrame {
  const reader = new FrameReader(buffer, start, end);
  const members = reader.u32();
  return { group: reader.text(), filter: reader.text(), members };
}

// ---------------------------------------------------------------------------------- durable sessions

/** Flags, subscription id, a text without characters. */
const SUBSCRIPTION_BYTES_MIN = 9;
const NO_LOCAL = 4;
const RETAIN_AS_PUBLISHED = 8;
const RETAIN_HANDLING_SHIFT = 4;

function writeSubscriptions(writer: FrameWriter, records: readonly SubscriptionRecord[]): void {
  writer.u32(records.length);
  for (const record of records) {
    writer.u8(
      record.qos |
        (record.noLocal ? NO_LOCAL : 0) |
        (record.retainAsPublished ? RETAIN_AS_PUBLISHED : 0) |
        (record.retainHandling << RETAIN_HANDLING_SHIFT),
    );
    writer.u32(record.subscriptionId);
    writer.text(record.filter);
  }
}

function readSubscriptions(reader: FrameReader): SubscriptionRecord[] {
  const count = reader.count(SUBSCRIPTION_BYTES_MIN);
  const records: SubscriptionRecord[] = [];
  for (let i = 0; i < count; i++) {
    const flags = reader.u8();
    const qos = flags & 3;
    const retainHandling = flags >> RETAIN_HANDLING_SHIFT;
    if (qos > 2 || retainHandling > 2) throw new LinkDamage('a subscription has unknown flags');
    const subscriptionId = reader.u32();
    records.push({
      filter: reader.text(),
      qos: qos as 0 | 1 | 2,
      noLocal: (flags & NO_LOCAL) !== 0,
      retainAsPublished: (flags & RETAIN_AS_PUBLISHED) !== 0,
      retainHandling: retainHandling as 0 | 1 | 2,
      subscriptionId,
    });
  }
  return records;
}

export function encodeImage(image: SessionImage): Buffer {
  const writer = new FrameWriter();
  writer.text(image.clientId);
  writer.text(image.sid);
  writer.u53(image.epoch);
  writer.u53(image.counter);
  writer.textOrNull(image.owner);
  writer.textOrNull(image.identity);
  writer.text(image.tenant);
  writer.u32(image.expiryIntervalS);
  writeSubscriptions(writer, image.subscriptions);
  return writer.finish(FrameType.IMAGE);
}

export function decodeImage(buffer: Buffer, start: number, end: number): SessionImage {
  const reader = new FrameReader(buffer, start, end);
  return {
    clientId: reader.text(),
    sid: reader.text(),
    epoch: reader.u53(),
    counter: reader.u53(),
    owner: reader.textOrNull(),
    identity: reader.textOrNull(),
    tenant: reader.text(),
    expiryIntervalS: reader.u32(),
    subscriptions: readSubscriptions(reader),
  };
}

export function encodeChange(change: SubscriptionChange): Buffer {
  const writer = new FrameWriter();
  writer.text(change.clientId);
  writer.text(change.sid);
  writer.u53(change.epoch);
  writer.u53(change.counter);
  writeSubscriptions(writer, change.added);
  writer.u32(change.removed.length);
  for (const filter of change.removed) writer.text(filter);
  return writer.finish(FrameType.CHANGE);
}

export function decodeChange(buffer: Buffer, start: number, end: number): SubscriptionChange {
  const reader = new FrameReader(buffer, start, end);
  const clientId = reader.text();
  const sid = reader.text();
  const epoch = reader.u53();
  const counter = reader.u53();
  const added = readSubscriptions(reader);
  const removed: string[] = [];
  const count = reader.count(4);
  for (let i = 0; i < count; i++) removed.push(reader.text());
  return { clientId, sid, epoch, counter, added, removed };
}

/** A session of a client, by what fences it. */
export interface EndFrame {
  readonly clientId: string;
  readonly sid: string;
  readonly epoch: number;
}

export function encodeEnd(clientId: string, sid: string, epoch: number): Buffer {
  const writer = new FrameWriter();
  writer.text(clientId);
  writer.text(sid);
  writer.u53(epoch);
  return writer.finish(FrameType.END);
}

export function decodeEnd(buffer: Buffer, start: number, end: number): EndFrame {
  const reader = new FrameReader(buffer, start, end);
  return { clientId: reader.text(), sid: reader.text(), epoch: reader.u53() };
}

export interface HintFrame {
  readonly clientId: string;
  readonly sid: string;
  readonly tailSeq: number;
}

export function encodeHint(clientId: string, sid: string, tailSeq: number): Buffer {
  const writer = new FrameWriter();
  writer.text(clientId);
  writer.text(sid);
  writer.u53(tailSeq);
  return writer.finish(FrameType.HINT);
}

export function decodeHint(buffer: Buffer, start: number, end: number): HintFrame {
  const reader = new FrameReader(buffer, start, end);
  return { clientId: reader.text(), sid: reader.text(), tailSeq: reader.u53() };
}

export interface LetGoFrame {
  /** The asker's own number for it. */
  readonly request: number;
  readonly clientId: string;
  readonly epoch: number;
}

export function encodeLetGo(request: number, clientId: string, epoch: number): Buffer {
  const writer = new FrameWriter();
  writer.u53(request);
  writer.text(clientId);
  writer.u53(epoch);
  return writer.finish(FrameType.LET_GO);
}

export function decodeLetGo(buffer: Buffer, start: number, end: number): LetGoFrame {
  const reader = new FrameReader(buffer, start, end);
  return { request: reader.u53(), clientId: reader.text(), epoch: reader.u53() };
}

export function encodeLetGoDone(request: number): Buffer {
  const writer = new FrameWriter();
  writer.u53(request);
  return writer.finish(FrameType.LET_GO_DONE);
}

/** The number of the request. */
export function decodeLetGoDone(buffer: Buffer, start: number, end: number): number {
  return new FrameReader(buffer, start, end).u53();
}

export function encodeNeedSession(clientId: string): Buffer {
  const writer = new FrameWriter();
  writer.text(clientId);
  return writer.finish(FrameType.NEED_SESSION);
}

/** The client id. */
export function decodeNeedSession(buffer: Buffer, start: number, end: number): string {
  return new FrameReader(buffer, start, end).text();
}

// ---------------------------------------------------------------------------------- tables

export function encodeTablesBegin(): Buffer {
  return emptyFrame(FrameType.TABLES_BEGIN);
}

export function encodeTablesEnd(position: number): Buffer {
  const writer = new FrameWriter();
  writer.u53(position);
  return writer.finish(FrameType.TABLES_END);
}

/** The position that the tables are as of. */
export function decodeTablesEnd(buffer: Buffer, start: number, end: number): number {
  return new FrameReader(buffer, start, end).u53();
}

export function encodeCountedIn(): Buffer {
  return emptyFrame(FrameType.COUNTED_IN);
}

export function encodeNeedTables(): Buffer {
  return emptyFrame(FrameType.NEED_TABLES);
}

export function encodeGoodbye(): Buffer {
  return emptyFrame(FrameType.GOODBYE);
}

// ---------------------------------------------------------------------------------- members

export function encodeHeartbeat(heartbeat: Heartbeat): Buffer {
  const writer = new FrameWriter();
  writer.f64(heartbeat.sentMs);
  writer.f64(heartbeat.echoMs);
  writer.bool(heartbeat.hasRedis);
  writer.u16(heartbeat.linksUp);
  writer.u53(heartbeat.position);
  writer.u53(heartbeat.items);
  writer.u53(heartbeat.digest);
  return writer.finish(FrameType.HEARTBEAT);
}

export function decodeHeartbeat(buffer: Buffer, start: number, end: number): Heartbeat {
  const reader = new FrameReader(buffer, start, end);
  return {
    sentMs: reader.f64(),
    echoMs: reader.f64(),
    hasRedis: reader.bool(),
    linksUp: reader.u16(),
    position: reader.u53(),
    items: reader.u53(),
    digest: reader.u53(),
  };
}

/** Asks a member to renew the lease of another, which cannot reach Redis. */
export interface RenewForFrame {
  readonly request: number;
  readonly incarnation: Incarnation;
  readonly generation: string;
}

export function encodeRenewFor(
  request: number,
  incarnation: Incarnation,
  generation: string,
): Buffer {
  const writer = new FrameWriter();
  writer.u53(request);
  writer.text(incarnation);
  writer.text(generation);
  return writer.finish(FrameType.RENEW_FOR);
}

export function decodeRenewFor(buffer: Buffer, start: number, end: number): RenewForFrame {
  const reader = new FrameReader(buffer, start, end);
  return { request: reader.u53(), incarnation: reader.text(), generation: reader.text() };
}

/** What Redis answered. */
export interface RenewedFrame {
  readonly request: number;
  readonly reply: RedisReply;
}

export function encodeRenewed(request: number, reply: RedisReply): Buffer {
  const writer = new FrameWriter();
  writer.u53(request);
  writeReply(writer, reply);
  return writer.finish(FrameType.RENEWED);
}

export function decodeRenewed(buffer: Buffer, start: number, end: number): RenewedFrame {
  const reader = new FrameReader(buffer, start, end);
  return { request: reader.u53(), reply: readReply(reader, REPLY_DEPTH_MAX) };
}

const ReplyKind = { NULL: 0, NUMBER: 1, STRING: 2, BYTES: 3, LIST: 4 } as const;
const REPLY_DEPTH_MAX = 8;

function writeReply(writer: FrameWriter, reply: RedisReply): void {
  if (reply === null) {
    writer.u8(ReplyKind.NULL);
  } else if (typeof reply === 'number') {
    writer.u8(ReplyKind.NUMBER);
    writer.f64(reply);
  } else if (typeof reply === 'string') {
    writer.u8(ReplyKind.STRING);
    writer.text(reply);
  } else if (Buffer.isBuffer(reply)) {
    writer.u8(ReplyKind.BYTES);
    writer.bytes(reply);
  } else {
    writer.u8(ReplyKind.LIST);
    writer.u32(reply.length);
    for (const item of reply) writeReply(writer, item);
  }
}

function readReply(reader: FrameReader, depthMax: number): RedisReply {
  switch (reader.choice(ReplyKind.LIST)) {
    case ReplyKind.NULL:
      return null;
    case ReplyKind.NUMBER:
      return reader.f64();
    case ReplyKind.STRING:
      return reader.text();
    case ReplyKind.BYTES:
      return reader.bytes();
    default: {
      if (depthMax === 0) throw new LinkDamage('a reply is nested too deeply');
      const count = reader.count(1);
      const items: RedisReply[] = [];
      for (let i = 0; i < count; i++) items.push(readReply(reader, depthMax - 1));
      return items;
    }
  }
}

// ---------------------------------------------------------------------------------- catching up

export interface RetainedWantFrame {
  /** As the page before named it; '': from the beginning. */
  readonly cursor: string;
  /** How large a page may be, about. */
  readonly bytesMax: number;
}

export function encodeRetainedWant(cursor: string, bytesMax: number): Buffer {
  const writer = new FrameWriter();
  writer.text(cursor);
  writer.u32(bytesMax);
  return writer.finish(FrameType.RETAINED_WANT);
}

export function decodeRetainedWant(buffer: Buffer, start: number, end: number): RetainedWantFrame {
  const reader = new FrameReader(buffer, start, end);
  return { cursor: reader.text(), bytesMax: reader.u32() };
}

// ---------------------------------------------------------------------------------- journal

/** An entry of the sender's journal for the copy the receiver keeps. */
export interface JournalFrame {
  /** Position of the one before it in this stream; 0: a stream begins. */
  readonly after: number;
  readonly position: number;
  /** As the journal encodes it. */
  readonly entry: Buffer;
}

export function encodeJournal(after: number, position: number, entry: Buffer): Buffer {
  const writer = new FrameWriter();
  writer.u53(after);
  writer.u53(position);
  writer.bytes(entry);
  return writer.finish(FrameType.JOURNAL);
}

export function decodeJournal(buffer: Buffer, start: number, end: number): JournalFrame {
  const reader = new FrameReader(buffer, start, end);
  return { after: reader.u53(), position: reader.u53(), entry: reader.bytes() };
}

/** What became of all entries up to a position. */
export const JournalState = {
  /** The copy is synced. Said by who keeps it. */
  STORED: 0,
  /** It could not be stored. Said by who keeps it. */
  FAILED: 1,
  /** Replayed: the copy may go. Said by whose journal it is. */
  REPLAYED: 2,
  /** Whoever keeps the copy has put them into the queues. */
  QUEUED: 3,
} as const;
export type JournalState = (typeof JournalState)[keyof typeof JournalState];

export interface JournalDoneFrame {
  readonly position: number;
  readonly state: JournalState;
}

export function encodeJournalDone(position: number, state: JournalState): Buffer {
  const writer = new FrameWriter();
  writer.u53(position);
  writer.u8(state);
  return writer.finish(FrameType.JOURNAL_DONE);
}

export function decodeJournalDone(buffer: Buffer, start: number, end: number): JournalDoneFrame {
  const reader = new FrameReader(buffer, start, end);
  return { position: reader.u53(), state: reader.choice(3) as JournalState };
}

/** The sender keeps entries of a dead node that are not all in the queues, or no longer does. */
export interface JournalOwedFrame {
  readonly dead: Incarnation;
  readonly isOwed: boolean;
}

export function encodeJournalOwed(dead: Incarnation, isOwed: boolean): Buffer {
  const writer = new FrameWriter();
  writer.text(dead);
  writer.bool(isOwed);
  return writer.finish(FrameType.JOURNAL_OWED);
}

export function decodeJournalOwed(buffer: Buffer, start: number, end: number): JournalOwedFrame {
  const reader = new FrameReader(buffer, start, end);
  return { dead: reader.text(), isOwed: reader.bool() };
}

// ---------------------------------------------------------------------------------- moves of sessions

/** What it says is the core's. */
export function encodeRoam(payload: Buffer): Buffer {
  const writer = new FrameWriter();
  writer.bytes(payload);
  return writer.finish(FrameType.ROAM);
}

/** The payload. */
export function decodeRoam(buffer: Buffer, start: number, end: number): Buffer {
  return new FrameReader(buffer, start, end).bytes();
}

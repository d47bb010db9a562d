/**
 * What regions say to one another about sessions that move (docs/adr/0023): a head of JSON, and behind it
 * the bodies of the messages it lists. Throws a FrameDamage for anything else. Pure.
 */
import type { Anew } from '../../core/beginnings.ts';
import { isSourceOf } from '../../core/link-names.ts';
import { Message } from '../../core/message.ts';
import type { MovedEntry } from '../../core/moved-entry.ts';
import type { SessionRecord } from '../../core/ports.ts';

export class FrameDamage extends Error {}

/** What the new home asks of whoever has something of the session. */
export interface Ask {
  /**
   * `offer`: whoever asks has something, and is not asked for it. `again`: what the region asked has said of where
   * its messages belong has not come; it belongs to `to`. `took`: how far have you come with what was given to
   * you? `closed`: I have come as far as `had`, and take no more.
   */
  readonly kind: 'pull' | 'forget' | 'moved' | 'where' | 'offer' | 'again' | 'took' | 'closed';
  /** Comes back in the answer. */
  readonly n: string;
  readonly client: string;
  /** Of the CONNECT there. */
  readonly epoch: number;
  /** Life of the session that `had` is about; 0: not known. */
  readonly born?: number;
  /** Durable there up to this position. */
  readonly had?: number;
  /** What is published there does not come here for the session any more, and is not to come from here. */
  readonly cuts?: boolean;
  /** The session itself is wanted, before what waits in it. */
  readonly isFirst?: boolean;
  readonly to?: string;
}

export interface Answer {
  /** `wait`: ask again; `newer`: this region, or `to`, has a later CONNECT; `moved`: `to` has it. */
  readonly kind: 'page' | 'session' | 'none' | 'wait' | 'newer' | 'moved' | 'took';
  readonly re: string;
  readonly client: string;
  readonly to?: string;
  readonly epoch?: number;
  readonly born?: number;
  readonly turn?: number;
  readonly record?: SessionRecord;
  readonly inboundIds?: readonly number[];
  /** How far this region has come with the queue of who asks, which it asks for no more; left out: it goes on. */
  readonly taken?: { readonly born: number; readonly had: number } | null;
  /** More waits behind this page. */
  readonly more?: boolean;
  /** Nothing will ever come again. */
  readonly isLast?: boolean;
  /** Regions that have not said here that nothing of theirs comes any more. */
  readonly unheard?: readonly string[];
}

/** From here on messages of the region that says so belong to the session at `to`. */
export interface Moved {
  readonly client: string;
  readonly to: string;
  readonly epoch: number;
  /** `REGION.INCARNATION`: it is about messages of this life of a node there alone. */
  readonly by?: string;
  /** The session has begun anew there: what is older ends (`clean`), or is handed over. */
  readonly anew?: Anew;
  readonly identity?: string | null;
}

/** Of a note: what waits for a move here. */
export interface Kept {
  readonly client: string;
}

/** Position, QoS, RETAIN to send, ids, packet id, PUBREC came; QoS and RETAIN as published, expiry, lengths. */
type EntryHead = readonly [
  number,
  1 | 2,
  boolean,
  readonly number[] | null,
  number,
  boolean,
  0 | 1 | 2,
  boolean,
  number,
  number,
  number,
  number,
];

const HEAD_BYTES = 4;

export function encodeFrame(
  head: Ask | Answer | Moved | Kept,
  entries: readonly MovedEntry[] = [],
): Buffer {
  const bodies: Buffer[] = [];
  const heads: EntryHead[] = [];
  for (const { seq, message, qos, retain, subscriptionIds, id, isReleased } of entries) {
    const { slab, bodyStart, payloadStart, bodyEnd, properties } = message;
    bodies.push(slab.subarray(bodyStart, bodyEnd), properties);
    heads.push([
      ...([seq, qos, retain, subscriptionIds, id, isReleased] as const),
      ...([message.qos, message.retain, message.expiresAtMs] as const),
      ...([payloadStart - bodyStart, bodyEnd - bodyStart, properties.length] as const),
    ]);
  }
  const json = Buffer.from(JSON.stringify(heads.length === 0 ? head : { ...head, entries: heads }));
  const length = Buffer.alloc(HEAD_BYTES);
  length.writeUInt32BE(json.length);
  return Buffer.concat([length, json, ...bodies]);
}

export interface Frame<Head> {
  readonly head: Head;
  readonly entries: readonly MovedEntry[];
}

/** The entries keep nothing of `bytes` alive. */
export function decodeFrame<Head>(bytes: Buffer, nextSequence: () => number): Frame<Head> {
  if (bytes.length < HEAD_BYTES) throw new FrameDamage('too short');
  const end = HEAD_BYTES + bytes.readUInt32BE(0);
  if (end > bytes.length) throw new FrameDamage('cut off');
  let head: Head & { readonly entries?: readonly EntryHead[]; readonly client?: unknown };
  try {
    head = JSON.parse(bytes.toString('utf8', HEAD_BYTES, end)) as typeof head;
  } catch {
    throw new FrameDamage('no JSON');
  }
  if (typeof head !== 'object' || head === null || typeof head.client !== 'string') {
    throw new FrameDamage('of no client');
  }
  const entries: MovedEntry[] = [];
  let pos = end;
  for (const one of head.entries ?? []) {
    const [seq, qos, retain, subscriptionIds, id, isReleased, ...ofMessage] = one;
    const [published, retained, expiresAtMs, payloadAt, bodyBytes, propertyBytes] = ofMessage;
    const bodyEnd = pos + bodyBytes;
    if (bodyEnd + propertyBytes > bytes.length || payloadAt > bodyBytes || payloadAt < 2) {
      throw new FrameDamage('a message is cut off');
    }
    const body = Buffer.from(bytes.subarray(pos, bodyEnd));
    const properties = Buffer.from(bytes.subarray(bodyEnd, bodyEnd + propertyBytes));
    pos = bodyEnd + propertyBytes;
    const message = new Message(
      ...([nextSequence(), body.toString('utf8', 2, payloadAt), body] as const),
      ...([0, payloadAt, bodyBytes, properties] as const),
      ...([published, retained, expiresAtMs] as const),
    );
    entries.push({ seq, message, qos, retain, subscriptionIds, id, isReleased });
  }
  return { head, entries };
}

/** What `region` says; it may not speak for nodes of another one. */
export function decodeMoved(region: string, bytes: Buffer): Moved {
  const { head } = decodeFrame<Moved>(bytes, () => 0);
  if (head.by === undefined || isSourceOf(head.by, region)) return head;
  throw new FrameDamage('it speaks for a node that is not its own');
}

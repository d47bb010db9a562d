/**
 * The queue of one aedes session as entries in order of delivery. Positions are chosen so that a message
 * that was sent keeps its packet id; what only waits for PUBCOMP comes first, as it was sent first.
 */
import type { Buffer } from 'node:buffer';
import type { LeftOut } from '../../app/migration/migration.ts';
import { filterMatches } from '../../core/inspection.ts';
import type { Message } from '../../core/message.ts';
import type { SubscriptionRecord } from '../../core/ports.ts';
import { EntryState, QueueEntry } from '../../core/queue-entry.ts';
import { Family, keyOf, parseQueueKey, type QueueKey } from './aedes-keys.ts';
import {
  bodilessMessage,
  decodePacket,
  decodePubrel,
  messageOf,
  PacketDamage,
} from './aedes-packet.ts';
import { type AedesRedis, numberOf } from './aedes-redis.ts';

type Leave = (item: LeftOut) => void;

/** Messages read together. */
const PAGE = 500;
/** Bodies kept because other sessions queue them too. */
const SHARED_BYTES_MAX = 32 * 1024 * 1024;
const PACKET_IDS = 65_535;

interface StoredMessage {
  readonly message: Message;
  /** Under which it was sent; 0: it was not. */
  readonly packetId: number;
}

export class AedesQueue {
  readonly #redis: AedesRedis;
  readonly #prefix: string;
  readonly #nowMs: number;
  readonly #nextSequence: () => number;
  /** By key of the packet, oldest first: one object a message, so that its body is stored once. */
  readonly #shared: Map<string, StoredMessage> = new Map();
  #sharedBytes = 0;

  constructor(redis: AedesRedis, prefix: string, nowMs: number, nextSequence: () => number) {
    this.#redis = redis;
    this.#prefix = prefix;
    this.#nowMs = nowMs;
    this.#nextSequence = nextSequence;
  }

  /** `clientId` null: it has no queue. */
  async *entries(
    clientId: string | null,
    subscriptions: readonly SubscriptionRecord[],
    leave: Leave,
  ): AsyncIterable<QueueEntry> {
    if (clientId === null) return;
    const { released, waiting } = await this.#keys(clientId, leave);
    let seq = 0;
    for (const key of released) {
      const found = await this.#released(clientId, key, leave);
      if (found === null) continue;
      seq = positionAfter(seq, found.packetId);
      const entry = new QueueEntry(seq, found.message, 2, false, null, false);
      entry.state = EntryState.RELEASED;
      yield entry;
    }
    for (let i = 0; i < waiting.length; i += PAGE) {
      const page = waiting.slice(i, i + PAGE);
      const messages = await this.#messages(page);
      for (const [index, { packet }] of page.entries()) {
        const found = messages[index]!;
        if (typeof found !== 'object') {
          const isLoss = found !== GONE;
          leave({ what: 'queued', isLoss, where: `${clientId}, ${packet}`, why: found });
          continue;
        }
        seq = positionAfter(seq, found.packetId);
        yield entryOf(seq, found.message, subscriptions);
      }
    }
  }

  /** The elements of the list, each message once. */
  async #keys(
    clientId: string,
    leave: Leave,
  ): Promise<{ readonly released: readonly QueueKey[]; readonly waiting: readonly QueueKey[] }> {
    const list = `${this.#prefix}${keyOf(Family.OUTGOING, clientId)}`;
    const elements = (await this.#redis.read(['LRANGE', list, '0', '-1'])) as readonly Buffer[];
    const byPacket = new Map<string, QueueKey>();
    for (const element of elements) {
      const text = element.toString('utf8');
      const key = parseQueueKey(text);
      const where = `${clientId}, ${text}`;
      if (key === null) {
        leave({ what: 'queued', isLoss: true, where, why: 'is no key of a packet' });
        continue;
      }
      const before = byPacket.get(key.packet);
      if (before !== undefined) {
        // aedes lists a message once for each filter of the client that matches.
        leave({ what: 'queued', isLoss: false, where, why: 'is in the queue more than once' });
        if (key.pubrel === null || before.pubrel !== null) continue;
      }
      byPacket.set(key.packet, key);
    }
    const all = [...byPacket.values()];
    return {
      released: all.filter(({ pubrel }) => pubrel !== null),
      waiting: all.filter(({ pubrel }) => pubrel === null),
    };
  }

  async #released(
    clientId: string,
    { packet, pubrel }: QueueKey,
    leave: Leave,
  ): Promise<StoredMessage | null> {
    const value = (await this.#redis.read(['GET', `${this.#prefix}${pubrel}`])) as Buffer | null;
    const where = `${clientId}, ${pubrel}`;
    if (value === null) {
      leave({ what: 'queued', isLoss: false, where, why: GONE });
      return null;
    }
    try {
      const packetId = decodePubrel(value);
      const [found] = await this.#messages([{ packet, pubrel }]);
      // The body is not sent again: only its packet id counts.
      const message =
        typeof found === 'object' ? found.message : bodilessMessage(this.#nextSequence());
      return { message, packetId };
    } catch (error) {
      leave({ what: 'queued', isLoss: true, where, why: damageOf(error) });
      return null;
    }
  }

  /** For each key what it holds, or why nothing. */
  async #messages(keys: readonly QueueKey[]): Promise<(StoredMessage | string)[]> {
    const missing = keys.filter(({ packet }) => !this.#shared.has(packet));
    const values = await this.#redis.readAll(
      missing.flatMap(({ packet }) => [
        ['GET', `${this.#prefix}${packet}`],
        ['PTTL', `${this.#prefix}${packet}`],
      ]),
    );
    const read = new Map<string, StoredMessage | string>();
    for (const [index, { packet }] of missing.entries()) {
      const value = values[2 * index] as Buffer | null;
      read.set(packet, this.#decode(value, numberOf(values[2 * index + 1])));
    }
    const found = keys.map(({ packet }) => read.get(packet) ?? this.#shared.get(packet) ?? GONE);
    for (const [packet, one] of read) if (typeof one === 'object') this.#share(packet, one);
    return found;
  }

  #decode(value: Buffer | null, ttlMs: number): StoredMessage | string {
    if (value === null) return GONE;
    try {
      const packet = decodePacket(value);
      const expiresAtMs = this.#endOf(packet, ttlMs);
      const message = messageOf(packet, this.#nextSequence(), expiresAtMs);
      return { message, packetId: packet.packetId };
    } catch (error) {
      return damageOf(error);
    }
  }

  /** Wall-clock ms; 0: never. A time to live of the key means that aedes would have forgotten it. */
  #endOf(
    { expiresAtMs, expiryS }: { readonly expiresAtMs: number; readonly expiryS: number },
    ttlMs: number,
  ): number {
    const ends = [expiresAtMs];
    if (ttlMs > 0) ends.push(this.#nowMs + ttlMs);
    if (expiresAtMs === 0 && expiryS > 0) ends.push(this.#nowMs + expiryS * 1000);
    const set = ends.filter((end) => end > 0);
    return set.length === 0 ? 0 : Math.min(...set);
  }

  #share(packet: string, stored: StoredMessage): void {
    this.#shared.set(packet, stored);
    this.#sharedBytes += stored.message.bytes;
    for (const [oldest, { message }] of this.#shared) {
      if (this.#sharedBytes <= SHARED_BYTES_MAX) break;
      this.#shared.delete(oldest);
      this.#sharedBytes -= message.bytes;
    }
  }
}

const GONE = 'its packet is no longer there: it has expired, or was acknowledged';

/** The first position after `seq` whose packet id is `packetId`; 0: the next one. */
export function positionAfter(seq: number, packetId: number): number {
  const next = seq + 1;
  if (packetId === 0) return next;
  return next + ((packetId - 1 - (next % PACKET_IDS) + PACKET_IDS) % PACKET_IDS);
}

function entryOf(
  seq: number,
  message: Message,
  subscriptions: readonly SubscriptionRecord[],
): QueueEntry {
  let granted = 0;
  let isRetainKept = false;
  const subscriptionIds: number[] = [];
  for (const { filter, qos, retainAsPublished, subscriptionId } of subscriptions) {
    if (!filterMatches(filter, message.topic)) continue;
    granted = Math.max(granted, qos);
    isRetainKept ||= retainAsPublished;
    if (subscriptionId !== 0) subscriptionIds.push(subscriptionId);
  }
  // Its subscription may be gone, and the message is still owed.
  const most = granted === 0 ? 2 : granted;
  const qos = Math.max(1, Math.min(message.qos, most)) as 1 | 2;
  const ids = subscriptionIds.length === 0 ? null : subscriptionIds;
  return new QueueEntry(seq, message, qos, isRetainKept && message.retain, ids, false);
}

function damageOf(error: unknown): string {
  if (error instanceof PacketDamage) return error.message;
  throw error;
}

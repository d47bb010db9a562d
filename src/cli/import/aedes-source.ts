/**
 * The database of an aedes as a source of sessions. What aedes does not keep is given: whose a session
 * is, and how long it lives without its client. Reads only; the aedes nodes must be stopped.
 */
import { Buffer } from 'node:buffer';
import type {
  LeftOut,
  MigrationCounts,
  MovedSession,
  SessionSource,
} from '../../app/migration/migration.ts';
import type { Message } from '../../core/message.ts';
import type { SubscriptionRecord, WillRecord } from '../../core/ports.ts';
import { type AedesDatabase, clientIdsOf, Family, keyOf, sumOf, walkKeys } from './aedes-keys.ts';
import { decodePacket, decodeSubscription, messageOf, PacketDamage } from './aedes-packet.ts';
import { AedesQueue } from './aedes-queue.ts';
import type { AedesRedis, BytesReply } from './aedes-redis.ts';

export interface AedesSourceOptions {
  /** In front of every key (`keyPrefix` of ioredis). */
  readonly prefix: string;
  readonly expiryIntervalS: number;
  readonly tenant: string;
  readonly identityOf: (clientId: string) => string | null;
  /** Wall-clock ms: when every client was last there, as aedes does not say. */
  readonly nowMs: number;
}

type Leave = (item: LeftOut) => void;

export class AedesSource implements SessionSource {
  readonly #redis: AedesRedis;
  readonly #options: AedesSourceOptions;
  readonly #queue: AedesQueue;
  #nextSequence = 1;
  /** Of the last `counts`. */
  #database: AedesDatabase | null = null;

  constructor(redis: AedesRedis, options: AedesSourceOptions) {
    this.#redis = redis;
    this.#options = options;
    this.#queue = new AedesQueue(redis, options.prefix, options.nowMs, () => this.#nextSequence++);
  }

  async counts(): Promise<MigrationCounts> {
    const redis = this.#redis;
    const database = await walkKeys(redis, this.#options.prefix);
    this.#database = database;
    const sum = (command: string, family: string, names: Iterable<string>): Promise<number> =>
      sumOf(
        redis,
        command,
        [...names].map((name) => this.#key(family, name)),
      );
    const retainedFields = database.hasRetainedHash
      ? await redis.readNumber('HLEN', `${this.#options.prefix}${Family.RETAINED}`)
      : 0;
    let inbound = await sum('HLEN', Family.INCOMING, database.inboundHashes);
    for (const ids of database.inboundIds.values()) inbound += ids.length;
    let wills = 0;
    for (const keys of database.wills.values()) wills += keys.length;
    return {
      sessions: clientIdsOf(database).length,
      subscriptions: await sum('HLEN', Family.CLIENT, database.subscribed),
      queued: await sum('LLEN', Family.OUTGOING, database.queued),
      inbound,
      wills,
      retained: retainedFields + database.retainedTopics.length,
    };
  }

  async *sessions(leave: Leave): AsyncIterable<MovedSession> {
    const database = await this.#walked();
    for (const clientId of clientIdsOf(database)) {
      const subscriptions = database.subscribed.has(clientId)
        ? await this.#subscriptions(clientId, leave)
        : [];
      const inboundIds = await this.#inboundIds(clientId, database, leave);
      const hasQueue = database.queued.has(clientId);
      const willKeys = database.wills.get(clientId) ?? [];
      // With nothing but a will its session would have ended with the connection.
      const isWillOnly = subscriptions.length === 0 && inboundIds.length === 0 && !hasQueue;
      const { expiryIntervalS, tenant, identityOf, nowMs } = this.#options;
      yield {
        record: {
          clientId,
          identity: identityOf(clientId),
          tenant,
          protocolVersion: 4,
          expiryIntervalS: isWillOnly && willKeys.length > 0 ? 0 : expiryIntervalS,
          disconnectedAtMs: nowMs,
          subscriptions,
          will: await this.#will(willKeys, leave),
        },
        inboundIds,
        queue: this.#queue.entries(hasQueue ? clientId : null, subscriptions, leave),
      };
    }
  }

  async *retained(leave: Leave): AsyncIterable<Message> {
    const database = await this.#walked();
    const { prefix } = this.#options;
    const done = new Set<string>();
    if (database.hasRetainedHash) {
      for await (const [topic, value] of this.#redis.fields(`${prefix}${Family.RETAINED}`)) {
        const name = topic.toString('utf8');
        // A hash that is walked may show a field twice.
        if (done.has(name)) continue;
        done.add(name);
        const message = this.#retainedMessage(name, value, leave);
        if (message !== null) yield message;
      }
    }
    for (const topic of database.retainedTopics) {
      const value = await this.#redis.read(['GET', this.#key(Family.RETAINED, topic)]);
      if (done.has(topic)) {
        leave({ what: 'retained', isLoss: false, where: topic, why: 'is in the hash too' });
        continue;
      }
      const message = this.#retainedMessage(topic, value, leave);
      if (message !== null) yield message;
    }
  }

  #key(family: string, name: string): string {
    return `${this.#options.prefix}${keyOf(family, name)}`;
  }

  async #walked(): Promise<AedesDatabase> {
    this.#database ??= await walkKeys(this.#redis, this.#options.prefix);
    return this.#database;
  }

  async #subscriptions(clientId: string, leave: Leave): Promise<SubscriptionRecord[]> {
    const found: SubscriptionRecord[] = [];
    const done = new Set<string>();
    for await (const [field, value] of this.#redis.fields(this.#key(Family.CLIENT, clientId))) {
      const filter = field.toString('utf8');
      if (done.has(filter)) continue;
      done.add(filter);
      try {
        found.push(decodeSubscription(filter, value));
      } catch (error) {
        const where = `${clientId}, ${filter}`;
        leave({ what: 'subscriptions', isLoss: true, where, why: damageOf(error) });
      }
    }
    return found.sort((a, b) => (a.filter < b.filter ? -1 : 1));
  }

  async #inboundIds(clientId: string, database: AedesDatabase, leave: Leave): Promise<number[]> {
    const ids = new Set<number>();
    const add = (packetId: number): void => {
      const where = `${clientId}, packet id ${packetId}`;
      const isId = Number.isInteger(packetId) && packetId >= 1 && packetId <= 65_535;
      if (!isId) leave({ what: 'inbound', isLoss: true, where, why: 'is no packet id' });
      else if (ids.has(packetId)) {
        leave({ what: 'inbound', isLoss: false, where, why: 'is there in both layouts' });
      }
      if (isId) ids.add(packetId);
    };
    if (database.inboundHashes.has(clientId)) {
      const key = this.#key(Family.INCOMING, clientId);
      const fields = (await this.#redis.read(['HKEYS', key])) as readonly Buffer[];
      for (const field of fields) add(Number(field.toString('latin1')));
    }
    for (const packetId of database.inboundIds.get(clientId) ?? []) add(packetId);
    return [...ids].sort((a, b) => a - b);
  }

  async #will(keys: readonly string[], leave: Leave): Promise<WillRecord | null> {
    let will: WillRecord | null = null;
    for (const [index, key] of keys.entries()) {
      if (index < keys.length - 1) {
        leave({ what: 'wills', isLoss: true, where: key, why: 'the client has a later one' });
        continue;
      }
      const read = await this.#redis.read(['GET', `${this.#options.prefix}${key}`]);
      try {
        const value = bytesOf(read);
        const packet = decodePacket(value);
        // In a will the expiry is an interval: it counts from publication.
        const expiryMs = packet.expiryS > 0 ? packet.expiryS * 1000 : 0;
        will = {
          message: messageOf(packet, this.#nextSequence++, expiryMs),
          delayS: packet.willDelayS,
          dueAtMs: 0,
        };
      } catch (error) {
        leave({ what: 'wills', isLoss: true, where: key, why: damageOf(error) });
      }
    }
    return will;
  }

  #retainedMessage(topic: string, value: BytesReply, leave: Leave): Message | null {
    const leaveOut = (isLoss: boolean, why: string): null => {
      leave({ what: 'retained', isLoss, where: topic, why });
      return null;
    };
    if (topic.startsWith('$SYS/')) return leaveOut(false, 'is what that broker said of itself');
    try {
      const packet = decodePacket(bytesOf(value));
      if (packet.topic !== topic) return leaveOut(true, 'its packet has another topic');
      if (packet.payload.length === 0) return leaveOut(false, 'is empty, which is none');
      const { expiresAtMs, expiryS } = packet;
      const endMs = expiryS > 0 ? this.#options.nowMs + expiryS * 1000 : 0;
      return messageOf(
        { ...packet, retain: true },
        this.#nextSequence++,
        expiresAtMs === 0 ? endMs : expiresAtMs,
      );
    } catch (error) {
      return leaveOut(true, damageOf(error));
    }
  }
}

function bytesOf(reply: BytesReply): Buffer {
  if (Buffer.isBuffer(reply)) return reply;
  throw new PacketDamage('its key is no longer there');
}

function damageOf(error: unknown): string {
  if (error instanceof PacketDamage) return error.message;
  throw error;
}

/**
 * How aedes-persistence-redis (11 and 12; 9 and 10 by its upgrade notes) lays its data out over keys, and what of it a database has.
 * Client ids and topics in keys are percent-encoded, so a colon always divides.
 *
 *   clients                          set of the ids that have subscriptions (not needed here)
 *   client:<id>                      hash filter → subscription
 *   outgoing:<id>                    list of keys of packets, in order of delivery
 *   packet:<broker>:<counter>        queued message, shared by all queues it is in
 *   packet:…:offlineCount            by how many
 *   outgoing:<id>:<broker>:<counter> PUBREL in place of that packet: its PUBREC has come
 *   incoming:<id>                    hash packet id → inbound QoS 2 message (12)
 *   incoming:<id>:<packet id>        inbound QoS 2 message (up to 11)
 *   will                             list of the keys of wills
 *   will:<broker>:<id>               will
 *   retained                         hash topic → message
 *   retained:<topic>                 message (databases of a Redis Cluster)
 */
import { type AedesRedis, type BytesReply, numberOf } from './aedes-redis.ts';

/** What a walk over the keys has found. Ids and topics are decoded; nothing is read twice for them. */
export interface AedesDatabase {
  /** Ids by what they have. */
  readonly subscribed: ReadonlySet<string>;
  readonly queued: ReadonlySet<string>;
  readonly inboundHashes: ReadonlySet<string>;
  readonly inboundIds: ReadonlyMap<string, readonly number[]>;
  /** Keys of wills by id, the last one last. */
  readonly wills: ReadonlyMap<string, readonly string[]>;
  readonly hasRetainedHash: boolean;
  readonly retainedTopics: readonly string[];
}

export interface QueueKey {
  /** Key of the message. */
  readonly packet: string;
  /** Key of the PUBREL that has taken its place; null: it has not. */
  readonly pubrel: string | null;
}

export const Family = {
  CLIENT: 'client',
  OUTGOING: 'outgoing',
  INCOMING: 'incoming',
  WILL: 'will',
  RETAINED: 'retained',
} as const;

const KEYS_AT_ONCE = 1000;

export async function walkKeys(redis: AedesRedis, prefix: string): Promise<AedesDatabase> {
  const found = new Found();
  for await (const key of redis.keys(prefix)) found.add(key.slice(prefix.length));
  return found.database(await willOrder(redis, prefix));
}

/** Ids that have anything at all, in one order whatever order the keys came in. */
export function clientIdsOf(database: AedesDatabase): string[] {
  const { subscribed, queued, inboundHashes, inboundIds, wills } = database;
  const all = [subscribed, queued, inboundHashes, inboundIds.keys(), wills.keys()];
  return [...new Set(all.flatMap((ids) => [...ids]))].sort();
}

export function keyOf(family: string, name: string): string {
  return `${family}:${encodeURIComponent(name)}`;
}

/** Reads an element of a queue; null: it is no key of this client's queue. */
export function parseQueueKey(element: string): QueueKey | null {
  const parts = element.split(':');
  const counter = parts.at(-1)!;
  const broker = parts.at(-2);
  if (broker === undefined || !/^\d{1,16}$/.test(counter)) return null;
  const packet = `packet:${broker}:${counter}`;
  if (parts.length === 3 && parts[0] === 'packet') return { packet, pubrel: null };
  if (parts.length === 4 && parts[0] === Family.OUTGOING) return { packet, pubrel: element };
  return null;
}

async function willOrder(redis: AedesRedis, prefix: string): Promise<Map<string, number>> {
  const type = await redis.read(['TYPE', `${prefix}${Family.WILL}`]);
  if (String(type) !== 'list') return new Map();
  const keys = (await redis.read(['LRANGE', `${prefix}${Family.WILL}`, '0', '-1'])) as Buffer[];
  return new Map(keys.map((key, index) => [key.toString('utf8'), index]));
}

class Found {
  readonly #subscribed: Set<string> = new Set();
  readonly #queued: Set<string> = new Set();
  readonly #inboundHashes: Set<string> = new Set();
  readonly #inboundIds: Map<string, Set<number>> = new Map();
  readonly #wills: Map<string, Set<string>> = new Map();
  readonly #retainedTopics: Set<string> = new Set();
  #hasRetainedHash = false;

  add(key: string): void {
    if (key === Family.RETAINED) this.#hasRetainedHash = true;
    const [family, ...encoded] = key.split(':');
    const parts = encoded.map(decode);
    const first = parts[0];
    const second = parts[1];
    if (first === undefined || parts.includes(null)) return;
    switch (`${family} ${parts.length}`) {
      case `${Family.CLIENT} 1`:
        this.#subscribed.add(first!);
        break;
      case `${Family.OUTGOING} 1`:
        this.#queued.add(first!);
        break;
      case `${Family.INCOMING} 1`:
        this.#inboundHashes.add(first!);
        break;
      case `${Family.INCOMING} 2`:
        addTo(this.#inboundIds, first!, Number(second));
        break;
      case `${Family.WILL} 2`:
        addTo(this.#wills, second!, key);
        break;
      case `${Family.RETAINED} 1`:
        this.#retainedTopics.add(first!);
        break;
    }
  }

  database(willOrder: ReadonlyMap<string, number>): AedesDatabase {
    const orderOf = (key: string): number => willOrder.get(key) ?? -1;
    const wills = [...this.#wills].map(
      ([id, keys]) => [id, [...keys].sort((a, b) => orderOf(a) - orderOf(b))] as const,
    );
    const inboundIds = [...this.#inboundIds].map(([id, ids]) => [id, [...ids]] as const);
    return {
      subscribed: this.#subscribed,
      queued: this.#queued,
      inboundHashes: this.#inboundHashes,
      inboundIds: new Map(inboundIds),
      wills: new Map(wills),
      hasRetainedHash: this.#hasRetainedHash,
      retainedTopics: [...this.#retainedTopics].sort(),
    };
  }
}

function addTo<T>(sets: Map<string, Set<T>>, name: string, value: T): void {
  const set = sets.get(name);
  if (set === undefined) sets.set(name, new Set([value]));
  else set.add(value);
}

function decode(part: string): string | null {
  try {
    return decodeURIComponent(part);
  } catch {
    return null;
  }
}

/** Sum of what one command answers for many keys. */
export async function sumOf(
  redis: AedesRedis,
  command: string,
  keys: readonly string[],
): Promise<number> {
  let sum = 0;
  for (let i = 0; i < keys.length; i += KEYS_AT_ONCE) {
    const some = keys.slice(i, i + KEYS_AT_ONCE);
    const replies: BytesReply[] = await redis.readAll(some.map((key) => [command, key]));
    for (const reply of replies) sum += numberOf(reply);
  }
  return sum;
}

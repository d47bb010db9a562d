/**
 * Keeps the bans of this node and those of the other nodes of its datacenter the same, over Redis
 * (ADR 0018): what changes here is put there at once, what changed there is asked for twice a second,
 * and after a Redis that lost its data every node puts back what it has. Made by `access.ts` for nodes
 * of a datacenter only; whom a ban concerns is the affair of `bans.ts`.
 */
import { createHash } from 'node:crypto';
import type { Clock, Log, Random, Scheduler } from '../core/ports.ts';
import type {
  RedisArgument,
  RedisFunction,
  RedisPort,
  RedisReply,
} from '../drivers/redis/redis-port.ts';
import { lineOfBan, type StoredBan, storedBanOf } from './ban-file.ts';
import {
  type BanRecord,
  bansPut,
  bansSince,
  type PutStatus,
  putArguments,
  putReply,
  sinceReply,
  tableKeys,
} from './ban-functions.ts';
import { type BanTable, banTables, type Lift, liftOf, liftTie, lineOfLift } from './ban-lifts.ts';
import type { Adopted, Bans } from './bans.ts';

export interface BanExchangeOptions {
  readonly bans: Bans;
  readonly redis: RedisPort;
  readonly keyPrefix: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly scheduler: Scheduler;
  readonly log: Log;
  /** Bans and lifts together, in Redis. */
  readonly recordsMax?: Partial<Record<BanTable, number>>;
}

/** Rises only; the metrics page reads it. */
export interface ExchangeCounters {
  /** Bans and lifts of other nodes that were taken over here. */
  received: number;
  /** Changes of this node that Redis has. */
  sent: number;
  /** Changes that Redis, or this node, had no room for. */
  refused: number;
  /** Rounds that Redis did not answer. */
  errors: number;
  /** What could not be read. */
  broken: number;
}

const POLL_MS = 500;
const PULLED_MAX = 200;
const PUSHED_MAX = 100;
/** Put in one call, however few records that are. */
const PUSHED_CHARACTERS_MAX = 1024 * 1024;
const RECORDS_MAX: Record<BanTable, number> = { operator: 200_000, automatic: 40_000 };
/** What is left to say at the stop is waited for so long. */
const STOP_MS = 1000;
const SAID_EVERY_MS = 60_000;
const NOT_SHARED = 'bans are not shared: this node goes on with what it knows';

interface Table {
  readonly name: BanTable;
  readonly keys: readonly string[];
  /** Changed here and not in Redis yet, by key: bounded by the bans and lifts there are. */
  readonly dirty: Set<string>;
  epoch: string;
  version: number;
  /** Met since the table was begun with; null: all of it was read. */
  met: Set<string> | null;
}

export class BanExchange {
  readonly counters: ExchangeCounters = { received: 0, sent: 0, refused: 0, errors: 0, broken: 0 };
  readonly #options: BanExchangeOptions;
  readonly #tables: readonly Table[];
  readonly #synced: PromiseWithResolvers<void> = Promise.withResolvers();
  #stopPolls: (() => void) | null = null;
  #isHurried = false;
  #isSynced = false;
  /** Why the last round failed; '': it did not. */
  #problem = '';
  #round: Promise<void> | null = null;
  #isRoundDue = false;
  #saidFullMs = Number.NEGATIVE_INFINITY;

  constructor(options: BanExchangeOptions) {
    this.#options = options;
    this.#tables = banTables.map((name) => ({
      name,
      keys: tableKeys(options.keyPrefix, name),
      dirty: new Set(),
      epoch: '',
      version: 0,
      met: new Set(),
    }));
    options.bans.onChanged = (table, key) => this.#changed(table, key);
  }

  /** Everything was read once, and what only this node had is in Redis. */
  get isSynced(): boolean {
    return this.#isSynced;
  }

  /** Changes that wait for Redis. */
  get waiting(): number {
    return this.#tables.reduce((sum, { dirty }) => sum + dirty.size, 0);
  }

  /** Resolves when everybody who is banned in the datacenter is banned here, however long that takes. */
  synced(): Promise<void> {
    return this.#synced.promise;
  }

  /** After the bans on disk were read. */
  start(): void {
    this.#stopPolls = this.#options.scheduler.every(POLL_MS, () => this.#begin());
    this.#begin();
  }

  /** Somebody knows of a change elsewhere: asks at once. */
  hurry(): void {
    if (this.#isHurried) return;
    this.#isHurried = true;
    this.#options.scheduler.nextTurn(() => {
      this.#isHurried = false;
      this.#begin();
    });
  }

  /** Redis is there (again); another one may not have what the last one had. */
  redisUp(isOtherServer: boolean): void {
    if (isOtherServer) for (const table of this.#tables) restart(table);
    this.hurry();
  }

  async stop(): Promise<void> {
    this.#stopPolls?.();
    if (this.#stopPolls === null) return;
    this.#stopPolls = null;
    if (this.waiting === 0 || !this.#options.redis.isUp) return;
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, STOP_MS);
    });
    const last = (this.#round ?? Promise.resolve()).then(() => this.#exchange());
    await Promise.race([last, late]);
    clearTimeout(timer);
  }

  #changed(table: BanTable, key: string): void {
    this.#tables.find(({ name }) => name === table)?.dirty.add(key);
    if (this.#stopPolls !== null) this.hurry();
  }

  #begin(): void {
    // That Redis is away is said by who watches it, and `redisUp` comes when it is back.
    if (this.#stopPolls === null || !this.#options.redis.isUp) return;
    if (this.#round !== null) {
      this.#isRoundDue = true;
      return;
    }
    this.#isRoundDue = false;
    this.#round = this.#exchange().then(() => {
      this.#round = null;
      if (this.#isRoundDue && this.#problem === '') this.#begin();
    });
  }

  /** Never rejects. */
  async #exchange(): Promise<void> {
    const { log } = this.#options;
    try {
      for (const table of this.#tables) {
        await this.#pull(table);
        await this.#push(table);
      }
      if (this.#problem !== '') log.info({}, 'bans are shared with the other nodes again');
      this.#problem = '';
    } catch (error) {
      this.counters.errors++;
      const { message: problem } = error as Error;
      if (problem !== this.#problem) log.warn({ problem }, NOT_SHARED);
      this.#problem = problem;
      return;
    }
    if (this.#isSynced) return;
    this.#isSynced = true;
    this.#synced.resolve();
  }

  async #pull(table: Table): Promise<void> {
    for (;;) {
      const args = [table.epoch, table.version, PULLED_MAX];
      const { version: known } = table;
      const answer = sinceReply(await this.#call(bansSince, table, args));
      // Begun anew while it was asked: what came belongs to the table before.
      if (table.version !== known) continue;
      if (answer.isReset) restart(table);
      table.epoch = answer.epoch;
      table.version = answer.version;
      for (const { field, value } of answer.records) {
        table.met?.add(field);
        this.#take(table, value);
      }
      if (answer.records.length < PULLED_MAX) break;
    }
    const { met } = table;
    if (met === null) return;
    // What it does not have, it has lost, or never had: that of a node that was alone, or cut off.
    for (const key of this.#options.bans.keysOf(table.name)) {
      if (!met.has(fieldOf(key))) table.dirty.add(key);
    }
    table.met = null;
  }

  #take(table: Table, value: string): void {
    const { bans } = this.#options;
    const record = recordOf(value);
    if (record === null) {
      this.counters.broken++;
      return;
    }
    const adopted: Adopted =
      'liftedAtMs' in record ? bans.adoptLift(record) : bans.adoptBan(record);
    if (adopted.outcome === 'taken') this.counters.received++;
    if (adopted.outcome === 'older') table.dirty.add(adopted.key);
    if (adopted.outcome === 'full') this.#full(table);
  }

  async #push(table: Table): Promise<void> {
    const { random, recordsMax } = this.#options;
    const max = recordsMax?.[table.name] ?? RECORDS_MAX[table.name];
    while (table.dirty.size > 0) {
      const keys: string[] = [];
      const records: BanRecord[] = [];
      let characters = 0;
      for (const key of table.dirty) {
        const record = this.#recordFor(table, key);
        // Over meanwhile.
        if (record === null) table.dirty.delete(key);
        if (record === null) continue;
        keys.push(key);
        records.push(record);
        characters += record.value.length;
        if (keys.length >= PUSHED_MAX || characters >= PUSHED_CHARACTERS_MAX) break;
      }
      if (records.length === 0) return;
      // What changes while they are on their way is dirty again.
      for (const key of keys) table.dirty.delete(key);
      let statuses: readonly PutStatus[];
      try {
        const { version } = table;
        const args = putArguments(random.hex(8), max, records);
        const answer = putReply(await this.#call(bansPut, table, args));
        statuses = answer.statuses;
        // The first to say something: the table begins here, and nothing of it was missed.
        if (table.epoch === '' && version === 0 && table.met === null) table.epoch = answer.epoch;
      } catch (error) {
        for (const key of keys) table.dirty.add(key);
        throw error;
      }
      for (const status of statuses) {
        if (status === 'stored') this.counters.sent++;
        else if (status === 'full') this.#full(table);
      }
    }
  }

  #recordFor({ name }: Table, key: string): BanRecord | null {
    const known = this.#options.bans.known(name, key);
    if (known === null) return null;
    const field = fieldOf(key);
    if ('liftedAtMs' in known) {
      const { liftedAtMs: atMs, untilMs: endsMs } = known;
      return { field, atMs, tie: liftTie(known), endsMs, value: lineOfLift(known) };
    }
    const { createdAtMs: atMs, id, expiresAtMs: endsMs } = known;
    return { field, atMs, tie: id.replaceAll(/\s/g, '_'), endsMs, value: lineOfBan(known) };
  }

  #full({ name }: Table): void {
    this.counters.refused++;
    const { clock, log } = this.#options;
    const nowMs = clock.monotonicMs();
    if (nowMs - this.#saidFullMs < SAID_EVERY_MS) return;
    this.#saidFullMs = nowMs;
    const { refused } = this.counters;
    log.error({ table: name, refused }, 'too many bans: some do not hold on every node');
  }

  #call(fn: RedisFunction, { keys }: Table, args: readonly RedisArgument[]): Promise<RedisReply> {
    return new Promise((resolve, reject) => {
      this.#options.redis.call(fn, keys, args, (failure, reply) => {
        if (failure === null) resolve(reply);
        else reject(failure);
      });
    });
  }
}

/** Reads it from its first record on. */
function restart(table: Table): void {
  table.epoch = '';
  table.version = 0;
  table.met = new Set();
}

/** Short, whatever a client calls itself. */
function fieldOf(key: string): string {
  return createHash('sha256').update(key).digest('base64url');
}

/** Null: nobody of this release wrote it. */
function recordOf(text: string): StoredBan | Lift | null {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return null;
  }
  const lift = liftOf(value);
  if (typeof lift !== 'string') return lift;
  const ban = storedBanOf(value);
  return typeof ban === 'string' ? null : ban;
}

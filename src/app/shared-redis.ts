/**
 * The Redis of a datacenter as a node opens it: files read, the connection made and waited for, its
 * settings held against what the promises need. Used by `datacenter.ts`; no message holds a secret.
 */
import { nodeBury, nodeJoin, nodeLeave, nodeRenew } from '../cluster/node-functions.ts';
import type { ClusterConfig, ClusterRedisConfig } from '../config/cluster-config.ts';
import type { Log } from '../core/ports.ts';
import { openRedis, type RedisLink } from '../drivers/redis/redis-link.ts';
import type { RedisLinkTls } from '../drivers/redis/redis-link-options.ts';
import type { RedisFunction } from '../drivers/redis/redis-port.ts';
import { type RedisSetting, readRedisSettings } from '../drivers/redis/redis-settings.ts';
import { systemScheduler } from '../listeners/scheduler.ts';
import { sessionClose } from '../store/redis/functions/session-end.ts';
import { sessionOpen } from '../store/redis/functions/session-open.ts';
import {
  sessionAppend,
  sessionRead,
  sessionSettle,
} from '../store/redis/functions/session-queue.ts';
import { readPem, readSecret } from './read-file.ts';
import { StartError } from './start-error.ts';

/** Loaded with each connection; the others are at their first call. */
const FUNCTIONS: readonly RedisFunction[] = [
  nodeJoin,
  nodeRenew,
  nodeLeave,
  nodeBury,
  sessionOpen,
  sessionClose,
  sessionAppend,
  sessionRead,
  sessionSettle,
];
/** How often a node that waits says so. */
const SAID_MS = 10_000;
/** What waiting does not mend: somebody has to change a name, a password or a right. */
const LASTING =
  /(?:login|database \d+) refused: |SCRIPT LOAD refused: NOPERM|use redis-(?:sentinel|cluster):|belongs to no Redis Cluster/;

export class SharedRedis {
  readonly link: RedisLink;
  readonly #config: ClusterRedisConfig;
  readonly #log: Log;
  #settings: readonly RedisSetting[] = [];
  #wasReached = false;
  #isClosed = false;
  #said = '';
  #refused: (error: Error) => void = () => {};
  readonly #refusal: Promise<never>;

  /** Throws a StartError when a file or the URL is of no use. Begins to connect. */
  static async open(
    { redis, leaseMs }: ClusterConfig,
    connectionName: string,
    log: Log,
  ): Promise<SharedRedis> {
    const files = await readRedisFiles(redis);
    return new SharedRedis(redis, { ...files, connectionName, leaseMs }, log);
  }

  private constructor(
    config: ClusterRedisConfig,
    given: RedisFiles & { readonly connectionName: string; readonly leaseMs: number },
    log: Log,
  ) {
    this.#config = config;
    this.#log = log;
    this.#refusal = new Promise<never>((_resolve, reject) => {
      this.#refused = reject;
    });
    // Somebody may never wait for it.
    this.#refusal.catch(() => {});
    const { password, tls, connectionName, leaseMs } = given;
    const { url, username, keyPrefix, replicasMin } = config;
    // Noticed before the lease is over; a Redis that syncs each write answers late now and then.
    const heartbeatTimeoutMs = Math.min(2000, Math.max(500, (leaseMs * 2) / 3));
    try {
      this.link = openRedis({
        scheduler: systemScheduler,
        urls: [url],
        ...(username === undefined ? {} : { username }),
        ...(password === null ? {} : { password }),
        tls,
        connectionName,
        functions: FUNCTIONS,
        probeKey: `${keyPrefix}probe`,
        replicasMin,
        heartbeatTimeoutMs,
        onProblem: (why) => this.#troubled(why),
      });
    } catch (error) {
      if (!(error instanceof TypeError)) throw error;
      throw new StartError('REDIS', `cluster.redis.url ${error.message}`, error);
    }
  }

  /** As last read; empty: not yet. */
  get settings(): readonly RedisSetting[] {
    return this.#settings;
  }

  #troubled(why: string): void {
    if (!this.#wasReached && LASTING.test(why)) {
      this.#refused(new StartError('REDIS', `Redis cannot be used: ${why}`, null));
      return;
    }
    if (why === this.#said) return;
    this.#said = why;
    this.#log.warn({ problem: why }, 'Redis: no connection');
  }

  /** Resolves when it is there; says every now and then that it is not. Rejects what waiting cannot mend. */
  async reached(): Promise<void> {
    while (!this.#isClosed) {
      const isUp = this.link.ready(SAID_MS).then(
        () => true,
        () => false,
      );
      if (await Promise.race([isUp, this.#refusal])) break;
      if (this.#isClosed) return;
      const { problem } = this.link;
      this.#log.warn({ problem }, 'waiting for Redis: no listener is open until it answers');
    }
    this.#wasReached = true;
    this.#said = '';
  }

  /** Reads the settings and logs what is not as wanted; a StartError names what loses data silently. */
  async judge(): Promise<void> {
    await this.#read();
    const refused = this.#settings.filter(({ severity }) => severity === 'refuse');
    if (refused.length === 0) return;
    const sentences = refused.map(({ server, setting, value, wanted, sentence }) => {
      const named = setting === 'version' ? '' : ` (${setting} is ${value}, wanted: ${wanted})`;
      return `${server}: ${sentence}${named}`;
    });
    throw new StartError('REDIS_SETTINGS', sentences.join('; '), null);
  }

  /** Redis is there again, and may be another. */
  back(): void {
    this.#said = '';
    if (!this.#wasReached) return;
    this.#log.info({}, 'Redis is there again');
    void this.#read();
  }

  async #read(): Promise<void> {
    const { replicasMin } = this.#config;
    const { counters } = this.link;
    const { losses } = counters;
    const found = await readRedisSettings(this.link, replicasMin);
    // Lost while it was asked: what was known stays.
    if (found.length === 0 || counters.losses !== losses) return;
    const before = new Set(this.#settings.map((one) => `${one.server} ${one.sentence}`));
    this.#settings = found;
    for (const { server, setting, value, wanted, promise, severity, sentence } of found) {
      if (severity === 'ok' || before.has(`${server} ${sentence}`)) continue;
      this.#log.warn({ server, setting, value, wanted, promise }, sentence);
    }
  }

  close(): void {
    this.#isClosed = true;
    this.link.close();
  }
}

export interface RedisFiles {
  readonly password: string | null;
  readonly tls: RedisLinkTls;
}

/** What a connection to the Redis of a datacenter needs of files. */
export async function readRedisFiles(redis: ClusterRedisConfig): Promise<RedisFiles> {
  const [password, tls] = await Promise.all([
    redis.passwordFile === undefined ? null : readSecret(redis.passwordFile),
    readTls(redis),
  ]);
  return { password, tls };
}

async function readTls(redis: ClusterRedisConfig): Promise<RedisLinkTls> {
  const { ca, cert, key } = await readPem(redis);
  return { ca: ca === null ? null : [ca], cert, key };
}

/**
 * What nodes of a datacenter decide together about logins, bans and quotas (ADR 0018), over a connection
 * of its own: a batch of messages, or the replicas these wait for, must not hold up who counts logins,
 * and what is counted needs no replica. Loaded by `node.ts` only where the configuration says so.
 */
import { hostname } from 'node:os';
import type { AccessDatacenter } from '../access/access.ts';
import { BanExchange } from '../access/ban-exchange.ts';
import type { ExtraMetric } from '../admin/metric-sources.ts';
import type { ClusterConfig } from '../config/cluster-config.ts';
import type { Log } from '../core/ports.ts';
import { EvalClient } from '../drivers/redis/eval-client.ts';
import { openRedis, type RedisLink } from '../drivers/redis/redis-link.ts';
import { RegionBoard } from '../geo/steering/region-board.ts';
import { systemClock, systemRandom, systemScheduler } from '../listeners/scheduler.ts';
import type { Subject } from '../quota/quota.ts';
import { RedisLimits } from '../quota/redis-limits.ts';
import { RedisUse } from '../quota/shared-use.ts';
import { type RedisFiles, readRedisFiles } from './shared-redis.ts';
import { StartError } from './start-error.ts';

/** How long a CONNECT, or the count of one, waits for Redis before this node decides by itself. */
const ANSWER_MS = 250;
const CONNECT_MS = 2000;
const HEARTBEAT_MS = 500;
const HEARTBEAT_TIMEOUT_MS = 1000;
/** Calls of logins that wait at one time; beyond, this node decides by itself. */
const CALLS_MAX = 20_000;

export class SharedControl {
  readonly limits: RedisLimits;
  readonly use: RedisUse;
  readonly access: AccessDatacenter;
  /** What nodes say of their clients, and what all of them were told. */
  readonly board: RegionBoard;
  readonly #link: RedisLink;
  readonly #client: EvalClient;
  #exchange: BanExchange | null = null;

  /** Reads files and begins to connect; throws a StartError. */
  static async open(cluster: ClusterConfig, log: Log): Promise<SharedControl> {
    return new SharedControl(cluster, await readRedisFiles(cluster.redis), log);
  }

  private constructor(cluster: ClusterConfig, { password, tls }: RedisFiles, log: Log) {
    const [clock, random, scheduler] = [systemClock, systemRandom, systemScheduler];
    const { url, username, keyPrefix } = cluster.redis;
    const name = `causeway-${cluster.nodeId ?? hostname()}-control`;
    try {
      this.#link = openRedis({
        scheduler,
        urls: [url],
        ...(username === undefined ? {} : { username }),
        ...(password === null ? {} : { password }),
        tls,
        connectionName: name.replace(/[^\x21-\x7e]/g, '_'),
        probeKey: `${keyPrefix}probe`,
        connectTimeoutMs: CONNECT_MS,
        heartbeatMs: HEARTBEAT_MS,
        heartbeatTimeoutMs: HEARTBEAT_TIMEOUT_MS,
        waitingCallsMax: CALLS_MAX,
      });
    } catch (error) {
      if (!(error instanceof TypeError)) throw error;
      throw new StartError('REDIS', `cluster.redis.url ${error.message}`, error);
    }
    const redis = this.#link;
    this.#client = new EvalClient(redis, ANSWER_MS);
    this.limits = new RedisLimits({ client: this.#client, keyPrefix, clock, random });
    const ofNode = { redis, keyPrefix, nodeKey: random.hex(8), clock, scheduler };
    this.use = new RedisUse(ofNode);
    this.board = new RegionBoard(ofNode);
    this.access = {
      openTally: (what, terms) => this.limits.openTally(what, terms),
      openExchange: (bans) => {
        const exchange = new BanExchange({ bans, redis, keyPrefix, clock, random, scheduler, log });
        this.#exchange = exchange;
        return exchange;
      },
    };
    redis.listen({
      redisUp: (isOther) => this.#exchange?.redisUp(isOther),
      redisDown: () => {},
    });
  }

  /** Everybody who is banned in the datacenter is banned here; before the first client is let in. */
  async synced(): Promise<void> {
    await this.#exchange?.synced();
  }

  set movesHere(movesHere: (subject: Subject) => boolean) {
    this.use.movesHere = movesHere;
  }

  close(): void {
    this.use.stop();
    this.board.stop();
    this.#link.close();
  }

  *metrics(): Iterable<ExtraMetric> {
    const { redis, memory } = this.limits.counters;
    const name = 'causeway_shared_counts_total';
    const help = 'Logins and quotas counted, by where: with all nodes, or here, as Redis was late.';
    yield { name, type: 'counter', help, labels: { where: 'redis' }, value: redis };
    yield { name, type: 'counter', help, labels: { where: 'memory' }, value: memory };
    yield {
      name: 'causeway_shared_counts_late_total',
      type: 'counter',
      help: 'Counts that Redis did not answer in time.',
      labels: {},
      value: this.#client.counters.late,
    };
  }
}

/**
 * What a connection to the Redis of a datacenter can be told, and what it takes when it is not.
 */
import type { PipeOptions } from './redis-pipe.ts';
import type { RedisFunction } from './redis-port.ts';
import { parseRedisTarget, type RedisMode, type RedisTarget } from './redis-target.ts';

export interface RedisLinkTls {
  /** Authorities as PEM; null: those of the system. */
  readonly ca?: readonly string[] | null;
  /** Our own certificate and key as PEM, where the server asks for one. */
  readonly cert?: string | null;
  readonly key?: string | null;
  /** The name in the server's certificate, where it is not the host's. */
  readonly servername?: string | null;
}

export interface RedisLinkOptions {
  /** The Scheduler port of core/ports.ts, or what does the same. */
  readonly scheduler: { readonly endOfTurn: (task: () => void) => void };
  /** See redis-target.ts for their forms. */
  readonly urls: readonly string[];
  readonly mode?: RedisMode;
  readonly masterName?: string;
  /** Before those in the URL. */
  readonly username?: string | null;
  readonly password?: string | null;
  readonly sentinelUsername?: string | null;
  readonly sentinelPassword?: string | null;
  readonly tls?: RedisLinkTls;
  readonly database?: number;
  readonly connectionName?: string;
  /** Loaded when a connection is made; others are loaded at their first call. */
  readonly functions?: readonly RedisFunction[];
  /** Written while the breaker is open, to see whether writes are possible again. */
  readonly probeKey?: string;
  readonly connectTimeoutMs?: number;
  readonly heartbeatMs?: number;
  readonly heartbeatTimeoutMs?: number;
  readonly backoffMinMs?: number;
  readonly backoffMaxMs?: number;
  readonly probeMs?: number;
  /** How long a call is sent again while slots move, before it fails as not done. */
  readonly repeatMaxMs?: number;
  /** Calls, and their bytes, that wait for a reply; beyond, calls fail as not done. */
  readonly waitingCallsMax?: number;
  readonly waitingBytesMax?: number;
  /** Replicas that must have what a batch wrote before it is answered; 0: none. */
  readonly replicasMin?: number;
  readonly waitMs?: number;
  /** In [0, 1). */
  readonly random?: () => number;
  /** Told of every attempt that fails and every connection that is lost; holds no secret. */
  readonly onProblem?: (why: string) => void;
}

export interface LinkSettings {
  readonly target: RedisTarget;
  readonly pipe: PipeOptions;
  readonly sentinelPipe: PipeOptions;
  readonly functions: readonly RedisFunction[];
  readonly probeKey: string;
  readonly backoffMinMs: number;
  readonly backoffMaxMs: number;
  readonly probeMs: number;
  readonly repeatMaxMs: number;
  readonly waitingCallsMax: number;
  readonly waitingBytesMax: number;
  readonly replicasMin: number;
  readonly waitMs: number;
  readonly random: () => number;
  readonly onProblem: (why: string) => void;
}

/** Throws a TypeError that says what is wrong, without repeating a URL. */
export function linkSettings(options: RedisLinkOptions): LinkSettings {
  const target = parseRedisTarget(options.urls, options.mode, options.masterName);
  const { tls = {} } = options;
  if (((tls.cert ?? null) === null) !== ((tls.key ?? null) === null)) {
    throw new TypeError('has a TLS certificate without its key, or a key without certificate');
  }
  const heartbeatTimeoutMs = options.heartbeatTimeoutMs ?? 2000;
  const replicasMin = options.replicasMin ?? 0;
  const waitMs = options.waitMs ?? Math.min(1000, heartbeatTimeoutMs / 2);
  if (replicasMin > 0 && waitMs >= heartbeatTimeoutMs) {
    throw new TypeError('waits for replicas as long as for a dead connection, or longer');
  }
  const database = options.database ?? target.database;
  if (target.mode === 'cluster' && database !== 0) {
    throw new TypeError('has a database number; a Redis Cluster has only database 0');
  }
  const pipe: PipeOptions = {
    endOfTurn: options.scheduler.endOfTurn,
    username: options.username ?? target.username,
    password: options.password ?? target.password,
    database,
    connectionName: options.connectionName ?? 'causeway',
    tls: {
      ca: tls.ca ?? null,
      cert: tls.cert ?? null,
      key: tls.key ?? null,
      servername: tls.servername ?? null,
    },
    connectTimeoutMs: options.connectTimeoutMs ?? 3000,
    heartbeatMs: options.heartbeatMs ?? 1000,
    heartbeatTimeoutMs,
  };
  return {
    target,
    pipe,
    sentinelPipe: {
      ...pipe,
      username: options.sentinelUsername ?? null,
      password: options.sentinelPassword ?? null,
      database: 0,
    },
    functions: options.functions ?? [],
    probeKey: options.probeKey ?? 'causeway:probe',
    backoffMinMs: options.backoffMinMs ?? 50,
    backoffMaxMs: options.backoffMaxMs ?? 2000,
    probeMs: options.probeMs ?? 1000,
    repeatMaxMs: options.repeatMaxMs ?? 5000,
    waitingCallsMax: options.waitingCallsMax ?? 100_000,
    waitingBytesMax: options.waitingBytesMax ?? 64 * 1024 * 1024,
    replicasMin,
    waitMs,
    random: options.random ?? Math.random,
    onProblem: options.onProblem ?? (() => {}),
  };
}

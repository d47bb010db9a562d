/**
 * One client of the driver, from its login to its end: sends single attempts, asks each node of the local
 * datacenter whether it is there, and knows the ring. What to retry and what all that means is for
 * `cassandra-link.ts`. The driver is loaded here, when the first session is opened.
 */
import type {
  Client,
  ExecutionOptions,
  Host,
  policies,
  QueryOptions,
  types,
} from 'cassandra-driver';
import { cassandraFailure } from './cassandra-error.ts';
import type { CassandraSettings } from './cassandra-options.ts';
import {
  CassandraFailure,
  type CassandraRow,
  type CassandraStatement,
  type CassandraValue,
} from './cassandra-port.ts';
import { shareUnserved } from './token-ring.ts';

type Library = typeof import('cassandra-driver');

/** By address: rolls a node has missed, one after the other; only those that have. */
type MissedRolls = Map<string, number>;

/** Whether every node of the local datacenter keeps every key: as the last roll has found. */
interface Sharing {
  isWhole: boolean;
}

export interface Attempt {
  readonly statement: CassandraStatement;
  readonly values: readonly CassandraValue[];
  /** Null: a read. */
  readonly timestampUs: bigint | null;
  readonly pageRows: number;
  readonly from: Buffer | null;
}

export interface AttemptResult {
  readonly rows: readonly CassandraRow[];
  readonly next: Buffer | null;
}

export interface Roll {
  /** Addresses of nodes of the local datacenter. */
  readonly present: readonly string[];
  readonly absent: readonly string[];
  /** How much of the ring has too few present replicas for LOCAL_QUORUM, in [0, 1]. */
  readonly shareWithoutQuorum: number;
}

/** Each step of it has its own limit; this is for a step that forgets. */
const OPEN_MS_MAX = 60_000;
const COMMAND_TIMEOUT_MS = 30_000;
/**
 * Rolls that a node misses, one after the other, until its connection is replaced. The driver would do so
 * after some unanswered requests, and cut off a node that is only slow, with all that it was about to do.
 */
const MISSED_ROLLS_MAX = 5;
const NEVER = 2 ** 31;
const LONG_BITS = 32n;
/** In a larger datacenter not every node keeps every key. */
const WHOLE_NODES_MAX = 16;
const EVERYBODY = '*';
const PROBE = 'SELECT key FROM system.local';
const NOTHING: AttemptResult = { rows: [], next: null };

export class CassandraSession {
  readonly #library: Library;
  readonly #client: Client;
  readonly #settings: CassandraSettings;
  readonly #missed: MissedRolls;
  readonly #sharing: Sharing;
  /** Of a part of the ring, as the driver has them: their addresses. */
  readonly #names: WeakMap<readonly Host[], string> = new WeakMap();
  #isClosed = false;

  constructor(
    library: Library,
    client: Client,
    settings: CassandraSettings,
    missed: MissedRolls,
    sharing: Sharing,
  ) {
    this.#missed = missed;
    this.#sharing = sharing;
    this.#library = library;
    this.#client = client;
    this.#settings = settings;
    // A node that is gone, or that was met again after all were lost, leaves its predecessor behind,
    // which would go on connecting for ever (4.10.0).
    client.on('hostRemove', (host: Host) => {
      missed.delete(host.address);
      retire(host);
    });
    // It was finding its way back while it was closed.
    client.on('hostAdd', (host: Host) => {
      if (!this.#isClosed) return;
      const retireLate = (): void => {
        retire(host);
        forgetFirstConnection(client);
      };
      setTimeout(retireLate, settings.attemptTimeoutMs).unref();
    });
  }

  /** Rejects with a CassandraFailure that says what to do. */
  static async open(settings: CassandraSettings): Promise<CassandraSession> {
    // A tenth of a second and more, which a node without Cassandra does not spend.
    const library = await import('cassandra-driver');
    const missed: MissedRolls = new Map();
    const sharing: Sharing = { isWhole: false };
    const client = newClient(library, settings, missed, sharing);
    try {
      await inTime(client.connect(), OPEN_MS_MAX);
      return new CassandraSession(library, client, settings, missed, sharing);
    } catch (error) {
      client.shutdown().catch(() => {});
      forgetFirstConnection(client);
      throw cassandraFailure(error);
    }
  }

  /** One attempt at one request. */
  async attempt(attempt: Attempt, timeoutMs: number): Promise<AttemptResult> {
    const { statement, values, timestampUs, pageRows, from } = attempt;
    const options: QueryOptions = {
      prepare: true,
      isIdempotent: true,
      readTimeout: timeoutMs,
      consistency: this.#library.types.consistencies.localQuorum,
    };
    if (timestampUs === null) {
      options.fetchSize = pageRows;
      if (from !== null) options.pageState = from;
    } else {
      options.timestamp = this.#long(timestampUs);
    }
    const result = await this.#client.execute(statement.cql, values, options);
    return timestampUs === null ? { rows: rowsOf(result), next: nextOf(result) } : NOTHING;
  }

  /** One attempt at several writes of statements that may go `together`, each with its own timestamp. */
  async attemptTogether(attempts: readonly Attempt[], timeoutMs: number): Promise<AttemptResult> {
    const queries = attempts.map(({ statement, values, timestampUs }) => ({
      query: statement.together!,
      params: [...values, timestampUs],
    }));
    await this.#client.batch(queries, {
      prepare: true,
      logged: false,
      isIdempotent: true,
      readTimeout: timeoutMs,
      consistency: this.#library.types.consistencies.localQuorum,
    });
    return NOTHING;
  }

  /** The same for keys that the same nodes of the local datacenter keep; null: who knows. */
  keepersOf(key: string): string | null {
    const { keyspace, localDatacenter } = this.#settings;
    if (this.#sharing.isWhole) return EVERYBODY;
    if (keyspace === null) return null;
    const hosts = this.#client.getReplicas(keyspace, Buffer.from(key)) as Host[] | null;
    if (hosts === null) return null;
    let names = this.#names.get(hosts);
    if (names === undefined) {
      const local = hosts.filter((host) => host.datacenter === localDatacenter);
      names = local
        .map(({ address }) => address)
        .sort()
        .join();
      this.#names.set(hosts, names);
    }
    return names;
  }

  /** A statement of the control plane, such as one that makes a table; not prepared. */
  async command(cql: string): Promise<readonly CassandraRow[]> {
    const result = await this.#client.execute(cql, [], {
      readTimeout: COMMAND_TIMEOUT_MS,
      consistency: this.#library.types.consistencies.localQuorum,
    });
    return rowsOf(result);
  }

  /** Asks every node of the local datacenter for a sign of life. */
  async callRoll(timeoutMs: number): Promise<Roll> {
    const hosts = this.#localHosts();
    const isPresent = await Promise.all(hosts.map((host) => this.#answers(host, timeoutMs)));
    for (const [index, host] of hosts.entries()) this.#note(host, isPresent[index] === true);
    this.#sharing.isWhole = this.#isWhole(hosts.length);
    const present = hosts.filter((_, index) => isPresent[index]).map(({ address }) => address);
    const absent = hosts.filter((_, index) => !isPresent[index]).map(({ address }) => address);
    const shareWithoutQuorum = absent.length === 0 ? 0 : this.#shareWithout(new Set(present));
    return { present, absent, shareWithoutQuorum };
  }

  #note(host: Host, isPresent: boolean): void {
    const rolls = (this.#missed.get(host.address) ?? 0) + 1;
    if (isPresent) this.#missed.delete(host.address);
    else this.#missed.set(host.address, rolls);
    if (!isPresent && rolls % MISSED_ROLLS_MAX === 0) replaceConnection(host);
  }

  tokens(): bigint[] {
    const tokens = this.#localHosts().flatMap((host) => host.tokens ?? []);
    return tokens.map((token) => BigInt(token)).sort((a, b) => (a < b ? -1 : 1));
  }

  close(): void {
    this.#isClosed = true;
    this.#client.shutdown().catch(() => {});
  }

  #localHosts(): Host[] {
    const { localDatacenter } = this.#settings;
    return this.#client.hosts.values().filter((host) => host.datacenter === localDatacenter);
  }

  async #answers(host: Host, timeoutMs: number): Promise<boolean> {
    if (!host.isUp()) return false;
    const consistency = this.#library.types.consistencies.localOne;
    const options = { host, readTimeout: timeoutMs, consistency };
    try {
      await inTime(this.#client.execute(PROBE, [], options), 2 * timeoutMs);
      return true;
    } catch (error) {
      // Another answer than the one hoped for is an answer.
      return cassandraFailure(error).code === 'UNAUTHORIZED';
    }
  }

  #shareWithout(present: ReadonlySet<string>): number {
    const { keyspace, localDatacenter } = this.#settings;
    if (keyspace === null) return 0;
    return shareUnserved(this.tokens(), (end) => {
      const all = this.#replicas(keyspace, `${end}`);
      const replicas = all.filter((host) => host.datacenter === localDatacenter);
      const alive = replicas.filter(({ address }) => present.has(address)).length;
      return replicas.length === 0 || alive >= Math.floor(replicas.length / 2) + 1;
    });
  }

  #isWhole(nodes: number): boolean {
    const { keyspace, localDatacenter } = this.#settings;
    if (keyspace === null || nodes === 0 || nodes > WHOLE_NODES_MAX) return false;
    return this.tokens().every((end) => {
      const replicas = this.#replicas(keyspace, `${end}`);
      return replicas.filter((host) => host.datacenter === localDatacenter).length === nodes;
    });
  }

  #replicas(keyspace: string, token: string): Host[] {
    const { metadata } = this.#client;
    try {
      return metadata.getReplicas(keyspace, metadata.newToken(token)) ?? [];
    } catch {
      // The ring is being read anew.
      return [];
    }
  }

  #long(value: bigint): types.Long {
    const low = Number(BigInt.asIntN(32, value));
    return this.#library.types.Long.fromBits(low, Number(value >> LONG_BITS));
  }
}

function newClient(
  library: Library,
  settings: CassandraSettings,
  missed: MissedRolls,
  sharing: Sharing,
): Client {
  const { username, password, tls, keyspace, attemptTimeoutMs } = settings;
  return new library.Client({
    contactPoints: [...settings.contactPoints],
    localDataCenter: settings.localDatacenter,
    ...(keyspace === null ? {} : { keyspace }),
    ...(username === null || password === null ? {} : { credentials: { username, password } }),
    ...(tls === null
      ? {}
      : {
          sslOptions: {
            // The driver's own default takes any certificate.
            rejectUnauthorized: true,
            minVersion: 'TLSv1.2' as const,
            ...(tls.ca === null ? {} : { ca: [...tls.ca] }),
            ...(tls.cert === null || tls.key === null ? {} : { cert: tls.cert, key: tls.key }),
            ...(tls.servername === null ? {} : { servername: tls.servername }),
          },
        }),
    policies: {
      loadBalancing: presentFirst(library, missed, sharing),
      // The link retries, with the same timestamp and within one deadline.
      retry: new library.policies.retry.FallthroughRetryPolicy(),
      reconnection: new library.policies.reconnection.ExponentialReconnectionPolicy(
        settings.backoffMinMs,
        settings.backoffMaxMs,
        false,
      ),
    },
    // The roll is called more often, and with a limit.
    pooling: { heartBeatInterval: 0 },
    socketOptions: {
      connectTimeout: settings.connectTimeoutMs,
      readTimeout: attemptTimeoutMs,
      defunctReadTimeoutThreshold: NEVER,
    },
    // One that is deaf would hold up the first request of each statement.
    prepareOnAllHosts: false,
    encoding: { useBigIntAsLong: true },
  });
}

/**
 * The driver's own choice, by key and datacenter, but those who missed the last roll come last. Where every
 * node keeps every key, each in its turn: to look for the replicas of a key takes a quarter of a write.
 */
function presentFirst(
  library: Library,
  missed: MissedRolls,
  sharing: Sharing,
): policies.loadBalancing.LoadBalancingPolicy {
  class PresentFirst extends library.policies.loadBalancing.DefaultLoadBalancingPolicy {
    override newQueryPlan(
      keyspace: string,
      options: ExecutionOptions,
      callback: (error: Error, iterator: Iterator<Host>) => void,
    ): void {
      const ofKey = sharing.isWhole ? '' : keyspace;
      super.newQueryPlan(ofKey, options, (error: Error, iterator: Iterator<Host>) => {
        if (error || missed.size === 0) callback(error, iterator);
        else callback(error, lastOnes(iterator, missed));
      });
    }
  }
  return new PresentFirst();
}

function* lastOnes(iterator: Iterator<Host>, missed: MissedRolls): Generator<Host, undefined> {
  const later: Host[] = [];
  for (let step = iterator.next(); step.done !== true; step = iterator.next()) {
    if (missed.has(step.value.address)) later.push(step.value);
    else yield step.value;
  }
  yield* later;
}

function replaceConnection(host: Host): void {
  const pool = host as unknown as {
    getActiveConnection(): object | null;
    removeFromPool(connection: object): void;
  };
  const connection = pool.getActiveConnection();
  if (connection !== null) pool.removeFromPool(connection);
}

function retire(host: Host): void {
  const pool = host as unknown as { shutdown(waitForPending: boolean): Promise<void> };
  pool.shutdown(false).catch(() => {});
}

/** A connection whose cluster does not suit the driver leaves open, one for each attempt (4.10.0). */
function forgetFirstConnection(client: Client): void {
  const { controlConnection } = client as unknown as {
    readonly controlConnection?: { readonly connection?: { close(): void } | null };
  };
  controlConnection?.connection?.close();
}

function rowsOf(result: types.ResultSet): CassandraRow[] {
  // Undefined where the statement has no rows to answer with.
  const rows = (result.rows as types.Row[] | undefined) ?? [];
  return rows.map((row) => row.values() as CassandraValue[]);
}

function nextOf(result: types.ResultSet): Buffer | null {
  return result.pageState === null || result.pageState === undefined
    ? null
    : Buffer.from(result.pageState, 'hex');
}

async function inTime<T>(work: Promise<T>, timeoutMs: number): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>();
  const late = new CassandraFailure('unknown', 'TIMEOUT', 'Cassandra: no answer in time');
  const timer = setTimeout(() => reject(late), timeoutMs);
  try {
    return await Promise.race([work, promise]);
  } finally {
    clearTimeout(timer);
  }
}

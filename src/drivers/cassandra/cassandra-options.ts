/**
 * What a connection to Cassandra can be told, and what it takes when it is not.
 */

export interface CassandraTls {
  /** Authorities as PEM; null: those of the system. */
  readonly ca?: readonly string[] | null;
  /** Our own certificate and key as PEM, where the server asks for one. */
  readonly cert?: string | null;
  readonly key?: string | null;
  /** The name in the servers' certificates, where it is not the address they are reached at. */
  readonly servername?: string | null;
}

export interface CassandraLinkOptions {
  /** `host`, `host:port`, `[IPv6]:port`; the other nodes are learnt from those that answer. */
  readonly contactPoints: readonly string[];
  /** The only one that requests are sent to. */
  readonly localDatacenter: string;
  /** Null: none, for whoever makes one. */
  readonly keyspace: string | null;
  readonly username?: string | null;
  readonly password?: string | null;
  /** Null: none. */
  readonly tls?: CassandraTls | null;
  /** From the first packet of a connection to its use. */
  readonly connectTimeoutMs?: number;
  /** For one attempt. */
  readonly attemptTimeoutMs?: number;
  /** From the call to the last attempt. */
  readonly requestTimeoutMs?: number;
  readonly probeMs?: number;
  readonly backoffMinMs?: number;
  readonly backoffMaxMs?: number;
  /** Requests sent and not answered. */
  readonly inFlightMax?: number;
  /** Requests, and the bytes of their values, taken and not finished; beyond, they fail as not done. */
  readonly requestsMax?: number;
  readonly requestBytesMax?: number;
  /** In [0, 1). */
  readonly random?: () => number;
  /** Told of every attempt to connect that fails and every session given up; holds no secret. */
  readonly onProblem?: (why: string) => void;
}

export interface CassandraSettings {
  readonly contactPoints: readonly string[];
  readonly localDatacenter: string;
  readonly keyspace: string | null;
  readonly username: string | null;
  readonly password: string | null;
  readonly tls: Required<CassandraTls> | null;
  readonly connectTimeoutMs: number;
  readonly attemptTimeoutMs: number;
  readonly requestTimeoutMs: number;
  readonly probeMs: number;
  readonly backoffMinMs: number;
  readonly backoffMaxMs: number;
  readonly inFlightMax: number;
  readonly requestsMax: number;
  readonly requestBytesMax: number;
  readonly random: () => number;
  readonly onProblem: (why: string) => void;
}

const CONTACT_POINTS_MAX = 64;
/** What Cassandra takes without quotes, and lets a folder be named after. */
const KEYSPACE = /^[a-z][a-z0-9_]{0,47}$/;
const CONTACT_POINT = /^(?:\[[0-9A-Fa-f:.]+\]:\d{1,5}|[^\s:/@[\]]+(?::\d{1,5})?|[0-9A-Fa-f:]+)$/;

/** Throws a TypeError that says what is wrong, without repeating a password. */
export function cassandraSettings(options: CassandraLinkOptions): CassandraSettings {
  const { contactPoints, localDatacenter, keyspace, tls = null } = options;
  if (contactPoints.length === 0) throw new TypeError('Cassandra needs a contact point');
  if (contactPoints.length > CONTACT_POINTS_MAX) {
    throw new TypeError(`Cassandra has more than ${CONTACT_POINTS_MAX} contact points`);
  }
  for (const point of contactPoints) {
    if (!CONTACT_POINT.test(point)) {
      throw new TypeError(`the contact point "${point}" is not host, host:port or [IPv6]:port`);
    }
  }
  if (localDatacenter === '') {
    throw new TypeError('Cassandra needs the name of the local datacenter, as its nodes tell it');
  }
  if (keyspace !== null && !KEYSPACE.test(keyspace)) {
    throw new TypeError(
      `the keyspace "${keyspace}" is not 1 to 48 of a-z, 0-9 and _, with a letter first`,
    );
  }
  const username = options.username ?? null;
  const password = options.password ?? null;
  if ((username === null) !== (password === null)) {
    throw new TypeError('Cassandra has a user without a password, or a password without a user');
  }
  if (tls !== null && ((tls.cert ?? null) === null) !== ((tls.key ?? null) === null)) {
    throw new TypeError('has a TLS certificate without its key, or a key without certificate');
  }
  return {
    contactPoints,
    localDatacenter,
    keyspace,
    username,
    password,
    tls:
      tls === null
        ? null
        : {
            ca: tls.ca ?? null,
            cert: tls.cert ?? null,
            key: tls.key ?? null,
            servername: tls.servername ?? null,
          },
    connectTimeoutMs: options.connectTimeoutMs ?? 3000,
    attemptTimeoutMs: options.attemptTimeoutMs ?? 2000,
    requestTimeoutMs: options.requestTimeoutMs ?? 10_000,
    probeMs: options.probeMs ?? 1000,
    backoffMinMs: options.backoffMinMs ?? 50,
    backoffMaxMs: options.backoffMaxMs ?? 2000,
    inFlightMax: options.inFlightMax ?? 256,
    requestsMax: options.requestsMax ?? 10_000,
    requestBytesMax: options.requestBytesMax ?? 64 * 1024 * 1024,
    random: options.random ?? Math.random,
    onProblem: options.onProblem ?? (() => {}),
  };
}

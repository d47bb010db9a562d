/**
 * What one thing costs, as measured on the machine of RESULTS.md (two shared vCPUs at 2.8 GHz), and where
 * each figure is from. `docs/scale.md` is derived from these and from nothing else.
 */
export interface UnitCost {
  readonly value: number;
  readonly unit: string;
  readonly what: string;
  /** The command that measures it, or the place that has the figure. */
  readonly source: string;
}

export type UnitCostName =
  | 'tlsConnectionKib'
  | 'plainConnectionKib'
  | 'tlsConnectUs'
  | 'messageUs'
  | 'bulkMessageUs'
  | 'sessionNodeKb'
  | 'sessionRedisKb'
  | 'queuedRedisKb'
  | 'commandRedisUs'
  | 'bulkRedisUs'
  | 'nodeMib'
  | 'sessionsReadPerS'
  | 'linkFromUs'
  | 'linkToUs'
  | 'linkBesideBytes'
  | 'linkNamesMax'
  | 'linkFilterUs'
  | 'retainedBytes'
  | 'retainedWriteUs'
  | 'retainedFilledPerS'
  | 'retainedReadPerS';

export const unitCosts: Readonly<Record<UnitCostName, UnitCost>> = {
  tlsConnectionKib: {
    value: 52,
    unit: 'KiB',
    what: 'a TLS connection on its node',
    source: 'bench/micro/tls-idle.ts',
  },
  plainConnectionKib: {
    value: 3.7,
    unit: 'KiB',
    what: 'the same without TLS',
    source: 'RESULTS.md, idle',
  },
  tlsConnectUs: {
    value: 1830,
    unit: 'µs',
    what: 'CPU of a TLS handshake and CONNECT; with a token 300 more',
    source: 'bench/micro/tls-idle.ts',
  },
  messageUs: {
    value: 50,
    unit: 'µs',
    what: 'CPU of one QoS 1 message of 200 bytes that a device sends now and then over TLS, and its ack',
    source: 'bench/micro/tls-idle.ts; 48 without TLS in RESULTS.md, latency10k',
  },
  bulkMessageUs: {
    value: 3.4,
    unit: 'µs',
    what: 'CPU of both nodes for a message that crosses to another one in a stream of many',
    source: 'RESULTS.md, pairs0 over two nodes',
  },
  sessionNodeKb: {
    value: 4.5,
    unit: 'KB',
    what: 'a durable session of the datacenter with its subscription, on every node',
    source: 'guides/cluster.md, sizing',
  },
  sessionRedisKb: {
    value: 0.8,
    unit: 'KB',
    what: 'the same in Redis',
    source: 'guides/cluster.md, sizing',
  },
  queuedRedisKb: {
    value: 0.15,
    unit: 'KB',
    what: 'a message that waits in Redis, beside its payload',
    source: 'guides/cluster.md, sizing',
  },
  commandRedisUs: {
    value: 29,
    unit: 'µs',
    what: "Redis' one core, a message for one durable session and its settling, one by one",
    source: 'bench/micro/redis-functions.ts',
  },
  bulkRedisUs: {
    value: 1.6,
    unit: 'µs',
    what: 'the same in batches for one session',
    source: 'bench/micro/redis-functions.ts',
  },
  nodeMib: {
    value: 130,
    unit: 'MiB',
    what: 'a node of a datacenter without clients',
    source: 'guides/cluster.md, sizing',
  },
  sessionsReadPerS: {
    value: 4000,
    unit: '/s',
    what: 'durable sessions a node reads before it is ready',
    source: 'guides/cluster.md, sizing',
  },
  linkFromUs: {
    value: 4.2,
    unit: 'µs',
    what: 'CPU of a QoS 1 message where a link fetches it from, its publish included, of nodes alone',
    source: 'bench/region/links.ts; RESULTS.md, links between regions',
  },
  linkToUs: {
    value: 3.2,
    unit: 'µs',
    what: 'the same where it is fetched, its delivery included',
    source: 'bench/region/links.ts; RESULTS.md, links between regions',
  },
  linkBesideBytes: {
    value: 95,
    unit: 'bytes',
    what: 'of a message over a link beside its payload: topic of 25, name of the message, header, ack',
    source: 'adr/0022-region-links.md; test/core/link-properties.test.ts',
  },
  linkNamesMax: {
    value: 256_000_000,
    unit: 'names',
    what: 'of messages that the holder of links knows again, in 60 MB',
    source: 'src/geo/identity-window.ts',
  },
  linkFilterUs: {
    value: 8,
    unit: 'µs',
    what: 'CPU of a wanted filter at each look for each link (on a busy machine)',
    source: 'bench/micro/interest.ts',
  },
  retainedBytes: {
    value: 276,
    unit: 'bytes',
    what: 'of memory of a retained topic beside its payload, on every node',
    source: 'bench/region/retained.ts; 199 of them by bench/micro/retained.ts',
  },
  retainedWriteUs: {
    value: 180,
    unit: 'µs',
    what: 'CPU of the node for a retained change that Cassandra has acknowledged (on a busy machine)',
    source: 'bench/region/retained.ts; internals/regions-open.md, retained',
  },
  retainedFilledPerS: {
    value: 9000,
    unit: '/s',
    what: 'retained topics that a new node reads from Cassandra before it is ready',
    source: 'bench/region/retained.ts; internals/regions-open.md, retained',
  },
  retainedReadPerS: {
    value: 28_000,
    unit: '/s',
    what: 'the same of a node that starts over its own disk',
    source: 'bench/region/retained.ts; internals/regions-open.md, retained',
  },
};

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
  | 'sessionsReadPerS';

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
};

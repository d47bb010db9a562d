/**
 * A real Cassandra for a test: the one that CASSANDRA_CONTACT_POINTS names, which `npm test` starts for
 * all tests together, else one that ends with the test; and, for tests that stop, stall or kill theirs,
 * one of their own. Without Java or the jars it fails and says how to get them.
 */
import type { Test } from 'tap';
import {
  CassandraNode,
  type CassandraNodeOptions,
  CQL_PORT,
} from '../../scripts/cassandra-node.ts';

export interface SharedCassandra {
  /** `host` or `host:port`. */
  readonly contactPoints: readonly string[];
  readonly datacenter: string;
  readonly username: string | null;
  readonly password: string | null;
}

/** What a Cassandra calls its datacenter unless it is told. */
const DATACENTER = 'datacenter1';

/** For tests that keep to keyspaces of their own. */
export async function sharedCassandra(t: Test): Promise<SharedCassandra> {
  const { CASSANDRA_CONTACT_POINTS: given, CASSANDRA_LOCAL_DATACENTER: datacenter } = process.env;
  if (given === undefined || given === '') return pointsOf(await ownCassandra(t));
  return {
    contactPoints: given.split(',').map((point) => point.trim()),
    datacenter: datacenter ?? DATACENTER,
    username: process.env.CASSANDRA_USERNAME ?? null,
    password: process.env.CASSANDRA_PASSWORD ?? null,
  };
}

/** One node that nobody else uses; with `seed` it joins that one's cluster. Ends with the test. */
export async function ownCassandra(
  t: Test,
  options: CassandraNodeOptions = {},
): Promise<CassandraNode> {
  const node = await CassandraNode.launch(options);
  t.teardown(() => node.remove());
  return node;
}

export function pointsOf(node: CassandraNode): SharedCassandra {
  return {
    contactPoints: [`${node.ip}:${CQL_PORT}`],
    datacenter: node.datacenter,
    username: null,
    password: null,
  };
}

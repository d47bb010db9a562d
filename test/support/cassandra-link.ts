/**
 * Connections of the tests to Cassandra, and a keyspace with a name that nobody else has, dropped when
 * the test ends. `finish` turns the callbacks of the port into promises.
 */
import { randomBytes } from 'node:crypto';
import type { Test } from 'tap';
import { type CassandraLink, openCassandra } from '../../src/drivers/cassandra/cassandra-link.ts';
import type { CassandraLinkOptions } from '../../src/drivers/cassandra/cassandra-options.ts';
import type {
  CassandraPort,
  CassandraRow,
  CassandraStatement,
  CassandraValue,
} from '../../src/drivers/cassandra/cassandra-port.ts';
import type { SharedCassandra } from './cassandra-server.ts';

const READY_MS = 60_000;

export type LinkChanges = Partial<CassandraLinkOptions>;

/** Closed when the test ends. */
export function linkTo(t: Test, server: SharedCassandra, changes: LinkChanges = {}): CassandraLink {
  const link = openCassandra({
    contactPoints: server.contactPoints,
    localDatacenter: server.datacenter,
    username: server.username,
    password: server.password,
    keyspace: null,
    ...changes,
  });
  t.teardown(() => link.close());
  return link;
}

/** One copy in each of the datacenters. */
export async function makeKeyspace(
  t: Test,
  server: SharedCassandra,
  tables: readonly string[],
  datacenters: readonly string[] = [server.datacenter],
  changes: LinkChanges = {},
): Promise<string> {
  const keyspace = `causeway_test_${randomBytes(6).toString('hex')}`;
  const admin = linkTo(t, server, changes);
  await admin.ready(READY_MS);
  const copies = datacenters.map((name) => `'${name}': 1`).join(', ');
  await admin.command(
    `CREATE KEYSPACE ${keyspace} WITH replication = {'class': 'NetworkTopologyStrategy', ${copies}}`,
  );
  t.teardown(async () => {
    if (admin.state !== 'down') await admin.command(`DROP KEYSPACE IF EXISTS ${keyspace}`);
  });
  for (const table of tables) await admin.command(table.replace('KEYSPACE', keyspace));
  return keyspace;
}

/** Rejects with the CassandraFailure. */
export function write(
  port: CassandraPort,
  statement: CassandraStatement,
  values: readonly CassandraValue[],
  timestampUs: bigint,
): Promise<void> {
  return new Promise((resolve, reject) => {
    port.write(statement, values, timestampUs, (failure) =>
      failure === null ? resolve() : reject(failure),
    );
  });
}

export interface Page {
  readonly rows: readonly CassandraRow[];
  readonly next: Buffer | null;
}

export function readPage(
  port: CassandraPort,
  statement: CassandraStatement,
  values: readonly CassandraValue[],
  pageRows: number = 100,
  from: Buffer | null = null,
): Promise<Page> {
  return new Promise((resolve, reject) => {
    port.read(statement, values, pageRows, from, (failure, rows, next) =>
      failure === null ? resolve({ rows, next }) : reject(failure),
    );
  });
}

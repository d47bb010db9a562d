/** Runs `causeway cassandra init` and says what it did. Called by `commands/cassandra.ts`. */
import { openRegionCassandra } from '../../app/region-cassandra.ts';
import { StartError } from '../../app/start-error.ts';
import type { CassandraConfig } from '../../config/cassandra-config.ts';
import type { Log } from '../../core/ports.ts';
import type { CassandraLink } from '../../drivers/cassandra/cassandra-link.ts';
import { CassandraFailure } from '../../drivers/cassandra/cassandra-port.ts';
import {
  alterKeyspace,
  createKeyspace,
  migrations,
  type Replication,
  readVersion,
  SCHEMA_VERSION,
  writeVersion,
} from '../../store/cassandra/schema.ts';
import { EXIT_FAILED, EXIT_OK, EXIT_USAGE } from '../command.ts';

const CONNECT_MS = 15_000;
/** A name or a login that it refuses is not waited for: somebody stands before this. */
const REFUSED_MS = 1000;

export async function runInit(
  config: CassandraConfig,
  replication: Replication | null,
): Promise<number> {
  let link: CassandraLink | null = null;
  try {
    link = await openRegionCassandra(config, null, quiet);
    await link.ready(CONNECT_MS, REFUSED_MS);
    return await init(link, config, replication);
  } catch (error) {
    if (!(error instanceof CassandraFailure || error instanceof StartError)) throw error;
    process.stderr.write(`causeway: ${error.message}\n`);
    return EXIT_FAILED;
  } finally {
    link?.close();
  }
}

const quiet: Log = { debug() {}, info() {}, warn() {}, error() {} };

async function init(
  link: CassandraLink,
  { keyspace, localDatacenter }: CassandraConfig,
  replication: Replication | null,
): Promise<number> {
  const isThere = await hasKeyspace(link, keyspace);
  if (!isThere && replication === null) {
    process.stderr.write(
      `causeway: there is no keyspace ${keyspace} yet: how many copies shall it have? ` +
        `--replication ${localDatacenter}=3\n`,
    );
    return EXIT_USAGE;
  }
  if (replication !== null) {
    const make = isThere ? alterKeyspace : createKeyspace;
    await link.command(make(keyspace, replication));
    const copies = [...replication].map(([name, count]) => `${name} ${count}`).join(', ');
    say(`keyspace ${keyspace}: ${isThere ? 'changed' : 'made'}, copies: ${copies}`);
    if (isThere)
      say('run nodetool repair on every node of Cassandra, or reads may miss what is there');
    const few = [...replication].filter(([, count]) => count < 3).map(([name]) => name);
    if (few.length > 0) say(`with fewer than 3 copies (${few.join(', ')}) no node may be away`);
  }
  const found = isThere ? await versionOf(link, keyspace) : 0;
  if (found > SCHEMA_VERSION) {
    process.stderr.write(
      `causeway: tables of keyspace ${keyspace} are of version ${found}, this release knows ${SCHEMA_VERSION}\n`,
    );
    return EXIT_FAILED;
  }
  for (const [version, statements] of migrations(keyspace).entries()) {
    if (version < found) continue;
    for (const statement of statements) await link.command(statement);
    await link.command(writeVersion(keyspace, version + 1));
  }
  say(
    found === SCHEMA_VERSION
      ? `tables of keyspace ${keyspace} are of version ${found} already`
      : `tables of keyspace ${keyspace} are of version ${SCHEMA_VERSION} now`,
  );
  return EXIT_OK;
}

async function hasKeyspace(link: CassandraLink, keyspace: string): Promise<boolean> {
  const rows = await link.command('SELECT keyspace_name FROM system_schema.keyspaces');
  return rows.some(([name]) => name === keyspace);
}

/** 0: there are no tables. */
async function versionOf(link: CassandraLink, keyspace: string): Promise<number> {
  const tables = await link.command(
    `SELECT table_name FROM system_schema.tables WHERE keyspace_name = '${keyspace}'`,
  );
  if (!tables.some(([name]) => name === 'schema_version')) return 0;
  const version = (await link.command(readVersion(keyspace)))[0]?.[0];
  return typeof version === 'number' ? version : 0;
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

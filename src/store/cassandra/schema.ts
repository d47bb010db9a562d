/**
 * Keyspace and tables of a region, made and changed by `causeway cassandra init`; a node only looks
 * whether they are what it knows. Each step can be run again.
 */

/** What this release works with. */
export const SCHEMA_VERSION = 2;

/** Of a keyspace: copies in each Cassandra datacenter. */
export type Replication = ReadonlyMap<string, number>;

/** Statements in order; `keyspace` and datacenters were checked by `checkName`. */
export function createKeyspace(keyspace: string, replication: Replication): string {
  const copies = [...replication].map(([datacenter, count]) => `'${datacenter}': ${count}`);
  return (
    `CREATE KEYSPACE IF NOT EXISTS ${keyspace} WITH replication = ` +
    `{'class': 'NetworkTopologyStrategy', ${copies.join(', ')}} AND durable_writes = true`
  );
}

/** What another number of copies needs; data is there after `nodetool repair`. */
export function alterKeyspace(keyspace: string, replication: Replication): string {
  return createKeyspace(keyspace, replication).replace(
    'CREATE KEYSPACE IF NOT EXISTS',
    'ALTER KEYSPACE',
  );
}

/** From version `index` to `index + 1`. */
export function migrations(keyspace: string): readonly (readonly string[])[] {
  return [
    [
      `CREATE TABLE IF NOT EXISTS ${keyspace}.schema_version (name text PRIMARY KEY, version int)`,
      `CREATE TABLE IF NOT EXISTS ${keyspace}.retained (topic text PRIMARY KEY, record blob) ` +
        "WITH comment = 'retained messages of Causeway; docs/adr/0021'",
    ],
    [
      `CREATE TABLE IF NOT EXISTS ${keyspace}.sessions (client_id text PRIMARY KEY, record blob) ` +
        "WITH comment = 'directory of sessions of Causeway; docs/adr/0023'",
    ],
  ];
}

export function readVersion(keyspace: string): string {
  return `SELECT version FROM ${keyspace}.schema_version WHERE name = 'causeway'`;
}

/** Idempotent, and never lowers it: the number is the timestamp, too. */
export function writeVersion(keyspace: string, version: number): string {
  return (
    `INSERT INTO ${keyspace}.schema_version (name, version) ` +
    `VALUES ('causeway', ${version}) USING TIMESTAMP ${version}`
  );
}

/** Null: it may stand in a statement. Cassandra's own names of datacenters are such. */
export function checkDatacenter(name: string): string | null {
  if (/^[A-Za-z0-9_.-]{1,64}$/.test(name)) return null;
  return 'expected a name of letters, digits, "_", "-" and "."';
}

/**
 * The Cassandra of a region as a node opens it: files read, the connection made, tables looked at. Used by
 * `region-retained.ts` and by `causeway cassandra`; no message holds a secret.
 */
import type { CassandraConfig } from '../config/cassandra-config.ts';
import type { Log } from '../core/ports.ts';
import { type CassandraLink, openCassandra } from '../drivers/cassandra/cassandra-link.ts';
import { CassandraFailure } from '../drivers/cassandra/cassandra-port.ts';
import { readVersion, SCHEMA_VERSION } from '../store/cassandra/schema.ts';
import { readPem, readSecret } from './read-file.ts';
import { StartError } from './start-error.ts';

/** Begins to connect. Throws a StartError when a file or an option is of no use. */
export async function openRegionCassandra(
  config: CassandraConfig,
  keyspace: string | null,
  log: Log,
): Promise<CassandraLink> {
  const { passwordFile, contactPoints, localDatacenter } = config;
  const [password, { ca, cert, key }] = await Promise.all([
    passwordFile === undefined ? null : readSecret(passwordFile),
    readPem(config),
  ]);
  try {
    return openCassandra({
      contactPoints,
      localDatacenter,
      keyspace,
      username: config.username ?? null,
      password,
      tls: ca === null ? null : { ca: [ca], cert, key },
      inFlightMax: Math.max(config.inFlightMax, 64),
      onProblem: (why) => log.warn({ problem: why }, 'Cassandra'),
    });
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    throw new StartError('CASSANDRA', error.message, error);
  }
}

/** Why this release cannot work with what is there; null: it can. Throws when Cassandra does not answer. */
export async function schemaProblem(link: CassandraLink, keyspace: string): Promise<string | null> {
  const init = 'run causeway cassandra init';
  let version: unknown;
  try {
    version = (await link.command(readVersion(keyspace)))[0]?.[0];
  } catch (error) {
    if (!(error instanceof CassandraFailure)) throw error;
    if (error.code !== 'NO_KEYSPACE' && error.code !== 'NO_TABLE' && error.code !== 'INVALID') {
      throw error;
    }
  }
  if (version === undefined) return `keyspace ${keyspace} has no tables of Causeway: ${init}`;
  if (typeof version !== 'number')
    return `keyspace ${keyspace} has a schema_version of somebody else`;
  if (version < SCHEMA_VERSION) {
    return `tables of keyspace ${keyspace} are of version ${version}, this release needs ${SCHEMA_VERSION}: ${init}`;
  }
  if (version > SCHEMA_VERSION) {
    return `tables of keyspace ${keyspace} are of version ${version}, this release knows ${SCHEMA_VERSION}: start a newer one`;
  }
  return null;
}

export interface LateSync {
  readonly setting: string;
  readonly value: string;
  readonly wanted: string;
  readonly promise: string;
}

/** How the node that is asked first syncs, when that is later than it answers; null: not, or it does not say. */
export async function syncsLate(link: Pick<CassandraLink, 'command'>): Promise<LateSync | null> {
  const setting = 'commitlog_sync';
  let value: unknown;
  try {
    const rows = await link.command(
      `SELECT value FROM system_views.settings WHERE name = '${setting}'`,
    );
    value = rows[0]?.[0];
  } catch (error) {
    // A release without the view, or a role that may not read it.
    if (error instanceof CassandraFailure) return null;
    throw error;
  }
  if (value !== 'periodic') return null;
  return { setting, value, wanted: 'batch or group', promise: 'P7' };
}

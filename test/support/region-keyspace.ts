/**
 * A keyspace that nobody else has, made by `causeway cassandra init` in the Cassandra that tests share, and
 * how regions are told of it; what the directory of sessions has there, read past every region. Dropped when
 * the test ends.
 */
import { randomBytes } from 'node:crypto';
import type { Test } from 'tap';
import type { CassandraLink } from '../../src/drivers/cassandra/cassandra-link.ts';
import { decodeListed } from '../../src/store/cassandra/listed-record.ts';
import { runCli } from '../cli/run.ts';
import { until } from '../e2e/cluster-kit.ts';
import { ROUND_S } from '../e2e/region-kit.ts';
import { linkTo } from './cassandra-link.ts';
import { type SharedCassandra, sharedCassandra } from './cassandra-server.ts';

const READY_MS = 60_000;
const LISTED_MS = 30_000;

/** A row of the directory. */
export interface ListedAt {
  readonly home: string;
  /** Null: it has no end, as its client is there. */
  readonly endsInS: number | null;
}

export class RegionKeyspace {
  readonly name: string;
  readonly server: SharedCassandra;
  readonly #table: CassandraLink;

  private constructor(name: string, server: SharedCassandra, table: CassandraLink) {
    this.name = name;
    this.server = server;
    this.#table = table;
  }

  /** In that server, for tests that have a door to it. */
  static async make(t: Test, given?: SharedCassandra): Promise<RegionKeyspace> {
    const server = given ?? (await sharedCassandra(t));
    const { contactPoints, datacenter } = server;
    const name = `regions_${randomBytes(6).toString('hex')}`;
    const { code, stderr } = await runCli([
      ...['cassandra', 'init', '--keyspace', name, '--replication', `${datacenter}=1`],
      ...['--contact-points', contactPoints.join(), '--local-datacenter', datacenter],
    ]);
    if (code !== 0) throw new Error(`causeway cassandra init: ${stderr}`);
    const table = linkTo(t, server, { keyspace: name });
    await table.ready(READY_MS);
    t.teardown(async () => {
      if (table.state === 'up') await table.command(`DROP KEYSPACE IF EXISTS ${name}`);
    });
    return new RegionKeyspace(name, server, table);
  }

  /** The section `cassandra` of a configuration. */
  get section(): object {
    const { contactPoints, datacenter: localDatacenter } = this.server;
    return { contactPoints, localDatacenter, keyspace: this.name, reconcileIntervalS: ROUND_S };
  }

  /** Null: no row. */
  async listed(clientId: string): Promise<ListedAt | null> {
    const rows = await this.#table.command(
      `SELECT record, WRITETIME(record), TTL(record) FROM sessions WHERE client_id = '${clientId}'`,
    );
    const [record, timeUs, ttlS] = rows[0] ?? [];
    if (!Buffer.isBuffer(record)) return null;
    const { home } = decodeListed(clientId, record, Number(timeUs));
    return { home, endsInS: typeof ttlS === 'number' ? ttlS : null };
  }

  /** Until it is; with `hasEnd` its client must be there, or must not. */
  homeIs(clientId: string, home: string | null, hasEnd?: boolean): Promise<number> {
    const holds = async (): Promise<boolean> => {
      const found = await this.listed(clientId);
      if (found === null || home === null) return found === home;
      const isTold = hasEnd === undefined || (found.endsInS !== null) === hasEnd;
      return found.home === home && isTold;
    };
    return until(`the home of ${clientId} is ${home}`, holds, LISTED_MS);
  }
}

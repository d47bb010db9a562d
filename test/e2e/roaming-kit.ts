/** Two regions of one node each whose sessions roam, over one Cassandra, for tests from outside. */
import type { Test } from 'tap';
import { runCli } from '../cli/run.ts';
import { sharedCassandra } from '../support/cassandra-server.ts';
import { TestRegions } from './link-kit.ts';
import { ROUND_S } from './region-kit.ts';

export interface RoamingRegions {
  readonly regions: TestRegions;
  /** Of `causeway cassandra init`. */
  readonly init: { readonly code: number | null; readonly stderr: string };
}

export async function startRoaming(t: Test): Promise<RoamingRegions> {
  const { contactPoints, datacenter } = await sharedCassandra(t);
  const keyspace = `roaming_${process.pid}`;
  const points = ['--contact-points', contactPoints.join(), '--local-datacenter', datacenter];
  const copies = ['--keyspace', keyspace, '--replication', `${datacenter}=1`];
  const init = await runCli(['cassandra', 'init', ...points, ...copies]);
  const regions = await TestRegions.start(t, {
    names: ['eu', 'us'],
    links: ['eu<us', 'us<eu'],
    config: {
      cassandra: {
        contactPoints,
        localDatacenter: datacenter,
        keyspace,
        reconcileIntervalS: ROUND_S,
      },
    },
    // On a busy machine, too, a home that is there has answered by then.
    regions: { roaming: true, roamingWaitMs: 5000 },
  });
  return { regions, init };
}

/** Regions whose sessions roam, over one Cassandra: two nodes alone, or datacenters; for tests from outside. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import { type RegionPlan, RegionSite } from '../chaos/region-site.ts';
import { makeKeyspace } from '../support/cassandra-link.ts';
import { sharedCassandra } from '../support/cassandra-server.ts';
import { RegionKeyspace } from '../support/region-keyspace.ts';
import { TestRegions } from './link-kit.ts';

/** On a busy machine, too, a home that is there has answered by then. */
const ROAMING = { roaming: true, roamingWaitMs: 5000 };

export async function startRoaming(t: Test): Promise<TestRegions> {
  const { section } = await RegionKeyspace.make(t);
  return TestRegions.start(t, {
    names: ['eu', 'us'],
    links: ['eu<us', 'us<eu'],
    config: { cassandra: section },
    regions: ROAMING,
  });
}

/** Each with a link to each; all nodes are ready. */
export async function startRoamingSite(
  t: Test,
  regions: readonly RegionPlan[],
  section: object = ROAMING,
): Promise<RegionSite> {
  const cassandra = await sharedCassandra(t);
  const keyspace = await makeKeyspace(t, cassandra, []);
  const folder = mkdtempSync(join(tmpdir(), 'causeway-roaming-'));
  const topology = 'mesh';
  const site = new RegionSite({ regions, topology, folder, cassandra, keyspace, section });
  t.teardown(async () => {
    await site.end();
    rmSync(folder, { recursive: true, force: true, maxRetries: 3 });
  });
  await site.start();
  return site;
}

/** Two regions of one node each whose sessions roam, over one Cassandra, for tests from outside. */
import type { Test } from 'tap';
import { RegionKeyspace } from '../support/region-keyspace.ts';
import { TestRegions } from './link-kit.ts';

export async function startRoaming(t: Test): Promise<TestRegions> {
  const { section } = await RegionKeyspace.make(t);
  return TestRegions.start(t, {
    names: ['eu', 'us'],
    links: ['eu<us', 'us<eu'],
    config: { cassandra: section },
    // On a busy machine, too, a home that is there has answered by then.
    regions: { roaming: true, roamingWaitMs: 5000 },
  });
}

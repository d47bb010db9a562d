/**
 * Regions whose sessions roam, over one Cassandra: nodes alone, or datacenters, each linked to each; for
 * tests from outside.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import { type RegionPlan, RegionSite } from '../chaos/region-site.ts';
import type { LinkName } from '../support/region-config.ts';
import { RegionKeyspace } from '../support/region-keyspace.ts';
import { TestRegions } from './link-kit.ts';

/** On a busy machine, too, a home that is there has answered by then. */
const WAIT_MS = 5000;

/** Of the section `regions`. */
export function roamingSection(waitMs: number = WAIT_MS): object {
  return { roaming: true, roamingWaitMs: waitMs };
}

export async function startRoaming(
  t: Test,
  names: readonly string[] = ['eu', 'us'],
  section: object = roamingSection(),
): Promise<TestRegions> {
  const { section: cassandra } = await RegionKeyspace.make(t);
  return TestRegions.start(t, {
    names,
    links: names.flatMap((name) =>
      names.filter((other) => other !== name).map((other): LinkName => `${name}<${other}`),
    ),
    config: { cassandra },
    regions: section,
  });
}

export interface RoamingSite {
  readonly site: RegionSite;
  readonly keyspace: RegionKeyspace;
}

/** Each with a link to each; all nodes are ready. */
export async function startRoamingSite(
  t: Test,
  plans: readonly RegionPlan[],
): Promise<RoamingSite> {
  const keyspace = await RegionKeyspace.make(t);
  const folder = mkdtempSync(join(tmpdir(), 'causeway-roaming-'));
  const site = new RegionSite({
    regions: plans.map((plan) => ({ ...plan, section: plan.section ?? roamingSection() })),
    topology: 'mesh',
    folder,
    cassandra: keyspace.server,
    keyspace: keyspace.name,
  });
  t.teardown(async () => {
    await site.end();
    rmSync(folder, { recursive: true, force: true, maxRetries: 3 });
  });
  await site.start();
  return { site, keyspace };
}

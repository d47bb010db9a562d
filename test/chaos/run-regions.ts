/**
 * `npm run chaos:regions -- [--faults 20] [--seed S] [--regions eu:2,us:2,ap:1] [--links mesh|ring|star]
 * [--cassandra] [--skew MS] [--rate 8] [--long S] [--kinds kill,link_cut,…] [--plan kill,…] [--logs FOLDER]`:
 * the ledger test over regions with real processes; `--cassandra` starts one of two datacenters, `--skew` sets
 * the clock of every second region ahead. Ends with 1 when the books do not balance.
 */
import { parseArgs } from 'node:util';
import { type RegionFault, regionFaults } from './region-faults.ts';
import type { Topology } from './region-site.ts';
import { describeRegionChaos, runRegionChaos } from './run-region-chaos.ts';

const { values } = parseArgs({
  options: {
    faults: { type: 'string', default: '20' },
    seed: { type: 'string' },
    regions: { type: 'string', default: 'eu:2,us:2,ap:1' },
    links: { type: 'string', default: 'mesh' },
    cassandra: { type: 'boolean', default: false },
    skew: { type: 'string', default: '0' },
    rate: { type: 'string', default: '8' },
    long: { type: 'string', default: '60' },
    kinds: { type: 'string' },
    plan: { type: 'string' },
    logs: { type: 'string' },
  },
});

function faultsOf(text: string): RegionFault[] {
  return text.split(',').map((word) => {
    const fault = regionFaults.find((known) => known === word);
    if (fault === undefined) throw new Error(`${word} is none of ${regionFaults.join()}`);
    return fault;
  });
}

const seed = Number(values.seed ?? Math.floor(Math.random() * 2 ** 31));
const topologies: readonly Topology[] = ['mesh', 'ring', 'star'];
const topology = topologies.find((known) => known === values.links);
if (topology === undefined) throw new Error(`--links is one of ${topologies.join()}`);
const regions = values.regions.split(',').map((word, index) => {
  const [name = '', nodes = '1'] = word.split(':');
  return { name, nodes: Number(nodes), clockMs: index % 2 === 1 ? Number(values.skew) : 0 };
});

console.log(`chaos: seed ${seed}, ${values.regions}, ${values.faults} faults`);
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  // Everything that it has started ends with this process.
  process.once(signal, () => process.exit(1));
}
const report = await runRegionChaos({
  seed,
  faults: Number(values.faults),
  regions,
  topology,
  ratePerS: Number(values.rate),
  longMs: Number(values.long) * 1000,
  ...(values.cassandra ? { datacenters: ['dc1', 'dc2'] } : {}),
  ...(values.kinds === undefined ? {} : { kinds: faultsOf(values.kinds) }),
  ...(values.plan === undefined ? {} : { plan: faultsOf(values.plan) }),
  ...(values.logs === undefined ? {} : { logs: values.logs }),
  log: (line) => console.log(`  ${line}`),
});
console.log(describeRegionChaos(report));
process.exit(report.isClean ? 0 : 1);

/**
 * `npm run chaos:roaming -- [--moves 10000] [--kills 10] [--devices 12] [--newcomers 0] [--rate 60] [--stay 60] [--seed S]
 * [--regions eu:2,us:2] [--visited eu,us] [--wait 5000] [--kinds node,holder,redis,region] [--logs FOLDER]`: the
 * long form of the ledger of moves between regions, two of one node each unless told; devices go among those
 * `visited`, all unless told. Ends with 1 when the books do not balance.
 */
import { parseArgs } from 'node:util';
import type { Test } from 'tap';
import { roamingSection, startRoaming, startRoamingSite } from '../e2e/roaming-kit.ts';
import {
  DatacenterRegions,
  LoneRegions,
  type MovingFault,
  movingFaults,
} from './moving-regions.ts';
import { describeRoaming, runRoamingChaos } from './run-roaming-chaos.ts';

const { values } = parseArgs({
  options: {
    moves: { type: 'string', default: '10000' },
    kills: { type: 'string', default: '10' },
    devices: { type: 'string', default: '12' },
    newcomers: { type: 'string', default: '0' },
    rate: { type: 'string', default: '60' },
    seed: { type: 'string' },
    stay: { type: 'string', default: '60' },
    regions: { type: 'string', default: 'eu:1,us:1' },
    visited: { type: 'string' },
    wait: { type: 'string' },
    kinds: { type: 'string' },
    logs: { type: 'string' },
    'devices-publish': { type: 'boolean', default: false },
  },
});

const section = roamingSection(values.wait === undefined ? undefined : Number(values.wait));
const plans = values.regions.split(',').map((word) => {
  const [name = '', nodes = '1'] = word.split(':');
  return { name, nodes: Number(nodes), section };
});
const kinds = values.kinds?.split(',').map((word): MovingFault => {
  const fault = movingFaults.find((known) => known === word);
  if (fault === undefined) throw new Error(`${word} is none of ${movingFaults.join()}`);
  return fault;
});

const endings: (() => unknown)[] = [];
// What the kits want of a test.
const stage = { teardown: (ending: () => unknown) => endings.unshift(ending) } as unknown as Test;
const seed = Number(values.seed ?? Math.floor(Math.random() * 2 ** 20));
const moves = Number(values.moves);
const kills = Number(values.kills);
const names = plans.map(({ name }) => name);
console.log(`roaming: seed ${seed}, ${moves} moves, ${kills} kills`);
let isClean = false;
try {
  const datacenters = plans.some(({ nodes }) => nodes > 1)
    ? new DatacenterRegions((await startRoamingSite(stage, plans)).site)
    : null;
  const regions = datacenters ?? new LoneRegions(await startRoaming(stage, names, section));
  const report = await runRoamingChaos({
    regions,
    names,
    visited: values.visited?.split(','),
    kinds,
    seed,
    moves,
    movesPerKill: kills === 0 ? 0 : Math.floor(moves / (kills + 1)),
    devices: Number(values.devices),
    newcomers: Number(values.newcomers),
    ratePerS: Number(values.rate),
    stayMsMax: Number(values.stay),
    devicesPublish: values['devices-publish'],
    log: (line) =>
      console.log(`  ${Math.round(performance.timeOrigin + performance.now())} ${line}`),
  });
  console.log(describeRoaming(report));
  for (const error of regions.errors()) console.log(error);
  isClean = report.lost + report.qos2Duplicates + report.ownedTwice + report.sessionsLost === 0;
  if (!isClean && values.logs !== undefined) datacenters?.keepLogs(values.logs);
} finally {
  for (const ending of endings) await ending();
}
process.exit(isClean ? 0 : 1);

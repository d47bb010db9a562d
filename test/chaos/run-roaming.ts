/**
 * `npm run chaos:roaming -- [--moves 10000] [--kills 10] [--devices 12] [--rate 60] [--seed S]`: the long form
 * of the ledger of moves between two regions. Ends with 1 when the books do not balance.
 */
import { parseArgs } from 'node:util';
import type { Test } from 'tap';
import { startRoaming } from '../e2e/roaming-kit.ts';
import { describeRoaming, runRoamingChaos } from './run-roaming-chaos.ts';

const { values } = parseArgs({
  options: {
    moves: { type: 'string', default: '10000' },
    kills: { type: 'string', default: '10' },
    devices: { type: 'string', default: '12' },
    rate: { type: 'string', default: '60' },
    seed: { type: 'string' },
    stay: { type: 'string', default: '60' },
    'devices-publish': { type: 'boolean', default: false },
  },
});

const endings: (() => unknown)[] = [];
// What the kits want of a test.
const stage = { teardown: (ending: () => unknown) => endings.unshift(ending) } as unknown as Test;
const seed = Number(values.seed ?? Math.floor(Math.random() * 2 ** 20));
const moves = Number(values.moves);
const kills = Number(values.kills);
console.log(`roaming: seed ${seed}, ${moves} moves, ${kills} kills`);
let isClean = false;
try {
  const regions = await startRoaming(stage);
  const report = await runRoamingChaos({
    regions,
    names: ['eu', 'us'],
    seed,
    moves,
    movesPerKill: kills === 0 ? 0 : Math.floor(moves / (kills + 1)),
    devices: Number(values.devices),
    ratePerS: Number(values.rate),
    stayMsMax: Number(values.stay),
    devicesPublish: values['devices-publish'],
    log: (line) =>
      console.log(`  ${Math.round(performance.timeOrigin + performance.now())} ${line}`),
  });
  console.log(describeRoaming(report));
  for (const error of regions.errors()) console.log(error);
  isClean = report.lost + report.qos2Duplicates + report.ownedTwice + report.sessionsLost === 0;
} finally {
  for (const ending of endings) await ending();
}
process.exit(isClean ? 0 : 1);

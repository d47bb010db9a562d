/**
 * `npm run chaos -- [--kills 200] [--seed S] [--rate 60] [--broker causeway|mosquitto|mosquitto-saving]
 * [--causeway-bin FILE]`: the long form of the ledger test. Ends with 1 when the books do not balance.
 */
import { parseArgs } from 'node:util';
import { describeChaos, runChaos } from './run-chaos.ts';
import { causeway, mosquitto, type Subject } from './subject.ts';

const { values } = parseArgs({
  options: {
    kills: { type: 'string', default: '200' },
    seed: { type: 'string' },
    rate: { type: 'string', default: '60' },
    broker: { type: 'string', default: 'causeway' },
    'causeway-bin': { type: 'string' },
    plant: { type: 'string' },
  },
});

const seed = Number(values.seed ?? Math.floor(Math.random() * 2 ** 31));
const executable = values['causeway-bin'];
const subjects: Record<string, (folder: string) => Subject | Promise<Subject>> = {
  causeway: (folder) => causeway(folder, executable === undefined ? {} : { program: [executable] }),
  mosquitto: (folder) => mosquitto(folder, false),
  'mosquitto-saving': (folder) => mosquitto(folder, true),
};
const subject = subjects[values.broker];
if (subject === undefined) throw new Error(`--broker is one of ${Object.keys(subjects).join()}`);
const plants = ['loss', 'duplicate', 'repeat'] as const;
const plant = plants.find((name) => name === values.plant);

console.log(`chaos: seed ${seed}, ${values.kills} kills of ${values.broker}`);
const report = await runChaos({
  seed,
  kills: Number(values.kills),
  ratePerS: Number(values.rate),
  subject,
  ...(plant === undefined ? {} : { plant }),
  log: (line) => console.log(`  ${line}`),
});
console.log(describeChaos(report));
process.exit(report.isClean ? 0 : 1);

/**
 * `npm run fuzz -- [--seconds 120] [--seed S]`: every fuzzer of this folder, each for an equal share
 * of the time, from one seed. Ends with 1 at the first failure, with the command that repeats it.
 */
import { parseArgs } from 'node:util';
import { fuzzBroker } from './broker.ts';
import { describe, fuzzWire } from './wire.ts';

const { values } = parseArgs({
  options: { seconds: { type: 'string', default: '120' }, seed: { type: 'string' } },
});
const seed = Number(values.seed ?? Math.floor(Math.random() * 2 ** 31));
const durationMs = (Number(values.seconds) * 1000) / 2;

console.log(`fuzz: seed ${seed}`);
const wire = fuzzWire({ seed, caseCount: Number.MAX_SAFE_INTEGER, durationMs });
console.log(`wire: ${describe(wire)}`);
const broker = await fuzzBroker({ seed, durationMs });
console.log(`broker: ${broker.text}`);
process.exit(wire.failure === null && broker.problem === null ? 0 : 1);

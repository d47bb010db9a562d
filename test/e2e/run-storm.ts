#!/usr/bin/env node
// A login storm as long and as hard as one likes:
// node test/e2e/run-storm.ts [--seconds N] [--rate N] [--addresses N] [--cost LOG2N]
import { parseArgs } from 'node:util';
import { describeStorm, runStorm } from './login-storm.ts';

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '60' },
    rate: { type: 'string', default: '2000' },
    addresses: { type: 'string', default: '50' },
    // As `causeway passwd` hashes.
    cost: { type: 'string', default: '15' },
  },
});
const endings: (() => unknown)[] = [];
const seconds = Number(values.seconds);
try {
  const report = await runStorm(
    { teardown: (end: () => unknown) => endings.push(end) },
    {
      attemptsPerS: Number(values.rate),
      addresses: Number(values.addresses),
      seconds,
      secondsMax: seconds,
      scryptCost: Number(values.cost),
    },
  );
  console.log(describeStorm(report));
  const isClean = report.goodCodes.every((code) => code === 0) && !report.outcomes.has('0x0');
  console.log(isClean ? 'who knows the password got in, and nobody else' : 'NOT CLEAN');
  process.exitCode = isClean ? 0 : 1;
} finally {
  for (const end of endings.reverse()) await end();
}

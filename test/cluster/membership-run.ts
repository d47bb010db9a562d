/**
 * Membership over many seeds: `node test/cluster/membership-run.ts [--seeds N] [--from SEED] [--trace SEED]
 * [--planted NAME]`. Prints what happened in them; ends with 1 at a seed that breaks an invariant.
 */
import { parseArgs } from 'node:util';
import { runSeed } from './membership-faults.ts';
import { PLANTED } from './membership-world.ts';

const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '1000' },
    from: { type: 'string', default: '1' },
    trace: { type: 'string' },
    planted: { type: 'string' },
  },
});
const planted = values.planted === undefined ? {} : PLANTED.get(values.planted);
if (planted === undefined) throw new Error(`no such bug: ${[...PLANTED.keys()].join(', ')}`);

if (values.trace !== undefined) {
  const result = runSeed(Number(values.trace), { ...planted, isTracing: true });
  console.log(`seed ${values.trace}: fine, settled in ${Math.round(result.settledMs)} ms`);
} else {
  runAll(Number(values.from), Number(values.seeds));
}

function runAll(from: number, seeds: number): void {
  const totals = new Map<string, number>();
  const failures: string[] = [];
  let settledMs = 0;
  let events = 0;
  const startMs = performance.now();
  for (let seed = from; seed < from + seeds; seed++) {
    if (seed > from && (seed - from) % 5000 === 0) console.log(`… ${seed - from}`);
    try {
      const result = runSeed(seed, planted);
      for (const [what, count] of result.counts) totals.set(what, (totals.get(what) ?? 0) + count);
      settledMs = Math.max(settledMs, result.settledMs);
      events += result.events;
    } catch (error) {
      failures.push(`seed ${seed}: ${String(error).split('\n').slice(0, 8).join('\n  ')}`);
      if (failures.length >= 10) break;
    }
  }
  const seconds = (performance.now() - startMs) / 1000;
  const counts = [...totals].map(([what, count]) => `${what} ${count}`).join(', ');
  console.log(
    `${seeds} seeds from ${from}: ${events} events in ${seconds.toFixed(1)} s; ${counts}`,
  );
  console.log(`settled at most ${Math.round(settledMs)} ms after the last fault`);
  for (const failure of failures) console.log(failure);
  if (failures.length > 0) process.exitCode = 1;
}

/**
 * What is asked for over one link, of so many filters: CPU of one look at all of them, and the longest of the
 * steps between which it may pause.
 *
 *   node bench/micro/interest.ts [filters]
 */
import { WantedFilters } from '../../src/core/wanted-filters.ts';
import { interestSteps } from '../../src/geo/link-interest.ts';

const ROUNDS = 5;
const filters = Number(process.argv[2] ?? 200_000);
const wanted = new WantedFilters();
for (let i = 0; i < filters; i++) wanted.add(`site/${i % 100}/device/${i}/command`, '');
const each: number[] = [];
const stepsMs: number[] = [];
for (let round = 0; round < ROUNDS; round++) {
  const before = process.cpuUsage();
  const steps = interestSteps(wanted, 'eu', 'us', ['#']);
  for (;;) {
    const startMs = performance.now();
    const step = steps.next();
    stepsMs.push(performance.now() - startMs);
    if (step.done !== true) continue;
    if (step.value.size !== filters) throw new Error(`${step.value.size} of ${filters} filters`);
    break;
  }
  const { user, system } = process.cpuUsage(before);
  each.push((user + system) / filters);
}
const at = (values: number[], part: number): string =>
  values.sort((a, b) => a - b)[Math.floor((values.length - 1) * part)]!.toFixed(2);
console.log(`${filters} filters: ${at(each, 0.5)} µs of CPU for each filter`);
console.log(`steps: p50 ${at(stepsMs, 0.5)} ms, p99 ${at(stepsMs, 0.99)}, most ${at(stepsMs, 1)}`);

// What of a run is settled or released, against a plain map: in any order, with positions missing, there
// and back through its record.
import fc from 'fast-check';
import t from 'tap';
import { EntryState } from '../../src/core/queue-entry.ts';
import { RunState } from '../../src/store/embedded/run-state.ts';

const FIRST = 7;
const MESSAGE_BYTES = 10;

const step = fc.record({
  // Mostly the one behind the last.
  place: fc.oneof(fc.constant(-1), fc.constant(-1), fc.nat(11)),
  state: fc.constantFrom(EntryState.RELEASED, EntryState.SETTLED, EntryState.SETTLED),
});

t.test('as a map of positions says it', async (t) => {
  const gaps = fc.array(fc.nat(3), { maxLength: 2 });
  const steps = fc.array(step, { maxLength: 60, size: 'max' });
  let settled = 0;
  fc.assert(
    fc.property(fc.boolean(), gaps, steps, (hasGaps, wide, taken) => {
      const seqs = Array.from({ length: 12 }, (_, i) => FIRST + i);
      if (hasGaps) for (const [i, gap] of wide.entries()) seqs.splice(3 * i + 2, gap);
      const last = seqs.at(-1)!;
      const bytes = seqs.length * MESSAGE_BYTES;
      const make = (): RunState => new RunState(FIRST, last, seqs.length, bytes, [], false);
      const run = make();
      const model = new Map<number, number>();
      let next = 0;
      for (const { place, state } of taken) {
        const index = place === -1 ? next : place;
        const seq = seqs[index % seqs.length]!;
        next = index + 1;
        const before = model.get(seq) ?? EntryState.QUEUED;
        const isChange = before !== state && before !== EntryState.SETTLED;
        if (isChange) model.set(seq, state);
        if (run.set(seq, state, MESSAGE_BYTES) !== isChange) throw new Error(`${seq} to ${state}`);
        if (run.isSettled) break;
      }
      const read = make();
      if (!run.isSettled) read.decode(run.encode());
      for (const seq of seqs) {
        const state = model.get(seq) ?? EntryState.QUEUED;
        if (run.stateOf(seq) !== state) throw new Error(`${seq}: ${run.stateOf(seq)}`);
        if (!run.isSettled && read.stateOf(seq) !== state) throw new Error(`${seq} was read`);
      }
      const count = [...model.values()].filter((state) => state === EntryState.SETTLED).length;
      if (run.settledCount !== count || run.settledBytes !== count * MESSAGE_BYTES) {
        throw new Error(`${run.settledCount} of ${count}`);
      }
      if (run.isSettled) settled++;
      else if (read.settledCount !== count || read.settledBytes !== run.settledBytes) {
        throw new Error(`${read.settledCount} read of ${count}`);
      }
    }),
    { numRuns: 2000 },
  );
  t.ok(settled > 20, `${settled} runs were settled to their end`);
});

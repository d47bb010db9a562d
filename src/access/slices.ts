/**
 * Long work on the loop that serves every client, a little at a time: what takes long is written as a
 * generator that yields wherever it may be left, often, and run here with the turns of everybody else
 * in between. Used where rules are read and made ready; there is no second, blocking way to do that.
 */
import type { Scheduler } from '../core/ports.ts';

/** The loop, as far as slices need it. */
export type Turns = Pick<Scheduler, 'nextTurn'>;

/** Work that may be left at each `yield`, and its result. */
export type Steps<Result> = Generator<void, Result>;

/**
 * Of one turn. Short against the turn of a busy loop, so that the work takes a small share of it; long
 * against the cost of an idle turn, so that it is next to no slower where nobody else wants anything.
 */
const SLICE_MS = 2;

/** Looked at without leaving. */
export const RULES_PER_STEP = 64;

export async function inSlices<Result>(steps: Steps<Result>, turns: Turns): Promise<Result> {
  for (;;) {
    const endMs = performance.now() + SLICE_MS;
    do {
      const step = steps.next();
      if (step.done) return step.value;
    } while (performance.now() < endMs);
    await new Promise<void>((resolve) => turns.nextTurn(resolve));
  }
}

/** For what is small, or has to be there at once. */
export function atOnce<Result>(steps: Steps<Result>): Result {
  for (;;) {
    const step = steps.next();
    if (step.done) return step.value;
  }
}

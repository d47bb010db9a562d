/**
 * Virtual time for nodes whose code has promises (the client of links, the embedded store): after each event of
 * a node all that its promises wait for happens, as it does in a real loop. Used by runs of regions.
 */
import type { Kernel } from './kernel.ts';

const STEP_MS = 50;
const STEPS_MAX = 4_000_000;

function promisesAreDone(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

export async function flow(kernel: Kernel, ms: number): Promise<void> {
  let isOver = false;
  let isTouched = false;
  kernel.after(null, ms, () => {
    isOver = true;
  });
  kernel.afterTurn = (node) => {
    isTouched = node !== null;
  };
  const hasReached = (): boolean => isOver || isTouched;
  while (!isOver) {
    isTouched = false;
    if (kernel.run(hasReached, STEPS_MAX) === 'steps_max')
      kernel.fail('nothing but the world turns');
    await promisesAreDone();
  }
}

/** False: it never came true within that time. */
export async function flowUntil(
  kernel: Kernel,
  withinMs: number,
  isReached: () => boolean,
  stepMs: number = STEP_MS,
): Promise<boolean> {
  const untilMs = kernel.nowMs + withinMs;
  while (!isReached() && kernel.nowMs < untilMs) await flow(kernel, stepMs);
  return isReached();
}

/**
 * Virtual time goes on in steps, between which what a promise waits for may go on: a broker that starts
 * has a few. Used by everything that drives a simulated datacenter.
 */
import type { Kernel } from './kernel.ts';

const STEP_MS = 50;
const STEPS_MAX = 4_000_000;

export async function pass(kernel: Kernel, ms: number): Promise<void> {
  const untilMs = kernel.nowMs + ms;
  while (kernel.nowMs < untilMs) {
    const end = kernel.run(Math.min(untilMs, kernel.nowMs + STEP_MS), STEPS_MAX);
    if (end === 'steps_max') kernel.fail('too many events: something spins');
    for (let turn = 0; turn < 10; turn++) await null;
  }
}

/** False: it never came true within that time. */
export async function passUntil(
  kernel: Kernel,
  withinMs: number,
  isReached: () => boolean,
): Promise<boolean> {
  const untilMs = kernel.nowMs + withinMs;
  while (!isReached() && kernel.nowMs < untilMs) await pass(kernel, STEP_MS);
  return isReached();
}

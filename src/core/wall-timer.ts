/** Timers that are due by the wall clock, as deadlines that outlive a restart are. */
import type { Timer } from '../util/timer-wheel.ts';
import type { Core } from './core.ts';

/** Longest single timer; whoever waits longer looks at the clock when it fires, and sets it again. */
const TIMER_MS_MAX = 86_400_000;

export function setWallTimer(core: Core, timer: Timer, wallDueMs: number): void {
  const { clock, wheel } = core;
  const inMs = Math.min(Math.max(0, wallDueMs - clock.wallMs()), TIMER_MS_MAX);
  wheel.set(timer, clock.monotonicMs() + inMs);
}

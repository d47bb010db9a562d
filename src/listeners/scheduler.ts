/**
 * The real clock, randomness and loop, for the ports of the same names. The only place that may use
 * `setImmediate`; a simulator hands in its own.
 */
import { randomBytes } from 'node:crypto';
import type { Clock, Random, Scheduler } from '../core/ports.ts';

export const systemClock: Clock = {
  monotonicMs: () => performance.now(),
  wallMs: () => Date.now(),
};

export const systemRandom: Random = {
  below: (bound) => Math.floor(Math.random() * bound),
  hex: (bytes) => randomBytes(bytes).toString('hex'),
};

export const systemScheduler: Scheduler = {
  // The check phase comes after every socket that was ready has been read.
  endOfTurn: (task) => {
    setImmediate(task);
  },
  nextTurn: (task) => {
    setImmediate(task);
  },
  every: (intervalMs, tick) => {
    const timer = setInterval(tick, intervalMs);
    return () => clearInterval(timer);
  },
};

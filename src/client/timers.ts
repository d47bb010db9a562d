/**
 * Time as the client needs it: a monotonic clock and timers, which a simulation hands in of its own. Used by
 * the parts of `client.ts`, and by links to other regions.
 */

export interface Timers {
  /** Monotonic ms. */
  nowMs(): number;
  /** Runs `task` once; what is returned calls it off. */
  after(delayMs: number, task: () => void): () => void;
  /** Again and again, until what is returned is called; keeps no process alive by itself. */
  every(intervalMs: number, task: () => void): () => void;
}

export const systemTimers: Timers = {
  nowMs: () => performance.now(),
  after: (delayMs, task) => {
    const timer = setTimeout(task, delayMs);
    return () => clearTimeout(timer);
  },
  every: (intervalMs, task) => {
    const timer = setInterval(task, intervalMs);
    timer.unref();
    return () => clearInterval(timer);
  },
};

/**
 * Runs many seeds on all cores: worker threads (seed-worker.ts) that are given one seed after the other.
 * Used by `npm run simulate`.
 */
import { Worker } from 'node:worker_threads';
import type { SeedOutcome } from './seed-outcome.ts';
import type { SeedPlan } from './seed-plan.ts';

export interface SeedPool {
  readonly jobs: number;
  /** Asked for the next one; null: there is none any more. */
  readonly next: () => SeedPlan | null;
  readonly onOutcome: (outcome: SeedOutcome) => void;
}

/** Ends when `next` has none and every worker has answered. */
export async function runPool({ jobs, next, onOutcome }: SeedPool): Promise<void> {
  await Promise.all(Array.from({ length: jobs }, () => work(next, onOutcome)));
}

async function work(next: SeedPool['next'], onOutcome: SeedPool['onOutcome']): Promise<void> {
  const worker = new Worker(new URL('./seed-worker.ts', import.meta.url));
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const give = (): void => {
    const plan = next();
    if (plan === null) resolve();
    else worker.postMessage(plan);
  };
  worker.on('error', reject);
  worker.on('message', (outcome: SeedOutcome) => {
    onOutcome(outcome);
    give();
  });
  give();
  try {
    await promise;
  } finally {
    await worker.terminate();
  }
}

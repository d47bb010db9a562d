/**
 * Runs many seeds on all cores: worker threads (seed-worker.ts, region-worker.ts) that are given one seed after
 * the other. Used by `npm run simulate`.
 */
import { Worker } from 'node:worker_threads';

export interface SeedPool<Plan, Outcome> {
  readonly jobs: number;
  /** Is told plans, answers outcomes. */
  readonly worker: URL;
  /** Asked for the next one; null: there is none any more. */
  readonly next: () => Plan | null;
  readonly onOutcome: (outcome: Outcome) => void;
}

/** Ends when `next` has none and every worker has answered. */
export async function runPool<Plan, Outcome>(pool: SeedPool<Plan, Outcome>): Promise<void> {
  await Promise.all(Array.from({ length: pool.jobs }, () => work(pool)));
}

async function work<Plan, Outcome>({
  worker: file,
  next,
  onOutcome,
}: SeedPool<Plan, Outcome>): Promise<void> {
  const worker = new Worker(file);
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const give = (): void => {
    const plan = next();
    if (plan === null) resolve();
    else worker.postMessage(plan);
  };
  worker.on('error', reject);
  worker.on('message', (outcome: Outcome) => {
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

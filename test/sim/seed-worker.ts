/** A worker thread of seed-pool.ts: is told plans, answers outcomes. */
import { parentPort } from 'node:worker_threads';
import { runPlan } from './seed-outcome.ts';
import type { SeedPlan } from './seed-plan.ts';

parentPort?.on('message', (plan: SeedPlan) => {
  void runPlan(plan).then((outcome) => parentPort?.postMessage(outcome));
});

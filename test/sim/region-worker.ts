/** A worker thread of seed-pool.ts for regions: is told plans, answers outcomes. */
import { parentPort } from 'node:worker_threads';
import { type RegionPlan, runRegionPlan } from './region-seeds.ts';

parentPort?.on('message', (plan: RegionPlan) => {
  void runRegionPlan(plan).then((outcome) => parentPort?.postMessage(outcome));
});

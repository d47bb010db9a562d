/** A worker thread of seed-pool.ts for roaming sessions: is told plans, answers outcomes. */
import { parentPort } from 'node:worker_threads';
import { type RoamingPlan, runRoamingPlan } from './roaming-seeds.ts';

parentPort?.on('message', (plan: RoamingPlan) => {
  void runRoamingPlan(plan).then((outcome) => parentPort?.postMessage(outcome));
});

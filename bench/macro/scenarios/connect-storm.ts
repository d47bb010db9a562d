// Connections a second: connect, CONNACK, DISCONNECT, a hundred under way at any time.

import type { Figure } from '../figure.ts';
import { Histogram } from '../histogram.ts';
import type { RunContext } from '../run-context.ts';
import type { Scenario } from '../scenario.ts';

const CONCURRENCY = 100;

async function measure(context: RunContext): Promise<readonly Figure[]> {
  const { seconds, warmupSeconds } = context.settings;
  await context.load.storm(context.target, { seconds: warmupSeconds, concurrency: CONCURRENCY });
  await context.quiet();
  await context.load.clear();
  const begin = context.begin();
  const storm = await context.load.storm(context.target, { seconds, concurrency: CONCURRENCY });
  const used = context.usedSince(begin);
  const stats = await context.load.stats();
  const connack = new Histogram();
  connack.merge(storm.connackUs);
  let failed = 0;
  for (const [reason, count] of storm.failures) {
    failed += count;
    context.problems.add(`connects failed: ${count} × ${reason}`);
  }
  return [
    {
      operation: 'connect and disconnect',
      expected: storm.connected + failed,
      happened: storm.connected,
      values: {
        ...context.columns(storm.connected, storm.elapsedS, used, stats),
        p50Ms: connack.percentileMs(0.5),
        p99Ms: connack.percentileMs(0.99),
      },
    },
  ];
}

export const connectStorm: Scenario = {
  name: 'connect-storm',
  title: `connect, CONNACK, DISCONNECT, ${CONCURRENCY} at a time`,
  needs: [],
  durable: false,
  profile: 'traffic',
  measure,
};

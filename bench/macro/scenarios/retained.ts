// Retained messages: what setting ten thousand of them costs, three times over, and what it costs to replay them all
// to a subscriber with a wildcard, again and again.

import type { Figure } from '../figure.ts';
import type { RunContext } from '../run-context.ts';
import type { Scenario } from '../scenario.ts';
import { publisher, retainedTopics, subscriber } from './clients.ts';

const TOPICS = 10_000;
const ROUNDS = 3;
const REPLAYS_MIN = 3;
const REPLAYS_MAX = 2000;

async function set(context: RunContext): Promise<Figure> {
  await context.open('setter', [publisher(0, retainedTopics(TOPICS))]);
  const plan = context.plan(1, TOPICS * ROUNDS, 0, true);
  const begin = context.begin();
  const run = await context.phase('setter', 1, plan, 0);
  await context.quiet();
  const used = context.usedSince(begin);
  const stats = await context.load.stats();
  await context.load.close('setter');
  return {
    operation: 'retained message set',
    expected: TOPICS * ROUNDS,
    happened: run.sent,
    values: context.columns(run.sent, run.publishS, used, stats),
  };
}

/** One subscriber comes, gets everything, goes. */
async function replay(context: RunContext, index: number): Promise<number> {
  const before = (await context.load.counters()).received;
  const beganUs = context.load.nowUs();
  await context.open('reader', [subscriber(index, ['kept/#'], 0, false)]);
  const { received, lastReceivedUs } = await context.settle(before + TOPICS);
  await context.load.close('reader');
  if (received - before !== TOPICS) {
    context.problems.add(`a replay brought ${received - before} of ${TOPICS} messages`);
  }
  return (lastReceivedUs - beganUs) / 1e6;
}

async function measure(context: RunContext): Promise<readonly Figure[]> {
  const setting = await set(context);
  const { seconds, warmupSeconds } = context.settings;
  let index = 0;
  const replayFor = async (wantedS: number): Promise<{ replays: number; elapsedS: number }> => {
    const endMs = performance.now() + wantedS * 1000;
    let replays = 0;
    let elapsedS = 0;
    while (replays < REPLAYS_MIN || (performance.now() < endMs && replays < REPLAYS_MAX)) {
      elapsedS += await replay(context, index++);
      replays++;
      if (context.problems.size > 0) {
        break;
      }
    }
    return { replays, elapsedS };
  };
  await replayFor(warmupSeconds);
  await context.load.clear();
  const begin = context.begin();
  const { replays, elapsedS } = await replayFor(seconds);
  const used = context.usedSince(begin);
  const { received } = await context.load.counters();
  const stats = await context.load.stats();
  return [
    setting,
    {
      operation: 'retained message replayed',
      expected: replays * TOPICS,
      happened: received,
      values: context.columns(received, elapsedS, used, stats),
    },
  ];
}

export const retainedReplay: Scenario = {
  name: 'retained',
  title: `${TOPICS} retained messages, set three times at QoS 1, replayed to \`kept/#\` at QoS 0`,
  needs: [],
  durable: false,
  profile: 'retained',
  measure,
};

// Persistent sessions that subscribed and left: what it costs to store a QoS 1 message for each of
// them, and to hand everything over when they return.

import type { Figure } from '../figure.ts';
import type { RunContext, Usage } from '../run-context.ts';
import type { Scenario } from '../scenario.ts';
import type { Cast } from './clients.ts';

const WARM_UP_SHARE = 0.25;

export interface OfflineOptions {
  readonly name: string;
  readonly title: string;
  readonly cast: () => Cast;
  /** Messages published in the measured part, all publishers together. */
  readonly messages: number;
  readonly durable: boolean;
}

async function measure(options: OfflineOptions, context: RunContext): Promise<readonly Figure[]> {
  const { publishers, subscribers, copies } = options.cast();
  const senders = publishers.length;
  const perSender = Math.ceil((context.settings.messages ?? options.messages) / senders);
  const warmPerSender = Math.ceil(perSender * WARM_UP_SHARE);
  await context.open('sessions', subscribers);
  await context.load.close('sessions');

  await context.open('publishers', publishers);
  const stored = async (
    count: number,
  ): Promise<{ used: Usage; publishS: number; sent: number }> => {
    const begin = context.begin();
    const phase = await context.phase('publishers', senders, context.plan(1, count, 0, false), 0);
    await context.quiet();
    return { used: context.usedSince(begin), publishS: phase.publishS, sent: phase.sent };
  };
  const warm = await stored(warmPerSender);
  const run = await stored(perSender);
  const stats = await context.load.stats();
  const storing: Figure = {
    operation: 'stored (message × session)',
    expected: run.sent * copies,
    happened: run.sent * copies,
    values: {
      ...context.columns(run.sent * copies, run.publishS, run.used, stats),
      ackedPerS: run.sent / run.publishS,
      ackP50Ms: stats.ackLatency.percentileMs(0.5),
      ackP99Ms: stats.ackLatency.percentileMs(0.99),
    },
  };
  await context.load.close('publishers');
  return [storing, await drain(context, subscribers, (warm.sent + run.sent) * copies)];
}

async function drain(
  context: RunContext,
  subscribers: Cast['subscribers'],
  expected: number,
): Promise<Figure> {
  await context.load.clear();
  const begin = context.begin();
  const beganUs = context.load.nowUs();
  const returning = subscribers.map((client) => ({ ...client, filters: [] }));
  const opened = await context.open('sessions', returning);
  if (opened.sessionsPresent < subscribers.length) {
    context.problems.add(
      `sessions lost: ${subscribers.length - opened.sessionsPresent} of ${subscribers.length}`,
    );
  }
  const { received, lastReceivedUs } = await context.settle(expected);
  await context.quiet();
  const elapsedS = (lastReceivedUs - beganUs) / 1e6;
  const used = context.usedSince(begin);
  return {
    operation: 'message drained on return',
    expected,
    happened: received,
    values: context.columns(received, elapsedS, used, await context.load.stats()),
  };
}

export function offline(options: OfflineOptions): Scenario {
  return {
    name: options.name,
    title: options.title,
    needs: options.durable ? ['durable'] : [],
    durable: options.durable,
    profile: 'traffic',
    measure: (context) => measure(options, context),
  };
}

// Messages from publishers to subscribers who are there: pairs, fan-out, fan-in, shared groups,
// many topics; as fast as the broker takes them, or at a fixed rate to see latency. How many
// messages make a run of the wished length is found by two short runs before, which also warm up.

import type { Figure } from '../figure.ts';
import type { Phase, RunContext } from '../run-context.ts';
import type { Scenario } from '../scenario.ts';
import type { Cast } from './clients.ts';

const PILOT_DELIVERIES = 20_000;

export interface TrafficOptions {
  readonly name: string;
  readonly title: string;
  readonly cast: () => Cast;
  readonly qos: number;
  readonly ratePerS?: number;
  readonly shared?: boolean;
  readonly durable?: boolean;
}

async function measure(options: TrafficOptions, context: RunContext): Promise<readonly Figure[]> {
  const { qos } = options;
  const { seconds, warmupSeconds } = context.settings;
  const ratePerS = context.settings.ratePerS ?? options.ratePerS ?? 0;
  const { publishers, subscribers, copies } = options.cast();
  await context.open('subscribers', subscribers);
  await context.open('publishers', publishers);

  const senders = publishers.length;
  const send = (messages: number): Promise<Phase> => {
    const plan = context.plan(qos, Math.max(1, Math.ceil(messages / senders)), ratePerS, false);
    return context.phase('publishers', senders, plan, copies);
  };
  let messagesPerS = ratePerS;
  if (ratePerS === 0) {
    const pilot = await send(PILOT_DELIVERIES / copies);
    const warm = await send((pilot.sent / pilot.elapsedS) * warmupSeconds);
    messagesPerS = warm.sent / warm.elapsedS;
  } else {
    await send(ratePerS * warmupSeconds);
  }
  if (context.problems.size > 0) {
    throw new Error('the warm-up already failed');
  }
  const run = await send(messagesPerS * seconds);
  const stats = await context.load.stats();
  const { latency, ackLatency, lateness } = stats;
  return [
    {
      operation: 'delivered message',
      expected: run.sent * copies,
      happened: run.received,
      values: {
        ...context.columns(run.received, run.elapsedS, run.usage, stats),
        p50Ms: latency.percentileMs(0.5),
        p99Ms: latency.percentileMs(0.99),
        ...(ratePerS > 0 ? { p999Ms: latency.percentileMs(0.999) } : {}),
        ...(ratePerS > 0 ? { latenessMs: lateness.percentileMs(0.99) } : {}),
        ...(qos > 0
          ? {
              ackedPerS: run.sent / run.publishS,
              ackP50Ms: ackLatency.percentileMs(0.5),
              ackP99Ms: ackLatency.percentileMs(0.99),
            }
          : {}),
      },
    },
  ];
}

export function traffic(options: TrafficOptions): Scenario {
  return {
    name: options.name,
    title: options.title,
    needs: [
      ...(options.durable === true ? (['durable'] as const) : []),
      ...(options.shared === true ? (['shared'] as const) : []),
    ],
    durable: options.durable ?? false,
    profile: 'traffic',
    measure: (context) => measure(options, context),
  };
}

// How long a broker takes from being started to the first CONNACK, with an empty folder, and what it
// holds then. The harness asks every 10 ms; a round gives one value, so this wants more rounds.

import type { Figure } from '../figure.ts';
import type { RunContext } from '../run-context.ts';
import type { Scenario } from '../scenario.ts';

async function measure(context: RunContext): Promise<readonly Figure[]> {
  return [
    {
      operation: 'start',
      expected: 1,
      happened: 1,
      values: {
        startMs: context.broker.startedAfterMs,
        startCpuMs: context.brokerCpuS() * 1000,
        ...context.memory(),
      },
    },
  ];
}

export const start: Scenario = {
  name: 'start',
  title: 'from the command line to the first CONNACK',
  needs: [],
  durable: true,
  profile: 'idle',
  measure,
};

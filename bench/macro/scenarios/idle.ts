// Memory of a connection nobody uses: resident memory of the broker after a collection, against
// the same broker when it was empty, divided by the clients; then again with one subscription
// each. CPU the idle clients cost is read along the way.

import { collectGarbage } from '../collect.ts';
import type { Figure } from '../figure.ts';
import type { ClientSpec } from '../load/protocol.ts';
import { residentBytes } from '../process-usage.ts';
import type { RunContext } from '../run-context.ts';
import { sleep } from '../run-context.ts';
import type { Scenario } from '../scenario.ts';

const CLIENTS = 5000;
const PER_ADDRESS = 10_000;
const SETTLE_MS = 2000;
const IDLE_MS = 3000;
const KIB = 1024;

function idleClient(index: number): ClientSpec {
  return {
    clientId: `i${index}`,
    affinity: index,
    cleanStart: true,
    filters: [],
    qos: 0,
    localAddress: `127.0.0.${1 + Math.floor(index / PER_ADDRESS)}`,
  };
}

async function resident(context: RunContext): Promise<number> {
  await collectGarbage(context.broker);
  return residentBytes(context.broker.pid);
}

async function measure(context: RunContext): Promise<readonly Figure[]> {
  const count = context.settings.clients ?? CLIENTS;
  await sleep(SETTLE_MS);
  const empty = await resident(context);
  const clients = Array.from({ length: count }, (_, index) => idleClient(index));
  await context.open('idle', clients);
  await sleep(SETTLE_MS);
  const uncollected = residentBytes(context.broker.pid);
  const connected = await resident(context);
  const cpuBefore = context.brokerCpuS();
  await sleep(IDLE_MS);
  const idleCpuS = context.brokerCpuS() - cpuBefore;
  context.demand(await context.load.subscribe('idle', 0), 'with a subscription');
  await sleep(SETTLE_MS);
  const subscribed = await resident(context);
  const { closed } = await context.load.counters();
  const lost = [...closed.values()].reduce((sum, some) => sum + some, 0);
  if (lost > 0) {
    context.problems.add(`connections lost: ${lost}`);
  }
  return [
    {
      operation: 'idle connection',
      expected: count,
      happened: count - lost,
      values: {
        kibPerConnection: (connected - empty) / count / KIB,
        kibPerSubscription: (subscribed - connected) / count / KIB,
        kibPerConnectionUncollected: (uncollected - empty) / count / KIB,
        emptyMib: empty / KIB / KIB,
        idleCpuPercent: (idleCpuS / (IDLE_MS / 1000)) * 100,
        ...context.memory(),
      },
    },
  ];
}

export const idleMemory: Scenario = {
  name: 'idle',
  title: `${CLIENTS} idle clients, without and with one subscription each`,
  needs: [],
  durable: false,
  profile: 'idle',
  measure,
};

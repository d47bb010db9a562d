// Durable sessions whose clients are away: what storing for them costs, and handing it out when they
// come back at another node than they left.

import { precise, whole } from '../../macro/access/table.ts';
import { pairs } from '../../macro/scenarios/clients.ts';
import type { ClusterContext, Measured } from '../cluster-context.ts';
import type { ClusterScenario, ClusterSizes } from '../scenario.ts';
import { openSubscribers } from './traffic.ts';

/** aedes hands out no more than its default of 1000 at a reconnect. */
const PER_SESSION_MAX = 500;

async function measure(context: ClusterContext, sizes: ClusterSizes): Promise<Measured> {
  const { publishers, subscribers } = pairs(sizes.pairs, 1, true);
  await openSubscribers(context, subscribers);
  for (let node = 1; node < context.nodes; node++) await context.load.close(`subscribers ${node}`);
  await context.openAt(0, 'publishers', publishers);
  await context.quiet();

  const each = Math.min(PER_SESSION_MAX, Math.ceil(sizes.away / publishers.length));
  const stored = each * publishers.length;
  const beganMs = performance.now();
  const storing = context.begin();
  const redisBeforeS = context.cluster.redisCpuS();
  const { phase } = await context.measured(publishers.length, stored, 1, 0);
  context.expect('acked', phase.sent, stored);
  // aedes acknowledges first and stores afterwards: what it still does belongs to it.
  await context.quiet();
  const storedUsage = context.usedSince(storing);
  const ackedPerS = phase.sent / phase.publishS;
  const redisUs = ((context.cluster.redisCpuS() - redisBeforeS) * 1e6) / stored;
  const quietS = (performance.now() - beganMs) / 1000;

  await context.load.clear();
  const handing = context.begin();
  const beganUs = context.load.nowUs();
  const opened = await context.openAt(
    0,
    'returned',
    subscribers.map((spec) => ({ ...spec, filters: [] })),
  );
  context.expect('sessions present', opened.sessionsPresent, subscribers.length);
  const { received, lastReceivedUs } = await context.settle(stored);
  context.expect('handed out', received, stored);
  const handedUsage = context.usedSince(handing);
  return {
    ackedPerS,
    storeUs: (storedUsage.brokerCpuS * 1e6) / stored,
    redisUs,
    quietS,
    handedPerS: (received * 1e6) / Math.max(1, lastReceivedUs - beganUs),
    handUs: (handedUsage.brokerCpuS * 1e6) / stored,
  };
}

export const away: ClusterScenario = {
  name: 'away1',
  title: 'QoS 1 for durable sessions whose clients are away, who come back at another node',
  columns: {
    ackedPerS: { title: 'acked/s', write: whole, isCompared: true },
    storeUs: { title: 'CPU µs per stored, all nodes', write: precise, isCompared: true },
    redisUs: { title: 'Redis CPU µs per stored', write: precise },
    quietS: { title: 's until quiet', write: precise },
    handedPerS: { title: 'handed out/s', write: whole, isCompared: true },
    handUs: { title: 'CPU µs per handed out', write: precise, isCompared: true },
  },
  measure,
};

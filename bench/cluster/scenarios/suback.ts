// How long a SUBSCRIBE waits for its SUBACK when nobody else wants anything: one at a time, round the
// nodes, of clients without and with a durable session.

import { precise } from '../../macro/access/table.ts';
import type { ClusterContext, Measured } from '../cluster-context.ts';
import { OwnClients, percentile } from '../own-clients.ts';
import type { ClusterScenario, ClusterSizes } from '../scenario.ts';

const WARM_UP = 20;

async function latencies(
  context: ClusterContext,
  count: number,
  isDurable: boolean,
): Promise<readonly number[]> {
  const own = new OwnClients(context);
  try {
    const name = isDurable ? 'durable' : 'clean';
    const clients = [];
    for (let node = 0; node < context.nodes; node++) {
      const clientId = `${name}-${node}`;
      const spec = { clientId, affinity: 0, cleanStart: !isDurable, filters: [], qos: 1 };
      clients.push(await own.open(node, spec));
    }
    const found: number[] = [];
    for (let index = 0; index < count + WARM_UP; index++) {
      const client = clients[index % clients.length]!;
      const beganMs = performance.now();
      await own.done(client.subscribe([`suback/${name}/${index}/+`], 1), 'SUBACK');
      if (index >= WARM_UP) found.push(performance.now() - beganMs);
    }
    return found.sort((a, b) => a - b);
  } finally {
    await own.close();
  }
}

async function measure(context: ClusterContext, sizes: ClusterSizes): Promise<Measured> {
  const begin = context.begin();
  const clean = await latencies(context, sizes.subscribes, false);
  const cleanCpuS = context.usedSince(begin).brokerCpuS;
  const durable = await latencies(context, sizes.subscribes, true);
  return {
    p50: percentile(clean, 0.5),
    p99: percentile(clean, 0.99),
    cpuUs: (cleanCpuS * 1e6) / (sizes.subscribes + WARM_UP),
    durableP50: percentile(durable, 0.5),
    durableP99: percentile(durable, 0.99),
  };
}

export const suback: ClusterScenario = {
  name: 'suback',
  title: 'time from SUBSCRIBE to SUBACK, idle nodes',
  columns: {
    p50: { title: 'p50 ms', write: precise },
    p99: { title: 'p99 ms', write: precise, isCompared: true },
    cpuUs: { title: 'CPU µs per SUBSCRIBE, all nodes', write: precise, isCompared: true },
    durableP50: { title: 'durable p50 ms', write: precise },
    durableP99: { title: 'durable p99 ms', write: precise, isCompared: true },
  },
  measure,
};

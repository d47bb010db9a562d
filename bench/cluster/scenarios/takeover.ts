// Clients with durable sessions that come back at another node while the connection before is still
// there: how many a second, how long each waits for its CONNACK, and whether the session was there.

import { precise, whole } from '../../macro/access/table.ts';
import type { ClusterContext, Measured } from '../cluster-context.ts';
import { OwnClients, percentile } from '../own-clients.ts';
import type { ClusterScenario, ClusterSizes } from '../scenario.ts';

/** Clients on their way at a time; a client makes its next move when its last is done. */
const LANES = 20;
const PER_CLIENT = 5;

async function measure(context: ClusterContext, sizes: ClusterSizes): Promise<Measured> {
  const own = new OwnClients(context);
  const clients = Math.max(1, Math.ceil(sizes.takeovers / PER_CLIENT));
  const found: number[] = [];
  let present = 0;
  let next = 0;
  const specOf = (index: number, filters: readonly string[]) => ({
    clientId: `moves-${index}`,
    affinity: 0,
    cleanStart: false,
    filters,
    qos: 1,
  });
  try {
    for (let index = 0; index < clients; index++) {
      await own.open(index % context.nodes, specOf(index, [`moves/${index}`]));
    }
    const begin = context.begin();
    const lane = async (): Promise<void> => {
      while (next < clients * PER_CLIENT) {
        const move = next++;
        const index = move % clients;
        const node = (index + 1 + Math.floor(move / clients)) % context.nodes;
        const beganMs = performance.now();
        const client = await own.open(node, specOf(index, []));
        found.push(performance.now() - beganMs);
        if (client.sessionPresent) present++;
      }
    };
    await Promise.all(Array.from({ length: Math.min(LANES, Math.ceil(clients / 2)) }, lane));
    const usage = context.usedSince(begin);
    const moves = clients * PER_CLIENT;
    context.expect('sessions present', present, moves);
    found.sort((a, b) => a - b);
    return {
      perS: moves / usage.wallS,
      cpuUs: (usage.brokerCpuS * 1e6) / moves,
      p50: percentile(found, 0.5),
      p99: percentile(found, 0.99),
    };
  } finally {
    await own.close();
  }
}

export const takeover: ClusterScenario = {
  name: 'takeover',
  title: 'durable sessions taken over at another node, their clients still connected',
  columns: {
    perS: { title: 'takeovers/s', write: whole, isCompared: true },
    cpuUs: { title: 'CPU µs per takeover, all nodes', write: precise, isCompared: true },
    p50: { title: 'CONNACK p50 ms', write: precise },
    p99: { title: 'CONNACK p99 ms', write: precise, isCompared: true },
  },
  measure,
};

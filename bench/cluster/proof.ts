// That the nodes are one cluster, shown before anything is measured: a message of every node reaches
// every other. Nodes that each run alone would subscribe and take over faster than any cluster, and
// nothing but this would tell.

import type { Client } from '../macro/load/client.ts';
import { publishTemplate } from '../macro/load/frames.ts';
import type { ClusterContext } from './cluster-context.ts';
import { OwnClients } from './own-clients.ts';

const WITHIN_MS = 5000;
const POLL_MS = 10;
const PAYLOAD_BYTES = 8;

/** Throws and names the pair when something does not cross, or crosses more than once. */
export async function proveCluster(context: ClusterContext): Promise<void> {
  for (let to = 0; to < context.nodes; to++) {
    for (let from = 0; from < context.nodes; from++) {
      if (from !== to) await proveCrossing(context, from, to);
    }
  }
}

async function proveCrossing(context: ClusterContext, from: number, to: number): Promise<void> {
  const own = new OwnClients(context);
  const topic = `proof/${from}/${to}`;
  const plain = { affinity: 0, cleanStart: true, qos: 0 };
  try {
    await own.open(to, { ...plain, clientId: `hears-${from}-${to}`, filters: [topic] });
    const speaker = await own.open(from, { ...plain, clientId: `says-${from}-${to}`, filters: [] });
    say(speaker, context.settings.mqttVersion, topic);
    const endMs = performance.now() + WITHIN_MS;
    while (own.meter.received === 0 && performance.now() < endMs) await pause();
    await pause();
    const { received } = own.meter;
    if (received !== 1) {
      throw new Error(
        `the nodes are no cluster: ${received} of 1 messages came from node ${from} to node ${to}`,
      );
    }
  } finally {
    await own.close();
  }
}

function say(client: Client, mqttVersion: 4 | 5, topic: string): void {
  client.write(publishTemplate(mqttVersion, [topic], 0, false, PAYLOAD_BYTES).bytes);
}

function pause(): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, POLL_MS);
  });
}

// The first node dies by kill -9 with durable clients on it. Each connects to another node at once, and
// again until it has its session: how long after the kill that is. Only sessions that were there count.

import { precise, whole } from '../../macro/access/table.ts';
import { Client } from '../../macro/load/client.ts';
import type { ClientSpec } from '../../macro/load/protocol.ts';
import type { ClusterContext, Measured } from '../cluster-context.ts';
import { OwnClients, percentile } from '../own-clients.ts';
import type { ClusterScenario, ClusterSizes } from '../scenario.ts';

/** Sessions are made by so many clients at a time. */
const LANES = 20;
/** Between two tries of a client that was refused. */
const AGAIN_MS = 20;
const WITHIN_MS = 30_000;

interface Resumed {
  readonly ms: number;
  readonly tries: number;
  readonly isPresent: boolean;
}

/** Until it is taken, at the other nodes in turn. */
async function resume(
  context: ClusterContext,
  own: OwnClients,
  spec: ClientSpec,
  index: number,
  killedMs: number,
): Promise<Resumed | null> {
  const others = context.nodes - 1;
  for (let tries = 1; performance.now() - killedMs < WITHIN_MS; tries++) {
    const target = context.targetOf(1 + ((index + tries) % others));
    const client = new Client(spec, target, own.meter);
    const failure = await Promise.race([client.ready(), pause(WITHIN_MS, 'timeout')]);
    const ms = performance.now() - killedMs;
    if (failure === undefined) {
      own.adopt(client);
      return { ms, tries, isPresent: client.sessionPresent };
    }
    await client.close();
    await pause(AGAIN_MS, undefined);
  }
  return null;
}

async function measure(context: ClusterContext, sizes: ClusterSizes): Promise<Measured> {
  const own = new OwnClients(context);
  const count = sizes.sessions;
  const specOf = (index: number, filters: readonly string[]): ClientSpec => ({
    clientId: `survives-${index}`,
    affinity: 0,
    cleanStart: false,
    filters,
    qos: 1,
  });
  try {
    let next = 0;
    const lane = async (): Promise<void> => {
      while (next < count) {
        const index = next++;
        await own.open(0, specOf(index, [`survives/${index}`]));
      }
    };
    await Promise.all(Array.from({ length: LANES }, lane));
    await context.quiet();

    const killedMs = performance.now();
    await context.cluster.kill(0);
    const resumed = await Promise.all(
      Array.from({ length: count }, (_, index) =>
        resume(context, own, specOf(index, []), index, killedMs),
      ),
    );
    const found = resumed.filter((one) => one !== null);
    context.expect('sessions present', found.filter(({ isPresent }) => isPresent).length, count);
    const times = found.map(({ ms }) => ms).sort((a, b) => a - b);
    return {
      p50: percentile(times, 0.5),
      p99: percentile(times, 0.99),
      max: times.at(-1) ?? Number.NaN,
      tries: found.reduce((sum, { tries }) => sum + tries, 0) / Math.max(1, found.length),
    };
  } finally {
    await own.close();
  }
}

function pause<T>(ms: number, value: T): Promise<T> {
  return new Promise((resolve) => {
    setTimeout(() => resolve(value), ms).unref();
  });
}

export const death: ClusterScenario = {
  name: 'death',
  title: 'durable sessions resumed at other nodes after kill -9 of theirs, ms since the kill',
  columns: {
    p50: { title: 'p50 ms', write: whole },
    p99: { title: 'p99 ms', write: whole, isCompared: true },
    max: { title: 'last ms', write: whole },
    tries: { title: 'connects per client', write: precise },
  },
  measure,
};

// Many different subscriptions at one node: how fast they are taken, whether another node matches each
// at its SUBACK, and how long a node that joins afterwards takes until it does.

import { precise, whole } from '../../macro/access/table.ts';
import type { ClientSpec } from '../../macro/load/protocol.ts';
import type { ClusterContext, Measured } from '../cluster-context.ts';
import type { ClusterScenario, ClusterSizes } from '../scenario.ts';

const PER_CLIENT = 1000;
/** Filters that are published to. */
const PROBES = 500;
const PROBE_MS_MAX = 20_000;

function topicOf(client: number, number: number): string {
  const digits = (value: number): string => String(value).padStart(4, '0');
  return `route/${digits(client)}/${digits(number)}`;
}

/** Publishes once to a part of the filters, and tells when the last has come. */
async function probe(
  context: ClusterContext,
  node: number,
  topics: readonly string[],
): Promise<{ readonly received: number; readonly ms: number }> {
  const group = `probe ${node}`;
  const spec: ClientSpec = {
    clientId: `probe-${node}`,
    affinity: 0,
    cleanStart: true,
    filters: [],
    qos: 0,
    topics,
  };
  await context.openAt(node, group, [spec]);
  await context.load.clear();
  const beganUs = context.load.nowUs();
  await context.load.publish(group, context.plan(1, topics.length, 0, false), 1);
  const endMs = performance.now() + PROBE_MS_MAX;
  let seen = await context.load.counters();
  for (; seen.received < topics.length && performance.now() < endMs; ) {
    await new Promise((resolve) => setTimeout(resolve, 5));
    seen = await context.load.counters();
  }
  await context.load.close(group);
  return { received: seen.received, ms: (seen.lastReceivedUs - beganUs) / 1000 };
}

async function measure(context: ClusterContext, sizes: ClusterSizes): Promise<Measured> {
  const clients = Math.max(1, Math.round(sizes.routes / PER_CLIENT));
  const each = Math.min(PER_CLIENT, sizes.routes);
  const specs: ClientSpec[] = Array.from({ length: clients }, (_, client) => ({
    clientId: `routes-${client}`,
    affinity: client,
    cleanStart: true,
    filters: Array.from({ length: each }, (__, number) => topicOf(client, number)),
    qos: 0,
  }));
  const count = clients * each;
  const begin = context.begin();
  await context.openAt(0, 'routes', specs);
  const taken = context.usedSince(begin);

  const step = Math.max(1, Math.floor(count / PROBES));
  const topics = specs
    .flatMap((spec) => spec.filters)
    .filter((_, index) => index % step === 0)
    .slice(0, PROBES);
  const atOther = await probe(context, 1, topics);
  context.expect('matched at the other node', atOther.received, topics.length);

  const joiner = await context.cluster.addNode();
  const atJoiner = await probe(context, context.cluster.nodes.length - 1, topics);
  context.expect('matched at a node that has joined', atJoiner.received, topics.length);
  return {
    perS: count / taken.wallS,
    cpuUs: (taken.brokerCpuS * 1e6) / count,
    probeMs: atOther.ms,
    joinMs: joiner.startedAfterMs,
    joinProbeMs: atJoiner.ms,
  };
}

export const routes: ClusterScenario = {
  name: 'routes',
  title: 'many subscriptions at one node, and who matches them',
  columns: {
    perS: { title: 'subscriptions/s', write: whole, isCompared: true },
    cpuUs: { title: 'CPU µs per subscription, all nodes', write: precise, isCompared: true },
    probeMs: { title: 'probes at another node, ms', write: precise },
    joinMs: { title: 'a joiner answers after ms', write: whole },
    joinProbeMs: { title: 'probes there, ms', write: precise },
  },
  measure,
};

// Every scenario by name, in the order of the report.

import type { Scenario } from './scenario.ts';
import { fanIn, fanOut, manyTopics, pairs, sharedGroup } from './scenarios/clients.ts';
import { connectStorm } from './scenarios/connect-storm.ts';
import { idleMemory } from './scenarios/idle.ts';
import { offline } from './scenarios/offline.ts';
import { retainedReplay } from './scenarios/retained.ts';
import { start } from './scenarios/start.ts';
import { traffic } from './scenarios/traffic.ts';

const qosLevels = [0, 1, 2] as const;
const qosBelow2 = [0, 1] as const;

export const scenarios: readonly Scenario[] = [
  ...qosLevels.map((qos) =>
    traffic({
      name: `pairs${qos}`,
      title: `50 pairs, QoS ${qos}`,
      cast: () => pairs(50, qos, false),
      qos,
    }),
  ),
  ...[50, 1000].flatMap((count) =>
    qosBelow2.map((qos) =>
      traffic({
        name: `fanout${count}-${qos}`,
        title: `1 → ${count}, QoS ${qos}`,
        cast: () => fanOut(count, qos, false),
        qos,
      }),
    ),
  ),
  ...qosBelow2.map((qos) =>
    traffic({
      name: `fanin${qos}`,
      title: `50 → 1 through a wildcard, QoS ${qos}`,
      cast: () => fanIn(50, qos),
      qos,
    }),
  ),
  ...qosBelow2.map((qos) =>
    traffic({
      name: `shared${qos}`,
      title: `50 publishers → shared group of 10, QoS ${qos}`,
      cast: () => sharedGroup(50, 10, qos),
      qos,
      shared: true,
    }),
  ),
  ...qosBelow2.map((qos) =>
    traffic({
      name: `topics${qos}`,
      title: `10,000 topics, 60 wildcard subscribers, two of them per message, QoS ${qos}`,
      cast: () => manyTopics(qos),
      qos,
    }),
  ),
  offline({
    name: 'offline50',
    title: '1 → 50 sessions that are away, QoS 1, in memory',
    cast: () => fanOut(50, 1, true),
    messages: 8000,
    durable: false,
  }),
  offline({
    name: 'offline-pairs',
    title: '50 publishers, each with one session that is away, QoS 1, in memory',
    cast: () => pairs(50, 1, true),
    messages: 200_000,
    durable: false,
  }),
  offline({
    name: 'offline50-durable',
    title: '1 → 50 sessions that are away, QoS 1, on disk',
    cast: () => fanOut(50, 1, true),
    messages: 8000,
    durable: true,
  }),
  offline({
    name: 'offline-pairs-durable',
    title: '50 publishers, each with one session that is away, QoS 1, on disk',
    cast: () => pairs(50, 1, true),
    messages: 200_000,
    durable: true,
  }),
  traffic({
    name: 'online-pairs-durable',
    title: '50 pairs, persistent subscribers that are there, QoS 1, on disk',
    cast: () => pairs(50, 1, true),
    qos: 1,
    durable: true,
  }),
  traffic({
    name: 'online-pairs-durable-40k',
    title: '50 pairs, persistent subscribers that are there, QoS 1, on disk, 40,000 messages/s',
    cast: () => pairs(50, 1, true),
    qos: 1,
    ratePerS: 40_000,
    durable: true,
  }),
  retainedReplay,
  connectStorm,
  idleMemory,
  start,
  ...[1000, 10_000].map((ratePerS) =>
    traffic({
      name: `latency${ratePerS / 1000}k`,
      title: `latency at ${ratePerS.toLocaleString('en-US')} messages/s over 50 pairs, QoS 1`,
      cast: () => pairs(50, 1, false),
      qos: 1,
      ratePerS,
    }),
  ),
];

/**
 * The `$SYS` tree with the names mosquitto made customary, published retained at an interval, and only
 * what has changed. Started by the composition root, which hands in how to publish.
 */
import type { Clock, Scheduler } from '../core/ports.ts';
import type { Stats } from '../core/stats.ts';
import { LoadAverage, loadMinutes } from './load-average.ts';

export interface SysTopicsOptions {
  readonly version: string;
  readonly stats: Stats;
  /** Publishes retained. */
  readonly publish: (topic: string, payload: string) => void;
  readonly clock: Clock;
  readonly scheduler: Pick<Scheduler, 'every'>;
  /** 0: nothing is published. */
  readonly intervalMs: number;
}

export interface SysTopics {
  stop(): void;
}

const PREFIX = '$SYS/broker/';

const sum = (values: Float64Array): number => values.reduce((total, value) => total + value, 0);

/** Topics below `$SYS/broker/` that are a counter or a gauge. */
export const sysTopicTable: readonly {
  readonly topic: string;
  readonly help: string;
  readonly read: (stats: Stats) => number;
}[] = [
  {
    topic: 'clients/connected',
    help: 'Clients whose CONNECT was accepted.',
    read: (s) => s.clientsConnected,
  },
  {
    topic: 'clients/disconnected',
    help: 'Sessions without a connection.',
    read: (s) => Math.max(0, s.sessions - s.clientsConnected),
  },
  { topic: 'clients/total', help: 'Sessions, connected or not.', read: (s) => s.sessions },
  {
    topic: 'clients/maximum',
    help: 'Most clients connected at one time.',
    read: (s) => s.clientsConnectedMaximum,
  },
  {
    topic: 'clients/expired',
    help: 'Sessions that ended because nobody came back.',
    read: (s) => s.sessionsExpired,
  },
  {
    topic: 'messages/received',
    help: 'Packets of any type received.',
    read: (s) => sum(s.packetsReceived),
  },
  { topic: 'messages/sent', help: 'Packets of any type sent.', read: (s) => sum(s.packetsSent) },
  {
    topic: 'messages/stored',
    help: 'Messages held: retained and queued.',
    read: (s) => s.retainedMessages + s.queuedMessages,
  },
  {
    topic: 'publish/messages/received',
    help: 'Messages accepted from clients.',
    read: (s) => sum(s.publishReceived),
  },
  {
    topic: 'publish/messages/sent',
    help: 'Messages sent to clients.',
    read: (s) => sum(s.publishSent),
  },
  {
    topic: 'publish/messages/dropped',
    help: 'Messages that did not reach a receiver.',
    read: (s) => sum(s.dropped),
  },
  {
    topic: 'publish/bytes/received',
    help: 'Payload bytes accepted from clients.',
    read: (s) => s.publishBytesReceived,
  },
  {
    topic: 'publish/bytes/sent',
    help: 'Payload bytes sent to clients.',
    read: (s) => s.publishBytesSent,
  },
  { topic: 'bytes/received', help: 'Bytes read from clients.', read: (s) => s.bytesReceived },
  { topic: 'bytes/sent', help: 'Bytes sent to clients.', read: (s) => s.bytesSent },
  { topic: 'subscriptions/count', help: 'Subscriptions.', read: (s) => s.subscriptions },
  {
    topic: 'shared_subscriptions/count',
    help: 'Shared subscriptions among them.',
    read: (s) => s.sharedSubscriptions,
  },
  {
    topic: 'retained messages/count',
    help: 'Retained messages.',
    read: (s) => s.retainedMessages,
  },
  {
    topic: 'store/messages/count',
    help: 'Messages held: retained and queued.',
    read: (s) => s.retainedMessages + s.queuedMessages,
  },
  {
    topic: 'store/messages/bytes',
    help: 'Bytes of the messages held.',
    read: (s) => s.retainedBytes + s.queuedBytes,
  },
];

/** Topics below `$SYS/broker/load/`, each with the averages of 1, 5 and 15 minutes. */
export const sysLoadTable: readonly {
  readonly topic: string;
  readonly help: string;
  readonly read: (stats: Stats) => number;
}[] = [
  {
    topic: 'messages/received',
    help: 'Packets received a minute.',
    read: (s) => sum(s.packetsReceived),
  },
  { topic: 'messages/sent', help: 'Packets sent a minute.', read: (s) => sum(s.packetsSent) },
  {
    topic: 'publish/received',
    help: 'Messages accepted a minute.',
    read: (s) => sum(s.publishReceived),
  },
  { topic: 'publish/sent', help: 'Messages sent a minute.', read: (s) => sum(s.publishSent) },
  { topic: 'publish/dropped', help: 'Messages dropped a minute.', read: (s) => sum(s.dropped) },
  { topic: 'bytes/received', help: 'Bytes received a minute.', read: (s) => s.bytesReceived },
  { topic: 'bytes/sent', help: 'Bytes sent a minute.', read: (s) => s.bytesSent },
  { topic: 'sockets', help: 'Sockets opened a minute.', read: (s) => s.socketsAccepted },
  {
    topic: 'connections',
    help: 'CONNECT packets a minute, refused ones included.',
    read: (s) => s.connectsAccepted + s.connectsRefused,
  },
];

/** Publishes now and then at each interval, until stopped. */
export function startSysTopics(options: SysTopicsOptions): SysTopics {
  if (options.intervalMs === 0) return { stop: () => {} };
  const tree = new SysTree(options);
  tree.publish();
  const stop = options.scheduler.every(options.intervalMs, () => tree.publish());
  return { stop };
}

class SysTree {
  readonly #options: SysTopicsOptions;
  readonly #published: Map<string, string> = new Map();
  readonly #loads: readonly LoadAverage[];
  readonly #startMs: number;
  #lastMs: number;

  constructor(options: SysTopicsOptions) {
    this.#options = options;
    this.#startMs = options.clock.monotonicMs();
    this.#lastMs = this.#startMs;
    this.#loads = sysLoadTable.map(({ read }) => new LoadAverage(read(options.stats)));
  }

  publish(): void {
    const { stats, version, clock } = this.#options;
    const nowMs = clock.monotonicMs();
    const elapsedMs = nowMs - this.#lastMs;
    this.#lastMs = nowMs;
    // All is read before any is published: publishing counts too.
    const values: [topic: string, payload: string][] = [
      ['version', `causeway version ${version}`],
      ['uptime', `${Math.floor((nowMs - this.#startMs) / 1000)} seconds`],
      ...sysTopicTable.map(({ topic, read }): [string, string] => [topic, String(read(stats))]),
      ...sysLoadTable.flatMap(({ topic, read }, index) =>
        Array.from(
          this.#loads[index]!.update(read(stats), elapsedMs),
          (average, i): [string, string] => [
            `load/${topic}/${loadMinutes[i]}min`,
            average.toFixed(2),
          ],
        ),
      ),
    ];
    for (const [topic, payload] of values) {
      if (this.#published.get(topic) === payload) continue;
      this.#published.set(topic, payload);
      this.#options.publish(`${PREFIX}${topic}`, payload);
    }
  }
}

/**
 * A broker without sockets, disk or passing time, for benches of the core: sinks swallow what they are
 * given, and the bench ends each turn itself.
 */
import { Broker } from '../../src/core/broker.ts';
import { makeLimits } from '../../src/core/limits.ts';
import type { ByteHandler, ByteSink, ListenerInfo, Log, Scheduler } from '../../src/core/ports.ts';
import { systemClock, systemRandom } from '../../src/listeners/scheduler.ts';
import { MemoryStore } from '../../src/store/memory/memory-store.ts';
import { encodeConnect } from '../../src/wire/connect.ts';
import { encodeSubscribe } from '../../src/wire/subscribe.ts';

/** Takes every byte at once. */
export class SwallowingSink implements ByteSink {
  readonly remoteAddress = '';
  readonly remotePort = 0;
  readonly certificate = null;
  readonly pskIdentity = null;
  bytes = 0;

  write(_buffer: Buffer, start: number, end: number): boolean {
    this.bytes += end - start;
    return true;
  }

  unsentBytes(): number {
    return 0;
  }

  pause(): void {}
  resume(): void {}
  end(): void {}
  destroy(): void {}
}

/** Runs what was put off when it is told to. */
export class HandScheduler implements Scheduler {
  #tasks: (() => void)[] = [];

  endOfTurn(task: () => void): void {
    this.#tasks.push(task);
  }

  nextTurn(task: () => void): void {
    this.#tasks.push(task);
  }

  every(): () => void {
    return () => {};
  }

  turn(): void {
    const tasks = this.#tasks;
    this.#tasks = [];
    for (const task of tasks) task();
  }
}

const listener: ListenerInfo = { name: 'bench', transport: 'tcp', limits: {} };
const quiet: Log = { debug: () => {}, info: () => {}, warn: () => {}, error: console.error };

/** A broker and the turns of its loop. */
export class BareBroker {
  readonly scheduler: HandScheduler = new HandScheduler();
  readonly broker: Broker;

  constructor() {
    this.broker = new Broker({
      limits: makeLimits(),
      queueOverflow: 'drop_oldest',
      sharedStrategy: 'round_robin',
      revokedSubscription: 'disconnect',
      clock: systemClock,
      random: systemRandom,
      scheduler: this.scheduler,
      log: quiet,
      store: new MemoryStore(),
      gate: null,
      observer: null,
      bus: null,
    });
  }

  /** Connects a 3.1.1 client; `filter` null: it only publishes. */
  client(clientId: string, filter: string | null, qos: 0 | 1 | 2): ByteHandler {
    const handler = this.broker.accept(new SwallowingSink(), listener);
    if (handler === null) throw new Error('refused');
    const connect = encodeConnect({
      protocolVersion: 4,
      cleanStart: true,
      keepAliveS: 0,
      clientId,
      username: null,
      password: null,
      will: null,
      sessionExpiryIntervalS: 0,
      receiveMaximum: 65_535,
      maximumPacketSize: 0,
      topicAliasMaximum: 0,
      requestResponseInformation: false,
      requestProblemInformation: true,
      userProperties: [],
      authenticationMethod: null,
      authenticationData: null,
    });
    handler.onBytes(connect, 0, connect.length);
    if (filter !== null) {
      const subscribe = encodeSubscribe(4, {
        packetId: 1,
        subscriptionId: 0,
        userProperties: [],
        subscriptions: [
          { filter, qos, noLocal: false, retainAsPublished: false, retainHandling: 0 },
        ],
      });
      handler.onBytes(subscribe, 0, subscribe.length);
    }
    this.scheduler.turn();
    return handler;
  }
}

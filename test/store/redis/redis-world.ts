/**
 * A datacenter of shared stores in virtual time: a model of Redis and some nodes, all from one seed. A test
 * says what nodes do, lets time pass, and looks at what is in Redis.
 */
import type { LedgerAnswer, OpenedRecord, OpenRequest } from '../../../src/core/cluster-ports.ts';
import type { QueueBudget } from '../../../src/core/queue-budget.ts';
import type { QueueEntry } from '../../../src/core/queue-entry.ts';
import type { AppendJournal } from '../../../src/store/journal/journal-ports.ts';
import type { RedisStoreLimits } from '../../../src/store/redis/redis-store.ts';
import { textOf } from '../../contract/store-recorder.ts';
import { Kernel } from '../../sim/kernel.ts';
import {
  ModelRedis,
  type ModelRedisClient,
  type ModelRedisOptions,
} from '../../sim/model-redis.ts';
import type { SimNode } from '../../sim/sim-node.ts';
import { newSid, openRequest, RedisNode } from './redis-node.ts';

/** Redis' clock begins here. */
const EPOCH_MS = 1_800_000_000_000;

export class WorldNode {
  readonly node: RedisNode;
  readonly sim: SimNode;
  readonly port: ModelRedisClient;
  readonly #kernel: Kernel;

  constructor(
    kernel: Kernel,
    server: ModelRedis,
    name: string,
    limits: Partial<RedisStoreLimits>,
    journal?: AppendJournal,
    budgetOf?: (clientId: string) => QueueBudget | null,
  ) {
    this.#kernel = kernel;
    this.sim = kernel.node(name, { wallOffsetMs: 0, originMs: EPOCH_MS });
    this.port = server.connect(name, (ms, task) => kernel.after(this.sim, ms, task));
    this.sim.onKill(() => this.port.close());
    this.node = new RedisNode({
      port: this.port,
      incarnation: name,
      scheduler: this.sim,
      clock: this.sim.clock,
      limits,
      ...(journal === undefined ? {} : { journal }),
      ...(budgetOf === undefined ? {} : { budgetOf }),
    });
    const { node } = this;
    this.act(() => node.store.begin(node.events));
  }

  get store(): RedisNode['store'] {
    return this.node.store;
  }

  /** As an event of the node, `afterMs` from now. */
  act(task: () => void, afterMs = 0): void {
    this.#kernel.after(this.sim, afterMs, task);
  }
}

export class World {
  readonly kernel: Kernel;
  readonly redis: ModelRedis;

  constructor(seed: number, options: ModelRedisOptions = {}) {
    this.kernel = new Kernel(seed, { isTracing: false });
    const { kernel } = this;
    this.redis = new ModelRedis(
      {
        nowMs: () => EPOCH_MS + kernel.nowMs,
        after: (ms, task) => kernel.after(null, ms, task),
        chance: () => kernel.chance.next(),
      },
      { delayMs: [0.1, 0.5], reconnectMs: 20, shards: 4, historyMs: 60_000, ...options },
    );
  }

  join(
    name: string,
    limits: Partial<RedisStoreLimits> = {},
    journal?: AppendJournal,
    budgetOf?: (clientId: string) => QueueBudget | null,
  ): WorldNode {
    const node = new WorldNode(this.kernel, this.redis, name, limits, journal, budgetOf);
    this.until(() => node.port.isUp);
    return node;
  }

  pass(ms: number): void {
    this.kernel.run(this.kernel.nowMs + ms);
  }

  /** Fails when it does not come in a minute of virtual time. */
  until(isSo: () => boolean, maxMs = 60_000): void {
    const endMs = this.kernel.nowMs + maxMs;
    this.kernel.run(() => isSo() || this.kernel.nowMs > endMs);
    if (!isSo()) this.kernel.fail('what was waited for did not come');
  }

  /** What a callback is called with. */
  ask<T>(node: WorldNode, question: (done: (answer: T) => void) => void): T {
    const answers: T[] = [];
    node.act(() => question((answer) => answers.push(answer)));
    this.until(() => answers.length > 0);
    return answers[0] as T;
  }

  answer(node: WorldNode, clientId: string, fields: Partial<OpenRequest> = {}): LedgerAnswer {
    return this.ask(node, (done) =>
      node.store.ledger.open(
        node.node.incarnation,
        Math.floor(node.sim.clock.wallMs()),
        newSid(),
        openRequest(clientId, fields),
        done,
      ),
    );
  }

  /** The node owns the session from here on. */
  take(
    node: WorldNode,
    sessionNumber: number,
    clientId: string,
    fields: Partial<OpenRequest> = {},
  ): OpenedRecord {
    const answer = this.answer(node, clientId, fields);
    if (answer.kind !== 'opened') throw new Error(`${clientId} is ${answer.kind}`);
    const { sid, epoch } = answer.record;
    node.store.bind(sessionNumber, clientId, sid, epoch);
    return answer.record;
  }

  /** Another node knows of it. */
  know(node: WorldNode, sessionNumber: number, clientId: string, opened: OpenedRecord): void {
    node.store.bind(sessionNumber, clientId, opened.sid, opened.epoch);
  }

  read(node: WorldNode, sessionNumber: number, fromSeq = 1): readonly QueueEntry[] {
    return this.ask<readonly QueueEntry[]>(node, (done) =>
      node.store.read(sessionNumber, fromSeq, 100_000, 1e9, (entries, error) => {
        if (error !== null) throw error;
        done(entries);
      }),
    );
  }

  texts(node: WorldNode, sessionNumber: number): string[] {
    return this.read(node, sessionNumber).map((entry) => textOf(entry.message));
  }
}

/** `count` texts that begin with the prefix. */
export function numbered(prefix: string, count: number, from = 1): string[] {
  return Array.from({ length: count }, (_, i) => `${prefix}${from + i}`);
}

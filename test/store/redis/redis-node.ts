/**
 * A node of a datacenter as the shared store sees it: a RedisStore with what core and cluster would be
 * told, kept in order, over any RedisPort. Also the home the contract of stores wants, where each opening
 * is another node.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import type {
  Incarnation,
  LedgerAnswer,
  OpenedRecord,
  OpenRequest,
  SessionImage,
  SharedEvents,
} from '../../../src/core/cluster-ports.ts';
import type { Message } from '../../../src/core/message.ts';
import type { Clock, Scheduler, SessionRecord } from '../../../src/core/ports.ts';
import type { QueueBudget } from '../../../src/core/queue-budget.ts';
import { QueueEntry } from '../../../src/core/queue-entry.ts';
import {
  type AppendIdentity,
  OWN_IDENTITY,
  SharedAppend,
} from '../../../src/core/shared-append.ts';
import type { RedisPort } from '../../../src/drivers/redis/redis-port.ts';
import { systemClock, systemScheduler } from '../../../src/listeners/scheduler.ts';
import { EmbeddedStore } from '../../../src/store/embedded/embedded-store.ts';
import type { AppendJournal } from '../../../src/store/journal/journal-ports.ts';
import { RedisStore, type RedisStoreLimits } from '../../../src/store/redis/redis-store.ts';
import { SplitStore } from '../../../src/store/split-store.ts';
import { LogRecorder, StoreRecorder } from '../../contract/store-recorder.ts';
import type { PutOptions, StoreSubject } from '../../contract/store-subject.ts';

export interface Queued {
  readonly sessionNumber: number;
  readonly append: SharedAppend;
  /** Null: it failed. */
  readonly seq: number | null;
  readonly owner: Incarnation | null;
  readonly dropped: number;
  readonly why: 'gone' | 'full' | 'failed' | null;
}

export interface NodeOptions {
  readonly port: RedisPort;
  readonly incarnation: Incarnation;
  readonly keyPrefix?: string;
  readonly scheduler?: Scheduler;
  readonly clock?: Clock;
  readonly limits?: Partial<RedisStoreLimits>;
  readonly journal?: AppendJournal;
  readonly budgetOf?: (clientId: string) => QueueBudget | null;
}

let sids = 1;

export class RedisNode implements SharedEvents {
  readonly store: RedisStore;
  readonly incarnation: Incarnation;
  readonly log: LogRecorder = new LogRecorder();
  readonly events: StoreRecorder = new StoreRecorder();
  readonly told: Queued[] = [];
  readonly fencedNumbers: number[] = [];
  readonly kepts: SharedAppend[] = [];
  /** A client id for each change to its packet ids that a journal has and Redis not. */
  readonly promised: string[] = [];
  readonly tails: { readonly clientId: string; readonly tailSeq: number }[] = [];
  readonly #waiting: Map<SharedAppend, (queued: Queued) => void> = new Map();

  constructor(options: NodeOptions) {
    this.incarnation = options.incarnation;
    this.store = new RedisStore({
      redis: options.port,
      keyPrefix: options.keyPrefix ?? 'cw:',
      scheduler: options.scheduler ?? systemScheduler,
      clock: options.clock ?? systemClock,
      log: this.log,
      limits: options.limits ?? {},
      journal: options.journal ?? null,
      incarnation: () => options.incarnation,
      budgetOf: options.budgetOf,
    });
    this.store.listen(this);
    this.store.onTail = (_owner, clientId, _sid, tailSeq) => {
      this.tails.push({ clientId, tailSeq });
    };
    options.port.listen(this.store);
  }

  queued(
    sessionNumber: number,
    append: SharedAppend,
    seq: number,
    owner: Incarnation | null,
    dropped: number,
  ): void {
    this.#tell({ sessionNumber, append, seq, owner, dropped, why: null });
  }

  kept(_sessionNumber: number, append: SharedAppend): void {
    this.kepts.push(append);
  }

  keptQueued(): void {}

  inboundKept(clientId: string): void {
    this.promised.push(clientId);
  }

  inboundWritten(clientId: string): void {
    this.promised.splice(this.promised.indexOf(clientId), 1);
  }

  enqueueFailed(
    sessionNumber: number,
    append: SharedAppend,
    why: 'gone' | 'full' | 'failed',
  ): void {
    this.#tell({ sessionNumber, append, seq: null, owner: null, dropped: 0, why });
  }

  fenced(sessionNumber: number): void {
    this.fencedNumbers.push(sessionNumber);
  }

  #tell(queued: Queued): void {
    this.told.push(queued);
    this.#waiting.get(queued.append)?.(queued);
    this.#waiting.delete(queued.append);
  }

  enqueue(
    sessionNumber: number,
    message: Message,
    how: PutOptions = {},
    identity: AppendIdentity = OWN_IDENTITY,
  ): SharedAppend {
    const { qos = 1, retain = false, subscriptionIds = null } = how;
    const append = new SharedAppend(message, qos, retain, subscriptionIds, null, identity);
    this.store.enqueue(sessionNumber, append);
    return append;
  }

  /** Resolves when it is told. */
  put(sessionNumber: number, message: Message, how: PutOptions = {}): Promise<Queued> {
    return new Promise((resolve) => {
      this.#waiting.set(this.enqueue(sessionNumber, message, how), resolve);
    });
  }

  open(clientId: string, fields: Partial<OpenRequest> = {}): Promise<LedgerAnswer> {
    return new Promise((resolve) => {
      this.store.ledger.open(this.incarnation, 1, newSid(), openRequest(clientId, fields), resolve);
    });
  }

  /** Opens and binds. */
  async take(
    sessionNumber: number,
    clientId: string,
    fields: Partial<OpenRequest> = {},
  ): Promise<OpenedRecord> {
    const answer = await this.open(clientId, fields);
    if (answer.kind !== 'opened') throw new Error(`${clientId} is ${answer.kind}`);
    const { sid, epoch } = answer.record;
    this.store.bind(sessionNumber, clientId, sid, epoch);
    return answer.record;
  }

  load(): Promise<SessionImage[]> {
    const images: SessionImage[] = [];
    return new Promise((resolve, reject) => {
      this.store.ledger.load(
        (image) => images.push(image),
        (isComplete) => (isComplete ? resolve(images) : reject(new Error('Redis went away'))),
      );
    });
  }
}

export function newSid(): string {
  return (sids++).toString(16).padStart(16, '0');
}

export function openRequest(clientId: string, fields: Partial<OpenRequest> = {}): OpenRequest {
  return {
    clientId,
    identity: null,
    tenant: '',
    isTenantProven: false,
    version: 5,
    cleanStart: false,
    expiryIntervalS: 3600,
    will: null,
    ...fields,
  };
}

/** Makes a connection; `close` ends it. */
export type Connect = () => { readonly port: RedisPort; readonly close: () => void };

/** Each `open` is a new node that takes every session there is. */
export class RedisHome {
  readonly #connect: Connect;
  readonly #keyPrefix: string;
  readonly #directory: string;
  readonly #ends: (() => Promise<void>)[] = [];
  #nodes = 0;

  constructor(t: Test, connect: Connect, keyPrefix: string) {
    this.#connect = connect;
    this.#keyPrefix = keyPrefix;
    this.#directory = mkdtempSync(join(tmpdir(), 'causeway-redis-store-'));
    t.teardown(async () => {
      for (const end of this.#ends) await end();
      rmSync(this.#directory, { recursive: true, force: true });
    });
  }

  async open(): Promise<StoreSubject> {
    const { port, close } = this.#connect();
    this.#nodes++;
    const incarnation = this.#nodes.toString(16).padStart(32, 'a');
    const node = new RedisNode({ port, incarnation, keyPrefix: this.#keyPrefix });
    const retained = new EmbeddedStore({
      directory: this.#directory,
      scheduler: systemScheduler,
      log: node.log,
    });
    const store = new SplitStore(node.store, retained);
    await store.start(node.events, node.events);
    this.#ends.push(async () => {
      await store.stop();
      close();
    });
    while (!port.isUp) await new Promise((resolve) => setTimeout(resolve, 2));
    const subject = new RedisSubject(node, store);
    for (const { clientId, identity } of await node.load()) {
      await subject.resume(clientId, identity);
    }
    return subject;
  }
}

class RedisSubject implements StoreSubject {
  readonly store: SplitStore;
  readonly events: StoreRecorder;
  readonly #node: RedisNode;
  readonly #known: Set<number> = new Set();

  constructor(node: RedisNode, store: SplitStore) {
    this.#node = node;
    this.store = store;
    this.events = node.events;
  }

  /** As core and cluster do at a CONNECT. */
  async resume(clientId: string, identity: string | null): Promise<void> {
    const sessionNumber = this.events.sessions.size + 1;
    const opened = await this.#node.take(sessionNumber, clientId, { identity });
    this.#known.add(sessionNumber);
    const { headSeq, tailSeq, settledSeqs, queuedBytes, inboundIds, subscriptions } = opened;
    this.events.session({
      record: {
        sessionNumber,
        clientId,
        identity,
        tenant: '',
        protocolVersion: 5,
        expiryIntervalS: 3600,
        disconnectedAtMs: 0,
        subscriptions,
        will: null,
      },
      headSeq,
      tailSeq,
      queuedMessages: tailSeq - headSeq + 1 - settledSeqs.length,
      queuedBytes,
      inboundIds,
    });
  }

  async create(record: SessionRecord): Promise<void> {
    const { sessionNumber, clientId, identity, expiryIntervalS } = record;
    if (!this.#known.has(sessionNumber)) {
      await this.#node.take(sessionNumber, clientId, { identity, expiryIntervalS });
      this.#known.add(sessionNumber);
    }
    await this.events.done(this.store.saveSession(record));
  }

  async put(number: number, message: Message, how: PutOptions = {}): Promise<QueueEntry | null> {
    const { seq, why } = await this.#node.put(number, message, how);
    if (why === 'gone') return null;
    if (seq === null) throw new Error(`could not be queued: ${why}`);
    const { qos = 1, retain = false, subscriptionIds = null } = how;
    return new QueueEntry(seq, message, qos, retain, subscriptionIds, true);
  }
}

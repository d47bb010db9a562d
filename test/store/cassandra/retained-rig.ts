/**
 * Nodes of a region over one table, in time that stands still: a store whose mirror is a disk in memory,
 * on which a crash leaves what was committed. The core's index of topics is a map.
 */
import type { Message } from '../../../src/core/message.ts';
import { makeMessage } from '../../../src/core/message.ts';
import type { RestoreVisitor } from '../../../src/core/ports.ts';
import {
  isAbove,
  type RetainedVerdict,
  type RetainedVersion,
} from '../../../src/core/retained-version.ts';
import { CassandraCounters } from '../../../src/store/cassandra/cassandra-counters.ts';
import { CassandraRetained } from '../../../src/store/cassandra/cassandra-retained.ts';
import { Reconciler } from '../../../src/store/cassandra/reconciler.ts';
import { HybridClock } from '../../../src/util/hybrid-clock.ts';
import { LogRecorder, StoreRecorder } from '../../contract/store-recorder.ts';
import { FakeDisk, FakeStore } from '../../core/fake-store.ts';
import { ManualTime, SeededRandom } from '../../core/manual-time.ts';
import { FakeTable } from './fake-table.ts';

/** Of the tests: above KEPT_AFTER_MS and under it. */
export const KEPT_MS = 400;
export const NOT_KEPT_MS = 200;

export class RegionRig {
  readonly time: ManualTime = new ManualTime();
  readonly table: FakeTable;
  tombstoneS: number = 10 * 86_400;
  /** Answers of the tables are under way for so long; 0: a turn. */
  latencyMs = 0;

  readonly #due: { readonly atMs: number; readonly task: () => void }[] = [];
  #stopDue: (() => void) | null = null;

  constructor() {
    const { time } = this;
    this.table = new FakeTable({
      later: (task) => {
        if (this.latencyMs === 0) time.nextTurn(task);
        else this.#after(task);
      },
      wallMs: () => time.wallMs(),
    });
  }

  #after(task: () => void): void {
    this.#due.push({ atMs: this.time.nowMs + this.latencyMs, task });
    this.#stopDue ??= this.time.every(10, () => {
      const count = this.#due.findIndex(({ atMs }) => atMs > this.time.nowMs);
      for (const due of this.#due.splice(0, count === -1 ? this.#due.length : count)) due.task();
    });
  }
}

export interface NodeOptions {
  /** A node alone stamps what it writes. */
  readonly isAlone?: boolean;
  readonly disk?: FakeDisk;
  readonly inFlightMax?: number;
  readonly lastRoundMs?: number;
  readonly isLocalEnough?: boolean;
  readonly rowsPerS?: number;
}

export class RegionNode {
  readonly region: RegionRig;
  readonly disk: FakeDisk;
  readonly mirror: FakeStore;
  readonly store: CassandraRetained;
  readonly counters: CassandraCounters = new CassandraCounters();
  readonly log: LogRecorder = new LogRecorder();
  readonly events: StoreRecorder = new StoreRecorder();
  readonly index: Map<string, Message> = new Map();
  readonly #slots: Map<string, number> = new Map();
  readonly hybridClock: HybridClock;
  readonly reconciler: Reconciler;
  /** Starts of whole rounds. */
  readonly rounds: number[] = [];
  /** There are other nodes; one of them says that it has all. */
  mayKeep = true;
  isDeaf = false;
  readonly asked: ((isKept: boolean) => void)[] = [];
  /** Of whoever has other nodes: what was cleared. */
  readonly buried: Map<string, RetainedVersion> = new Map();
  readonly #isAlone: boolean;

  constructor(region: RegionRig, options: NodeOptions = {}) {
    const { isAlone = false, disk = new FakeDisk(), inFlightMax = 64 } = options;
    const { time, table, tombstoneS } = region;
    this.region = region;
    this.disk = disk;
    this.#isAlone = isAlone;
    this.mirror = new FakeStore(time, disk, true);
    this.mirror.marksRetained = true;
    this.hybridClock = new HybridClock(() => time.wallMs(), 5000);
    const shared = { table, clock: time, scheduler: time, log: this.log, counters: this.counters };
    this.store = new CassandraRetained({
      ...shared,
      mirror: this.mirror,
      random: new SeededRandom(1),
      inFlightMax,
      tombstoneS,
      stamps: isAlone ? { hybridClock: this.hybridClock, writer: 7 } : null,
      keepers: {
        isLocalEnough: options.isLocalEnough === true,
        ask: (done) => {
          if (!this.mayKeep) return false;
          this.asked.push(done);
          if (!this.isDeaf) time.nextTurn(() => done(true));
          return true;
        },
      },
    });
    this.reconciler = new Reconciler({
      ...shared,
      lane: this.store.lane,
      view: {
        get: (topic) => this.index.get(topic) ?? null,
        slotOf: (topic) => this.#slotOf(topic),
        clearedAt: (topic) =>
          isAlone ? this.store.clearedAt(topic) : (this.buried.get(topic) ?? null),
        all: () => this.index.values(),
        apply: (topic, message, version) => this.apply(topic, message, version),
      },
      rowsPerS: options.rowsPerS ?? 1_000_000,
      tombstoneS,
      lastRoundMs: () => this.rounds.at(-1) ?? options.lastRoundMs ?? 0,
      roundEnded: (beganMs) => {
        this.rounds.push(beganMs);
        this.store.roundEnded(beganMs);
      },
    });
  }

  #slotOf(topic: string): number {
    if (!this.index.has(topic)) return -1;
    const slot = this.#slots.get(topic) ?? this.#slots.size;
    this.#slots.set(topic, slot);
    return slot;
  }

  /** As the core does with what is told at start. */
  async start(): Promise<this> {
    const visitor: RestoreVisitor = {
      session: (session) => this.events.session(session),
      retained: (message) => {
        this.events.retained(message);
        this.index.set(message.topic, message);
      },
      tombstone: (topic, version) => {
        this.events.tombstone(topic, version);
        if (this.#isAlone) this.store.forgetTombstone(topic);
        else this.buried.set(topic, version);
      },
    };
    await this.store.start(this.events, visitor);
    return this;
  }

  /** The process dies; what comes next starts over its disk. */
  crash(options: NodeOptions = {}): Promise<RegionNode> {
    this.halt();
    const { region, disk } = this;
    return new RegionNode(region, { isAlone: this.#isAlone, ...options, disk }).start();
  }

  /** Nothing of it goes on: its tasks, and what its calls to the table would have answered. */
  halt(): void {
    this.region.time.forget();
  }

  /** A client publishes; '' clears. The ticket. */
  publish(
    topic: string,
    text: string,
    options: { qos?: 0 | 1; expiresAtMs?: number } = {},
  ): number {
    const { qos = 1, expiresAtMs = 0 } = options;
    const old = this.index.get(topic) ?? null;
    if (text === '') {
      this.index.delete(topic);
      return this.store.removeRetained(
        topic,
        this.#isAlone ? null : this.#version(topic, old, 2 ** 32),
        qos > 0,
      );
    }
    const message = makeMessage(0, topic, Buffer.from(text), { qos, expiresAtMs });
    if (!this.#isAlone) message.version = this.#version(topic, old, 0);
    this.index.set(topic, message);
    return this.store.putRetained(message);
  }

  /** A message from before there were versions, or from a time before this. */
  has(topic: string, text: string, version: RetainedVersion | null, expiresAtMs = 0): Message {
    const message = makeMessage(0, topic, Buffer.from(text), { qos: 1, expiresAtMs });
    message.version = version;
    this.index.set(topic, message);
    this.disk.retained.set(topic, message);
    return message;
  }

  /** As the core and the bus take over what comes from elsewhere. */
  apply(topic: string, message: Message | null, version: RetainedVersion): RetainedVerdict {
    if (!this.#isAlone) {
      if (this.hybridClock.observe(version.timeUs) === 'clock_skew') return 'clock_skew';
      const buried = this.buried.get(topic);
      if (buried !== undefined && !isAbove(version, buried)) return 'older';
      if (message === null) this.buried.set(topic, version);
      else this.buried.delete(topic);
    }
    const old = this.index.get(topic)?.version ?? null;
    if (old !== null && !isAbove(version, old)) return 'taken';
    if (message === null) {
      this.index.delete(topic);
    } else {
      message.version = version;
      this.index.set(topic, message);
    }
    this.store.mirrorRetained(topic, message, version);
    return 'taken';
  }

  /** As the core does when a message has expired. */
  expire(topic: string): void {
    const message = this.index.get(topic)!;
    this.index.delete(topic);
    if (!this.#isAlone) this.buried.set(topic, message.version!);
    this.store.mirrorRetained(topic, null, this.#isAlone ? null : message.version);
  }

  textOf(topic: string): string | null {
    return this.index.get(topic)?.payload.toString() ?? null;
  }

  /** What the disk has, as `textOf`. */
  onDisk(topic: string): string | null {
    if (this.disk.tombstones.has(topic)) return 'cleared';
    return this.disk.retained.get(topic)?.payload.toString() ?? null;
  }

  /** Runs a round; false when it was given up. Throws when it does not end within `ms`. */
  round(ms = 60_000, hasRecords = false): boolean {
    let ended: boolean | null = null;
    this.reconciler.start(hasRecords, (isWhole) => {
      ended = isWhole;
    });
    for (let passed = 0; ended === null; passed += 20) {
      if (passed > ms) throw new Error('the round does not end');
      this.region.time.pass(20, 20);
    }
    return ended;
  }

  /** Tickets that were told, and how. */
  get told(): (number | string)[] {
    return this.events.retainedTold.map(({ ticket, error }) =>
      error === null ? ticket : `${ticket} ${error.message}`,
    );
  }

  #version(topic: string, old: Message | null, cleared: number): RetainedVersion {
    const buriedUs = this.buried.get(topic)?.timeUs ?? 0;
    const aboveUs = Math.max(old?.version?.timeUs ?? 0, buriedUs);
    const version = {
      timeUs: Math.max(this.hybridClock.nextUs(), aboveUs + 1),
      writer: 5 + cleared,
    };
    if (cleared > 0) this.buried.set(topic, version);
    else this.buried.delete(topic);
    return version;
  }
}

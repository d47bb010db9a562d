/**
 * Journals of a few nodes on hand-moved time: disks whose syncs the test lets happen, links that lose what
 * they are told to, and what would have gone to Redis, in order. For the tests of store/journal.
 */
import type { Incarnation } from '../../../src/core/incarnation.ts';
import { Journal } from '../../../src/store/journal/journal.ts';
import type { JournalEntry } from '../../../src/store/journal/journal-entry.ts';
import type {
  JournalCourier,
  JournalDisk,
  JournalRow,
  JournalSink,
  JournalWord,
} from '../../../src/store/journal/journal-ports.ts';
import type { JournalBounds } from '../../../src/store/journal/own-journal.ts';
import { LogRecorder } from '../../contract/store-recorder.ts';
import { ManualTime } from '../../core/manual-time.ts';

export class FakeDisk implements JournalDisk {
  readonly rows: Map<string, Buffer>;
  /** Writes wait until `sync`. */
  isHeld = false;
  failure: Error | null = null;
  /** A life that is over does nothing any more. */
  isDead = false;
  readonly #time: ManualTime;
  #held: (() => void)[] = [];

  constructor(time: ManualTime, rows: Map<string, Buffer> = new Map()) {
    this.#time = time;
    this.rows = rows;
  }

  write(rows: readonly JournalRow[], done: (error: Error | null) => void): void {
    this.#later(() => {
      if (this.failure === null) for (const { key, value } of rows) this.rows.set(key, value);
      done(this.failure);
    });
  }

  remove(from: string, to: string): void {
    this.#later(() => {
      for (const key of [...this.rows.keys()]) if (key >= from && key <= to) this.rows.delete(key);
    });
  }

  read(
    from: string,
    to: string,
    countMax: number,
    done: (error: Error | null, rows: readonly JournalRow[]) => void,
  ): void {
    this.#later(() => {
      const keys = [...this.rows.keys()].filter((key) => key >= from && key <= to).sort();
      done(
        null,
        keys.slice(0, countMax).map((key) => ({ key, value: this.rows.get(key)! })),
      );
    });
  }

  sync(): void {
    this.isHeld = false;
    for (const task of this.#held.splice(0)) this.#time.nextTurn(task);
    this.#time.settle();
  }

  #later(task: () => void): void {
    const alive = (): void => {
      if (!this.isDead) task();
    };
    if (this.isHeld) this.#held.push(alive);
    else this.#time.nextTurn(alive);
  }
}

export class FakeNode implements JournalCourier {
  readonly name: Incarnation;
  readonly disk: FakeDisk;
  readonly journal: Journal;
  readonly log: LogRecorder = new LogRecorder();
  /** What Redis was handed, as `writer seq`; answered at once unless `isAnswering` is off. */
  readonly appended: string[] = [];
  isUp = true;
  isAnswering = true;
  mayJudge = true;
  bounds: JournalBounds = { messagesMax: 1000, bytesMax: 1024 * 1024 };
  /** Frames to these are lost. */
  readonly deaf: Set<Incarnation> = new Set();
  readonly owed: Set<Incarnation> = new Set();
  readonly lacking: Set<Incarnation> = new Set();
  readonly #world: JournalWorld;

  constructor(world: JournalWorld, name: Incarnation, disk: FakeDisk, isLocalEnough: boolean) {
    this.#world = world;
    this.name = name;
    this.disk = disk;
    this.journal = new Journal({
      disk,
      scheduler: world.time,
      clock: world.time,
      log: this.log,
      bounds: () => this.bounds,
      isLocalEnough,
      courier: this,
      sink: this.#sink(),
    });
    this.journal.begin((error) => {
      if (error !== null) throw error;
    });
  }

  #sink(): JournalSink {
    const isUp = (): boolean => this.isUp;
    return {
      get isUp() {
        return isUp();
      },
      replay: ({ writer, seq }, answered) => {
        this.appended.push(`${writer} ${seq}`);
        if (this.isAnswering) answered();
      },
    };
  }

  // ------------------------------------------------------------------ JournalCourier

  peers(): readonly Incarnation[] {
    return [...this.#world.nodes.keys()].filter((name) => name !== this.name);
  }

  isMember(incarnation: Incarnation): boolean {
    return this.#world.nodes.has(incarnation);
  }

  lacksRedis(incarnation: Incarnation): boolean {
    return this.lacking.has(incarnation);
  }

  entry(peer: Incarnation, after: number, position: number, record: Buffer): void {
    this.#send(peer, (node) => node.journal.entry(this.name, after, position, record));
  }

  done(peer: Incarnation, position: number, word: JournalWord): void {
    this.#send(peer, (node) => node.journal.done(this.name, position, word));
  }

  owes(writer: Incarnation, isOwing: boolean): void {
    if (isOwing) this.owed.add(writer);
    else this.owed.delete(writer);
  }

  #send(peer: Incarnation, tell: (node: FakeNode) => void): void {
    if (this.deaf.has(peer)) return;
    this.#world.time.nextTurn(() => {
      const node = this.#world.nodes.get(peer);
      if (node !== undefined) tell(node);
    });
  }

  // ------------------------------------------------------------------ for tests

  /** What `kept` and `queued` told, by number. */
  readonly told: string[] = [];
  readonly #entries: Map<number, JournalEntry> = new Map();

  /** Appends that Redis does not answer. */
  keep(from: number, to: number = from, bytes = 10): void {
    for (let seq = from; seq <= to; seq++) {
      const entry = this.journal.keep(
        { clientId: 'sub', sid: 'aa', writer: this.name, seq, value: Buffer.alloc(bytes, seq) },
        () => this.told.push(`kept ${seq}`),
        () => this.told.push(`queued ${seq}`),
      );
      if (entry === null) this.told.push(`no room ${seq}`);
      else this.#entries.set(seq, entry);
    }
    this.#world.time.settle();
  }

  /** Redis has answered them. */
  answer(from: number, to: number = from): void {
    for (let seq = from; seq <= to; seq++) this.journal.answered(this.#entries.get(seq)!);
    this.#world.time.settle();
  }
}

export class JournalWorld {
  readonly time: ManualTime = new ManualTime();
  readonly nodes: Map<Incarnation, FakeNode> = new Map();

  /** With the disk of an earlier life, or a new one. */
  start(name: Incarnation, options: { disk?: FakeDisk; isLocalEnough?: boolean } = {}): FakeNode {
    const { disk, isLocalEnough = false } = options;
    const node = new FakeNode(this, name, new FakeDisk(this.time, disk?.rows), isLocalEnough);
    this.nodes.set(name, node);
    this.time.settle();
    return node;
  }

  /** kill -9; the others find out. */
  kill({ name, disk, journal }: FakeNode): void {
    this.nodes.delete(name);
    disk.isDead = true;
    journal.end();
    for (const node of this.nodes.values()) node.journal.memberGone(name);
  }

  pass(ms: number): void {
    this.time.pass(ms);
  }
}

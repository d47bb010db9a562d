/**
 * The journal of a node: what it has appended while Redis was away, and copies of what others have
 * (docs/adr/0017, DESIGN P6). Made by app/ or the simulation, which hand in disk, links and the store of
 * shared sessions; appends come from AppendWriter, frames from cluster/.
 */
import type { Incarnation } from '../../core/incarnation.ts';
import type { Clock, Log, Scheduler } from '../../core/ports.ts';
import { CommitLine } from './commit-line.ts';
import { CopyKeeper } from './copy-keeper.ts';
import { JournalCounters } from './journal-counters.ts';
import type { JournalEntry } from './journal-entry.ts';
import {
  after,
  COPIES_FIRST,
  COPIES_LAST,
  incarnationOf,
  numberOf,
  OWN_FIRST,
  OWN_LAST,
  ownKey,
} from './journal-keys.ts';
import type {
  AppendJournal,
  JournalCourier,
  JournalDisk,
  JournalRow,
  JournalSink,
  JournalWord,
} from './journal-ports.ts';
import type { JournalRecord } from './journal-record.ts';
import { replayRange } from './journal-replay.ts';
import { type JournalBounds, OwnJournal } from './own-journal.ts';

export interface JournalOptions {
  readonly disk: JournalDisk;
  readonly scheduler: Scheduler;
  readonly clock: Clock;
  readonly log: Log;
  /** Of what is this node's own, and again of what it keeps for others. */
  readonly bounds: () => JournalBounds;
  /** `cluster.degraded: local`. */
  readonly isLocalEnough: boolean;
  readonly courier: JournalCourier;
  readonly sink: JournalSink;
}

const TICK_MS = 100;
const PAGE_ROWS = 256;

export class Journal implements AppendJournal {
  readonly counters: JournalCounters = new JournalCounters();
  readonly #options: JournalOptions;
  readonly #own: OwnJournal;
  readonly #copies: CopyKeeper;
  readonly #line: CommitLine;
  /** What an earlier life has left: how many, and up to which number. */
  #oldMessages = 0;
  #oldLast = 0;
  #isReplayingOld = false;
  #stopTicks: (() => void) | null = null;

  constructor(options: JournalOptions) {
    const { disk, scheduler, clock, log, bounds, isLocalEnough, courier, sink } = options;
    const { counters } = this;
    const endOfTurn = (task: () => void): void => scheduler.endOfTurn(task);
    this.#options = options;
    this.#line = new CommitLine(disk);
    const line = this.#line;
    this.#own = new OwnJournal({
      line,
      courier,
      clock,
      log,
      counters,
      bounds,
      isLocalEnough,
      endOfTurn,
    });
    this.#copies = new CopyKeeper({ disk, sink, log, counters, line, courier, bounds, endOfTurn });
  }

  // ------------------------------------------------------------------ start and stop

  /** Reads what is on the disk; `done(error)`: it cannot be read. */
  begin(done: (error: Error | null) => void): void {
    let lastNumber = 0;
    const own = (row: JournalRow): void => {
      lastNumber = Math.max(lastNumber, numberOf(row.key) ?? 0);
      this.#oldMessages++;
    };
    const copy = ({ key, value }: JournalRow): void => {
      const incarnation = incarnationOf(key);
      const position = numberOf(key);
      if (incarnation !== null && position !== null) {
        this.#copies.found(incarnation, position, value);
      }
    };
    this.#each(OWN_FIRST, OWN_LAST, own, (ownError) => {
      if (ownError !== null) {
        done(ownError);
        return;
      }
      this.#oldLast = lastNumber;
      this.#own.begin(lastNumber + 1);
      this.#each(COPIES_FIRST, COPIES_LAST, copy, (error) => {
        if (error === null) this.#start();
        done(error);
      });
    });
  }

  #start(): void {
    const { scheduler, clock, log } = this.#options;
    if (this.#oldMessages > 0) {
      log.warn({ messages: this.#oldMessages }, 'the journal has messages of an earlier life');
    }
    this.#stopTicks = scheduler.every(TICK_MS, () => {
      this.#replayOld();
      this.#own.tick(clock.monotonicMs());
      this.#copies.tick();
    });
    this.#replayOld();
  }

  end(): void {
    this.#stopTicks?.();
    this.#stopTicks = null;
  }

  #each(
    from: string,
    to: string,
    row: (row: JournalRow) => void,
    done: (error: Error | null) => void,
  ): void {
    this.#options.disk.read(from, to, PAGE_ROWS, (error, rows) => {
      for (const one of rows) row(one);
      const last = rows.at(-1);
      if (error !== null || last === undefined) done(error);
      else this.#each(after(last.key), to, row, done);
    });
  }

  /** Before this node has sessions again, when Redis is there. */
  #replayOld(): void {
    const { sink, disk, log } = this.#options;
    if (this.#oldMessages === 0 || this.#isReplayingOld || !sink.isUp) return;
    this.#isReplayingOld = true;
    const [from, to] = [OWN_FIRST, ownKey(this.#oldLast)];
    replayRange({ disk, sink, log, counters: this.counters }, from, to, (isWhole) => {
      this.#isReplayingOld = false;
      if (!isWhole) return;
      log.info(
        { messages: this.#oldMessages },
        'what an earlier life had journaled is in the queues',
      );
      this.#oldMessages = 0;
      this.#line.remove(from, to);
    });
  }

  /** What an earlier life has left is in the queues. */
  get isCaughtUp(): boolean {
    return this.#oldMessages === 0;
  }

  // ------------------------------------------------------------------ for operators

  get messages(): number {
    return this.#own.messages + this.#oldMessages;
  }

  get bytes(): number {
    return this.#own.bytes;
  }

  get copies(): number {
    return this.#copies.messages;
  }

  get copyBytes(): number {
    return this.#copies.bytes;
  }

  /** Why the disk takes nothing; '': it does. */
  get problem(): string {
    return this.#own.problem;
  }

  /** It has a peer that stores what it is sent. */
  get peer(): Incarnation | null {
    return this.#own.peer;
  }

  // ------------------------------------------------------------------ AppendJournal

  get hasRoom(): boolean {
    return this.#own.hasRoom;
  }

  keep(record: JournalRecord, kept: () => void, queued: () => void): JournalEntry | null {
    return this.#own.keep(record, kept, queued);
  }

  answered(entry: JournalEntry): void {
    this.#own.answered(entry);
  }

  // ------------------------------------------------------------------ from cluster/

  entry(from: Incarnation, after_: number, position: number, record: Buffer): void {
    this.#copies.received(from, after_, position, record);
  }

  done(from: Incarnation, position: number, word: JournalWord): void {
    switch (word) {
      case 'stored':
        this.#own.stored(from, position);
        break;
      case 'failed':
        this.#own.unable(from);
        break;
      case 'queued':
        this.#own.queuedBy(from, position);
        break;
      default:
        this.#copies.replayed(from, position);
    }
  }

  /** See CopyKeeper. */
  whenWritten(clientId: string, then: () => void): void {
    this.#copies.whenWritten(clientId, then);
  }

  /** A link session towards the peer begins. */
  linked(peer: Incarnation): void {
    this.#own.linked(peer);
  }

  memberGone(peer: Incarnation): void {
    this.#own.memberGone(peer);
  }

  /** This incarnation is dead. */
  lost(): void {
    this.#own.lost();
  }

  /** Dead nodes of which this one keeps entries that are not in the queues. */
  owed(): Iterable<Incarnation> {
    return this.#copies.owed();
  }
}

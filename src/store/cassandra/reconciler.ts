/**
 * Goes round the table of retained messages and holds it against this node's mirror, page by page, at a
 * bounded rate: what is newer there is taken over, what is missing there is written again, what was
 * cleared so long ago that nobody remembers is removed here (docs/adr/0021, hard cases 17 and 18). One
 * node of a region does; rounds.ts says when. Knows no driver.
 */
import { isSameRetained, type Message } from '../../core/message.ts';
import type { Clock, Log, Scheduler } from '../../core/ports.ts';
import {
  CLEARED,
  type RetainedVerdict,
  type RetainedVersion,
} from '../../core/retained-version.ts';
import { BitSet } from '../../util/bit-set.ts';
import { EMPTY_BUFFER } from '../../util/bytes.ts';
import { RecordDamage } from '../embedded/damage.ts';
import type { CassandraCounters } from './cassandra-counters.ts';
import type { Awaiting, RetainedLane } from './retained-lane.ts';
import { decodeRecord, RecordMemory, type RetainedRecord } from './retained-record.ts';
import type { RetainedTable, TableError, TablePage, TableRow } from './retained-table.ts';

/** What subscribers are served from. */
export interface RetainedView {
  get(topic: string): Message | null;
  /** A small number that the topic has as long as there is a message; -1: there is none. */
  slotOf(topic: string): number;
  /** By which version a topic was cleared that is not here; null: nobody remembers. */
  clearedAt(topic: string): RetainedVersion | null;
  /** In any order; may be walked in slices over several turns. */
  all(): Iterable<Message>;
  /** Taken over where it is newer, here and at the other nodes. */
  apply(topic: string, message: Message | null, version: RetainedVersion): RetainedVerdict;
}

export interface ReconcilerParts {
  readonly table: RetainedTable;
  readonly lane: RetainedLane;
  readonly view: RetainedView;
  readonly clock: Clock;
  readonly scheduler: Scheduler;
  readonly log: Log;
  readonly counters: CassandraCounters;
  /** At first. */
  readonly rowsPerS: number;
  readonly tombstoneS: number;
  /** Wall-clock ms at which the last whole round of this mirror began; 0: there was none. */
  readonly lastRoundMs: () => number;
  /** A whole round that began then has ended. */
  readonly roundEnded: (beganMs: number) => void;
}

interface Round {
  readonly beganMs: number;
  readonly beganAt: number;
  /** Whole records are read, as the mirror has next to nothing. */
  readonly hasRecords: boolean;
  cursor: string;
  /**
   * Slots of the mirror's topics that have a row, whatever is in it. One that another topic has taken over
   * meanwhile is looked at in the next round.
   */
  readonly seen: BitSet;
  rows: number;
  /** Of the last page: rows to be read whole, how often that was tried, and where the ring goes on. */
  wanted: TableRow[];
  tries: number;
  next: string | null;
  /** Topics that have changed here since the page was asked for: what it says of them may be over. */
  changed: ReadonlySet<string>;
  /** The walk over the mirror behind the last page. */
  rest: Iterator<Message> | null;
  readonly done: (isWhole: boolean) => void;
}

const PAGE_ROWS = 1000;
const READS_AT_ONCE = 64;
const TOPICS_PER_TICK = 2000;
const TICK_MS = 20;
const RETRY_MS = 1000;
const READ_TRIES = 30;
/** Written again and not confirmed: changes of clients must not wait behind a million of them. */
const REWRITES_MAX = 1000;
const REMOVES_MAX = 64;
const LOG_EVERY_MS = 5000;
/** The node that stamped a change so lately may be writing it. */
const UNDER_WAY_MS = 60_000;
/** Cassandra's clocks, by which tombstones end, and this node's agree that far over their lifetime. */
const CLOCKS_AGREE = 0.9;
/** Rows whose message has expired for so long are removed. */
const EXPIRED_MS = 3_600_000;

const NOTHING: ReadonlySet<string> = new Set();

/** What was written at `timeUs` it has cleared. */
function clears({ timeUs, writer }: RetainedVersion, rowUs: number): boolean {
  return timeUs > rowUs || (timeUs === rowUs && writer >= CLEARED);
}

/** A tombstone may have come and gone since the last whole round, which began at `lastRoundMs` (0: none has). */
export function isTooOld(lastRoundMs: number, nowMs: number, tombstoneS: number): boolean {
  return lastRoundMs !== 0 && nowMs - lastRoundMs >= tombstoneS * 1000 * CLOCKS_AGREE;
}

export class Reconciler {
  readonly #parts: ReconcilerParts;
  #round: Round | null = null;
  rowsPerS: number;
  #nextMs = 0;
  #isReading = false;
  #loggedMs = Number.NEGATIVE_INFINITY;
  #rewriting = 0;
  #removing = 0;
  readonly #rewritten: Awaiting = { isSettled: false, confirmed: () => void this.#rewriting-- };
  readonly #memory: RecordMemory = new RecordMemory();
  readonly #stopTick: () => void;

  constructor(parts: ReconcilerParts) {
    this.#parts = parts;
    this.rowsPerS = parts.rowsPerS;
    this.#stopTick = parts.scheduler.every(TICK_MS, () => this.#tick());
  }

  get isRunning(): boolean {
    return this.#round !== null;
  }

  /** The whole ring is read; what is missing there is being written. */
  get hasRead(): boolean {
    return this.#round !== null && this.#round.rest !== null;
  }

  /** `hasRecords`: for a mirror with nothing in it. `done`: false when it was given up. */
  start(hasRecords: boolean, done: (isWhole: boolean) => void): void {
    this.abandon();
    const { clock, counters } = this.#parts;
    this.#nextMs = 0;
    counters.progress = 0;
    this.#round = {
      beganMs: clock.wallMs(),
      beganAt: clock.monotonicMs(),
      hasRecords,
      cursor: '',
      seen: new BitSet(),
      rows: 0,
      wanted: [],
      tries: 0,
      next: null,
      changed: NOTHING,
      rest: null,
      done,
    };
  }

  abandon(): void {
    const round = this.#round;
    if (round === null) return;
    this.#round = null;
    this.#parts.lane.unwatch();
    this.#parts.counters.progress = 1;
    round.done(false);
  }

  stop(): void {
    this.#stopTick();
    this.abandon();
  }

  #tick(): void {
    const round = this.#round;
    if (round === null || this.#isReading || this.#rewriting >= REWRITES_MAX) return;
    const { clock, table, lane } = this.#parts;
    if (round.rest !== null) {
      this.#sweep(round, round.rest);
      return;
    }
    if (clock.monotonicMs() < this.#nextMs) return;
    if (!table.isUp) {
      this.#nextMs = clock.monotonicMs() + RETRY_MS;
      return;
    }
    if (round.wanted.length > 0) {
      this.#readWanted(round);
      return;
    }
    this.#isReading = true;
    round.changed = lane.watch();
    table.page(round.cursor, PAGE_ROWS, round.hasRecords, (error, page) => {
      this.#isReading = false;
      if (this.#round !== round) return;
      if (error === null) this.#paged(round, page);
      else this.#later(error);
    });
  }

  #later(error: TableError): void {
    const { clock, log } = this.#parts;
    const nowMs = clock.monotonicMs();
    this.#nextMs = nowMs + RETRY_MS;
    if (nowMs - this.#loggedMs < LOG_EVERY_MS) return;
    this.#loggedMs = nowMs;
    log.warn({ err: error }, 'retained messages could not be read from Cassandra, trying again');
  }

  #paged(round: Round, page: TablePage): void {
    const { clock, counters, log } = this.#parts;
    counters.rowsRead += page.rows.length;
    round.rows += page.rows.length;
    counters.progress = Math.min(page.progress, 0.99);
    round.next = page.next;
    round.tries = 0;
    for (const row of page.rows) this.#compare(round, row);
    const nowMs = clock.monotonicMs();
    this.#nextMs = nowMs + (page.rows.length * 1000) / this.rowsPerS;
    if (nowMs - round.beganAt > LOG_EVERY_MS && nowMs - this.#loggedMs >= LOG_EVERY_MS) {
      this.#loggedMs = nowMs;
      const percent = Math.floor(page.progress * 100);
      log.info({ rows: round.rows, percent }, 'reading retained messages from Cassandra');
    }
    if (round.wanted.length > 0) this.#readWanted(round);
    else this.#pageEnded(round);
  }

  #pageEnded(round: Round): void {
    if (round.next !== null) {
      round.cursor = round.next;
      return;
    }
    this.#parts.lane.unwatch();
    round.rest = this.#parts.view.all()[Symbol.iterator]();
  }

  /** Rows to be read whole go into `wanted`. */
  #compare(round: Round, row: TableRow): void {
    const { view, lane } = this.#parts;
    const { topic, timeUs } = row;
    const message = view.get(topic);
    if (message === null) {
      if (row.expires) return;
      const cleared = view.clearedAt(topic);
      if (cleared !== null && clears(cleared, timeUs)) {
        this.#rewrite(round, topic, null, cleared);
        return;
      }
    }
    if (message !== null) {
      round.seen.add(view.slotOf(topic));
      const ours = message.version?.timeUs ?? 0;
      if (timeUs < ours) {
        this.#rewriteMessage(round, message);
        return;
      }
      // In one microsecond a clear wins.
      if (timeUs === ours && !row.expires) return;
    }
    // What is on its way there, or came while the page was, may be newer: the next round tells.
    if (lane.has(topic) || round.changed.has(topic)) return;
    if (row.expires) this.#take(topic, { message: null, version: { timeUs, writer: CLEARED } });
    else if (row.record === null) round.wanted.push(row);
    else this.#takeRow(row);
  }

  /** Each is answered before the next page is asked for; what could not be read is tried again. */
  #readWanted(round: Round): void {
    const { table } = this.#parts;
    const rows = round.wanted;
    round.wanted = [];
    round.tries++;
    this.#isReading = true;
    let next = 0;
    let underWay = 0;
    const more = (): void => {
      while (next < rows.length && underWay < READS_AT_ONCE && this.#round === round) {
        const wanted = rows[next++]!;
        underWay++;
        table.read(wanted.topic, (error, row) => {
          underWay--;
          if (this.#round === round) this.#readOne(round, wanted, error, row);
          if (underWay === 0 && (next === rows.length || this.#round !== round)) {
            this.#isReading = false;
            if (this.#round === round && round.wanted.length === 0) this.#pageEnded(round);
          } else {
            more();
          }
        });
      }
    };
    more();
  }

  #readOne(round: Round, wanted: TableRow, error: TableError | null, row: TableRow | null): void {
    const { counters, log, lane } = this.#parts;
    const { topic } = wanted;
    if (error !== null) {
      this.#later(error);
      if (round.tries < READ_TRIES) {
        round.wanted.push(wanted);
        return;
      }
      // Of one topic nothing may hang for ever; the mirror keeps what it has.
      counters.damaged++;
      log.error({ err: error, topic }, 'a retained message in Cassandra cannot be read');
      return;
    }
    if (row === null || lane.has(topic) || round.changed.has(topic)) return;
    this.#takeRow(row);
  }

  #takeRow({ topic, timeUs, record }: TableRow): void {
    const { counters, log, clock, view } = this.#parts;
    let found: RetainedRecord;
    try {
      found = decodeRecord(topic, record ?? EMPTY_BUFFER, timeUs, this.#memory);
    } catch (error) {
      if (!(error instanceof RecordDamage)) throw error;
      counters.damaged++;
      log.error({ err: error, topic }, 'a retained message in Cassandra cannot be read');
      return;
    }
    const expiresAtMs = found.message?.expiresAtMs ?? 0;
    if (expiresAtMs === 0 || expiresAtMs > clock.wallMs()) {
      this.#take(topic, found);
      return;
    }
    // It had replaced what is here.
    if (view.get(topic) !== null) this.#take(topic, { message: null, version: found.version });
    if (clock.wallMs() - expiresAtMs >= EXPIRED_MS) this.#remove(topic, timeUs);
  }

  #remove(topic: string, timeUs: number): void {
    const { table, counters } = this.#parts;
    // The next round finds it again.
    if (this.#removing >= REMOVES_MAX) return;
    this.#removing++;
    table.remove(topic, timeUs, (error) => {
      this.#removing--;
      if (error === null) counters.expired++;
    });
  }

  #take(topic: string, { message, version }: RetainedRecord): void {
    const { view, counters } = this.#parts;
    if (view.apply(topic, message, version) === 'taken') counters.takenOver++;
    const slot = message === null ? -1 : view.slotOf(topic);
    if (slot !== -1) this.#round?.seen.add(slot);
  }

  // ------------------------------------------------------------------ what the table has not

  #sweep(round: Round, rest: Iterator<Message>): void {
    const { view } = this.#parts;
    for (let i = 0; i < TOPICS_PER_TICK && this.#rewriting < REWRITES_MAX; i++) {
      const next = rest.next();
      if (next.done === true) {
        this.#ended(round);
        return;
      }
      const slot = view.slotOf(next.value.topic);
      if (slot !== -1 && !round.seen.has(slot)) this.#missing(round, next.value);
    }
  }

  #missing(round: Round, message: Message): void {
    const { lane, view, counters, clock } = this.#parts;
    const { topic, version, expiresAtMs } = message;
    if (version === null || lane.has(topic)) return;
    // Changed since the walk has found it; or it goes by itself.
    const current = view.get(topic);
    if (current === null || !isSameRetained(current, message)) return;
    const nowMs = clock.wallMs();
    if (expiresAtMs !== 0 && expiresAtMs <= nowMs) return;
    if (!this.#mayBeCleared(version, nowMs)) {
      this.#rewriteMessage(round, message);
      return;
    }
    counters.forgotten++;
    view.apply(topic, null, { timeUs: version.timeUs + 1, writer: 0 });
  }

  /**
   * A tombstone may have come and gone without a round that has seen it: neither since the message nor
   * since the last whole round is less time than tombstones have. Otherwise Cassandra has lost the row,
   * or never had it: before its first whole round a mirror may come from a time without Cassandra.
   */
  #mayBeCleared({ timeUs }: RetainedVersion, nowMs: number): boolean {
    const { tombstoneS, lastRoundMs } = this.#parts;
    if (nowMs - timeUs / 1000 < tombstoneS * 1000) return false;
    return isTooOld(lastRoundMs(), nowMs, tombstoneS);
  }

  #rewriteMessage(round: Round, message: Message): void {
    const { topic, version } = message;
    if (version !== null && topic.charCodeAt(0) !== 0x24) {
      this.#rewrite(round, topic, message, version);
    }
  }

  /** `message` null: that it was cleared. */
  #rewrite(round: Round, topic: string, message: Message | null, version: RetainedVersion): void {
    const { lane, counters } = this.#parts;
    if (lane.has(topic)) return;
    // So lately that the node that stamped it is about to write it.
    if (version.timeUs / 1000 > round.beganMs - UNDER_WAY_MS) return;
    counters.rewritten++;
    this.#rewriting++;
    lane.put(topic, message, version, this.#rewritten, true);
  }

  #ended(round: Round): void {
    const { counters, clock, log, roundEnded } = this.#parts;
    this.#round = null;
    counters.rounds++;
    counters.progress = 1;
    const seconds = Math.round((clock.monotonicMs() - round.beganAt) / 1000);
    log.info({ rows: round.rows, seconds }, 'retained messages compared with Cassandra');
    roundEnded(round.beganMs);
    round.done(true);
  }
}

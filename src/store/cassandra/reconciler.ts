/**
 * Goes round the table of retained messages and holds it against this node's mirror, page by page, at a
 * bounded rate: what is newer there is taken over, what is missing there is written again, what was
 * cleared so long ago that nobody remembers is removed here (docs/adr/0021, hard cases 17 and 18). One
 * node of a region does; `cassandra-region.ts` in app/ says when. Knows no driver.
 */
import type { Message } from '../../core/message.ts';
import type { Clock, Log, Scheduler } from '../../core/ports.ts';
import { CLEARED, type RetainedVersion } from '../../core/retained-version.ts';
import { RecordDamage } from '../embedded/damage.ts';
import type { CassandraCounters } from './cassandra-counters.ts';
import type { RetainedLane } from './retained-lane.ts';
import { decodeRecord, type RetainedRecord } from './retained-record.ts';
import type { RetainedTable, TableError, TablePage, TableRow } from './retained-table.ts';

/** What subscribers are served from. */
export interface RetainedView {
  get(topic: string): Message | null;
  /** In any order; may be walked in slices over several turns. */
  all(): Iterable<Message>;
  /** Taken over where it is newer, here and at the other nodes. False: its version is no good. */
  apply(topic: string, message: Message | null, version: RetainedVersion): boolean;
}

export interface ReconcilerParts {
  readonly table: RetainedTable;
  readonly lane: RetainedLane;
  readonly view: RetainedView;
  readonly clock: Clock;
  readonly scheduler: Scheduler;
  readonly log: Log;
  readonly counters: CassandraCounters;
  readonly rowsPerS: number;
  readonly tombstoneS: number;
  /** Wall-clock ms at which the last whole round of this mirror began; 0: there was none. */
  readonly lastRoundMs: number;
  /** A whole round that began then has ended. */
  readonly roundEnded: (beganMs: number) => void;
}

interface Round {
  readonly beganMs: number;
  readonly beganAt: number;
  /** Whole records are read, as the mirror has next to nothing. */
  readonly hasRecords: boolean;
  cursor: string;
  /** Messages of the mirror that the table has, as new or newer. */
  readonly seen: Set<Message>;
  rows: number;
  /** The walk over the mirror behind the last page. */
  rest: Iterator<Message> | null;
  readonly done: (isWhole: boolean) => void;
}

const PAGE_ROWS = 1000;
const READS_AT_ONCE = 64;
const TOPICS_PER_TICK = 2000;
const TICK_MS = 20;
const RETRY_MS = 1000;
const LOG_EVERY_MS = 5000;
/** The node that stamped a change so lately may be writing it. */
const UNDER_WAY_MS = 60_000;
/** Rows whose message has expired for so long are removed. */
const EXPIRED_MS = 3_600_000;

export class Reconciler {
  readonly #parts: ReconcilerParts;
  #round: Round | null = null;
  #lastRoundMs: number;
  #nextMs = 0;
  #isReading = false;
  #loggedMs = 0;
  readonly #stopTick: () => void;

  constructor(parts: ReconcilerParts) {
    this.#parts = parts;
    this.#lastRoundMs = parts.lastRoundMs;
    this.#stopTick = parts.scheduler.every(TICK_MS, () => this.#tick());
  }

  get isRunning(): boolean {
    return this.#round !== null;
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
      seen: new Set(),
      rows: 0,
      rest: null,
      done,
    };
  }

  abandon(): void {
    const round = this.#round;
    if (round === null) return;
    this.#round = null;
    this.#parts.counters.progress = 1;
    round.done(false);
  }

  stop(): void {
    this.#stopTick();
    this.abandon();
  }

  #tick(): void {
    const round = this.#round;
    if (round === null || this.#isReading) return;
    const { clock, table } = this.#parts;
    if (round.rest !== null) {
      this.#sweep(round, round.rest);
      return;
    }
    if (clock.monotonicMs() < this.#nextMs) return;
    if (!table.isUp) {
      this.#nextMs = clock.monotonicMs() + RETRY_MS;
      return;
    }
    this.#isReading = true;
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
    const { clock, counters, rowsPerS, log } = this.#parts;
    counters.rowsRead += page.rows.length;
    round.rows += page.rows.length;
    counters.progress = Math.min(page.progress, 0.99);
    const wanted: TableRow[] = [];
    for (const row of page.rows) this.#compare(round, row, wanted);
    const nowMs = clock.monotonicMs();
    this.#nextMs = nowMs + (page.rows.length * 1000) / rowsPerS;
    if (nowMs - round.beganAt > LOG_EVERY_MS && nowMs - this.#loggedMs >= LOG_EVERY_MS) {
      this.#loggedMs = nowMs;
      const percent = Math.floor(page.progress * 100);
      log.info({ rows: round.rows, percent }, 'reading retained messages from Cassandra');
    }
    this.#isReading = wanted.length > 0;
    const next = (): void => {
      this.#isReading = false;
      if (this.#round !== round) return;
      if (page.next === null) round.rest = this.#parts.view.all()[Symbol.iterator]();
      else round.cursor = page.next;
    };
    if (wanted.length === 0) next();
    else this.#read(round, wanted, next);
  }

  /** Rows to be read whole go into `wanted`. */
  #compare(round: Round, row: TableRow, wanted: TableRow[]): void {
    const { view, lane } = this.#parts;
    const { topic, timeUs } = row;
    const message = view.get(topic);
    const ours = message?.version?.timeUs ?? 0;
    if (message !== null && timeUs > ours && row.expires) {
      this.#take(topic, { message: null, version: { timeUs, writer: CLEARED } });
    } else if (timeUs > ours && !row.expires) {
      // A clear that is on its way there.
      if (message === null && lane.has(topic)) return;
      if (row.record === null) wanted.push(row);
      else this.#takeRow(row);
    } else if (timeUs === ours && message !== null) {
      round.seen.add(message);
    }
  }

  /** Each is answered before the next page is asked for. */
  #read(round: Round, rows: readonly TableRow[], done: () => void): void {
    const { table } = this.#parts;
    let next = 0;
    let underWay = 0;
    const more = (): void => {
      while (next < rows.length && underWay < READS_AT_ONCE && this.#round === round) {
        underWay++;
        table.read(rows[next++]!.topic, (error, row) => {
          underWay--;
          // The next round finds it again.
          if (error !== null) this.#later(error);
          else if (row !== null) this.#takeRow(row);
          if (underWay === 0 && (next === rows.length || this.#round !== round)) done();
          else more();
        });
      }
    };
    more();
  }

  #takeRow({ topic, timeUs, record }: TableRow): void {
    const { counters, log, clock, table } = this.#parts;
    let found: RetainedRecord;
    try {
      found = decodeRecord(topic, record!, timeUs);
    } catch (error) {
      if (!(error instanceof RecordDamage)) throw error;
      counters.damaged++;
      log.error({ err: error, topic }, 'a retained message in Cassandra cannot be read');
      return;
    }
    const expiresAtMs = found.message?.expiresAtMs ?? 0;
    if (expiresAtMs !== 0 && expiresAtMs <= clock.wallMs()) {
      if (clock.wallMs() - expiresAtMs < EXPIRED_MS) return;
      counters.expired++;
      table.remove(topic, timeUs, () => {});
      return;
    }
    this.#take(topic, found);
  }

  #take(topic: string, { message, version }: RetainedRecord): void {
    const { view, counters } = this.#parts;
    if (view.apply(topic, message, version)) counters.takenOver++;
    if (message !== null) this.#round?.seen.add(message);
  }

  // ------------------------------------------------------------------ what the table has not

  #sweep(round: Round, rest: Iterator<Message>): void {
    for (let i = 0; i < TOPICS_PER_TICK; i++) {
      const next = rest.next();
      if (next.done === true) {
        this.#ended(round);
        return;
      }
      if (!round.seen.has(next.value)) this.#missing(round, next.value);
    }
  }

  #missing(round: Round, message: Message): void {
    const { lane, view, counters, tombstoneS } = this.#parts;
    const { topic, version } = message;
    if (version === null || topic.charCodeAt(0) === 0x24 || lane.has(topic)) return;
    // Changed since its page was read, or so lately that its node is about to write it.
    if (view.get(topic) !== message) return;
    const atMs = version.timeUs / 1000;
    if (atMs > round.beganMs - UNDER_WAY_MS) return;
    const isOld = atMs < round.beganMs - tombstoneS * 1000;
    // It was written, or is in the lane: it was cleared, and nobody knows of that any more. Before its first
    // whole round a mirror may come from a time without Cassandra.
    if (isOld && this.#lastRoundMs > 0) {
      counters.forgotten++;
      view.apply(topic, null, { timeUs: version.timeUs + 1, writer: 0 });
      return;
    }
    counters.rewritten++;
    lane.put(topic, message, version, null);
  }

  #ended(round: Round): void {
    const { counters, clock, log, roundEnded } = this.#parts;
    this.#round = null;
    this.#lastRoundMs = round.beganMs;
    counters.rounds++;
    counters.progress = 1;
    counters.roundEndedMs = clock.wallMs();
    const seconds = Math.round((clock.monotonicMs() - round.beganAt) / 1000);
    log.info({ rows: round.rows, seconds }, 'retained messages compared with Cassandra');
    roundEnded(round.beganMs);
    round.done(true);
  }
}

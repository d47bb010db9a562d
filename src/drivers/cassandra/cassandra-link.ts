/**
 * The Cassandra of all regions as the store of retained messages uses it (CassandraPort): bounds what is
 * under way, retries what may pass, with the timestamp it was given, until a deadline, and says at any
 * time how things stand. Heals itself, from lost nodes to a session that must be opened anew. Made by
 * app/.
 */
import { Ring } from '../../util/ring.ts';
import {
  type CassandraCounters,
  countLatency,
  newCassandraCounters,
} from './cassandra-counters.ts';
import { cassandraFailure, isPassing } from './cassandra-error.ts';
import {
  type CassandraLinkOptions,
  type CassandraSettings,
  cassandraSettings,
} from './cassandra-options.ts';
import {
  type CassandraCode,
  CassandraFailure,
  type CassandraPageRead,
  type CassandraPort,
  type CassandraPortEvents,
  type CassandraRow,
  type CassandraState,
  type CassandraStatement,
  type CassandraValue,
  type CassandraWritten,
} from './cassandra-port.ts';
import { type AttemptResult, CassandraSession, type Roll } from './cassandra-session.ts';

interface Request {
  readonly statement: CassandraStatement;
  readonly values: readonly CassandraValue[];
  readonly timestampUs: bigint | null;
  readonly pageRows: number;
  readonly from: Buffer | null;
  readonly written: CassandraWritten | null;
  readonly read: CassandraPageRead | null;
  readonly bytes: number;
  readonly startMs: number;
  attempts: number;
  /** One of those it went together with was refused, perhaps this one. */
  goesAlone: boolean;
  /** Who keeps its key; undefined: nobody has looked. */
  keepers: string | null | undefined;
  /** An attempt is under way. */
  isSent: boolean;
  /** It is a write, and an attempt may have been done. */
  isUnknown: boolean;
  failure: CassandraFailure | null;
  timer: NodeJS.Timeout | undefined;
  isFinished: boolean;
}

/** After the last request that nobody answered, or that replicas could not take. */
const TROUBLE_MS = 10_000;
/**
 * Rolls that nobody answers, one after the other, until the session is given up and opened anew from the
 * contact points: the driver's own way back from having lost every node leaves things behind.
 */
const EMPTY_ROLLS_MAX = 3;
const RETRY_MIN_MS = 50;
const RETRY_MAX_MS = 1000;
/** Beyond the driver's own limit, for an attempt that it forgot. */
const FORGOTTEN_MS = 1000;
const REQUEST_BYTES = 64;
/** So many writes go alone, each at once; what comes while they are under way goes together. */
const ALONE_MAX = 16;
/** Of more partitions, or bytes (5 KiB), Cassandra warns, each time, unless it is told otherwise. */
const TOGETHER_MAX = 10;
const TOGETHER_BYTES_MAX = 4096;
/** How many are looked at for those that belong together. */
const LOOKED_AT_MAX = 64;
const NAMED_MAX = 5;
const NO_ROWS: readonly CassandraRow[] = [];
const WRITE = /^\s*(?:INSERT|UPDATE|DELETE)\s/i;
const READ = /^\s*SELECT\s/i;
/** Not to be done twice, or with a timestamp of its own. */
const UNFIT = /\sIF\s|\bUSING\s+(?:TTL\s+\S+\s+AND\s+)?TIMESTAMP\b|\bnow\s*\(|\buuid\s*\(/i;

/** Begins to connect at once. Throws a TypeError that says what is wrong with the options. */
export function openCassandra(options: CassandraLinkOptions): CassandraLink {
  return new CassandraLink(cassandraSettings(options));
}

export class CassandraLink implements CassandraPort {
  readonly settings: CassandraSettings;
  readonly counters: CassandraCounters = newCassandraCounters();
  readonly #open: (settings: CassandraSettings) => Promise<CassandraSession>;
  readonly #checked: WeakMap<CassandraStatement, RegExp> = new WeakMap();
  readonly #queue: Ring<Request> = new Ring();
  readonly #requests: Set<Request> = new Set();
  #bytes = 0;
  #inFlight = 0;
  #session: CassandraSession | null = null;
  #events: CassandraPortEvents = { cassandraChanged: () => {} };
  #state: CassandraState = 'down';
  #reasons: readonly string[] = ['not connected to Cassandra yet'];
  #roll: Roll | null = null;
  #emptyRolls = 0;
  #troubleMs = -TROUBLE_MS;
  #trouble: CassandraCode = 'TIMEOUT';
  #tick: NodeJS.Timeout | undefined;
  #backoffMs: number;
  /** Why the last attempt to connect failed, when somebody has to change something first. */
  #refusal: CassandraFailure | null = null;
  #isClosed = false;

  /** `open`: tests hand in one that knows a ring of their own. */
  constructor(
    settings: CassandraSettings,
    open: (settings: CassandraSettings) => Promise<CassandraSession> = CassandraSession.open,
  ) {
    this.settings = settings;
    this.#open = open;
    this.#backoffMs = settings.backoffMinMs;
    void this.#connect();
  }

  // ------------------------------------------------------------------ CassandraPort

  get state(): CassandraState {
    return this.#state;
  }

  get reasons(): readonly string[] {
    return this.#reasons;
  }

  listen(events: CassandraPortEvents): void {
    this.#events = events;
  }

  tokens(): readonly bigint[] {
    return this.#session?.tokens() ?? [];
  }

  write(
    statement: CassandraStatement,
    values: readonly CassandraValue[],
    timestampUs: bigint,
    done: CassandraWritten,
  ): void {
    this.#check(statement, WRITE);
    this.counters.writes += 1;
    this.#take({ statement, values, timestampUs, pageRows: 0, from: null, written: done });
  }

  read(
    statement: CassandraStatement,
    values: readonly CassandraValue[],
    pageRows: number,
    from: Buffer | null,
    done: CassandraPageRead,
  ): void {
    this.#check(statement, READ);
    this.counters.reads += 1;
    this.#take({ statement, values, timestampUs: null, pageRows, from, read: done });
  }

  // ------------------------------------------------------------------ control plane

  /** Taken and not finished, those that wait for a retry included. */
  get requests(): number {
    return this.#requests.size;
  }

  get requestBytes(): number {
    return this.#bytes;
  }

  get inFlight(): number {
    return this.#inFlight;
  }

  /**
   * Resolves when requests are taken; rejects with the reason when they are not in time: `refused` if
   * somebody has to change something, for which `refusedMs` are waited at most.
   */
  ready(timeoutMs: number, refusedMs: number = timeoutMs): Promise<void> {
    return new Promise((resolve, reject) => {
      const startMs = performance.now();
      const look = (): void => {
        const waitMs = this.#refusal === null ? timeoutMs : Math.min(timeoutMs, refusedMs);
        if (this.#state !== 'down') resolve();
        else if (this.#isClosed || performance.now() - startMs >= waitMs) {
          reject(this.#refusal ?? this.#down());
        } else setTimeout(look, 10);
      };
      look();
    });
  }

  /** A statement that makes or changes a schema, or asks for it; once, without retries. */
  async command(cql: string): Promise<readonly CassandraRow[]> {
    const session = this.#session;
    if (session === null) throw this.#down();
    try {
      return await session.command(cql);
    } catch (error) {
      throw cassandraFailure(error);
    }
  }

  /** What is under way fails; so do later requests. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    clearTimeout(this.#tick);
    this.#session?.close();
    this.#session = null;
    this.#become('down', ['the connection to Cassandra was closed by this node']);
    for (const request of [...this.#requests]) {
      request.isUnknown ||= request.isSent && request.timestampUs !== null;
      this.#fail(request, closed());
    }
  }

  // ------------------------------------------------------------------ requests

  #check(statement: CassandraStatement, kind: RegExp): void {
    if (this.#checked.get(statement) === kind) return;
    const { cql } = statement;
    if (!kind.test(cql) || UNFIT.test(cql)) {
      throw new TypeError(`not a statement that may be done twice with one timestamp: ${cql}`);
    }
    this.#checked.set(statement, kind);
  }

  #take(
    asked: Pick<Request, 'statement' | 'values' | 'timestampUs' | 'pageRows' | 'from'> & {
      readonly written?: CassandraWritten;
      readonly read?: CassandraPageRead;
    },
  ): void {
    const { requestsMax, requestBytesMax } = this.settings;
    const request: Request = {
      ...asked,
      written: asked.written ?? null,
      read: asked.read ?? null,
      bytes: bytesOf(asked.values),
      startMs: performance.now(),
      attempts: 0,
      goesAlone: false,
      keepers: undefined,
      isSent: false,
      isUnknown: false,
      failure: null,
      timer: undefined,
      isFinished: false,
    };
    let refusal: CassandraFailure | null = null;
    if (this.#isClosed) refusal = closed();
    else if (this.#state === 'down') refusal = this.#down();
    else if (
      this.#requests.size >= requestsMax ||
      (this.#bytes > 0 && this.#bytes + request.bytes > requestBytesMax)
    ) {
      refusal = new CassandraFailure('not_done', 'BUSY', 'too many requests wait for Cassandra');
    }
    if (refusal !== null) {
      const failure = refusal;
      queueMicrotask(() => this.#answer(request, failure, null));
      return;
    }
    this.#requests.add(request);
    this.#bytes += request.bytes;
    this.#queue.push(request);
    this.#pump();
  }

  #pump(): void {
    const session = this.#session;
    if (session === null || this.#state === 'down') return;
    const { inFlightMax, requestTimeoutMs } = this.settings;
    const startMsMin = performance.now() - requestTimeoutMs;
    while (this.#inFlight < inFlightMax) {
      const request = this.#queue.at(0);
      if (request === undefined) return;
      if (!request.isFinished && mayGoTogether(request) && this.#inFlight >= ALONE_MAX) return;
      this.#queue.shift();
      if (request.isFinished) continue;
      if (request.startMs >= startMsMin)
        this.#attempt(this.#togetherWith(request, session), session);
      // Others may be calling just now, who must not be answered from inside their calls.
      else queueMicrotask(() => this.#overdue(request));
    }
  }

  #overdue(request: Request): void {
    if (request.isFinished) return;
    const why = 'Cassandra did not come to this request in time';
    this.#fail(request, request.failure ?? new CassandraFailure('not_done', 'BUSY', why));
  }

  /** Cassandra is down: what waits for its turn waits for a retry, within its deadline. */
  #hold(): void {
    const why = this.#down();
    for (let request = this.#queue.shift(); request !== undefined; request = this.#queue.shift()) {
      if (request.isFinished) continue;
      request.failure ??= why;
      this.#retryLater(request);
    }
  }

  /** Others that wait, have the same statement, and are kept by the same nodes; it is the first of them. */
  #togetherWith(first: Request, session: CassandraSession): readonly Request[] {
    const found = [first];
    const queue = this.#queue;
    if (queue.length === 0 || !mayGoTogether(first)) return found;
    const keepers = keepersOf(first, session);
    let { bytes } = first;
    for (let index = 0, looks = 0; looks < LOOKED_AT_MAX; looks++) {
      const next = queue.at(index);
      if (next === undefined || keepers === null || found.length === TOGETHER_MAX) break;
      const isFit =
        !next.isFinished &&
        next.statement === first.statement &&
        mayGoTogether(next) &&
        bytes + next.bytes <= TOGETHER_BYTES_MAX &&
        keepersOf(next, session) === keepers;
      if (!isFit) {
        index++;
        continue;
      }
      queue.remove(index);
      found.push(next);
      bytes += next.bytes;
    }
    return found;
  }

  /** One, or several that go together. */
  #attempt(requests: readonly Request[], session: CassandraSession): void {
    const { attemptTimeoutMs } = this.settings;
    this.#inFlight += 1;
    for (const request of requests) {
      request.attempts += 1;
      request.isSent = true;
    }
    let isOver = false;
    const over = (error: unknown, result: AttemptResult | null): void => {
      if (isOver) return;
      isOver = true;
      clearTimeout(timer);
      this.#inFlight -= 1;
      for (const request of requests) request.isSent = false;
      if (result === null) this.#attemptsFailed(requests, cassandraFailure(error));
      else {
        for (const request of requests) {
          if (!request.isFinished) this.#finish(request, null, result);
        }
      }
      this.#pump();
    };
    // An error with its stack, made for each attempt, would cost a quarter of a write.
    const forget = (): void => over(forgotten(), null);
    const timer = setTimeout(forget, attemptTimeoutMs + FORGOTTEN_MS);
    timer.unref();
    const first = requests[0]!;
    if (requests.length > 1) this.counters.batches += 1;
    const attempted =
      requests.length === 1
        ? session.attempt(first, attemptTimeoutMs)
        : session.attemptTogether(requests, attemptTimeoutMs);
    attempted.then(
      (result) => over(null, result),
      (error: unknown) => over(error, null),
    );
  }

  #attemptsFailed(requests: readonly Request[], failure: CassandraFailure): void {
    const isOfOne = requests.length > 1 && !isPassing(failure.code);
    if (!isOfOne) {
      for (const request of requests) this.#attemptFailed(request, failure);
      return;
    }
    // Which one is meant it does not say.
    this.counters.attemptFailures[failure.code] += 1;
    for (let index = requests.length - 1; index >= 0; index--) {
      const request = requests[index]!;
      request.goesAlone = true;
      if (!request.isFinished) this.#queue.unshift(request);
    }
  }

  #attemptFailed(request: Request, failure: CassandraFailure): void {
    const { code, outcome } = failure;
    this.counters.attemptFailures[code] += 1;
    if (code === 'TIMEOUT' || code === 'WRITE_TIMEOUT' || code === 'READ_TIMEOUT') {
      this.counters.timeouts += 1;
    }
    if (isPassing(code)) {
      this.#troubleMs = performance.now();
      this.#trouble = code;
      this.#judge();
    }
    if (request.isFinished) return;
    if (outcome === 'unknown' && request.timestampUs !== null) request.isUnknown = true;
    request.failure = failure;
    if (isPassing(code)) this.#retryLater(request);
    else this.#fail(request, failure);
  }

  /** The same statement, values and timestamp: done twice is done once. */
  #retryLater(request: Request): void {
    const doublings = Math.max(0, Math.min(request.attempts - 1, 10));
    const stepMs = Math.min(RETRY_MAX_MS, RETRY_MIN_MS * 2 ** doublings);
    const pauseMs = stepMs / 2 + this.settings.random() * (stepMs / 2);
    const leftMs = request.startMs + this.settings.requestTimeoutMs - performance.now();
    if (leftMs <= pauseMs) {
      this.#fail(request, request.failure as CassandraFailure);
      return;
    }
    request.timer = setTimeout(() => {
      if (request.isFinished) return;
      if (this.#state === 'down') {
        this.#retryLater(request);
        return;
      }
      this.counters.retries += 1;
      this.#queue.unshift(request);
      this.#pump();
    }, pauseMs);
  }

  #fail(request: Request, failure: CassandraFailure): void {
    const { message, code, outcome } = failure;
    // What an earlier attempt may have done, a later refusal does not take back.
    const known = request.isUnknown && outcome !== 'unknown' ? 'unknown' : outcome;
    this.#finish(request, new CassandraFailure(known, code, message), null);
  }

  #finish(request: Request, failure: CassandraFailure | null, result: AttemptResult | null): void {
    request.isFinished = true;
    clearTimeout(request.timer);
    this.#requests.delete(request);
    this.#bytes -= request.bytes;
    this.#answer(request, failure, result);
  }

  #answer(request: Request, failure: CassandraFailure | null, result: AttemptResult | null): void {
    if (failure !== null) this.counters.failures[failure.code] += 1;
    else countLatency(this.counters, performance.now() - request.startMs);
    request.written?.(failure);
    request.read?.(failure, result?.rows ?? NO_ROWS, result?.next ?? null);
  }

  #down(): CassandraFailure {
    return new CassandraFailure('not_done', 'DOWN', this.#reasons[0] ?? 'Cassandra is down');
  }

  // ------------------------------------------------------------------ how things stand

  async #connect(): Promise<void> {
    let session: CassandraSession;
    try {
      session = await this.#open(this.settings);
    } catch (error) {
      const failure = cassandraFailure(error);
      this.#refusal = failure.outcome === 'refused' ? failure : null;
      this.#lost(failure.message);
      return;
    }
    if (this.#isClosed) {
      session.close();
      return;
    }
    this.#refusal = null;
    this.counters.connects += 1;
    this.#session = session;
    this.#emptyRolls = 0;
    void this.#look(session);
  }

  /** There is no session: another one is tried after a pause. */
  #lost(why: string): void {
    if (this.#isClosed) return;
    this.counters.losses += 1;
    this.#session?.close();
    this.#session = null;
    this.#roll = null;
    this.#become('down', [why]);
    this.settings.onProblem(why);
    const pauseMs = this.#backoffMs * (0.5 + this.settings.random() / 2);
    this.#backoffMs = Math.min(this.settings.backoffMaxMs, this.#backoffMs * 2);
    this.#tick = setTimeout(() => void this.#connect(), pauseMs);
  }

  /** Calls the roll, now and then as long as the session lasts. */
  async #look(session: CassandraSession): Promise<void> {
    const roll = await session.callRoll(this.settings.attemptTimeoutMs);
    if (this.#session !== session) return;
    this.#roll = roll;
    this.#emptyRolls = roll.present.length > 0 ? 0 : this.#emptyRolls + 1;
    if (this.#emptyRolls === 0) this.#backoffMs = this.settings.backoffMinMs;
    this.#judge();
    if (this.#emptyRolls >= EMPTY_ROLLS_MAX) {
      this.#lost(this.#reasons[0] ?? '');
      return;
    }
    this.#tick = setTimeout(() => void this.#look(session), this.settings.probeMs);
    this.#pump();
  }

  #judge(): void {
    const roll = this.#roll;
    if (roll === null || this.#isClosed) return;
    const { localDatacenter } = this.settings;
    const { present, absent, shareWithoutQuorum: share } = roll;
    if (present.length === 0) {
      this.#become('down', [`no node of Cassandra in ${localDatacenter} answers`]);
      return;
    }
    const reasons: string[] = [];
    if (share > 0) {
      const part = share > 0.995 ? 'all' : `${Math.max(1, Math.round(share * 100))} %`;
      reasons.push(`LOCAL_QUORUM cannot be had for ${part} of the keys in ${localDatacenter}`);
    }
    if (absent.length > 0) {
      const names = absent.slice(0, NAMED_MAX).join(', ');
      const nodes = `${absent.length} of ${absent.length + present.length}`;
      reasons.push(`${nodes} nodes of Cassandra in ${localDatacenter} do not answer: ${names}`);
    }
    if (performance.now() - this.#troubleMs < TROUBLE_MS) {
      reasons.push(`requests to Cassandra failed in the last seconds: ${this.#trouble}`);
    }
    if (share > 0.995) this.#become('down', reasons);
    else this.#become(reasons.length > 0 ? 'degraded' : 'up', reasons);
  }

  #become(state: CassandraState, reasons: readonly string[]): void {
    const isSame =
      state === this.#state &&
      reasons.length === this.#reasons.length &&
      reasons.every((reason, index) => reason === this.#reasons[index]);
    this.#state = state;
    this.#reasons = reasons;
    if (state === 'down') this.#hold();
    if (!isSame) this.#events.cassandraChanged(state, reasons);
  }
}

function mayGoTogether({ statement, values, goesAlone }: Request): boolean {
  return !goesAlone && statement.together !== undefined && typeof values[0] === 'string';
}

function keepersOf(request: Request, session: CassandraSession): string | null {
  if (request.keepers === undefined) {
    request.keepers = session.keepersOf(request.values[0] as string);
  }
  return request.keepers;
}

function forgotten(): CassandraFailure {
  return new CassandraFailure('unknown', 'TIMEOUT', 'Cassandra: no answer in time');
}

function closed(): CassandraFailure {
  return new CassandraFailure('not_done', 'CLOSED', 'the connection to Cassandra was closed');
}

function bytesOf(values: readonly CassandraValue[]): number {
  let bytes = REQUEST_BYTES;
  for (const value of values) {
    if (typeof value === 'string') bytes += 2 * value.length;
    else bytes += Buffer.isBuffer(value) ? value.length : 8;
  }
  return bytes;
}

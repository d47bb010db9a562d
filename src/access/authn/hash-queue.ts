/**
 * The line before the thread pool: few hashes at one time, a bounded number waiting, and fair between
 * remote addresses, so that a storm of logins from some of them does not keep others out and the
 * store keeps its threads. Used by authenticators that check passwords; knows nothing of hashes.
 *
 * Fairness as fq_codel does it: addresses take turns, one job a turn, and an address that was not
 * waiting a moment ago goes before those that are always waiting, every other time.
 */
import type { Clock } from '../../core/ports.ts';
import { parseIpAddress } from '../../util/ip-address.ts';

export interface HashQueueOptions {
  /** Jobs at one time. The pool has four threads unless UV_THREADPOOL_SIZE says otherwise. */
  readonly concurrency: number;
  /** Jobs waiting in all; at the bound the longest line loses its newest. */
  readonly waitingMax: number;
  readonly waitingPerAddressMax: number;
  /** A job that waited longer is not worth doing: its client has given up. */
  readonly waitMaxMs: number;
  readonly clock: Clock;
}

/** Rises only. */
export interface HashQueueCounters {
  done: number;
  /** Turned away: too many waiting. */
  refused: number;
  /** Gave up its place in favour of an address with fewer waiting. */
  displaced: number;
  /** Waited longer than `waitMaxMs`. */
  expired: number;
  /** Banned or blocked while it waited. */
  keptOut: number;
}

interface Job {
  /** Of its line. */
  readonly address: string;
  readonly sinceMs: number;
  readonly isKeptOut: () => boolean;
  readonly run: () => void;
  readonly giveUp: (instead: NoHash) => void;
}

/** Answers instead of a result: too many wait; who asked was banned or blocked meanwhile. */
export const BUSY: unique symbol = Symbol('busy');
export const KEPT_OUT: unique symbol = Symbol('kept out');
export type NoHash = typeof BUSY | typeof KEPT_OUT;

const nobodyIs = (): boolean => false;

export class HashQueue {
  readonly counters: HashQueueCounters = {
    ...{ done: 0, refused: 0, displaced: 0, expired: 0, keptOut: 0 },
  };
  readonly #options: HashQueueOptions;
  /** Addresses that came after a time without jobs; each in arrival order. */
  readonly #fresh = new Map<string, Job[]>();
  /** The others, in order of their turn. May hold emptied ones for one round, see `#take`. */
  readonly #regular = new Map<string, Job[]>();
  #regularIsNext = false;
  #running = 0;
  #waiting = 0;

  constructor(options: HashQueueOptions) {
    this.#options = options;
  }

  /** Now, for metrics. */
  get waiting(): number {
    return this.#waiting;
  }

  get running(): number {
    return this.#running;
  }

  /**
   * Runs `work` when it is the turn of the address; BUSY when that cannot be soon, KEPT_OUT when by
   * then `isKeptOut` says so.
   */
  submit<Result>(
    remoteAddress: string,
    work: () => Promise<Result>,
    isKeptOut: () => boolean = nobodyIs,
  ): Promise<Result | NoHash> {
    const address = lineOf(remoteAddress);
    if (!this.#makeRoom(address)) {
      this.counters.refused += 1;
      return Promise.resolve(BUSY);
    }
    const { promise, resolve, reject } = Promise.withResolvers<Result | NoHash>();
    const run = (): void => {
      this.#running += 1;
      const finished = (): void => {
        this.#running -= 1;
        this.counters.done += 1;
        this.#advance();
      };
      // `work` runs inside the promise, so that a throw of it counts as its failure.
      new Promise<Result>((started) => started(work())).finally(finished).then(resolve, reject);
    };
    const job: Job = {
      address,
      sinceMs: this.#options.clock.monotonicMs(),
      isKeptOut,
      run,
      giveUp: resolve,
    };
    const line = this.#regular.get(address) ?? this.#fresh.get(address);
    if (line === undefined) this.#fresh.set(address, [job]);
    else line.push(job);
    this.#waiting += 1;
    this.#advance();
    return promise;
  }

  #makeRoom(address: string): boolean {
    const { waitingMax, waitingPerAddressMax } = this.#options;
    const own = (this.#regular.get(address) ?? this.#fresh.get(address))?.length ?? 0;
    if (own >= waitingPerAddressMax) return false;
    if (this.#waiting < waitingMax) return true;
    let longest: Job[] = [];
    for (const lines of [this.#regular, this.#fresh]) {
      for (const line of lines.values()) if (line.length > longest.length) longest = line;
    }
    if (longest.length <= own + 1) return false;
    const displaced = longest.pop();
    if (displaced === undefined) return false;
    this.#waiting -= 1;
    this.counters.displaced += 1;
    displaced.giveUp(BUSY);
    return true;
  }

  #advance(): void {
    while (this.#running < this.#options.concurrency) {
      const job = this.#take();
      if (job === null) return;
      if (this.#options.clock.monotonicMs() - job.sinceMs > this.#options.waitMaxMs) {
        this.counters.expired += 1;
        job.giveUp(BUSY);
        continue;
      }
      if (job.isKeptOut()) {
        this.#dropKeptOut(job);
        continue;
      }
      job.run();
    }
  }

  /** Takes along who waits behind it in the same line and is kept out too. */
  #dropKeptOut(first: Job): void {
    const line = this.#regular.get(first.address) ?? [];
    const dropped = [first];
    const kept: Job[] = [];
    for (const job of line) (job.isKeptOut() ? dropped : kept).push(job);
    line.splice(0, line.length, ...kept);
    this.#waiting -= dropped.length - 1;
    this.counters.keptOut += dropped.length;
    for (const job of dropped) job.giveUp(KEPT_OUT);
  }

  /**
   * The next job. A line stays among the regular ones for one round after its last job, so that an
   * address does not get the place of a newcomer by having one job at a time.
   */
  #take(): Job | null {
    const kinds = this.#regularIsNext ? [this.#regular, this.#fresh] : [this.#fresh, this.#regular];
    for (const lines of kinds) {
      for (const [address, line] of lines) {
        lines.delete(address);
        const job = line.shift();
        if (job === undefined) continue;
        this.#regular.set(address, line);
        this.#regularIsNext = lines === this.#fresh;
        this.#waiting -= 1;
        return job;
      }
    }
    return null;
  }
}

/** One line per IPv4 address or IPv6 /64: who has one of those has all of it. */
function lineOf(remoteAddress: string): string {
  const bytes = parseIpAddress(remoteAddress);
  if (bytes === null || bytes.length === 4) return remoteAddress;
  return Buffer.from(bytes.subarray(0, 8)).toString('hex');
}

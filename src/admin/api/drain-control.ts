/**
 * Draining as the API does it: remembers who asked for it and how, says how far it is. The broker moves
 * the clients; `/health/ready` is false from the call on, before the first of them is told to go.
 */
import type { DrainOptions, DrainProgress } from '../../core/drain.ts';
import type { Clock, Log } from '../../core/ports.ts';

/** What of the broker is needed. */
export interface Drainable {
  drain(options: DrainOptions, done: () => void): void;
  endDrain(): void;
  readonly drainProgress: DrainProgress | null;
}

interface Run {
  readonly options: DrainOptions;
  readonly by: string;
  readonly startedAtMs: number;
  /** 0: some are left. */
  drainedAtMs: number;
}

export interface DrainState extends DrainOptions, DrainProgress {
  /** Name of the token that asked for it. */
  readonly by: string;
  readonly startedAtMs: number;
  /** 0: some are left. */
  readonly drainedAtMs: number;
}

export class DrainControl {
  readonly #broker: Drainable;
  readonly #clock: Clock;
  readonly #log: Log;
  #run: Run | null = null;

  constructor(broker: Drainable, clock: Clock, log: Log) {
    this.#broker = broker;
    this.#clock = clock;
    this.#log = log;
  }

  /** Null: clients are not being moved. */
  get state(): DrainState | null {
    const progress = this.#broker.drainProgress;
    const run = this.#run;
    if (progress === null || run === null) return null;
    const { options, by, startedAtMs, drainedAtMs } = run;
    return { ...progress, ...options, by, startedAtMs, drainedAtMs };
  }

  /** Again: other options, counted from the beginning. */
  begin(options: DrainOptions, by: string): void {
    const run: Run = { options, by, startedAtMs: this.#clock.wallMs(), drainedAtMs: 0 };
    this.#run = run;
    this.#broker.drain(options, () => {
      run.drainedAtMs = this.#clock.wallMs();
      const moved = this.#broker.drainProgress?.moved ?? 0;
      this.#log.info({ moved }, 'drained: no client is left');
    });
    this.#log.info({ ...options, by }, 'draining: clients are sent elsewhere');
  }

  /** False: there was nothing to end. */
  end(by: string): boolean {
    if (this.#broker.drainProgress === null) return false;
    this.#broker.endDrain();
    this.#run = null;
    this.#log.info({ by }, 'the drain was ended, clients may come again');
    return true;
  }
}

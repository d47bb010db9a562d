/**
 * Moves everything a source has into a target and proves it by counting: what the source had before
 * and has after, what it left out and why, what the target holds when it is read again. Used by
 * `causeway import`; it knows neither Redis nor LevelDB.
 */
import {
  COUNTED_THINGS,
  type LeftOut,
  type MigrationCounts,
  MigrationError,
  type MigrationTally,
  newTally,
  type SessionSource,
  type SessionTarget,
} from './migration.ts';

export interface MigrationResult {
  readonly found: MigrationCounts;
  readonly leftOut: MigrationCounts;
  /** Null: a dry run. */
  readonly stored: MigrationCounts | null;
  /** Found is what was left out and what is stored (dry run: what was read). */
  readonly isEqual: boolean;
  /** Something of what was left out had still been owed to somebody. */
  readonly hasLoss: boolean;
}

export interface MigrationHooks {
  readonly leftOut: (item: LeftOut) => void;
  /** Called often, with what was handed over so far and what there is. */
  readonly progress: (done: MigrationCounts, found: MigrationCounts) => void;
}

/** `target` null: reads everything and writes nothing. */
export async function migrate(
  source: SessionSource,
  target: SessionTarget | null,
  hooks: MigrationHooks,
): Promise<MigrationResult> {
  const run = new Run(source, target, hooks);
  return run.all();
}

class Run {
  readonly #source: SessionSource;
  readonly #target: SessionTarget | null;
  readonly #hooks: MigrationHooks;
  readonly #read: MigrationTally = newTally();
  readonly #leftOut: MigrationTally = newTally();
  #hasLoss = false;
  #found: MigrationCounts = newTally();

  constructor(source: SessionSource, target: SessionTarget | null, hooks: MigrationHooks) {
    this.#source = source;
    this.#target = target;
    this.#hooks = hooks;
  }

  async all(): Promise<MigrationResult> {
    // First, so that a target that refuses has cost nothing.
    await this.#target?.open();
    let stored: MigrationCounts | null = null;
    try {
      this.#found = await this.#source.counts();
      await this.#moveSessions();
      await this.#moveRetained();
      await this.#expectUnchanged();
      stored = (await this.#target?.finish()) ?? null;
    } catch (error) {
      await this.#target?.abandon();
      throw error;
    }
    const arrived = stored ?? this.#read;
    const isEqual = COUNTED_THINGS.every(
      (thing) => this.#found[thing] === this.#leftOut[thing] + arrived[thing],
    );
    return {
      found: this.#found,
      leftOut: this.#leftOut,
      stored,
      isEqual,
      hasLoss: this.#hasLoss,
    };
  }

  #leave(item: LeftOut): void {
    this.#leftOut[item.what]++;
    this.#hasLoss ||= item.isLoss;
    this.#hooks.leftOut(item);
  }

  async #moveSessions(): Promise<void> {
    const read = this.#read;
    for await (const session of this.#source.sessions((item) => this.#leave(item))) {
      const queue = this.#counted(session.queue);
      if (this.#target === null) for await (const _ of queue);
      else await this.#target.addSession({ ...session, queue });
      read.sessions++;
      read.subscriptions += session.record.subscriptions.length;
      read.inbound += session.inboundIds.length;
      if (session.record.will !== null) read.wills++;
      this.#hooks.progress(read, this.#found);
    }
  }

  async *#counted<T>(queue: AsyncIterable<T>): AsyncIterable<T> {
    for await (const entry of queue) {
      this.#read.queued++;
      if (this.#read.queued % 1000 === 0) this.#hooks.progress(this.#read, this.#found);
      yield entry;
    }
  }

  async #moveRetained(): Promise<void> {
    for await (const message of this.#source.retained((item) => this.#leave(item))) {
      await this.#target?.addRetained(message);
      this.#read.retained++;
      if (this.#read.retained % 1000 === 0) this.#hooks.progress(this.#read, this.#found);
    }
  }

  async #expectUnchanged(): Promise<void> {
    const after = await this.#source.counts();
    const changed = COUNTED_THINGS.filter((thing) => after[thing] !== this.#found[thing]);
    if (changed.length === 0) return;
    throw new MigrationError(
      `the source changed while it was read (${changed.join(', ')}): ` +
        'stop every program that uses it, and begin again',
    );
  }
}

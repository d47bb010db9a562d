/**
 * The runs in memory over all sessions. An online session settles what was just written, so runs stay
 * for a while; those of offline sessions are forgotten, oldest first, and read again when needed.
 */
import type { RunState } from './run-state.ts';
import type { StoredSession } from './stored-session.ts';

/** About 200 bytes each. */
const RUNS_MAX = 8192;
/** Looked at in one go when there are too many. */
const TRIM_STEPS_MAX = 4096;

export class ResidentRuns {
  /** In the order in which they came. */
  readonly #sessionOf: Map<RunState, StoredSession> = new Map();

  get size(): number {
    return this.#sessionOf.size;
  }

  /** Brings a run into memory; returns the one that is there already, if one is. */
  add(session: StoredSession, run: RunState): RunState {
    const resident = session.insertRun(run);
    if (resident === run) this.#sessionOf.set(run, session);
    return resident;
  }

  remove(session: StoredSession, run: RunState): void {
    if (this.#sessionOf.delete(run)) session.removeRun(run);
  }

  removeAll(session: StoredSession): void {
    for (const run of session.runs) this.#sessionOf.delete(run);
    session.runs.length = 0;
    session.removals++;
  }

  /** Forgets what was there longest. Between commits only: everything else is on disk then. */
  trim(): void {
    let excess = this.#sessionOf.size - RUNS_MAX;
    if (excess <= 0) return;
    let steps = 0;
    for (const [run, session] of this.#sessionOf) {
      if (excess <= 0 || ++steps > TRIM_STEPS_MAX) return;
      if (run.isDirty) continue;
      this.remove(session, run);
      excess--;
    }
  }
}

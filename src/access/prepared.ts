/**
 * A reload in two steps, so that of several parts either all change or none: each reads and checks
 * what it needs first, and what came of that is put in force or thrown away. Used by everything in
 * access that reads files.
 */
import { joined } from './access-error.ts';

/** What was read and checked. One of the two is called, once; neither waits for anything. */
export interface Prepared {
  /** In force from now on. */
  commit(): void;
  /** Another part could not be read: closes what was opened. */
  discard(): void;
}

export function prepared(commit: () => void, discard: () => void = () => {}): Prepared {
  return { commit, discard };
}

/** `then` happens right after the commit of `first`. */
export function followed(first: Prepared, then: () => void): Prepared {
  return prepared(
    () => {
      first.commit();
      then();
    },
    () => first.discard(),
  );
}

/** Prepares all; when some cannot, throws one AccessError with all problems and keeps none. */
export async function prepareAll(parts: readonly (() => Promise<Prepared>)[]): Promise<Prepared> {
  // `async`, so that one that throws at once counts as one that rejects.
  const outcomes = await Promise.allSettled(parts.map(async (prepare) => prepare()));
  const ready: Prepared[] = [];
  const failures: unknown[] = [];
  for (const outcome of outcomes) {
    if (outcome.status === 'fulfilled') ready.push(outcome.value);
    else failures.push(outcome.reason);
  }
  const all = prepared(
    () => each(ready, (part) => part.commit()),
    () => each(ready, (part) => part.discard()),
  );
  if (failures.length === 0) return all;
  all.discard();
  throw joined(failures);
}

/** One that fails is a fault of the program, and does not keep the others from their turn. */
function each(parts: readonly Prepared[], act: (part: Prepared) => void): void {
  const failures: unknown[] = [];
  for (const part of parts) {
    try {
      act(part);
    } catch (error) {
      failures.push(error);
    }
  }
  if (failures.length > 0) throw failures[0];
}

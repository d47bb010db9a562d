/** Wills of sessions that nobody owns, or no longer. Used by caretaker.ts, takeover.ts and unregistered.ts. */
import type { Awaited, RemoteSide, WillOfAbsent } from '../core/cluster-ports.ts';

/** Calls `then` when the will is safe with all who want it, or could not be stored for all. */
export function publishWill(
  remote: RemoteSide,
  will: WillOfAbsent,
  then: (failed: boolean) => void,
): void {
  // Counted once itself: what is safe at once calls nobody.
  const awaited: Awaited = { unsafeCount: 1, waiter: null, failed: false };
  awaited.waiter = { messageSafe: () => then(awaited.failed) };
  remote.publishWill(will, awaited);
  awaited.unsafeCount--;
  if (awaited.unsafeCount === 0) awaited.waiter.messageSafe();
}

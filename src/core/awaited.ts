/** Something an answer to a client waits for besides the store; `Message` is one too. */
export interface Awaited {
  /** Falls to 0 when everything it waits for has happened; the last one calls the waiter. */
  unsafeCount: number;
  waiter: { messageSafe(): void } | null;
  failed: boolean;
}

/** Calls `then` when it is safe everywhere, at once when it is. */
export function whenSafe(awaited: Awaited, then: () => void): void {
  if (awaited.unsafeCount === 0) then();
  else awaited.waiter = { messageSafe: then };
}

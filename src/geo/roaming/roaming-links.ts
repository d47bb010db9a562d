/**
 * Ways to other regions for what is said about sessions that move (docs/adr/0023): the links that fetch
 * messages there carry questions there and answers back. Implemented by app/ over `link-holder.ts`.
 */
export interface RoamingLinks {
  /** Regions that this one has links to. */
  regions(): Iterable<string>;
  isUp(region: string): boolean;
  /** Asks there; false: the link is down. What is lost is asked again. */
  ask(region: string, payload: Buffer): boolean;
  /** What is wanted here now is asked for there; true: it is all served there by now. */
  sync(region: string): boolean;
}

/** What a link takes that is no message of a client. */
export interface RoamingEars {
  answered(region: string, payload: Buffer): void;
  /**
   * In the order of the messages of that region: it counts from this call on. It is made durable from
   * `earlier`'s callback on, which is called once, perhaps at once, when all before it is safe for good, and
   * `done` when it is durable. `failed`: something before it comes again, and then this word; until then it
   * must not count, and `done` is told false. What cannot be read needs no `earlier`.
   */
  moved(
    region: string,
    payload: Buffer,
    earlier: (then: (failed: boolean) => void) => void,
    done: (isTaken: boolean) => void,
  ): void;
  /** That region has lost what it had queued for this one. */
  missed(region: string): void;
}

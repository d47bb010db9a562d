/**
 * What the nodes of a datacenter count together: failed logins, connects of one client. Asked beside the
 * node's own count (`ban-escalation.ts`), never instead of it and never waited for: a datacenter is no
 * wider open than a node alone, whatever becomes of what counts. Handed in by app/; a node alone has none.
 */

export interface Tally {
  /** So many more. Never rejects; an answer that does not come in time is `'fine'`. */
  count(key: string, events: number): Promise<TallyAnswer>;
  /** The key is kept out for so long: whoever counts it meanwhile is told. */
  block(key: string, durationMs: number): void;
  forget(key: string): void;
}

/** `over`: these were too many, all nodes together; `blocked`: another node has said so before. */
export type TallyAnswer = 'fine' | 'over' | 'blocked';

export interface TallyTerms {
  readonly eventsMax: number;
  readonly windowS: number;
}

/** `name` tells what is counted; the same name is the same count on every node. */
export type OpenTally = (name: string, terms: TallyTerms) => Tally;

/** What a guard needs of a datacenter. */
export interface SharedCounting {
  readonly open: OpenTally;
  /** Another node has banned somebody: ask for it now. */
  readonly blockedElsewhere: () => void;
}

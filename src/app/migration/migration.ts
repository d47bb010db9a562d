/**
 * The two sides of moving sessions from one broker to another: what a source hands over and what a
 * target takes. Sources: a database of aedes (`cli/import/`), later this broker's own data directory;
 * targets: `embedded-target.ts`, later a cluster. `migrate.ts` runs one into the other. A source knows
 * no target and a target no source.
 */
import type { Message } from '../../core/message.ts';
import type { SessionRecord } from '../../core/ports.ts';
import type { QueueEntry } from '../../core/queue-entry.ts';

/** What is counted on both sides, and must come out equal. */
export interface MigrationCounts {
  readonly sessions: number;
  readonly subscriptions: number;
  /** Messages in queues, those sent and not acknowledged among them. */
  readonly queued: number;
  /** Packet ids of inbound QoS 2 messages between PUBREC and PUBREL. */
  readonly inbound: number;
  readonly wills: number;
  readonly retained: number;
}

export type CountedThing = keyof MigrationCounts;

export const COUNTED_THINGS: readonly CountedThing[] = [
  'sessions',
  'subscriptions',
  'queued',
  'inbound',
  'wills',
  'retained',
];

export type MigrationTally = Record<CountedThing, number>;

export function newTally(): MigrationTally {
  return { sessions: 0, subscriptions: 0, queued: 0, inbound: 0, wills: 0, retained: 0 };
}

/** A session without its number, which the target gives. */
export type MovedRecord = Omit<SessionRecord, 'sessionNumber' | 'counter'>;

export interface MovedSession {
  readonly record: MovedRecord;
  readonly inboundIds: readonly number[];
  /**
   * In the order of delivery, positions strictly rising. Positions are kept, because packet ids follow
   * from them; `RELEASED` is an entry whose PUBREC had come.
   */
  readonly queue: AsyncIterable<QueueEntry>;
}

/** Something the source has counted and does not hand over. */
export interface LeftOut {
  readonly what: CountedThing;
  /** False: nobody was owed anything any more (expired, listed twice). */
  readonly isLoss: boolean;
  /** Client id, topic or key. */
  readonly where: string;
  readonly why: string;
}

export interface SessionSource {
  /** What it has, counted apart from reading it: a second call finds what changed meanwhile. */
  counts(): Promise<MigrationCounts>;
  /** The queue of one session is read to its end before the next session is asked for. */
  sessions(leftOut: (item: LeftOut) => void): AsyncIterable<MovedSession>;
  retained(leftOut: (item: LeftOut) => void): AsyncIterable<Message>;
}

export interface SessionTarget {
  /** Throws a MigrationError when it holds sessions or retained messages already. */
  open(): Promise<void>;
  /** Takes the session with all it has; resolves when more may come, not when it is durable. */
  addSession(session: MovedSession): Promise<void>;
  addRetained(message: Message): Promise<void>;
  /** Makes everything durable, and counts what is there by reading it. Then it is closed. */
  finish(): Promise<MigrationCounts>;
  /** Closes it as it is, after a failure. */
  abandon(): Promise<void>;
}

/** The migration cannot go on; the message says why and what to do. */
export class MigrationError extends Error {
  override readonly name: string = 'MigrationError';
}

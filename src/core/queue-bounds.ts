/**
 * What a queue may not grow beyond, and what has been in it for too long (data plane): the limits of all
 * sessions, the quota of one, the budget of a link or a bridge. Asked by delivery.ts before anything is queued or sent.
 */
import type { Core } from './core.ts';
import type { DropReason } from './drop-reason.ts';
import { MOVED_TOPIC } from './link-names.ts';
import { publishedAtMs } from './link-properties.ts';
import type { Message } from './message.ts';
import type { SessionQuota } from './ports.ts';
import type { Publication } from './publication.ts';
import type { QueueBudget } from './queue-budget.ts';
import { EntryState, type QueueEntry } from './queue-entry.ts';
import { WINDOW_BYTES, WINDOW_ENTRIES } from './queue-window.ts';
import type { Session } from './session.ts';

/** By how much a queue may be over its budget while its oldest entries are read. */
const BUDGET_SLACK_BYTES = 4 * WINDOW_BYTES;

/** Of `Delivery`. */
export interface BoundedQueues {
  settle(session: Session, entry: QueueEntry, inFanout?: boolean): void;
  /** Reads on where only the store has the oldest. */
  fetch(session: Session): void;
}

export class QueueBounds {
  /** Wall-clock ms at which a queue with a budget began to leave: the same for all of it that can. */
  pumpMs = 0;
  readonly #core: Core;
  readonly #queues: BoundedQueues;

  constructor(core: Core, queues: BoundedQueues) {
    this.#core = core;
    this.#queues = queues;
  }

  /** Applies the queue limits; false: the new message is the one that is dropped. */
  makeRoom(session: Session, publication: Publication): boolean {
    if (!this.#isWithinLimits(session, publication)) return false;
    const { quota } = session;
    return quota === null || this.#isWithinQuota(session, quota, publication);
  }

  /** Counts the message against the quota of queued bytes; false: there is no room to be made. */
  #isWithinQuota(session: Session, quota: SessionQuota, publication: Publication): boolean {
    const core = this.#core;
    const { bytes } = publication;
    if (quota.enqueue(bytes)) return true;
    const dropsOldest = quota.overflow === null && core.queueOverflow === 'drop_oldest';
    while (dropsOldest && this.#dropOldest(session, 'queue_quota')) {
      if (quota.enqueue(bytes)) return true;
    }
    core.drop('queue_quota', session.clientId, publication.topic);
    const policy = quota.overflow ?? core.queueOverflow;
    if (policy === 'disconnect' && session.owner !== null) {
      core.closeLater(session.owner, 'queue_overflow');
    }
    return false;
  }

  /** The oldest go for what is new, whatever `queueOverflow` says. */
  #isWithinBudget(session: Session, budget: QueueBudget, publication: Publication): boolean {
    if (session.queuedBytes < budget.budgetBytes) return true;
    while (this.#dropOldest(session, budget.reason)) {
      budget.dropped++;
      if (session.queuedBytes < budget.budgetBytes) return true;
    }
    // The oldest are only in the store, as below.
    if (session.spilled && session.queuedBytes < budget.budgetBytes + BUDGET_SLACK_BYTES) {
      this.#queues.fetch(session);
      return true;
    }
    this.#core.drop(budget.reason, session.clientId, publication.topic);
    budget.dropped++;
    return false;
  }

  #isWithinLimits(session: Session, publication: Publication): boolean {
    const core = this.#core;
    const limits = core.limits;
    const { budget } = session;
    if (budget !== null) return this.#isWithinBudget(session, budget, publication);
    if (!this.#isFull(session)) return true;
    if (core.queueOverflow === 'drop_oldest' && limits.queueMessagesMax > 0) {
      // Several small ones may have to go for a large one.
      while (this.#dropOldest(session, 'queue_full')) if (!this.#isFull(session)) return true;
      // The oldest are only in the store: read them so that the next ones can go. Until then the
      // queue may exceed its bound by one window.
      if (session.spilled && session.queuedMessages < limits.queueMessagesMax + WINDOW_ENTRIES) {
        this.#queues.fetch(session);
        return true;
      }
    }
    core.drop('queue_full', session.clientId, publication.topic);
    if (core.queueOverflow === 'disconnect' && session.owner !== null) {
      core.closeLater(session.owner, 'queue_overflow');
    }
    return false;
  }

  #isFull(session: Session): boolean {
    const limits = this.#core.limits;
    return (
      session.queuedMessages >= limits.queueMessagesMax ||
      session.queuedBytes >= limits.queueBytesMax
    );
  }

  /** Takes the oldest entry out of the queue; false: there is none that may go. */
  #dropOldest(session: Session, why: DropReason): boolean {
    const queue = session.queue;
    if (queue === null) return false;
    for (let index = 0; index < queue.length; index++) {
      const entry = queue.at(index)!;
      // What a link says of sessions is no message.
      if (entry.message.topic === MOVED_TOPIC) continue;
      // A QoS 2 exchange that has begun is finished, or the client keeps its packet id for ever.
      const hasBegun = entry.sentBefore || entry.state === EntryState.RELEASED;
      if (entry.qos === 2 && hasBegun && entry.state !== EntryState.SETTLED) continue;
      queue.remove(index);
      if (entry.state !== EntryState.SETTLED) {
        this.#core.drop(why, session.clientId, entry.message.topic);
        this.#queues.settle(session, entry, true);
      }
      return true;
    }
    return false;
  }

  /** Expired, or no longer allowed: settled and counted. */
  isUndeliverable(session: Session, entry: QueueEntry): boolean {
    const message = entry.message;
    const isExpired =
      message.expiresAtMs !== 0 &&
      !entry.sentBefore &&
      message.expiresAtMs <= this.#core.clock.wallMs();
    if (isExpired) {
      // [MQTT5-3.3.2-5]
      this.#core.drop('expired', session.clientId, message.topic);
      this.#queues.settle(session, entry);
      return true;
    }
    if (session.checksReceive && session.gate?.receive(message.topic) === false) {
      this.#core.drop('not_authorized_receive', session.clientId, message.topic);
      this.#queues.settle(session, entry);
      return true;
    }
    return session.budget !== null && this.#isOverBudget(session, session.budget, entry);
  }

  /** Too old for whom it is for, or that region may not have it any more. */
  #isOverBudget(session: Session, budget: QueueBudget, entry: QueueEntry): boolean {
    const { message } = entry;
    if (entry.sentBefore) return false;
    const sinceMs = budget.isDated ? entry.queuedAtMs : publishedMs(message);
    const isOld = sinceMs !== 0 && sinceMs + budget.budgetAgeMs < this.pumpMs;
    if (!isOld && session.link?.mayHave(message.topic) !== false) return false;
    const why = isOld ? budget.reason : 'not_authorized_receive';
    this.#core.drop(why, session.clientId, message.topic);
    if (isOld) budget.dropped++;
    this.#queues.settle(session, entry);
    return true;
  }
}

function publishedMs({ propertyBuffer, propertyStart, propertyBytes }: Message): number {
  return publishedAtMs(propertyBuffer, propertyStart, propertyStart + propertyBytes);
}

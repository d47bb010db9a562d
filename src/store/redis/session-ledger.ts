/**
 * Who owns which session, and what becomes of those nobody owns (`SessionLedger`, ADR 0013). Called by
 * cluster/ through redis-store.ts. Every answer that may have been lost is asked for again; what was taken
 * and is not wanted any more is given back.
 */
import type {
  Incarnation,
  LedgerAnswer,
  LedgerRequest,
  LookAnswer,
  SessionImage,
} from '../../core/cluster-ports.ts';
import type { Clock, Log } from '../../core/ports.ts';
import type { Turn } from '../../core/roaming-record.ts';
import { ClientLine } from './client-line.ts';
import {
  indexCall,
  indexRemove,
  indexScan,
  scanCall,
  scanReply,
} from './functions/client-index.ts';
import { dueTake, dueTakeCall, dueTakeReply } from './functions/due.ts';
import {
  closeCall,
  closeReply,
  orphanCall,
  orphanReply,
  sessionClose,
  sessionOrphan,
} from './functions/session-end.ts';
import {
  adoptCall,
  type OpenArguments,
  type OpenReply,
  openCall,
  openReply,
  sessionAdopt,
  sessionOpen,
} from './functions/session-open.ts';
import { assertCall, sessionAssert } from './functions/session-record.ts';
import {
  type LookReply,
  lookCall,
  lookReply,
  sessionLook,
  sessionUnclaim,
  sessionWillDone,
  unclaimCall,
  willDoneCall,
} from './functions/session-will.ts';
import { DUE_INDEXES, dueKeyAt, ownedKey, sessionKeys } from './keys.ts';
import { decodeMessage, encodeMessage } from './message-value.ts';
import { openedRecord, type Quarantine, soundOrNull } from './opened-record.ts';
import type { RedisCalls } from './redis-calls.ts';
import type { SessionIndexes } from './session-indexes.ts';
import { encodeSubscriptions } from './subscriptions-codec.ts';

/** What the store keeps of a session from its opening on. */
export interface OpenedSession {
  readonly clientId: string;
  readonly sid: string;
  readonly epoch: number;
  readonly head: number;
  readonly settledSeqs: readonly number[];
  readonly version: number;
  readonly will: Buffer | null;
  readonly willDelayS: number;
  /** As they were read or saved last: a Redis that was emptied gets them again. */
  turns: readonly Turn[];
}

export interface LedgerOptions {
  readonly calls: RedisCalls;
  readonly indexes: SessionIndexes;
  readonly prefix: string;
  readonly clock: Clock;
  readonly log: Log;
  readonly quarantine: Quarantine;
  readonly onOpened: (opened: OpenedSession) => void;
  /** Calls back when what its owner has written before is written. */
  readonly flushed: (clientId: string, sid: string, epoch: number, then: () => void) => void;
  /** Calls back when what was promised of its packet ids is written. */
  readonly recalled: (clientId: string, then: () => void) => void;
  /** What is known of a session that is open here. */
  readonly opened: (clientId: string, sid: string) => OpenedSession | null;
}

/** A CONNECT waits for an answer of Redis for so long. */
const OPEN_PATIENCE_MS = 5000;
const BUSY_RETRY_MS = 25;
const BUSY_RETRIES_MAX = 80;
const ASK_PATIENCE_MS = 2000;
/** A session in the name of a node that may be dead is looked at again then. */
const DEAD_OWNER_MS = 1000;
/** A will is being published: whoever does it is asked again then. */
const WILL_MS = 5000;
const SEEN_MAX = 10_000;
const ORPHANS_PER_SCAN_MAX = 1000;

const nothing = (): void => {};

export class RedisLedger {
  /** Who will never do any more what it has claimed. */
  isDead: (incarnation: Incarnation) => boolean = () => false;
  /** May have sessions in Redis: a node that has lost its lease must not take one from a live one. */
  mayOpen: (incarnation: Incarnation) => boolean = () => true;
  /** Took a session from `owner` when nobody waited for it any more, and gives it back. */
  onSuperseded: (owner: Incarnation, clientId: string, epoch: number) => void = () => {};
  /** What such a session is like when it was given back. */
  onGivenBack: (image: SessionImage) => void = () => {};
  readonly #options: LedgerOptions;
  readonly #line: ClientLine = new ClientLine();
  /** When the index says that the client should have been looked at, as `due` found it. */
  readonly #seen: Map<string, number> = new Map();
  #nextDueIndex = 0;

  constructor(options: LedgerOptions) {
    this.#options = options;
  }

  /** About what Redis' clock says: what is too early is looked at twice, too late a little later. */
  get #wallMs(): number {
    return Math.floor(this.#options.clock.wallMs());
  }

  // ------------------------------------------------------------------ open and close

  open(
    owner: Incarnation,
    hlcMs: number,
    newSid: string,
    request: LedgerRequest,
    done: (answer: LedgerAnswer) => void,
  ): void {
    const { calls, indexes } = this.#options;
    const unavailable: LedgerAnswer = { kind: 'unavailable' };
    if (!calls.isUp) {
      calls.after(0, () => done(unavailable));
      return;
    }
    const { clientId } = request;
    let isAnswered = false;
    const answer = (what: LedgerAnswer): void => {
      if (isAnswered) return;
      isAnswered = true;
      cancel();
      done(what);
    };
    const cancel = calls.after(OPEN_PATIENCE_MS, () => answer(unavailable));
    const own = (finished: () => void): void => {
      if (isAnswered) {
        finished();
        return;
      }
      indexes.own(owner, clientId, (failure) => {
        if (failure === null && !isAnswered) {
          const open = openArguments(owner, hlcMs, newSid, request);
          const isWanted = (): boolean => !isAnswered && (request.isWanted?.() ?? true);
          this.#open(clientId, open, () => isAnswered, isWanted, answer, finished);
          return;
        }
        indexes.disown(clientId, 0);
        finished();
        answer(unavailable);
      });
    };
    // Before its line: what is promised may wait for the session to be asserted there.
    this.#options.recalled(clientId, () => this.#line.run(clientId, own));
  }

  #open(
    clientId: string,
    open: OpenArguments,
    isAnswered: () => boolean,
    isWanted: () => boolean,
    answer: (what: LedgerAnswer) => void,
    finished: () => void,
  ): void {
    const { calls, indexes, prefix } = this.#options;
    const keys = sessionKeys(prefix, clientId);
    let busyLeft = BUSY_RETRIES_MAX;
    let isDue = false;
    /** Not known whether it was done: it is asked for until it is, and then given back. */
    let isUnknown = false;
    const failed = (kind: 'foreign' | 'absent' | 'unavailable'): void => {
      indexes.disown(clientId, 0);
      finished();
      answer({ kind });
    };
    const attempt = (): void => {
      // The session may have been given to others since: it must not be taken from them late.
      const isGivenUp = !isWanted() || !this.mayOpen(open.owner);
      if (isGivenUp && !isUnknown) {
        failed('unavailable');
        return;
      }
      const call = openCall(keys, { ...open, isGivenUp });
      calls.call(sessionOpen, call, openReply, (failure, reply) => {
        if (failure !== null) {
          isUnknown ||= failure.outcome === 'unknown';
          if (isUnknown) calls.again(failure, attempt);
          else failed('unavailable');
        } else if (reply!.kind === 'opened') {
          const opened = this.#opened(clientId, open, reply!);
          if (isAnswered()) {
            const { sid, epoch, previousOwners } = reply!;
            // Nobody here asks them to let go any more.
            for (const previous of previousOwners) {
              if (previous !== open.owner) this.onSuperseded(previous, clientId, epoch);
            }
            const { identity, tenant, expiryIntervalS } = open;
            const { record } = this.#ledgerAnswer(opened, reply!);
            this.#giveBack(open.owner, clientId, sid, epoch, expiryIntervalS, finished);
            this.onGivenBack({
              ...{ clientId, sid, epoch, counter: record.counter, owner: null },
              ...{ identity, tenant, expiryIntervalS, subscriptions: record.subscriptions },
            });
          } else {
            finished();
            answer(this.#ledgerAnswer(opened, reply!));
          }
        } else if (reply!.kind === 'busy' && busyLeft > 0 && !isAnswered()) {
          // Its will is just being published: it must not come behind what the client sends next.
          const { by } = reply!;
          if (by === '' && !isDue) {
            isDue = true;
            indexes.due(clientId, this.#wallMs);
          }
          busyLeft--;
          if (by !== '' && this.isDead(by)) this.unclaim(clientId, by, attempt);
          else calls.after(BUSY_RETRY_MS, attempt);
        } else {
          const { kind } = reply!;
          failed(kind === 'busy' || kind === 'never' ? 'unavailable' : kind);
        }
      });
    };
    attempt();
  }

  #opened(
    clientId: string,
    open: OpenArguments,
    reply: Extract<OpenReply, { kind: 'opened' }>,
  ): OpenedSession {
    this.#options.indexes.keep(clientId, reply.epoch);
    // Behind the opening: whoever removes an earlier session's entry looks for a new one afterwards.
    if (open.expiryIntervalS > 0 || reply.present) this.#options.indexes.add(clientId);
    const opened: OpenedSession = {
      clientId,
      sid: reply.sid,
      epoch: reply.epoch,
      head: reply.head,
      settledSeqs: reply.marks.settled,
      version: open.version,
      will: open.will,
      willDelayS: open.willDelayS,
      turns: [],
    };
    this.#options.onOpened(opened);
    return opened;
  }

  #ledgerAnswer(
    opened: OpenedSession,
    reply: Extract<OpenReply, { kind: 'opened' }>,
  ): Extract<LedgerAnswer, { kind: 'opened' }> {
    const { quarantine } = this.#options;
    const { clientId } = opened;
    const record = openedRecord(clientId, reply, quarantine);
    opened.turns = record.turns;
    const { oldWill } = reply;
    // Nobody can publish what nobody can read; it must not stand in the way of the next.
    if (oldWill !== null && record.oldWill === null) {
      this.oldWillSettled(clientId, oldWill.sid, oldWill.epoch);
    }
    return { kind: 'opened', previousOwners: reply.previousOwners, record };
  }

  /** Lost, the next one asks them again for nothing. */
  adopted(clientId: string, sid: string, epoch: number): void {
    const { calls, prefix } = this.#options;
    calls.call(
      sessionAdopt,
      adoptCall(sessionKeys(prefix, clientId), sid, epoch),
      nothing,
      nothing,
    );
  }

  oldWillSettled(clientId: string, sid: string, epoch: number): void {
    const { calls, prefix } = this.#options;
    const call = willDoneCall(sessionKeys(prefix, clientId), sid, epoch);
    calls.until(sessionWillDone, call, nothing, nothing);
  }

  close(
    clientId: string,
    sid: string,
    epoch: number,
    expiryIntervalS: number,
    willDelayS: number,
    done: (outcome: 'closed' | 'ended' | 'fenced' | 'gone') => void,
  ): void {
    this.#line.run(clientId, (finished) => {
      this.#options.flushed(clientId, sid, epoch, () =>
        this.#close(clientId, sid, epoch, expiryIntervalS, willDelayS, done, finished),
      );
    });
  }

  #close(
    clientId: string,
    sid: string,
    epoch: number,
    expiryIntervalS: number,
    willDelayS: number,
    done: (outcome: 'closed' | 'ended' | 'fenced' | 'gone') => void,
    finished: () => void,
  ): void {
    const { calls, indexes, prefix } = this.#options;
    const call = closeCall(sessionKeys(prefix, clientId), sid, epoch, expiryIntervalS, willDelayS);
    calls.until(sessionClose, call, closeReply, (reply) => {
      if (reply.kind === 'ended') indexes.remove(clientId);
      done(reply.kind);
      // Until somebody is to look at it, survivors would find it by its owner.
      indexes.due(clientId, reply.kind === 'closed' ? reply.nextLookMs : 0, () => {
        indexes.disown(clientId, epoch);
        finished();
      });
    });
  }

  giveBack(
    owner: Incarnation,
    clientId: string,
    sid: string,
    epoch: number,
    expiryIntervalS: number,
  ): void {
    this.#line.run(clientId, (finished) =>
      this.#giveBack(owner, clientId, sid, epoch, expiryIntervalS, finished),
    );
  }

  /** Its claim goes first: until the close the session is found by its owner, and with it the claim. */
  #giveBack(
    owner: Incarnation,
    clientId: string,
    sid: string,
    epoch: number,
    expiryIntervalS: number,
    finished: () => void,
  ): void {
    const { calls, prefix } = this.#options;
    const call = unclaimCall(sessionKeys(prefix, clientId), owner);
    calls.until(sessionUnclaim, call, nothing, () =>
      this.#close(clientId, sid, epoch, expiryIntervalS, -1, nothing, finished),
    );
  }

  // ------------------------------------------------------------------ sessions nobody owns

  orphan(
    dead: Incarnation,
    countMax: number,
    done: (
      answer: { readonly clientIds: readonly string[]; readonly isMore: boolean } | null,
    ) => void,
  ): void {
    const { calls, prefix } = this.#options;
    const key = ownedKey(prefix, dead);
    const count = Math.max(1, Math.min(countMax, ORPHANS_PER_SCAN_MAX));
    const scan = (cursor: string): void => {
      calls.ask(
        indexScan,
        scanCall(key, cursor, count),
        scanReply,
        ASK_PATIENCE_MS,
        (failure, reply) => {
          if (failure !== null) done(null);
          else if (reply!.clientIds.length > 0)
            this.#orphanAll(dead, reply!.clientIds, count, reply!.cursor !== '0', done);
          else if (reply!.cursor === '0') done({ clientIds: [], isMore: false });
          else scan(reply!.cursor);
        },
      );
    };
    scan('0');
  }

  #orphanAll(
    dead: Incarnation,
    found: readonly string[],
    countMax: number,
    isMoreThere: boolean,
    done: (
      answer: { readonly clientIds: readonly string[]; readonly isMore: boolean } | null,
    ) => void,
  ): void {
    const { calls, indexes, prefix } = this.#options;
    const taken = [...new Set(found)].slice(0, countMax);
    const orphaned: string[] = [];
    let left = taken.length;
    let hasFailed = false;
    const one = (): void => {
      left--;
      if (left > 0) return;
      if (hasFailed) {
        done(null);
        return;
      }
      // They are in the index of what is due by now.
      const call = indexCall(ownedKey(prefix, dead), taken);
      calls.call(indexRemove, call, nothing, (failure) => {
        const isMore = isMoreThere || taken.length < found.length || failure !== null;
        done({ clientIds: orphaned, isMore });
      });
    };
    for (const clientId of taken) {
      const call = orphanCall(sessionKeys(prefix, clientId), dead);
      calls.ask(sessionOrphan, call, orphanReply, ASK_PATIENCE_MS, (failure, reply) => {
        if (failure !== null) {
          hasFailed = true;
          one();
          return;
        }
        if (reply!.isOrphaned) {
          orphaned.push(clientId);
          // Its owner may have died just before it did that.
          indexes.add(clientId);
        }
        indexes.due(clientId, reply!.nextLookMs, one);
      });
    }
  }

  due(countMax: number, done: (clientIds: readonly string[] | null) => void): void {
    const { calls, prefix } = this.#options;
    const count = Math.max(1, Math.ceil(countMax / DUE_INDEXES));
    const found: string[] = [];
    let left = DUE_INDEXES;
    let answers = 0;
    const first = this.#nextDueIndex++;
    for (let i = 0; i < DUE_INDEXES; i++) {
      const call = dueTakeCall(dueKeyAt(prefix, (first + i) % DUE_INDEXES), count);
      calls.call(dueTake, call, dueTakeReply, (failure, entries) => {
        if (failure === null) {
          answers++;
          for (const { clientId, ms } of entries!) {
            if (this.#seen.size >= SEEN_MAX) this.#seen.clear();
            this.#seen.set(clientId, ms);
            found.push(clientId);
          }
        }
        left--;
        if (left === 0) done(answers === 0 ? null : found);
      });
    }
  }

  look(clientId: string, by: Incarnation, done: (answer: LookAnswer) => void): void {
    const { calls, indexes, prefix } = this.#options;
    this.#line.run(clientId, (finished) => {
      const answer = (what: LookAnswer): void => {
        finished();
        done(what);
      };
      // A will may be handed out by this: when this node dies, others must know that it had it.
      indexes.own(by, clientId, (failure) => {
        if (failure !== null) {
          answer({ kind: 'unavailable' });
          return;
        }
        const call = lookCall(sessionKeys(prefix, clientId), by);
        calls.ask(sessionLook, call, lookReply, ASK_PATIENCE_MS, (refused, reply) => {
          if (refused !== null) answer({ kind: 'unavailable' });
          else answer(this.#looked(clientId, reply!));
        });
      });
    });
  }

  #looked(clientId: string, reply: LookReply): LookAnswer {
    const { indexes, quarantine } = this.#options;
    const seenMs = this.#seen.get(clientId) ?? 0;
    this.#seen.delete(clientId);
    const next = (ms: number): void => {
      if (seenMs > 0) indexes.looked(clientId, seenMs, ms);
      else indexes.due(clientId, ms);
    };
    if (reply.kind === 'will') {
      const { sid, epoch, identity, tenant } = reply;
      const message = soundOrNull(() => decodeMessage(reply.will), quarantine, clientId, 'will');
      if (message !== null) {
        next(this.#wallMs + WILL_MS);
        return { kind: 'will', will: { clientId, identity, tenant, sid, epoch, message }, epoch };
      }
      this.oldWillSettled(clientId, sid, epoch);
      next(this.#wallMs + 1);
      indexes.disown(clientId, 0);
      return { kind: 'wait', untilMs: this.#wallMs + 1 };
    }
    indexes.disown(clientId, 0);
    switch (reply.kind) {
      case 'claimed': {
        // Its claim came to Redis when survivors had been through with what it left.
        const isDead = this.isDead(reply.by);
        if (isDead) this.unclaim(clientId, reply.by, nothing);
        const untilMs = this.#wallMs + (isDead ? 1 : WILL_MS);
        next(untilMs);
        return { kind: 'wait', untilMs };
      }
      case 'owned':
        if (!this.isDead(reply.owner)) {
          next(0);
          return { kind: 'wait', untilMs: 0 };
        }
        // It was written in its owner's name when survivors had been through with what that one left.
        next(this.#wallMs + DEAD_OWNER_MS);
        this.#orphanAll(reply.owner, [clientId], 1, false, nothing);
        return { kind: 'wait', untilMs: this.#wallMs + DEAD_OWNER_MS };
      case 'wait':
        next(reply.untilMs);
        return reply;
      case 'ended':
        next(0);
        indexes.remove(clientId);
        return reply;
      default:
        next(0);
        indexes.remove(clientId);
        return { kind: 'gone' };
    }
  }

  willDone(clientId: string, sid: string, epoch: number, done: (isDone: boolean) => void): void {
    const { calls, indexes, prefix } = this.#options;
    const call = willDoneCall(sessionKeys(prefix, clientId), sid, epoch);
    calls.ask(sessionWillDone, call, nothing, ASK_PATIENCE_MS, (failure) => {
      if (failure === null) indexes.disown(clientId, 0);
      done(failure === null);
    });
  }

  unclaim(clientId: string, dead: Incarnation, done: (isDone: boolean) => void): void {
    const { calls, prefix } = this.#options;
    const call = unclaimCall(sessionKeys(prefix, clientId), dead);
    calls.ask(sessionUnclaim, call, nothing, ASK_PATIENCE_MS, (failure) => done(failure === null));
  }

  // ------------------------------------------------------------------ after Redis lost everything

  assert(image: SessionImage, headSeq: number, done: (isWritten: boolean | null) => void): void {
    const { calls, indexes, prefix } = this.#options;
    const { clientId, sid, epoch, owner, identity, tenant, expiryIntervalS } = image;
    const known = owner === null ? null : this.#options.opened(clientId, sid);
    const call = assertCall(sessionKeys(prefix, clientId), {
      owner: owner ?? '',
      sid,
      epoch,
      identity,
      tenant,
      version: known?.version ?? 5,
      expiryIntervalS,
      counter: image.counter,
      rec: encodeSubscriptions(image.subscriptions, known?.turns),
      head: headSeq,
      goneMs: 0,
      will: known?.will ?? null,
      willDelayS: known?.willDelayS ?? 0,
    });
    const write = (finished: () => void): void => {
      calls.ask(
        sessionAssert,
        call,
        (reply) => reply === 1,
        ASK_PATIENCE_MS,
        (failure, isWritten) => {
          finished();
          if (failure !== null) {
            done(null);
            return;
          }
          indexes.add(clientId);
          // Its time counts from now, or its owner has died meanwhile; whoever looks finds out.
          if (owner === null || !this.mayOpen(owner)) {
            indexes.due(clientId, this.#wallMs + DEAD_OWNER_MS);
          }
          done(isWritten);
        },
      );
    };
    // Not behind a close that came later: it would have an owner again that has left it.
    this.#line.run(clientId, (finished) => {
      if (owner === null) {
        write(finished);
        return;
      }
      indexes.addMany(ownedKey(prefix, owner), [clientId], () => {
        // Survivors may be through with what it has left: nobody would take it from a dead one again.
        if (this.mayOpen(owner)) {
          write(finished);
          return;
        }
        finished();
        done(null);
      });
    });
  }

  /** Its owner removes it; `written` calls back when that is done or void. */
  removing(clientId: string, epoch: number, written: (then: () => void) => void): void {
    this.#line.run(clientId, (finished) => {
      written(() => {
        this.#options.indexes.remove(clientId);
        this.#options.indexes.disown(clientId, epoch);
        finished();
      });
    });
  }
}

function openArguments(
  owner: Incarnation,
  hlcMs: number,
  newSid: string,
  request: LedgerRequest,
): OpenArguments {
  const { will } = request;
  return {
    owner,
    hlcMs: Math.floor(hlcMs),
    newSid,
    identity: request.identity,
    tenant: request.tenant,
    isTenantProven: request.isTenantProven,
    cleanStart: request.cleanStart,
    expiryIntervalS: request.expiryIntervalS,
    version: request.version,
    will: will === null ? null : encodeMessage(will.message),
    willDelayS: will === null ? 0 : will.delayS,
    isKnown: request.isKnown ?? false,
  };
}

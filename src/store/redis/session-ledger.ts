/**
 * Who owns which session (`SessionLedger`, ADR 0013); what becomes of those nobody owns is in
 * unowned-sessions.ts. Called by cluster/. Every answer that may have been lost is asked for again; what was
 * taken and is not wanted any more is given back.
 */
import type {
  Incarnation,
  LedgerAnswer,
  LedgerRequest,
  LookAnswer,
  Orphans,
  SessionImage,
  SessionLedger,
} from '../../core/cluster-ports.ts';
import type { Clock } from '../../core/ports.ts';
import { ClientLine } from './client-line.ts';
import type { Farewells } from './farewells.ts';
import { closeCall, closeReply, sessionClose } from './functions/session-end.ts';
import {
  adoptCall,
  type OpenArguments,
  type OpenReply,
  openCall,
  openReply,
  sessionAdopt,
  sessionOpen,
} from './functions/session-open.ts';
import {
  assertCall,
  listCall,
  listReply,
  sessionAssert,
  sessionList,
} from './functions/session-record.ts';
import {
  sessionUnclaim,
  sessionWillDone,
  unclaimCall,
  willDoneCall,
} from './functions/session-will.ts';
import { ownedKey, sessionKeys } from './keys.ts';
import { encodeMessage } from './message-value.ts';
import { openedRecord, type Quarantine } from './opened-record.ts';
import { ASK_PATIENCE_MS, type RedisCalls } from './redis-calls.ts';
import type { OpenedSession } from './session-bindings.ts';
import { SessionIndexes } from './session-indexes.ts';
import { imageOf, SessionLoader } from './session-loader.ts';
import { encodeSubscriptions } from './subscriptions-codec.ts';
import { DEAD_OWNER_MS, UnownedSessions } from './unowned-sessions.ts';

export interface LedgerOptions {
  readonly calls: RedisCalls;
  readonly prefix: string;
  readonly clock: Clock;
  readonly quarantine: Quarantine;
  readonly farewells: Farewells;
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

const nothing = (): void => {};

type Closing = 'closed' | 'ended' | 'fenced' | 'gone';

export class RedisLedger implements SessionLedger {
  /** Who will never do any more what it has claimed. */
  isDead: (incarnation: Incarnation) => boolean = () => false;
  /** May have sessions in Redis: a node that has lost its lease must not take one from a live one. */
  mayOpen: (incarnation: Incarnation) => boolean = () => true;
  /** Took a session from `owner` when nobody waited for it any more, and gives it back. */
  onSuperseded: (owner: Incarnation, clientId: string, epoch: number) => void = () => {};
  /** What such a session is like when it was given back. */
  onGivenBack: (image: SessionImage) => void = () => {};
  readonly #options: LedgerOptions;
  readonly #indexes: SessionIndexes;
  readonly #line: ClientLine = new ClientLine();
  readonly #unowned: UnownedSessions;

  constructor(options: LedgerOptions) {
    const { calls, prefix, clock, quarantine } = options;
    this.#options = options;
    this.#indexes = new SessionIndexes(calls, prefix);
    this.#unowned = new UnownedSessions({
      calls,
      indexes: this.#indexes,
      prefix,
      clock,
      quarantine,
      line: this.#line,
      ledger: this,
    });
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
    const { calls } = this.#options;
    const indexes = this.#indexes;
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
    const { calls, prefix } = this.#options;
    const indexes = this.#indexes;
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
    this.#indexes.keep(clientId, reply.epoch);
    // Behind the opening: whoever removes an earlier session's entry looks for a new one afterwards.
    if (open.expiryIntervalS > 0 || reply.present) this.#indexes.add(clientId);
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
    done: (outcome: Closing) => void,
  ): void {
    this.#closeInLine(clientId, sid, epoch, expiryIntervalS, willDelayS, (outcome) => {
      this.#options.farewells.heard(clientId, epoch);
      done(outcome);
    });
  }

  leftHeard(clientId: string, epoch: number): void {
    this.#options.farewells.heard(clientId, epoch);
  }

  /** A journal says that the client has left without a will: survivors must not find one. */
  left(
    clientId: string,
    sid: string,
    epoch: number,
    expiryIntervalS: number,
    done: () => void,
  ): void {
    this.#closeInLine(clientId, sid, epoch, expiryIntervalS, -1, (outcome) => {
      if (outcome === 'fenced') this.oldWillSettled(clientId, sid, epoch);
      done();
    });
  }

  #closeInLine(
    clientId: string,
    sid: string,
    epoch: number,
    expiryIntervalS: number,
    willDelayS: number,
    done: (outcome: Closing) => void,
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
    done: (outcome: Closing) => void,
    finished: () => void,
  ): void {
    const { calls, prefix } = this.#options;
    const indexes = this.#indexes;
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

  orphan(dead: Incarnation, countMax: number, done: (orphans: Orphans | null) => void): void {
    this.#unowned.orphan(dead, countMax, done);
  }

  due(countMax: number, done: (clientIds: readonly string[] | null) => void): void {
    this.#unowned.due(countMax, done);
  }

  look(clientId: string, by: Incarnation, done: (answer: LookAnswer) => void): void {
    this.#unowned.look(clientId, by, done);
  }

  willDone(clientId: string, sid: string, epoch: number, done: (isDone: boolean) => void): void {
    const { calls, prefix } = this.#options;
    const indexes = this.#indexes;
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

  // ------------------------------------------------------------------ what there is

  load(each: (image: SessionImage) => void, done: (isComplete: boolean) => void): void {
    const { calls, prefix, quarantine } = this.#options;
    const none = (clientId: string): void => this.#indexes.remove(clientId);
    new SessionLoader(calls, prefix, quarantine, each, none, done).start();
  }

  /** The session in Redis, and the highest position given there; null: none, or nobody can say. */
  tailOf(clientId: string, done: (image: SessionImage | null, tailSeq: number) => void): void {
    const { calls, prefix, quarantine } = this.#options;
    calls.call(sessionList, listCall(sessionKeys(prefix, clientId)), listReply, (_why, listed) => {
      if (listed === null) done(null, 0);
      else done(imageOf(clientId, listed, quarantine), listed.tail);
    });
  }

  // ------------------------------------------------------------------ after Redis lost everything

  assert(image: SessionImage, headSeq: number, done: (isWritten: boolean | null) => void): void {
    const { calls, prefix } = this.#options;
    const indexes = this.#indexes;
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
        this.#indexes.remove(clientId);
        this.#indexes.disown(clientId, epoch);
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

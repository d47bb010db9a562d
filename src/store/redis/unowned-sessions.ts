/**
 * Sessions nobody owns: taking them from dead nodes, finding those whose will or expiry is due, and what is
 * to be done for one (ADR 0013). What was looked at too early, or by somebody who died of it, is looked at again.
 * Used by session-ledger.ts, which knows whose they are while somebody owns them.
 */
import type { Incarnation, LookAnswer, Orphans } from '../../core/cluster-ports.ts';
import type { Clock } from '../../core/ports.ts';
import type { ClientLine } from './client-line.ts';
import {
  indexCall,
  indexRemove,
  indexScan,
  scanCall,
  scanReply,
} from './functions/client-index.ts';
import { dueTake, dueTakeCall, dueTakeReply } from './functions/due.ts';
import { orphanCall, orphanReply, sessionOrphan } from './functions/session-end.ts';
import { type LookReply, lookCall, lookReply, sessionLook } from './functions/session-will.ts';
import { DUE_INDEXES, dueKeyAt, ownedKey, sessionKeys } from './keys.ts';
import { decodeMessage } from './message-value.ts';
import { type Quarantine, soundOrNull } from './opened-record.ts';
import { ASK_PATIENCE_MS, type RedisCalls } from './redis-calls.ts';
import type { SessionIndexes } from './session-indexes.ts';

/** What the ledger knows, and does, of a session that is found. */
export interface LedgerSide {
  isDead: (incarnation: Incarnation) => boolean;
  oldWillSettled(clientId: string, sid: string, epoch: number): void;
  unclaim(clientId: string, dead: Incarnation, done: (isDone: boolean) => void): void;
}

export interface UnownedOptions {
  readonly calls: RedisCalls;
  readonly indexes: SessionIndexes;
  readonly prefix: string;
  readonly clock: Clock;
  readonly quarantine: Quarantine;
  /** Of the ledger: a look waits for what is under way for its client. */
  readonly line: ClientLine;
  readonly ledger: LedgerSide;
}

/** A session in the name of a node that may be dead is looked at again then. */
export const DEAD_OWNER_MS = 1000;
/** A will is being published: whoever does it is asked again then. */
const WILL_MS = 5000;
const SEEN_MAX = 10_000;
const ORPHANS_PER_SCAN_MAX = 1000;

const nothing = (): void => {};

export class UnownedSessions {
  readonly #options: UnownedOptions;
  /** When the index says that the client should have been looked at, as `due` found it. */
  readonly #seen: Map<string, number> = new Map();
  #nextDueIndex = 0;

  constructor(options: UnownedOptions) {
    this.#options = options;
  }

  /** About what Redis' clock says: what is too early is looked at twice, too late a little later. */
  get #wallMs(): number {
    return Math.floor(this.#options.clock.wallMs());
  }

  orphan(dead: Incarnation, countMax: number, done: (orphans: Orphans | null) => void): void {
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
            this.#take(dead, reply!.clientIds, count, reply!.cursor !== '0', done);
          else if (reply!.cursor === '0') done({ clientIds: [], isMore: false });
          else scan(reply!.cursor);
        },
      );
    };
    scan('0');
  }

  #take(
    dead: Incarnation,
    found: readonly string[],
    countMax: number,
    isMoreThere: boolean,
    done: (orphans: Orphans | null) => void,
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
    const { calls, indexes, line, prefix } = this.#options;
    line.run(clientId, (finished) => {
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
    const { indexes, ledger, quarantine } = this.#options;
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
      ledger.oldWillSettled(clientId, sid, epoch);
      next(this.#wallMs + 1);
      indexes.disown(clientId, 0);
      return { kind: 'wait', untilMs: this.#wallMs + 1 };
    }
    indexes.disown(clientId, 0);
    switch (reply.kind) {
      case 'claimed': {
        // Its claim came to Redis when survivors had been through with what it left.
        const isDead = ledger.isDead(reply.by);
        if (isDead) ledger.unclaim(clientId, reply.by, nothing);
        const untilMs = this.#wallMs + (isDead ? 1 : WILL_MS);
        next(untilMs);
        return { kind: 'wait', untilMs };
      }
      case 'owned':
        if (!ledger.isDead(reply.owner)) {
          next(0);
          return { kind: 'wait', untilMs: 0 };
        }
        // It was written in its owner's name when survivors had been through with what that one left.
        next(this.#wallMs + DEAD_OWNER_MS);
        this.#take(reply.owner, [clientId], 1, false, nothing);
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
}

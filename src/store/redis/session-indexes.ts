/**
 * The indexes beside the sessions (ADR 0013): clients that have one, clients a node has opened, when one
 * is to be looked at. They are hints; here is the order in which they are written so that no crash
 * between two writes makes a session forgotten. Used by the ledger.
 */
import type { Incarnation } from '../../core/cluster-ports.ts';
import type { RedisFailure, RedisFunction } from '../../drivers/redis/redis-port.ts';
import { indexAdd, indexCall, indexRemove } from './functions/client-index.ts';
import { dueAdd, dueAddCall, dueSettle, dueSettleCall } from './functions/due.ts';
import { listCall, listReply, sessionList } from './functions/session-record.ts';
import { clientIndexKey, dueKey, ownedKey, sessionKeys } from './keys.ts';
import type { RedisCalls } from './redis-calls.ts';

const nothing = (): void => {};

export class SessionIndexes {
  readonly #calls: RedisCalls;
  readonly #prefix: string;
  /** Whose clients `#owned` are. */
  #incarnation: Incarnation = '';
  /** Clients in the set of this node: the epoch of the session it has, 0: something is under way. */
  readonly #owned: Map<string, number> = new Map();

  constructor(calls: RedisCalls, prefix: string) {
    this.#calls = calls;
    this.#prefix = prefix;
  }

  /** Before anything is taken in the name of the node: survivors look there when it dies. */
  own(
    incarnation: Incarnation,
    clientId: string,
    done: (failure: RedisFailure | null) => void,
  ): void {
    if (incarnation !== this.#incarnation) {
      this.#incarnation = incarnation;
      this.#owned.clear();
    }
    if (this.#owned.has(clientId)) {
      done(null);
      return;
    }
    const call = indexCall(ownedKey(this.#prefix, incarnation), [clientId]);
    this.#calls.call(indexAdd, call, nothing, (failure) => {
      if (failure === null && incarnation === this.#incarnation) {
        this.#owned.set(clientId, this.#owned.get(clientId) ?? 0);
      }
      done(failure);
    });
  }

  /** The node has the session now. */
  keep(clientId: string, epoch: number): void {
    this.#owned.set(clientId, epoch);
  }

  /** What was taken is given back: a session of this epoch, 0: what was under way. */
  disown(clientId: string, epoch: number): void {
    const kept = this.#owned.get(clientId);
    if (kept === undefined || kept > epoch) return;
    this.#owned.delete(clientId);
    // Never repeated: behind a later `own` it would undo that. What stays is only looked at in vain.
    const call = indexCall(ownedKey(this.#prefix, this.#incarnation), [clientId]);
    this.#calls.call(indexRemove, call, nothing, nothing);
  }

  /** It has a durable session from now on. */
  add(clientId: string): void {
    const call = indexCall(clientIndexKey(this.#prefix, clientId), [clientId]);
    this.#calls.until(indexAdd, call, nothing, nothing);
  }

  addMany(key: string, clientIds: readonly string[], done: () => void): void {
    this.#calls.until(indexAdd, indexCall(key, clientIds), nothing, done);
  }

  /**
   * Its session is no more. Another node may just have made a new one and added it before it is taken
   * out here: so it is looked for afterwards. And it may have ended when it is added again: until what
   * stands there is what was found after it was written.
   */
  remove(clientId: string): void {
    this.#settle(clientId, false);
  }

  #settle(clientId: string, hasSession: boolean): void {
    const call = indexCall(clientIndexKey(this.#prefix, clientId), [clientId]);
    this.#calls.until(hasSession ? indexAdd : indexRemove, call, nothing, () => {
      const keys = sessionKeys(this.#prefix, clientId);
      this.#calls.until(sessionList, listCall(keys), listReply, (session) => {
        if ((session !== null) !== hasSession) this.#settle(clientId, !hasSession);
      });
    });
  }

  /** Somebody has to look at it then; 0: nobody. */
  due(clientId: string, ms: number, done: () => void = nothing): void {
    if (ms === 0) {
      done();
      return;
    }
    const call = dueAddCall(dueKey(this.#prefix, clientId), ms, clientId);
    this.#calls.until(dueAdd, call, nothing, done);
  }

  /** Somebody has looked; again then, 0: no more. Lost, it is looked at again for nothing. */
  looked(clientId: string, seenMs: number, nextMs: number): void {
    const call = dueSettleCall(dueKey(this.#prefix, clientId), seenMs, nextMs, clientId);
    this.#once(dueSettle, call);
  }

  #once(fn: RedisFunction, call: Parameters<RedisCalls['call']>[1]): void {
    this.#calls.call(fn, call, nothing, nothing);
  }
}

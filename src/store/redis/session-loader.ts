/**
 * Every durable session of the datacenter, for a node that starts: the index of client ids is walked, each
 * id's session is asked for. Some walks at a time, with a bound on what is under way. Ids without a
 * session are told too: whoever ended it has died before it was taken out of the index.
 */
import type { SessionImage } from '../../core/cluster-ports.ts';
import { indexScan, scanCall, scanReply } from './functions/client-index.ts';
import {
  type ListedSession,
  listCall,
  listReply,
  sessionList,
} from './functions/session-record.ts';
import { CLIENT_INDEXES, clientIndexKeyAt, sessionKeys } from './keys.ts';
import { type Quarantine, soundOrNull } from './opened-record.ts';
import { ASK_PATIENCE_MS, type RedisCalls } from './redis-calls.ts';
import { decodeSubscriptions } from './subscriptions-codec.ts';

const WALKS = 8;
/** About so many ids come at a time. */
const PAGE = 128;

export class SessionLoader {
  readonly #calls: RedisCalls;
  readonly #prefix: string;
  readonly #quarantine: Quarantine;
  readonly #each: (image: SessionImage) => void;
  readonly #none: (clientId: string) => void;
  readonly #done: (isComplete: boolean) => void;
  #nextIndex = 0;
  #walks = 0;
  #hasFailed = false;

  constructor(
    calls: RedisCalls,
    prefix: string,
    quarantine: Quarantine,
    each: (image: SessionImage) => void,
    none: (clientId: string) => void,
    done: (isComplete: boolean) => void,
  ) {
    this.#calls = calls;
    this.#prefix = prefix;
    this.#quarantine = quarantine;
    this.#each = each;
    this.#none = none;
    this.#done = done;
  }

  start(): void {
    this.#walks = WALKS;
    for (let i = 0; i < WALKS; i++) this.#nextWalk();
  }

  #nextWalk(): void {
    if (!this.#hasFailed && this.#nextIndex < CLIENT_INDEXES) {
      this.#page(clientIndexKeyAt(this.#prefix, this.#nextIndex++), '0');
      return;
    }
    this.#walks--;
    if (this.#walks === 0) this.#done(!this.#hasFailed);
  }

  #page(key: string, cursor: string): void {
    const call = scanCall(key, cursor, PAGE);
    this.#calls.ask(indexScan, call, scanReply, ASK_PATIENCE_MS, (failure, reply) => {
      if (failure !== null) this.#failed();
      else this.#sessions(key, reply!.cursor, reply!.clientIds);
    });
  }

  #sessions(key: string, cursor: string, clientIds: readonly string[]): void {
    let left = clientIds.length;
    let isLost = false;
    const one = (): void => {
      left--;
      if (left > 0) return;
      if (isLost || this.#hasFailed) this.#failed();
      else if (cursor === '0') this.#nextWalk();
      else this.#page(key, cursor);
    };
    if (left === 0) {
      left = 1;
      one();
      return;
    }
    for (const clientId of clientIds) {
      const call = listCall(sessionKeys(this.#prefix, clientId));
      this.#calls.ask(sessionList, call, listReply, ASK_PATIENCE_MS, (failure, session) => {
        if (failure !== null) isLost = true;
        else if (session === null) this.#none(clientId);
        else this.#listed(clientId, session);
        one();
      });
    }
  }

  #listed(clientId: string, session: ListedSession): void {
    const image = imageOf(clientId, session, this.#quarantine);
    if (image !== null) this.#each(image);
  }

  #failed(): void {
    this.#hasFailed = true;
    this.#nextWalk();
  }
}

/** Null: what it is subscribed to cannot be read, and without that it is not to be believed. */
export function imageOf(
  clientId: string,
  listed: ListedSession,
  quarantine: Quarantine,
): SessionImage | null {
  const { rec, sid, epoch, counter, owner, identity, tenant, expiryIntervalS } = listed;
  const decode = (): SessionImage['subscriptions'] => decodeSubscriptions(rec).subscriptions;
  const subscriptions = soundOrNull(decode, quarantine, clientId, 'subscriptions');
  if (subscriptions === null) return null;
  return {
    clientId,
    sid,
    epoch,
    counter,
    owner: owner === '' ? null : owner,
    identity,
    tenant,
    expiryIntervalS,
    subscriptions,
  };
}

/**
 * Puts sessions of a node alone into the Redis of a datacenter, for `causeway promote` (ADR 0013). Each is
 * there whole or not at all, nobody owns it, and doing it again does nothing. Some hundred at a time, with
 * a bound on what is in memory. It knows no source and no command line.
 */
import { createHash } from 'node:crypto';
import type { Message } from '../../core/message.ts';
import type { QueueEntry } from '../../core/queue-entry.ts';
import { EntryState } from '../../core/queue-entry.ts';
import { SharedAppend } from '../../core/shared-append.ts';
import type { RedisFunction, RedisPort, RedisReply } from '../../drivers/redis/redis-port.ts';
import { encodeEntry } from '../../store/redis/entry-codec.ts';
import { INDEX_IDS_MAX, indexAdd, indexCall } from '../../store/redis/functions/client-index.ts';
import { dueAdd, dueAddCall } from '../../store/redis/functions/due.ts';
import type { RedisCall } from '../../store/redis/functions/reply.ts';
import { clientIndexKey, dueKey, sessionKeys } from '../../store/redis/keys.ts';
import { encodeMessage } from '../../store/redis/message-value.ts';
import { decodeSubscriptions, encodeSubscriptions } from '../../store/redis/subscriptions-codec.ts';
import type { SourceSession } from './embedded-source.ts';
import { KeptPositions } from './kept-positions.ts';
import {
  type MigrationCounts,
  MigrationError,
  type MigrationTally,
  type MovedSession,
  newTally,
  type SessionTarget,
} from './migration.ts';
import {
  type PromoteKeys,
  type PromoteLook,
  promoteCall,
  promoteForget,
  promoteKeys,
  promoteLook,
  promoteLookCall,
  promoteLookReply,
  promoteReply,
  promoteSession,
  promoteStage,
  type Standing,
  stageCall,
} from './promote-functions.ts';

export interface RedisTargetOptions {
  readonly redis: RedisPort;
  readonly keyPrefix: string;
  /** 16 hex digits, the same in every run until all is done; empty: nothing was written yet. */
  readonly promotion: string;
  readonly sessionOf: (clientId: string) => SourceSession;
  /** Throws when nodes of the datacenter run. */
  readonly expectNobody: () => Promise<void>;
}

/** What one call carries; more is staged before. */
const CALL_VALUES = 512;
const CALL_BYTES = 256 * 1024;
/** Sessions whose calls wait to be made together. */
const HELD_SESSIONS = 256;
const HELD_BYTES = 2 * 1024 * 1024;
const LOOKS_AT_ONCE = 256;

interface Held {
  readonly clientId: string;
  readonly call: RedisCall;
}

export class RedisTarget implements SessionTarget {
  readonly #options: RedisTargetOptions;
  #held: Held[] = [];
  #heldBytes = 0;
  /** Of those that were asked for last. */
  readonly #standings: Map<string, PromoteLook> = new Map();
  /** By client id: its print, and whether this run has moved it. */
  readonly #moved: Map<string, { readonly print: string; readonly isNew: boolean }> = new Map();

  constructor(options: RedisTargetOptions) {
    this.#options = options;
  }

  /** Why each of them cannot be moved; null: it can, or was. */
  async refusals(sessions: readonly SourceSession[]): Promise<(string | null)[]> {
    const looks = await Promise.all(sessions.map((one) => this.#look(one.clientId, one.print)));
    this.#standings.clear();
    return sessions.map(({ clientId }, index) => {
      const look = looks[index]!;
      this.#standings.set(clientId, look);
      return refusalOf(look.standing);
    });
  }

  // ------------------------------------------------------------------ SessionTarget

  open(): Promise<void> {
    return this.#options.expectNobody();
  }

  async addSession(session: MovedSession): Promise<void> {
    const { clientId } = session.record;
    const { print, tailSeq } = this.#options.sessionOf(clientId);
    const known = this.#standings.get(clientId);
    const isNew = known?.standing !== 'moved';
    this.#moved.set(clientId, { print, isNew });
    // A run before may have ended between the session and its indexes.
    const call = isNew
      ? await this.#prepare(session, print, tailSeq)
      : this.#lookCall(clientId, print);
    this.#held.push({ clientId, call });
    if (this.#held.length >= HELD_SESSIONS || this.#heldBytes >= HELD_BYTES) await this.#flush();
  }

  addRetained(_message: Message): Promise<void> {
    throw new Error('retained messages stay with their node');
  }

  /** Of what this run has moved: what is there; of what one before it had: what it was then. */
  async finish(): Promise<MigrationCounts> {
    await this.#flush();
    const tally = newTally();
    const moved = [...this.#moved];
    for (let from = 0; from < moved.length; from += LOOKS_AT_ONCE) {
      const page = moved.slice(from, from + LOOKS_AT_ONCE);
      const looks = await Promise.all(
        page.map(([clientId, { print }]) => this.#look(clientId, print)),
      );
      for (const [index, look] of looks.entries()) count(tally, look, page[index]![1].isNew);
    }
    // Who came meanwhile may have read only some of them.
    await this.#options.expectNobody();
    return tally;
  }

  abandon(): Promise<void> {
    return Promise.resolve();
  }

  /** All is done and the source has forgotten it too: it may be moved once more, some day. */
  async forgetMarks(): Promise<void> {
    const ids = [...this.#moved.keys()];
    const { promotion } = this.#options;
    for (let from = 0; from < ids.length; from += LOOKS_AT_ONCE) {
      const page = ids.slice(from, from + LOOKS_AT_ONCE);
      await Promise.all(
        page.map((clientId) => {
          const call = { keys: [this.#keys(clientId).mark], args: [promotion] };
          return this.#ask(promoteForget, call, () => null);
        }),
      );
    }
  }

  // ------------------------------------------------------------------ one session

  #keys(clientId: string): PromoteKeys {
    const { keyPrefix, promotion } = this.#options;
    return promoteKeys(sessionKeys(keyPrefix, clientId), promotion);
  }

  #lookCall(clientId: string, print: string): RedisCall {
    const { promotion } = this.#options;
    return promoteLookCall(this.#keys(clientId), promotion, print, sidOf(promotion, print));
  }

  #look(clientId: string, print: string): Promise<PromoteLook> {
    return this.#ask(promoteLook, this.#lookCall(clientId, print), promoteLookReply);
  }

  /** The call that makes the session, when all its queue but the last of it is staged. */
  async #prepare(session: MovedSession, print: string, tailSeq: number): Promise<RedisCall> {
    const { promotion } = this.#options;
    const { record, inboundIds, queue } = session;
    const keys = this.#keys(record.clientId);
    const sid = sidOf(promotion, print);
    const line = new QueueLine(sid);
    let staged = 0;
    /** The one before is under way while the next is read. */
    let staging: Promise<void> = Promise.resolve();
    for await (const entry of queue) {
      line.add(entry);
      if (line.values.length < CALL_VALUES && line.valueBytes < CALL_BYTES) continue;
      const values = line.take();
      await staging;
      staging = this.#stage(keys, staged, values);
      // Awaited later, or never when reading fails.
      staging.catch(() => {});
      staged += values.length;
    }
    await staging;
    const { subscriptions, will } = record;
    this.#heldBytes += line.valueBytes;
    const counts = {
      subscriptions: subscriptions.length,
      queued: line.queued,
      inbound: inboundIds.length,
      wills: will === null ? 0 : 1,
    };
    return promoteCall(keys, {
      promotion,
      print,
      counts,
      sid,
      identity: record.identity,
      tenant: record.tenant,
      version: record.protocolVersion,
      expiryIntervalS: record.expiryIntervalS,
      rec: encodeSubscriptions(subscriptions),
      goneMs: record.disconnectedAtMs,
      will: will === null ? null : encodeMessage(will.message),
      // A will waits no longer than its session lives.
      willDelayS: will === null || record.expiryIntervalS === 0 ? 0 : will.delayS,
      willDueMs: will?.dueAtMs ?? 0,
      head: line.queued === 0 ? tailSeq : line.positions.head,
      bytes: line.bytes,
      staged,
      holes: line.holes,
      released: line.released,
      inboundIds,
      values: line.take(),
    });
  }

  async #stage(keys: PromoteKeys, staged: number, values: readonly Buffer[]): Promise<void> {
    const call = stageCall(keys, staged, values);
    const has = await this.#ask(promoteStage, call, (reply) => reply);
    if (has !== staged + values.length) throw torn();
  }

  // ------------------------------------------------------------------ many

  /**
   * Index, session, time to look at it: in this order a crash leaves nothing that is not found again.
   */
  async #flush(): Promise<void> {
    const held = this.#held;
    this.#held = [];
    this.#heldBytes = 0;
    if (held.length === 0) return;
    await this.#index(held.map(({ clientId }) => clientId));
    const nextLooks = await Promise.all(
      held.map(({ clientId, call }) =>
        this.#moved.get(clientId)!.isNew
          ? this.#make(clientId, call)
          : this.#ask(promoteLook, call, promoteLookReply).then(({ nextLookMs }) => nextLookMs),
      ),
    );
    const { keyPrefix } = this.#options;
    await Promise.all(
      held.map(async ({ clientId }, index) => {
        const ms = nextLooks[index]!;
        if (ms === 0) return;
        const call = dueAddCall(dueKey(keyPrefix, clientId), ms, clientId);
        await this.#ask(dueAdd, call, () => null);
      }),
    );
  }

  async #make(clientId: string, call: RedisCall): Promise<number> {
    const { standing, nextLookMs } = await this.#ask(promoteSession, call, promoteReply);
    if (standing === 'moved') return nextLookMs;
    if (standing === 'torn') throw torn();
    throw new MigrationError(
      `a session of ${clientId} came into the datacenter just now: run promote again`,
    );
  }

  async #index(clientIds: readonly string[]): Promise<void> {
    const { keyPrefix } = this.#options;
    const byKey = new Map<string, string[]>();
    for (const clientId of clientIds) {
      const key = clientIndexKey(keyPrefix, clientId);
      const ids = byKey.get(key);
      if (ids === undefined) byKey.set(key, [clientId]);
      else ids.push(clientId);
    }
    const calls: Promise<null>[] = [];
    for (const [key, ids] of byKey) {
      for (let from = 0; from < ids.length; from += INDEX_IDS_MAX) {
        const call = indexCall(key, ids.slice(from, from + INDEX_IDS_MAX));
        calls.push(this.#ask(indexAdd, call, () => null));
      }
    }
    await Promise.all(calls);
  }

  #ask<T>(fn: RedisFunction, call: RedisCall, decode: (reply: RedisReply) => T): Promise<T> {
    return askRedis(this.#options.redis, fn, call, decode);
  }
}

/** Rejects with a MigrationError that says that it may be done again. */
export function askRedis<T>(
  redis: RedisPort,
  fn: RedisFunction,
  { keys, args }: RedisCall,
  decode: (reply: RedisReply) => T,
): Promise<T> {
  return new Promise((resolve, reject) => {
    redis.call(fn, keys, args, (failure, reply) => {
      if (failure !== null) {
        const why = `${failure.code} ${failure.message}`;
        reject(
          new MigrationError(
            `Redis does not take it (${why}): correct that and run promote again; ` +
              'what was moved is not moved twice, and nothing was removed from the directory',
          ),
        );
        return;
      }
      try {
        resolve(decode(reply));
      } catch (error) {
        reject(error as Error);
      }
    });
  });
}

/** A queue on its way: values at their positions, holes between them. */
class QueueLine {
  readonly positions: KeptPositions = new KeptPositions();
  readonly holes: number[] = [];
  readonly released: number[] = [];
  /** Not staged yet. */
  values: Buffer[] = [];
  valueBytes = 0;
  queued = 0;
  bytes = 0;
  readonly #sid: string;

  constructor(sid: string) {
    this.#sid = sid;
  }

  add(entry: QueueEntry): void {
    const isReleased = entry.state === EntryState.RELEASED;
    const before = this.positions.tail;
    const position = this.positions.place(entry.seq, isReleased);
    if (this.queued > 0 && position > before + 1) {
      this.holes.push(before + 1, position - 1);
      for (let at = before + 1; at < position; at++) this.values.push(HOLE);
    }
    if (isReleased) this.released.push(position);
    const { message, qos, retain, subscriptionIds, sharedFilter } = entry;
    const identity = { publisherSid: this.#sid, publisherSeq: position };
    const append = new SharedAppend(message, qos, retain, subscriptionIds, sharedFilter, identity);
    const value = encodeEntry(append, this.#sid, entry.queuedAtMs);
    this.values.push(value);
    this.valueBytes += value.length;
    this.bytes += value.length;
    this.queued++;
  }

  take(): Buffer[] {
    const { values } = this;
    this.values = [];
    this.valueBytes = 0;
    return values;
  }
}

const HOLE: Buffer = Buffer.alloc(0);

/** Of a session that was moved: the same in every run. */
function sidOf(promotion: string, print: string): string {
  return createHash('sha256').update(`${promotion}:${print}`).digest('hex').slice(0, 16);
}

function refusalOf(standing: Standing): string | null {
  if (standing === 'taken') return 'the datacenter has a session of that client id already';
  if (standing === 'changed') return 'it was moved before, and was used here again since';
  return null;
}

function torn(): MigrationError {
  return new MigrationError(
    'somebody else writes the same sessions: run only one promote at a time',
  );
}

function count(tally: MigrationTally, { moved, there }: PromoteLook, isNew: boolean): void {
  if (moved === null || (isNew && there === null)) return;
  tally.sessions++;
  const subscriptions =
    isNew && there !== null
      ? decodeSubscriptions(there.rec).subscriptions.length
      : moved.subscriptions;
  const { queued, inbound, wills } = isNew && there !== null ? there : moved;
  tally.subscriptions += subscriptions;
  tally.queued += queued;
  tally.inbound += inbound;
  tally.wills += wills;
}

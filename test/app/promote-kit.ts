/**
 * For tests of `causeway promote`: fills a data directory through the store, and reads what Redis then
 * has as a node does: through the ledger and the store of shared sessions.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import { EmbeddedTarget } from '../../src/app/migration/embedded-target.ts';
import type { MovedSession } from '../../src/app/migration/migration.ts';
import type { ClusterConfig } from '../../src/config/cluster-config.ts';
import type { OpenedRecord, SessionImage } from '../../src/core/cluster-ports.ts';
import { type Message, makeMessage } from '../../src/core/message.ts';
import type { Log, RestoredSession, SubscriptionRecord, WillRecord } from '../../src/core/ports.ts';
import { EntryState, QueueEntry } from '../../src/core/queue-entry.ts';
import { openRedis, type RedisLink } from '../../src/drivers/redis/redis-link.ts';
import { systemClock, systemScheduler } from '../../src/listeners/scheduler.ts';
import { EmbeddedStore } from '../../src/store/embedded/embedded-store.ts';
import { RedisStore } from '../../src/store/redis/redis-store.ts';
import { DURABLE, RedisServer, redisAdmin, type SharedRedis } from '../support/redis-server.ts';

export const quiet: Log = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };
const DAY_S = 86_400;

export function folderFor(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'causeway-promote-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** One that keeps what it has, as whoever moves sessions into it wants. */
export async function durableRedis(t: Test): Promise<SharedRedis> {
  const { url } = await RedisServer.start(t, DURABLE);
  return { url, prefix: 'moved:', admin: await redisAdmin(t, url) };
}

export interface PlannedEntry {
  readonly seq: number;
  readonly text: string;
  readonly qos: 1 | 2;
  readonly isReleased: boolean;
  readonly sharedFilter: string | null;
  readonly ids: readonly number[] | null;
}

export interface PlannedSession {
  readonly clientId: string;
  readonly identity: string | null;
  readonly subscriptions: readonly SubscriptionRecord[];
  readonly entries: readonly PlannedEntry[];
  readonly inboundIds: readonly number[];
  readonly will: WillRecord | null;
  /** Wall-clock ms. */
  readonly goneMs: number;
}

export function planned(
  clientId: string,
  entries: readonly Partial<PlannedEntry>[],
  more: Partial<PlannedSession> = {},
): PlannedSession {
  return {
    clientId,
    identity: null,
    subscriptions: [subscription(`a/${clientId}`)],
    inboundIds: [],
    will: null,
    goneMs: Date.now() - 1000,
    ...more,
    entries: entries.map((entry, index) => {
      const seq = entry.seq ?? index + 1;
      const plain = { text: `${clientId} ${seq}`, qos: 2 as const, isReleased: false };
      return { ...plain, sharedFilter: null, ids: null, ...entry, seq };
    }),
  };
}

export function subscription(filter: string): SubscriptionRecord {
  const flags = { noLocal: true, retainAsPublished: true, retainHandling: 1 as const };
  return { filter, qos: 2, ...flags, subscriptionId: 7 };
}

export function will(topic: string, delayS: number, dueAtMs: number): WillRecord {
  const message = makeMessage(1, topic, Buffer.from(`will of ${topic}`), { qos: 1 });
  return { message, delayS, dueAtMs };
}

/** A data directory as a node that had these sessions leaves it. */
export async function fill(
  directory: string,
  sessions: readonly PlannedSession[],
  retained: readonly Message[] = [],
): Promise<void> {
  const target = new EmbeddedTarget({ directory, scheduler: systemScheduler, log: quiet });
  await target.open();
  for (const session of sessions) await target.addSession(moved(session));
  for (const message of retained) await target.addRetained(message);
  await target.finish();
}

function moved(session: PlannedSession): MovedSession {
  const { clientId, identity, subscriptions, inboundIds, will: left, goneMs } = session;
  return {
    record: {
      clientId,
      identity,
      tenant: 'acme',
      protocolVersion: 5,
      expiryIntervalS: DAY_S,
      disconnectedAtMs: goneMs,
      subscriptions,
      will: left,
    },
    inboundIds,
    queue: (async function* () {
      for (const { seq, text, qos, isReleased, sharedFilter, ids } of session.entries) {
        const message = makeMessage(seq, `a/${clientId}`, Buffer.from(text), { qos });
        const entry = new QueueEntry(seq, message, qos, false, ids, false);
        entry.sharedFilter = sharedFilter;
        if (isReleased) entry.state = EntryState.RELEASED;
        yield entry;
      }
    })(),
  };
}

/** What a node alone does with its data directory. */
export async function changeIn(
  directory: string,
  change: (store: EmbeddedStore, sessions: readonly RestoredSession[]) => void | Promise<void>,
): Promise<{ readonly clientIds: readonly string[]; readonly retained: readonly string[] }> {
  const sessions: RestoredSession[] = [];
  const retained: string[] = [];
  const store = new EmbeddedStore({ directory, scheduler: systemScheduler, log: quiet });
  const events = { entryDurable: () => {}, entryFailed: () => {}, committed: () => {} };
  await store.start(events, {
    session: (session) => sessions.push(session),
    retained: (message) => retained.push(message.topic),
  });
  await change(store, sessions);
  await store.stop();
  const clientIds = sessions.map(({ record }) => record.clientId).sort();
  return { clientIds, retained: retained.sort() };
}

/** What is left in a data directory. */
export function leftIn(directory: string): ReturnType<typeof changeIn> {
  return changeIn(directory, () => {});
}

export function clusterConfig(url: string, keyPrefix: string): ClusterConfig {
  return {
    redis: { url, keyPrefix, replicasMin: 0, rewriteMs: 0 },
    peer: { bufferBytesMax: 1 << 20, linkGraceMs: 2000 },
    degraded: 'park',
    leaseMs: 500,
    retainedTombstoneS: 3600,
  };
}

export interface ReadEntry {
  readonly seq: number;
  readonly text: string;
  readonly qos: 1 | 2;
  readonly isReleased: boolean;
  readonly sharedFilter: string | null;
  readonly ids: readonly number[] | null;
}

/** A node that is no member: it opens sessions and reads their queues. */
export class Reader {
  readonly link: RedisLink;
  readonly store: RedisStore;
  readonly prefix: string;
  readonly #incarnation: string;
  #nextNumber = 1;

  private constructor(link: RedisLink, prefix: string, incarnation: string) {
    this.link = link;
    this.prefix = prefix;
    this.#incarnation = incarnation;
    this.store = new RedisStore({
      redis: link,
      keyPrefix: prefix,
      scheduler: systemScheduler,
      clock: systemClock,
      log: quiet,
      incarnation: () => incarnation,
    });
    this.store.begin({ entryDurable: () => {}, entryFailed: () => {}, committed: () => {} });
    this.store.listen({
      queued: () => {},
      kept: () => {},
      keptQueued: () => {},
      inboundKept: () => {},
      inboundWritten: () => {},
      enqueueFailed: () => {},
      fenced: () => {},
    });
    link.listen({ redisUp: (isOther) => this.store.redisUp(isOther), redisDown: () => {} });
  }

  static async start(t: Test, url: string, prefix: string): Promise<Reader> {
    const link = openRedis({ scheduler: systemScheduler, urls: [url] });
    await link.ready(5000);
    const reader = new Reader(link, prefix, 'feed'.repeat(8));
    t.teardown(async () => {
      await reader.store.stop();
      link.close();
    });
    return reader;
  }

  /** As a node that starts sees them. */
  images(): Promise<SessionImage[]> {
    return new Promise((resolve, reject) => {
      const found: SessionImage[] = [];
      this.store.ledger.load(
        (image) => found.push(image),
        (isComplete) => (isComplete ? resolve(found) : reject(new Error('not all'))),
      );
    });
  }

  open(
    clientId: string,
    identity: string | null = null,
  ): Promise<{ readonly record: OpenedRecord; readonly number: number }> {
    const number = this.#nextNumber++;
    const request = {
      clientId,
      identity,
      tenant: 'acme',
      isTenantProven: false,
      cleanStart: false,
      expiryIntervalS: DAY_S,
      version: 5 as const,
      will: null,
    };
    return new Promise((resolve, reject) => {
      this.store.ledger.open(
        this.#incarnation,
        Date.now(),
        '00000000000000aa',
        request,
        (answer) => {
          if (answer.kind !== 'opened') {
            reject(new Error(answer.kind));
            return;
          }
          const { record } = answer;
          this.store.bind(number, clientId, record.sid, record.epoch);
          resolve({ record, number });
        },
      );
    });
  }

  /** The whole queue, in pages. */
  async queue(number: number): Promise<ReadEntry[]> {
    const all: ReadEntry[] = [];
    for (let from = 1; ; ) {
      const page = await new Promise<QueueEntry[]>((resolve, reject) => {
        this.store.read(number, from, 500, 1 << 20, (entries, error) => {
          if (error === null) resolve(entries);
          else reject(error);
        });
      });
      if (page.length === 0) return all;
      for (const { seq, message, qos, state, sharedFilter, subscriptionIds } of page) {
        all.push({
          seq,
          text: message.payload.toString(),
          qos,
          isReleased: state === EntryState.RELEASED,
          sharedFilter,
          ids: subscriptionIds,
        });
      }
      from = page.at(-1)!.seq + 1;
    }
  }
}

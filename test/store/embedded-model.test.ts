/**
 * The embedded store against a naive model: random appends to random sets of sessions, settles,
 * releases, deletions, restarts, writes that fail before or after they reached the disk. At every
 * stop and at the end each unsettled entry is there with its body; when all is settled nothing of
 * queues and bodies is left in the database. A failure prints its seed: CAUSEWAY_SEED=n repeats it.
 */
import t from 'tap';
import type { Scheduler } from '../../src/core/ports.ts';
import { EntryState, type QueueEntry } from '../../src/core/queue-entry.ts';
import type { EmbeddedStoreOptions } from '../../src/store/embedded/embedded-store.ts';
import {
  entryOf,
  read,
  release,
  sessionRecord,
  settle,
  textMessage,
  textOf,
} from '../contract/store-recorder.ts';
import { givenSeed } from '../support/seed.ts';
import { EmbeddedHome, type EmbeddedSubject } from './embedded-home.ts';

const RUNS = 14;
const STEPS = 120;
const SESSIONS_MAX = 7;

interface ModelSession {
  readonly clientId: string;
  number: number;
  tailSeq: number;
  /** Appended and neither settled nor failed, by position. */
  readonly entries: Map<number, { entry: QueueEntry; readonly text: string }>;
}

type Batch = Parameters<NonNullable<EmbeddedStoreOptions['write']>>[0];

class Prng {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** Uniform in [0, bound). */
  below(bound: number): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let x = this.#state;
    x = Math.imul(x ^ (x >>> 15), x | 1);
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61);
    return ((x ^ (x >>> 14)) >>> 0) % bound;
  }

  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)]!;
  }
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

class Run {
  readonly home: EmbeddedHome;
  readonly prng: Prng;
  readonly sessions: ModelSession[] = [];
  readonly #ticks: Set<() => void> = new Set();
  subject!: EmbeddedSubject;
  #nextNumber = 1;
  #clients = 0;
  #messages = 0;
  #failure: 'none' | 'before' | 'after' = 'none';
  failures = 0;
  compared = 0;

  constructor(home: EmbeddedHome, seed: number) {
    this.home = home;
    this.prng = new Prng(seed);
  }

  async open(): Promise<void> {
    const scheduler: Scheduler = {
      endOfTurn: (task) => void setImmediate(task),
      nextTurn: (task) => void setImmediate(task),
      every: (_intervalMs, tick) => {
        this.#ticks.add(tick);
        return () => this.#ticks.delete(tick);
      },
    };
    this.#ticks.clear();
    this.subject = await this.home.open({
      scheduler,
      write: (batch, sync) => this.#write(batch, sync),
    });
    this.#nextNumber = 1;
    for (const { record } of this.subject.events.sessions.values()) {
      this.#nextNumber = Math.max(this.#nextNumber, record.sessionNumber + 1);
    }
  }

  async #write(batch: Batch, sync: boolean): Promise<void> {
    const failure = this.#failure;
    this.#failure = 'none';
    if (failure === 'before') throw new Error('no space left');
    await batch.write({ sync });
    if (failure === 'after') throw new Error('sync failed');
  }

  /** Lets timers fire until the store writes again and all that was asked for is committed. */
  async quiet(): Promise<void> {
    const { store, events } = this.subject;
    this.#failure = 'none';
    const deadlineMs = performance.now() + 30_000;
    while (performance.now() < deadlineMs) {
      if (store.writable) {
        const ticket = store.putRetained(textMessage('barrier', 'barrier'));
        await events.done(ticket);
        // A commit that was under way may have failed just before.
        if (store.writable) break;
      }
      for (const tick of this.#ticks) tick();
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
    if (!store.writable) throw new Error('the store does not recover');
    for (const session of this.sessions) this.#forgetFailed(session);
  }

  #forgetFailed(session: ModelSession): void {
    for (const [seq, { entry }] of session.entries) {
      if (entry.state === EntryState.SETTLED) session.entries.delete(seq);
    }
  }

  async step(): Promise<void> {
    const { prng } = this;
    const kind = prng.below(100);
    if (this.sessions.length === 0 || (kind < 5 && this.sessions.length < SESSIONS_MAX)) {
      this.#create();
    } else if (kind < 50) {
      this.#append();
    } else if (kind < 72) {
      this.#settleSome();
    } else if (kind < 78) {
      this.#releaseOne();
    } else if (kind < 81) {
      this.#delete();
    } else if (kind < 93) {
      await turn();
    } else if (kind < 96) {
      await this.#compareOne();
    } else if (kind < 98 && this.failures < 2) {
      this.failures++;
      this.#failure = prng.below(2) === 0 ? 'before' : 'after';
    } else if (kind === 98) {
      for (const tick of this.#ticks) tick();
    } else {
      await this.reopen();
    }
  }

  #create(): void {
    const number = this.#nextNumber++;
    const clientId = `c${this.#clients++}`;
    this.sessions.push({ clientId, number, tailSeq: 0, entries: new Map() });
    this.subject.store.saveSession(sessionRecord(number, clientId));
  }

  #append(): void {
    const { prng } = this;
    const { store } = this.subject;
    const sizes = [5, 50, 50, 50, 2000, 9000, 120_000];
    for (let burst = 1 + prng.below(6); burst > 0; burst--) {
      const text = `${this.#messages++}:`.padEnd(sizes[prng.below(sizes.length)]!, 'x');
      const message = textMessage(text);
      const fanOut = prng.below(3) === 0 ? 1 : 1 + prng.below(this.sessions.length);
      for (let i = 0; i < fanOut; i++) {
        const session = prng.pick(this.sessions);
        session.tailSeq += 1 + (prng.below(10) === 0 ? prng.below(5) : 0);
        const entry = entryOf(session.tailSeq, message, prng.below(2) === 0 ? 1 : 2);
        session.entries.set(session.tailSeq, { entry, text });
        store.append(session.number, entry);
      }
    }
  }

  #settleSome(): void {
    const session = this.prng.pick(this.sessions);
    const isAll = this.prng.below(6) === 0;
    for (const [seq, { entry }] of session.entries) {
      if (!isAll && this.prng.below(3) === 0) continue;
      session.entries.delete(seq);
      if (entry.state !== EntryState.SETTLED) settle(this.subject.store, session.number, entry);
      if (!isAll && this.prng.below(12) === 0) return;
    }
  }

  #releaseOne(): void {
    const session = this.prng.pick(this.sessions);
    for (const { entry } of session.entries.values()) {
      const { state, qos, durable } = entry;
      if (qos !== 2 || !durable || state !== EntryState.QUEUED) continue;
      if (this.prng.below(3) === 0) continue;
      release(this.subject.store, session.number, entry);
      return;
    }
  }

  #delete(): void {
    const [session] = this.sessions.splice(this.prng.below(this.sessions.length), 1);
    this.subject.store.deleteSession(session!.number);
  }

  async #compareOne(): Promise<void> {
    await this.quiet();
    const session = this.prng.pick(this.sessions);
    const fromSeq = 1 + this.prng.below(session.tailSeq + 2);
    await this.#compare(session, fromSeq, 1 + this.prng.below(40));
  }

  async #compare(session: ModelSession, fromSeq: number, messagesMax: number): Promise<void> {
    const found = await read(this.subject.store, session.number, { fromSeq, messagesMax });
    const expected = [...session.entries.values()]
      .filter(({ entry }) => entry.seq >= fromSeq)
      .slice(0, messagesMax);
    const shape = (entry: QueueEntry, text: string): string =>
      `${entry.seq} qos ${entry.qos} state ${entry.state} ${text.slice(0, 8)} ${text.length}`;
    const got = found.map((entry) => shape(entry, textOf(entry.message)));
    const wanted = expected.map(({ entry, text }) => shape(entry, text));
    if (got.join('\n') !== wanted.join('\n')) {
      throw new Error(`${session.clientId} has\n${got.join('\n')}\nnot\n${wanted.join('\n')}`);
    }
    this.compared += got.length;
  }

  async reopen(): Promise<void> {
    await this.quiet();
    await this.subject.store.stop();
    await this.open();
    const { sessions } = this.subject.events;
    if (sessions.size !== this.sessions.length) throw new Error('not the same sessions');
    for (const session of this.sessions) {
      const restored = sessions.get(session.clientId)!;
      session.number = restored.record.sessionNumber;
      let bytes = 0;
      for (const { entry } of session.entries.values()) bytes += entry.message.bytes;
      const { queuedMessages, queuedBytes, tailSeq } = restored;
      const last = [...session.entries.keys()].at(-1) ?? 0;
      if (queuedMessages !== session.entries.size || queuedBytes !== bytes || tailSeq < last) {
        throw new Error(`${session.clientId}: ${JSON.stringify(restored)}, not ${bytes} bytes`);
      }
      await this.#compare(session, 1, 1_000_000);
      const entries = await read(this.subject.store, session.number);
      for (const entry of entries) session.entries.get(entry.seq)!.entry = entry;
    }
  }

  /** Everything is settled or deleted: nothing but sessions may be left. */
  async finish(): Promise<void> {
    await this.reopen();
    while (this.sessions.length > 2) this.#delete();
    for (const { number, entries } of this.sessions) {
      for (const { entry } of entries.values()) settle(this.subject.store, number, entry);
      entries.clear();
    }
    await this.quiet();
    // Sweeps run behind commits; what a deleted session leaves is gone after some.
    for (let i = 0; i < 50; i++) await this.quiet();
    await this.subject.store.stop();
  }
}

const given = givenSeed();
const seeds = given === null ? Array.from({ length: RUNS }, (_, i) => i + 1) : [given];

for (const seed of seeds) {
  t.test(`seed ${seed}`, async (t) => {
    const home = new EmbeddedHome(t);
    const run = new Run(home, seed);
    try {
      await run.open();
      for (let i = 0; i < STEPS; i++) await run.step();
      await run.finish();
    } catch (error) {
      t.fail(`CAUSEWAY_SEED=${seed}: ${(error as Error).message}`);
      t.comment((error as Error).stack ?? '');
      return;
    }
    const { q, m, b, c, d, i, x } = await home.kinds();
    const left = Object.entries({ q, m, b, c, d, i, x }).filter(([, count]) => count !== undefined);
    t.same(left, [], 'nothing is left of queues');
    t.equal(run.subject.store.quarantined, 0);
  });
}

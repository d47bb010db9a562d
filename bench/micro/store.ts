/**
 * The embedded store through real fsyncs: entries per second and CPU of the main thread per entry,
 * with groups as they form. A driver appends as a read batch would, holds back when too much is
 * unsafe, and in the online form settles what became durable.
 *
 *   node bench/micro/store.ts [seconds] [directory]
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Message, makeMessage } from '../../src/core/message.ts';
import type { Log, StoreEvents } from '../../src/core/ports.ts';
import { EntryState, QueueEntry } from '../../src/core/queue-entry.ts';
import { systemScheduler } from '../../src/listeners/scheduler.ts';
import { EmbeddedStore } from '../../src/store/embedded/embedded-store.ts';

/** What all messages share, as the core's slabs hold it. */
const TEMPLATE = makeMessage(0, 'bench/store/topic', Buffer.alloc(64, 0x78), { qos: 1 });
/** Messages appended per loop turn, as one socket's chunk brings them. */
const BURST = 200;
/** Entries that may be unsafe at a time: what publishers' windows allow. */
const UNSAFE_MAX = 20_000;

const quiet: Log = { debug: () => {}, info: () => {}, warn: () => {}, error: console.error };

interface Scenario {
  readonly name: string;
  readonly sessions: number;
  /** Each message goes to all sessions; else to the next one. */
  readonly isFanOut: boolean;
  /** Entries are settled once they are durable. */
  readonly isOnline: boolean;
}

const SCENARIOS: readonly Scenario[] = [
  { name: '1 session, offline', sessions: 1, isFanOut: false, isOnline: false },
  { name: '1 session, online', sessions: 1, isFanOut: false, isOnline: true },
  { name: '50 sessions, one each, offline', sessions: 50, isFanOut: false, isOnline: false },
  { name: '50 sessions, one each, online', sessions: 50, isFanOut: false, isOnline: true },
  { name: '1 to 50 sessions, offline', sessions: 50, isFanOut: true, isOnline: false },
  { name: '1 to 50 sessions, online', sessions: 50, isFanOut: true, isOnline: true },
];

async function run(scenario: Scenario, parent: string, seconds: number): Promise<void> {
  const directory = mkdtempSync(join(parent, 'causeway-bench-store-'));
  const store = new EmbeddedStore({ directory, scheduler: systemScheduler, log: quiet });
  let durable = 0;
  let appended = 0;
  let wake = (): void => {};
  const settled: { readonly entry: QueueEntry; readonly session: number }[] = [];
  const events: StoreEvents = {
    entryDurable: (entry, session) => {
      durable++;
      if (scenario.isOnline) settled.push({ entry, session });
    },
    entryFailed: () => {
      throw new Error('an entry failed');
    },
    committed: (_ticket, error) => {
      if (error !== null) throw error;
      wake();
    },
  };
  await store.start(events, { session: () => {}, retained: () => {} });
  for (let number = 1; number <= scenario.sessions; number++) {
    store.saveSession({
      sessionNumber: number,
      clientId: `c${number}`,
      identity: null,
      tenant: '',
      protocolVersion: 5,
      expiryIntervalS: 3600,
      disconnectedAtMs: 0,
      subscriptions: [],
      will: null,
    });
  }
  const seqs = new Array<number>(scenario.sessions + 1).fill(0);
  let sequence = 1;
  const append = (session: number, message: Message): void => {
    const seq = seqs[session]! + 1;
    seqs[session] = seq;
    store.append(session, new QueueEntry(seq, message, 1, false, null, false));
    appended++;
  };
  const startMs = performance.now();
  const endMs = startMs + seconds * 1000;
  const before = process.threadCpuUsage();
  const commitsBefore = store.commits;
  while (performance.now() < endMs) {
    if (appended - durable < UNSAFE_MAX) {
      for (let i = 0; i < BURST; i++) {
        const { topic, slab, bodyStart, payloadStart, bodyEnd, properties } = TEMPLATE;
        const message = new Message(
          sequence,
          topic,
          slab,
          bodyStart,
          payloadStart,
          bodyEnd,
          properties,
          1,
          false,
          0,
        );
        if (scenario.isFanOut) {
          for (let session = 1; session <= scenario.sessions; session++) append(session, message);
          if (i * scenario.sessions > BURST * 4) break;
        } else {
          append(1 + (sequence % scenario.sessions), message);
        }
        sequence++;
      }
    }
    for (const { entry, session } of settled.splice(0)) {
      entry.state = EntryState.SETTLED;
      store.settle(session, entry);
    }
    if (appended - durable < UNSAFE_MAX) await new Promise(setImmediate);
    else
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
  }
  while (durable < appended)
    await new Promise<void>((resolve) => {
      wake = resolve;
    });
  const elapsedS = (performance.now() - startMs) / 1000;
  const cpu = process.threadCpuUsage(before);
  const commits = store.commits - commitsBefore;
  const cpuUs = (cpu.user + cpu.system) / appended;
  console.log(
    `${scenario.name.padEnd(32)} ${Math.round(appended / elapsedS / 1000)
      .toString()
      .padStart(5)}k entries/s  ${cpuUs.toFixed(2)} us CPU/entry  ` +
      `${Math.round(appended / commits)} entries/commit  ` +
      `${((1000 * store.commitSecondsTotal) / commits).toFixed(1)} ms/write`,
  );
  await store.stop();
  rmSync(directory, { recursive: true, force: true });
}

const seconds = Number(process.argv[2] ?? 4);
const parent = process.argv[3] ?? tmpdir();
for (const scenario of SCENARIOS) await run(scenario, parent, seconds);

/**
 * What a large backlog costs the embedded store: the time from `start` to open with one million
 * queued and 100,000 retained messages, and memory while that backlog is built. Each measurement runs
 * in a process of its own.
 *
 *   node bench/micro/store-start.ts [messages]
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { makeMessage } from '../../src/core/message.ts';
import type { Log } from '../../src/core/ports.ts';
import { QueueEntry } from '../../src/core/queue-entry.ts';
import { systemScheduler } from '../../src/listeners/scheduler.ts';
import { EmbeddedStore } from '../../src/store/embedded/embedded-store.ts';

const RETAINED = 100_000;
const PAYLOAD = Buffer.alloc(64, 0x78);

interface Shape {
  readonly sessions: number;
  readonly isFanOut: boolean;
  /** Entries that may be unsafe at a time; decides how many entries a run has. */
  readonly unsafeMax: number;
}

const SHAPES: Record<string, Shape> = {
  'fan-out to 50 sessions': { sessions: 50, isFanOut: true, unsafeMax: 5000 },
  'one each for 1000 sessions': { sessions: 1000, isFanOut: false, unsafeMax: 5000 },
  'one each for 1000 sessions, one a commit': { sessions: 1000, isFanOut: false, unsafeMax: 1000 },
};

const quiet: Log = { debug: () => {}, info: () => {}, warn: () => {}, error: console.error };

/** Anonymous and file-backed resident memory, in MiB, after a collection. */
function memory(): string {
  globalThis.gc?.();
  const status = readFileSync('/proc/self/status', 'latin1');
  const mib = (field: string): number =>
    Math.round(Number(new RegExp(`${field}:\\s+(\\d+)`).exec(status)?.[1] ?? 0) / 1024);
  const { heapUsed, external } = process.memoryUsage();
  const js = Math.round((heapUsed + external) / 1024 / 1024);
  return `RSS ${mib('VmRSS')} MiB (anonymous ${mib('RssAnon')}, mapped files ${mib('RssFile')}), heap and buffers ${js}`;
}

async function fill(directory: string, shape: string, messages: number): Promise<void> {
  const { sessions, isFanOut, unsafeMax } = SHAPES[shape]!;
  const store = new EmbeddedStore({ directory, scheduler: systemScheduler, log: quiet });
  let durable = 0;
  let appended = 0;
  let wake = (): void => {};
  await store.start(
    {
      entryDurable: () => {
        durable++;
      },
      entryFailed: () => {
        throw new Error('an entry failed');
      },
      committed: () => wake(),
    },
    { session: () => {}, retained: () => {} },
  );
  for (let number = 1; number <= sessions; number++) {
    store.saveSession({
      sessionNumber: number,
      clientId: `client-${number}`,
      identity: null,
      tenant: '',
      protocolVersion: 5,
      expiryIntervalS: 3600,
      disconnectedAtMs: 1,
      subscriptions: [],
      will: null,
    });
  }
  for (let i = 0; i < RETAINED; i++) {
    store.putRetained(makeMessage(i, `retained/${i % 100}/${i}`, PAYLOAD, { retain: true }));
    if (i % 1000 === 0) await new Promise(setImmediate);
  }
  const settled = (): Promise<void> =>
    new Promise((resolve) => {
      wake = resolve;
    });
  const seqs = new Array<number>(sessions + 1).fill(0);
  let nextReport = 0;
  for (let sequence = 1; appended < messages; sequence++) {
    if (appended >= nextReport) {
      await settled();
      console.log(`    ${appended} queued: ${memory()}`);
      nextReport += messages / 4;
    }
    const message = makeMessage(sequence, 'bench/store/topic', PAYLOAD, { qos: 1 });
    const first = isFanOut ? 1 : 1 + (sequence % sessions);
    const last = isFanOut ? sessions : first;
    for (let session = first; session <= last; session++) {
      store.append(session, new QueueEntry(++seqs[session]!, message, 1, false, null, false));
      appended++;
    }
    while (appended - durable > unsafeMax) await settled();
  }
  while (durable < appended) await settled();
  console.log(`    ${appended} queued: ${memory()}`);
  await store.stop();
}

async function open(directory: string): Promise<void> {
  const store = new EmbeddedStore({ directory, scheduler: systemScheduler, log: quiet });
  let queued = 0;
  let retained = 0;
  const startMs = performance.now();
  const cpu = process.cpuUsage();
  const numbers: number[] = [];
  await store.start(
    { entryDurable: () => {}, entryFailed: () => {}, committed: () => {} },
    {
      session: ({ queuedMessages, record }) => {
        queued += queuedMessages;
        numbers.push(record.sessionNumber);
      },
      retained: () => {
        retained++;
      },
    },
  );
  const { user, system } = process.cpuUsage(cpu);
  const ms = Math.round(performance.now() - startMs);
  const cpuMs = Math.round((user + system) / 1000);
  console.log(`    open after ${ms} ms (CPU ${cpuMs} ms): ${queued} queued, ${retained} retained`);
  console.log(`    open: ${memory()}`);
  const readMs = performance.now();
  let read = 0;
  for (const number of numbers.slice(0, 20)) {
    for (let fromSeq = 1; ; ) {
      const entries = await new Promise<QueueEntry[]>((resolve, reject) => {
        store.read(number, fromSeq, 256, 256 * 1024, (found, error) => {
          if (error === null) resolve(found);
          else reject(error);
        });
      });
      if (entries.length === 0) break;
      read += entries.length;
      fromSeq = entries.at(-1)!.seq + 1;
    }
  }
  const perSecond = Math.round(read / (performance.now() - readMs));
  console.log(`    ${read} entries read back in windows of 256: ${perSecond}k/s; ${memory()}`);
  await store.stop();
}

function inProcess(...args: string[]): void {
  const options = { stdio: 'inherit' } as const;
  const file = fileURLToPath(import.meta.url);
  const { status } = spawnSync(process.execPath, ['--expose-gc', file, ...args], options);
  if (status !== 0) throw new Error(`${args.join(' ')} ended with ${status}`);
}

const [word = '1000000', directory = '', shape = '', count = ''] = process.argv.slice(2);
if (word === 'fill') {
  await fill(directory, shape, Number(count));
} else if (word === 'open') {
  await open(directory);
} else {
  for (const shape of Object.keys(SHAPES)) {
    const home = mkdtempSync(join(tmpdir(), 'causeway-bench-store-'));
    try {
      console.log(`  ${shape}: ${word} queued messages`);
      inProcess('fill', home, shape, word);
      inProcess('open', home);
    } finally {
      rmSync(home, { recursive: true, force: true });
    }
  }
}

/**
 * kill -9 in the middle of a storm, several times over one directory. What the process had been told
 * is durable is there afterwards, in order and with its body, unless it was settled; a release that
 * was reported holds; what was settled before a later synced commit stays gone. When all is settled
 * nothing of queues and bodies is left, so no crash has cost a reference to a shared block.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { EntryState } from '../../src/core/queue-entry.ts';
import { read, settle, textOf } from '../contract/store-recorder.ts';
import { EmbeddedHome } from './embedded-home.ts';

const ROUNDS = 6;
const child = fileURLToPath(new URL('storm-child.ts', import.meta.url));

interface Told {
  readonly text: string;
  readonly appendedAt: number;
  isDurable: boolean;
  isReleased: boolean;
  /** Line at which its settling began; Infinity: never. */
  settledAt: number;
}

interface Ledger {
  readonly clients: Map<string, Map<number, Told>>;
  /** Deleted for sure, and perhaps. */
  readonly deleted: Set<string>;
  readonly doomed: Set<string>;
  /** The latest append of which durability was reported. */
  lastSyncedAppend: number;
  lines: number;
}

function note(ledger: Ledger, line: string): void {
  const [kind, client = '', seqText = '', text = ''] = line.split(' ');
  const at = ++ledger.lines;
  const seq = Number(seqText);
  if (kind === 'X') ledger.doomed.add(client);
  if (kind === 'Y') ledger.deleted.add(client);
  let entries = ledger.clients.get(client);
  if (kind === 'A') {
    if (entries === undefined) {
      entries = new Map();
      ledger.clients.set(client, entries);
    }
    const told = { text, appendedAt: at, isDurable: false, isReleased: false };
    entries.set(seq, { ...told, settledAt: Number.POSITIVE_INFINITY });
  }
  const told = entries?.get(seq);
  if (told === undefined) return;
  if (kind === 'S') told.settledAt = at;
  if (kind === 'R') told.isReleased = true;
  if (kind === 'D') {
    told.isDurable = true;
    ledger.lastSyncedAppend = Math.max(ledger.lastSyncedAppend, told.appendedAt);
  }
}

/** Runs the storm until it has said something, and kills it. */
async function storm(directory: string, round: number, ledger: Ledger): Promise<string> {
  const env = { ...process.env, NODE_OPTIONS: '' };
  const storming = spawn(process.execPath, [child, directory, `${round}`], {
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let errors = '';
  storming.stderr.on('data', (chunk: Buffer) => {
    errors += chunk.toString();
  });
  let rest = '';
  let killer: NodeJS.Timeout | null = null;
  storming.stdout.on('data', (chunk: Buffer) => {
    killer ??= setTimeout(() => storming.kill('SIGKILL'), 150 + Math.random() * 500);
    const lines = (rest + chunk.toString()).split('\n');
    // A line that was cut off was not said.
    rest = lines.pop()!;
    for (const line of lines) note(ledger, line);
  });
  await once(storming, 'close');
  if (killer !== null) clearTimeout(killer);
  return errors;
}

t.test('kill -9', { timeout: 120_000 }, async (t) => {
  const home = new EmbeddedHome(t);
  const ledger: Ledger = {
    clients: new Map(),
    deleted: new Set(),
    doomed: new Set(),
    lastSyncedAppend: 0,
    lines: 0,
  };
  let found = 0;
  let owed = 0;
  for (let round = 1; round <= ROUNDS; round++) {
    t.equal(await storm(home.directory, round, ledger), '', `round ${round}: killed, not failed`);
    const { store, events } = await home.open();
    t.equal(store.quarantined, 0);
    const wrong: string[] = [];
    for (const clientId of ledger.deleted) {
      if (events.sessions.has(clientId)) wrong.push(`${clientId} was deleted and is back`);
    }
    for (const [clientId, entries] of ledger.clients) {
      const restored = events.sessions.get(clientId);
      const isOwed = ({ isDurable, settledAt }: Told): boolean =>
        isDurable && settledAt === Number.POSITIVE_INFINITY;
      if (restored === undefined) {
        if (!ledger.doomed.has(clientId) && [...entries.values()].some(isOwed)) {
          wrong.push(`${clientId} is lost`);
        }
        ledger.clients.delete(clientId);
        continue;
      }
      const there = await read(store, restored.record.sessionNumber);
      if (there.length !== restored.queuedMessages) wrong.push(`${clientId} is counted wrong`);
      const seqs = new Set(there.map(({ seq }) => seq));
      for (const [seq, told] of entries) {
        if (!isOwed(told)) continue;
        owed++;
        if (!seqs.has(seq)) wrong.push(`${clientId} ${seq} was durable and is lost`);
      }
      let before = 0;
      for (const { seq, message, state } of there) {
        found++;
        if (seq <= before) wrong.push(`${clientId} ${seq} comes after ${before}`);
        before = seq;
        const told = entries.get(seq);
        // Its line may have been cut off by the kill; the append itself was not.
        if (told === undefined) continue;
        if (textOf(message).slice(0, 20) !== told.text)
          wrong.push(`${clientId} ${seq}: wrong body`);
        if (told.isReleased && state !== EntryState.RELEASED) {
          wrong.push(`${clientId} ${seq} was released and comes back as unsent`);
        }
        if (told.settledAt < ledger.lastSyncedAppend) {
          wrong.push(`${clientId} ${seq} was settled before a synced commit and is back`);
        }
        // Written after all, and from here on like any other.
        told.isDurable = true;
        told.settledAt = Number.POSITIVE_INFINITY;
      }
      for (const seq of entries.keys()) if (!seqs.has(seq)) entries.delete(seq);
    }
    t.same(wrong, [], `round ${round}`);
    await store.stop();
  }
  t.ok(owed > 100 && found > 100, `${owed} entries were owed, ${found} found`);

  const { store, events } = await home.open();
  for (const { record } of events.sessions.values()) {
    for (const entry of await read(store, record.sessionNumber)) {
      settle(store, record.sessionNumber, entry);
    }
  }
  const deadlineMs = performance.now() + 10_000;
  let left: [string, number][] = [['', 0]];
  await store.stop();
  while (left.length > 0 && performance.now() < deadlineMs) {
    // Sweeps of deleted sessions go on at each start.
    const again = await home.open();
    await new Promise((resolve) => setTimeout(resolve, 1100));
    await again.store.stop();
    left = Object.entries(await home.kinds()).filter(([kind]) => 'qmbcdx'.includes(kind));
  }
  t.same(left, [], 'nothing is left of queues');
});

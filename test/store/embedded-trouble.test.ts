/** What the embedded store does when the disk or the directory is not as it should be. */
import { execFileSync, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { Scheduler, Store } from '../../src/core/ports.ts';
import { EntryState } from '../../src/core/queue-entry.ts';
import { StoreOpenError } from '../../src/store/embedded/data-directory.ts';
import {
  EmbeddedStore,
  type EmbeddedStoreOptions,
} from '../../src/store/embedded/embedded-store.ts';
import { encodeNumbers } from '../../src/store/embedded/session-codec.ts';
import {
  entryOf,
  LogRecorder,
  read,
  release,
  StoreRecorder,
  sessionRecord,
  settle,
  textMessage,
  textOf,
} from '../contract/store-recorder.ts';
import { EmbeddedHome } from './embedded-home.ts';

type Write = NonNullable<EmbeddedStoreOptions['write']>;

/** A disk whose writes fail on demand, and a clock that ticks on demand. */
class Rig {
  failure: 'none' | 'before' | 'after' = 'none';
  writes = 0;
  readonly #ticks: Set<() => void> = new Set();

  readonly write: Write = async (batch, sync) => {
    this.writes++;
    if (this.failure === 'before') throw new Error('ENOSPC: injected');
    await batch.write({ sync });
    if (this.failure === 'after') throw new Error('EIO: injected');
  };

  readonly scheduler: Scheduler = {
    endOfTurn: (task) => void setImmediate(task),
    nextTurn: (task) => void setImmediate(task),
    every: (_intervalMs, tick) => {
      this.#ticks.add(tick);
      return () => this.#ticks.delete(tick);
    },
  };

  tick(): void {
    for (const tick of this.#ticks) tick();
  }

  async recovered(store: Store): Promise<void> {
    this.failure = 'none';
    for (let i = 0; !store.writable && i < 10_000; i++) {
      this.tick();
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
  }
}

async function settledTurns(count: number): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise(setImmediate);
}

t.test('a failing write: refused, said, and taken up again', async (t) => {
  const home = new EmbeddedHome(t);
  const rig = new Rig();
  const { store, events, log } = await home.open(rig);
  await events.done(store.saveSession(sessionRecord(1, 'c')));
  const before = entryOf(1, textMessage('before'));
  await events.done(store.append(1, before));
  rig.failure = 'before';
  const lost = entryOf(2, textMessage('lost'));
  const ticket = store.append(1, lost);
  store.putRetained(textMessage('kept for later', 'r'));
  await events.done(ticket);
  t.same(events.of('failed', 1), [2]);
  t.match(events.lastError, { message: 'ENOSPC: injected' });
  t.equal(store.writable, false);
  t.equal(store.failedCommits, 1);
  t.ok(log.lines.some(({ level }) => level === 'error'));

  const later = store.append(1, entryOf(3, textMessage('lost too')));
  const { writes } = rig;
  await events.done(later);
  t.same(events.of('failed', 1), [2, 3], 'every further one is refused at once');
  t.equal(rig.writes, writes, 'without another try');
  t.same(
    (await read(store, 1)).map(({ seq }) => seq),
    [1],
    'what needs no write goes on',
  );
  settle(store, 1, before);
  const failed = store.failedCommits;
  rig.tick();
  await settledTurns(200);
  t.equal(store.failedCommits, failed, 'nothing spins while the disk is full');

  await rig.recovered(store);
  t.equal(store.writable, true);
  await events.done(store.append(1, entryOf(4, textMessage('after'))));
  await store.stop();
  const again = await home.open();
  const { record, queuedMessages } = again.events.sessions.get('c')!;
  t.equal(queuedMessages, 1);
  t.same(
    (await read(again.store, record.sessionNumber)).map(({ seq }) => seq),
    [4],
  );
  t.equal(textOf(again.events.retainedMessages.get('r')!), 'kept for later');
});

for (const failure of ['before', 'after'] as const) {
  t.test(
    `a commit that settles fails ${failure} the disk has it: blocks are counted once`,
    async (t) => {
      const home = new EmbeddedHome(t);
      const rig = new Rig();
      const { store, events } = await home.open(rig);
      for (let number = 1; number <= 3; number++)
        store.saveSession(sessionRecord(number, `c${number}`));
      const message = textMessage('shared by three');
      const entries = [1, 2, 3].map(() => entryOf(1, message));
      let ticket = 0;
      for (let i = 0; i < 3; i++) ticket = store.append(i + 1, entries[i]!);
      await events.done(ticket);
      rig.failure = failure;
      settle(store, 1, entries[0]!);
      // Fails with the settling, and must not be there afterwards though it may be on the disk.
      const lost = textMessage('lost');
      store.append(1, entryOf(2, lost));
      await events.done(store.append(2, entryOf(2, lost)));
      t.equal(store.writable, false);
      await rig.recovered(store);
      await events.done(store.saveSession(sessionRecord(3, 'c3', { disconnectedAtMs: 1 })));
      settle(store, 2, entries[1]!);
      await store.stop();
      const again = await home.open();
      const numberOf = (clientId: string): number =>
        again.events.sessions.get(clientId)!.record.sessionNumber;
      t.same(await read(again.store, numberOf('c1')), []);
      t.same(await read(again.store, numberOf('c2')), []);
      const left = await read(again.store, numberOf('c3'));
      t.same(
        left.map((entry) => textOf(entry.message)),
        ['shared by three'],
        'the body is still there',
      );
      settle(again.store, numberOf('c3'), left[0]!);
      await again.store.stop();
      const { q, m, c, b } = await home.kinds();
      t.same([q, m, c, b], [undefined, undefined, undefined, undefined]);
    },
  );
}

t.test('a release that fails is not reported, and is stored later', async (t) => {
  const home = new EmbeddedHome(t);
  const rig = new Rig();
  const { store, events } = await home.open(rig);
  store.saveSession(sessionRecord(1, 'c'));
  const entry = entryOf(1, textMessage('x'), 2);
  await events.done(store.append(1, entry));
  rig.failure = 'before';
  await events.done(release(store, 1, entry));
  t.match(events.lastError, { message: 'ENOSPC: injected' });
  await rig.recovered(store);
  rig.tick();
  await events.done(store.putRetained(textMessage('x', 'barrier')));
  await store.stop();
  const again = await home.open();
  const [back] = await read(again.store, again.events.sessions.get('c')!.record.sessionNumber);
  t.equal(back!.state, EntryState.RELEASED);
});

t.test('the sweep of a deleted session fails and goes on', async (t) => {
  const home = new EmbeddedHome(t);
  const rig = new Rig();
  const { store, events } = await home.open(rig);
  store.saveSession(sessionRecord(1, 'c'));
  for (let seq = 1; seq <= 300; seq++) {
    await events.done(store.append(1, entryOf(seq, textMessage('x'))));
  }
  let countdown = 2;
  const { write } = rig;
  const failing: Write = async (batch, sync) => {
    if (--countdown === 0) throw new Error('ENOSPC: injected');
    await write(batch, sync);
  };
  await store.stop();
  const again = await home.open({ ...rig, scheduler: rig.scheduler, write: failing });
  const { sessionNumber } = again.events.sessions.get('c')!.record;
  await again.events.done(again.store.deleteSession(sessionNumber));
  while (again.store.writable) await settledTurns(1);
  await rig.recovered(again.store);
  t.ok(again.store.writable);
  for (let i = 0; i < 10; i++) {
    await again.events.done(again.store.putRetained(textMessage('x', 'barrier')));
  }
  await again.store.stop();
  const { q, d } = await home.kinds();
  t.same([q, d], [undefined, undefined]);
});

t.test('a newer schema is refused', async (t) => {
  const home = new EmbeddedHome(t);
  await (await home.open()).store.stop();
  await home.raw((db) => db.put(Buffer.from('v'), encodeNumbers([2], 1)));
  const error = await home.open().catch((error: unknown) => error as Error);
  t.ok(error instanceof StoreOpenError);
  t.match((error as Error).message, /schema version 2, this program knows 1: start the newer/);
  await home.raw((db) => db.put(Buffer.from('v'), encodeNumbers([1], 1)));
  await (await home.open()).store.stop();
});

t.test('a directory in use is refused', async (t) => {
  const home = new EmbeddedHome(t);
  const { store } = await home.open();
  const script = `
    import { EmbeddedStore } from '${new URL('../../src/store/embedded/embedded-store.ts', import.meta.url)}';
    import { systemScheduler } from '${new URL('../../src/listeners/scheduler.ts', import.meta.url)}';
    const log = { debug() {}, info() {}, warn() {}, error() {} };
    const store = new EmbeddedStore({ directory: process.argv[1], scheduler: systemScheduler, log });
    await store.start({}, {}).catch((error) => console.log(error.constructor.name, error.message));`;
  const other = inOtherProcess(script, home.directory);
  t.match(other, /^StoreOpenError .* is in use by another process; stop it, or choose another/);
  await store.stop();
  t.equal(statSync(home.directory).mode & 0o777, 0o700, 'nobody else may look inside');
});

function inOtherProcess(script: string, directory: string): string {
  const args = ['--input-type=module-typescript', '-e', script, directory];
  const env = { ...process.env, NODE_OPTIONS: '' };
  return spawnSync(process.execPath, args, { env, encoding: 'utf8' }).stdout;
}

t.test('a directory that cannot be one, or may not be used, is refused', async (t) => {
  const parent = mkdtempSync(join(tmpdir(), 'causeway-store-'));
  t.teardown(() => rmSync(parent, { recursive: true, force: true }));
  const file = join(parent, 'file');
  writeFileSync(file, '');
  const open = (directory: string): Promise<void> => {
    const log = new LogRecorder();
    const rig = new Rig();
    const events = new StoreRecorder();
    return new EmbeddedStore({ directory, scheduler: rig.scheduler, log }).start(events, events);
  };
  await t.rejects(open(join(file, 'below')), /cannot be opened as the data directory: ENOTDIR/);
  const locked = join(parent, 'locked');
  mkdirSync(locked, { mode: 0o700 });
  const isRoot = process.getuid?.() === 0;
  // Root may do everything, so it becomes somebody else for a moment.
  chmodSync(parent, 0o755);
  if (!isRoot) chmodSync(locked, 0);
  if (isRoot) process.seteuid?.(65_534);
  try {
    await t.rejects(
      open(join(locked, 'data')),
      /data directory: this user may not use it; correct/,
    );
  } finally {
    if (isRoot) process.seteuid?.(0);
    chmodSync(locked, 0o700);
  }
});

t.test('a full disk', { skip: mountable() }, async (t: Test) => {
  const directory = mkdtempSync(join(tmpdir(), 'causeway-full-'));
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=32m', 'tmpfs', directory]);
  t.teardown(() => {
    execFileSync('umount', [directory]);
    rmSync(directory, { recursive: true, force: true });
  });
  const home = new EmbeddedHome(t, directory);
  const rig = new Rig();
  const { store, events } = await home.open({ scheduler: rig.scheduler });
  await events.done(store.saveSession(sessionRecord(1, 'c')));
  const ballast = join(directory, 'ballast');
  writeFileSync(ballast, Buffer.alloc(16 * 1024 * 1024));
  const kept = new Set<number>();
  let seq = 0;
  while (store.writable && seq < 2000) {
    // LevelDB compresses.
    const noise = randomBytes(15_000).toString('base64');
    const entry = entryOf(++seq, textMessage(`${seq}:${noise}`));
    await events.done(store.append(1, entry));
    if (events.of('failed', 1).includes(seq)) break;
    kept.add(seq);
  }
  t.notOk(store.writable, `full after ${seq} entries`);
  t.ok(events.lastError);
  const first = await read(store, 1, { messagesMax: 5 });
  t.same(
    first.map((entry) => entry.seq),
    [1, 2, 3, 4, 5],
    'the queue is still read',
  );
  rig.tick();
  await new Promise((resolve) => setTimeout(resolve, 300));
  t.notOk(store.writable, 'still full');
  rmSync(ballast);
  await rig.recovered(store);
  t.ok(store.writable);
  for (let i = 0; i < 20; i++) {
    await events.done(store.append(1, entryOf(++seq, textMessage(`${seq}:after`))));
    kept.add(seq);
  }
  await store.stop();
  const again = await home.open({ scheduler: rig.scheduler });
  const { record } = again.events.sessions.get('c')!;
  const there = await read(again.store, record.sessionNumber);
  t.same(new Set(there.map((entry) => entry.seq)), kept, 'exactly what was reported durable');
  t.ok(there.every((entry) => textOf(entry.message).startsWith(`${entry.seq}:`)));
  await again.store.stop();
});

function mountable(): string | false {
  if (process.platform !== 'linux' || process.getuid?.() !== 0)
    return 'mounting needs root on Linux';
  const directory = mkdtempSync(join(tmpdir(), 'causeway-mount-'));
  const { status } = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', directory]);
  if (status === 0) execFileSync('umount', [directory]);
  rmSync(directory, { recursive: true, force: true });
  return status === 0 ? false : 'this root may not mount';
}

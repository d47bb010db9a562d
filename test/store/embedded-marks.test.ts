/** Marks of retained changes that a record elsewhere has not confirmed: on the disk with the change. */
import t from 'tap';
import type { RestoreVisitor } from '../../src/core/ports.ts';
import { systemScheduler } from '../../src/listeners/scheduler.ts';
import {
  EmbeddedStore,
  type EmbeddedStoreOptions,
} from '../../src/store/embedded/embedded-store.ts';
import { LogRecorder, StoreRecorder, textMessage, textOf } from '../contract/store-recorder.ts';
import { EmbeddedHome } from './embedded-home.ts';

interface Found {
  readonly store: EmbeddedStore;
  readonly events: StoreRecorder;
  /** In the order of the start. */
  readonly told: readonly string[];
}

async function open(
  directory: string,
  options: Partial<EmbeddedStoreOptions> = {},
): Promise<Found> {
  const store = new EmbeddedStore({
    directory,
    scheduler: systemScheduler,
    log: new LogRecorder(),
    marksRetained: true,
    ...options,
  });
  const events = new StoreRecorder();
  const told: string[] = [];
  const visitor: RestoreVisitor = {
    session: () => {},
    retained: (message) => void told.push(`${message.topic} ${textOf(message)}`),
    tombstone: (topic) => void told.push(`${topic} cleared`),
    unconfirmed: (topic) => void told.push(`${topic} unconfirmed`),
  };
  await store.start(events, visitor);
  return { store, events, told };
}

const VERSION = { timeUs: 5, writer: 1 };

t.test('what is changed here is marked until it is confirmed', async (t) => {
  const { directory } = new EmbeddedHome(t);
  let { store, events, told } = await open(directory);
  store.putRetained(textMessage('x', 'a/ü'));
  store.putRetained(textMessage('x', 'b'));
  store.mirrorRetained('c', textMessage('x', 'c'), null);
  store.removeRetained('d', VERSION);
  await events.done(store.removeRetained('e', null));
  await store.stop();
  ({ store, events, told } = await open(directory));
  const all = ['a/ü x', 'b x', 'c x', 'd cleared'];
  const marks = ['a/ü', 'b', 'd', 'e'].map((topic) => `${topic} unconfirmed`);
  t.strictSame(told, [...marks, ...all], 'marks first');
  // Confirmed, and changed again before the commit: the mark stays.
  store.confirmRetained('b');
  await events.done(store.putRetained(textMessage('y', 'b')));
  // Changed, and confirmed before the commit: there is none.
  store.putRetained(textMessage('y', 'c'));
  store.confirmRetained('c');
  for (const topic of ['a/ü', 'd', 'e', 'none']) store.confirmRetained(topic);
  // What somebody else changes says nothing of ours.
  store.mirrorRetained('b', textMessage('theirs', 'b'), VERSION);
  await store.stop();
  ({ store, told } = await open(directory));
  t.strictSame(told, ['b unconfirmed', 'a/ü x', 'b theirs', 'c y', 'd cleared']);
  await store.stop();
});

t.test('a store without them neither writes marks nor drops those there are', async (t) => {
  const { directory } = new EmbeddedHome(t);
  let { store, events, told } = await open(directory);
  await events.done(store.putRetained(textMessage('x', 'a')));
  await store.stop();
  ({ store, events, told } = await open(directory, { marksRetained: false }));
  await events.done(store.putRetained(textMessage('x', 'b')));
  await store.stop();
  ({ store, told } = await open(directory));
  t.strictSame(told, ['a unconfirmed', 'a x', 'b x']);
  await store.stop();
});

t.test('a commit that fails takes its marks with it to the next one', async (t) => {
  const { directory } = new EmbeddedHome(t);
  let isFailing = false;
  let { store, events, told } = await open(directory, {
    write: async (batch, sync) => {
      if (isFailing) throw new Error('ENOSPC: injected');
      await batch.write({ sync });
    },
  });
  await events.done(store.putRetained(textMessage('x', 'old')));
  isFailing = true;
  store.confirmRetained('old');
  store.putRetained(textMessage('x', 'a'));
  const ticket = store.putRetained(textMessage('x', 'b'));
  await events.done(ticket);
  t.match(events.lastError, { message: 'ENOSPC: injected' });
  // Newer than what has failed.
  store.confirmRetained('a');
  isFailing = false;
  while (!store.writable) await new Promise((resolve) => setTimeout(resolve, 20));
  await store.stop();
  ({ store, told } = await open(directory));
  t.strictSame(told, ['b unconfirmed', 'a x', 'b x', 'old x']);
  await store.stop();
});

t.test('notes of other rooms are committed with what they belong to', async (t) => {
  const { directory } = new EmbeddedHome(t);
  const notes: string[] = [];
  const onNote = (key: string, value: Buffer): void => void notes.push(`${key}=${value}`);
  let { store, events } = await open(directory, { onNote });
  const value = Buffer.from('one');
  const ticket = store.putNote('w/ü', value);
  t.equal(store.putRetained(textMessage('x', 'a')), ticket, 'in one batch');
  store.putNote('gone', Buffer.from('x'));
  store.putNote('gone', null);
  await events.done(ticket);
  // Read when the commit begins, and not later.
  value.write('two');
  await store.stop();
  ({ store, events } = await open(directory, { onNote }));
  t.strictSame(notes.splice(0), ['w/ü=one']);
  await events.done(store.putNote('w/ü', null));
  await store.stop();
  ({ store } = await open(directory, { onNote }));
  t.strictSame(notes, []);
  await store.stop();
});

t.test('a note of a commit that failed is written with the next', async (t) => {
  const { directory } = new EmbeddedHome(t);
  const notes: string[] = [];
  let isFailing = true;
  const { store, events } = await open(directory, {
    onNote: (key, value) => void notes.push(`${key}=${value}`),
    write: async (batch, sync) => {
      if (!isFailing) return batch.write({ sync });
      await batch.close();
      throw new Error('no space');
    },
  });
  const first = Buffer.from('first');
  const failed = store.putNote('a', first);
  store.putNote('b', Buffer.from('kept'));
  await events.done(failed);
  t.equal(store.failedCommits, 1);
  isFailing = false;
  // As the window does when the message comes to nothing.
  store.putNote('a', Buffer.from('second'));
  while (!store.writable) await new Promise((resolve) => setTimeout(resolve, 20));
  await events.done(store.putNote('c', Buffer.from('new')));
  await store.stop();
  const again = await open(directory, {
    onNote: (key, value) => void notes.push(`${key}=${value}`),
  });
  t.strictSame(notes.sort(), ['a=second', 'b=kept', 'c=new']);
  await again.store.stop();
});

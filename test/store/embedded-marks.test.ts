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

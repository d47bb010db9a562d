/** Sessions in one store, retained messages in another: each with tickets of its own. */
import t from 'tap';
import type { SharedSessions } from '../../src/core/cluster-ports.ts';
import type { StoreEvents, Ticket } from '../../src/core/ports.ts';
import { MemoryStore } from '../../src/store/memory/memory-store.ts';
import { SplitStore } from '../../src/store/split-store.ts';
import { StoreRecorder, sessionRecord, textMessage } from '../contract/store-recorder.ts';

/** A store that commits when it is told to. */
class SlowStore extends MemoryStore implements SharedSessions {
  events: StoreEvents | null = null;
  isStopped = false;
  #ticket: Ticket = 0;

  override start(events: StoreEvents): Promise<void> {
    this.events = events;
    return Promise.resolve();
  }

  override saveSession(): Ticket {
    return ++this.#ticket;
  }

  override putRetained(): Ticket {
    return ++this.#ticket;
  }

  listen(): void {}
  bind(): void {}
  unbind(): void {}
  isFull = false;
  enqueue(): void {}
  whenAppended(): void {}
  tookUpTo(): void {}
  beginInbound(): void {}
  inboundDone(): void {}
  endInbound(): void {}
  left(): void {}

  override stop(): Promise<void> {
    this.isStopped = true;
    return Promise.resolve();
  }
}

async function split(): Promise<{
  store: SplitStore;
  sessions: SlowStore;
  retained: SlowStore;
  events: StoreRecorder;
}> {
  const [sessions, retained] = [new SlowStore(), new SlowStore()];
  const events = new StoreRecorder();
  const store = new SplitStore(sessions, retained);
  await store.start(events, events);
  return { store, sessions, retained, events };
}

t.test('it takes writes when both do, and stops both', async (t) => {
  const { store, sessions, retained } = await split();
  t.ok(store.writable);
  Object.defineProperty(retained, 'writable', { value: false });
  t.notOk(store.writable);
  sessions.stop = () => Promise.reject(new Error('stuck'));
  await t.rejects(store.stop(), /stuck/);
  t.ok(retained.isStopped);
});

t.test('each has tickets of its own: nobody waits for the other', async (t) => {
  const { store, sessions, retained, events } = await split();
  t.ok(store.tellsRetained);
  t.equal(store.saveSession(sessionRecord(1, 'c')), 1);
  t.equal(store.putRetained(textMessage('r')), 1);
  t.equal(store.removeRetained('a/b', null), 0, 'durable at once');
  t.equal(store.saveSession(sessionRecord(1, 'c')), 2);
  retained.events!.committed(1, null);
  t.strictSame(events.retainedTold, [{ ticket: 1, error: null }]);
  t.equal(events.committedTicket, 0, 'the session’s is not durable');
  t.equal(store.putRetained(textMessage('r')), 2);
  retained.events!.committed(2, new Error('full'));
  t.match(events.retainedTold[1], { ticket: 2, error: { message: 'full' } });
  sessions.events!.committed(1, null);
  t.equal(events.committedTicket, 1);
  sessions.events!.committed(2, new Error('no more'));
  t.match(events.reported.at(-1), { ticket: 2, error: { message: 'no more' } });
});

t.test('a retained store that tells by itself is believed', async (t) => {
  const { store, retained, events } = await split();
  Object.defineProperty(retained, 'tellsRetained', { value: true });
  t.equal(store.putRetained(textMessage('r')), 1);
  retained.events!.committed(1, null);
  t.strictSame(events.retainedTold, [], 'on the disk alone');
  retained.events!.retainedCommitted!(1, null);
  t.strictSame(events.retainedTold, [{ ticket: 1, error: null }]);
});

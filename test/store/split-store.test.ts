/** Sessions in one store, retained messages in another: the core sees one line of tickets. */
import t from 'tap';
import type { SharedSessions } from '../../src/core/cluster-ports.ts';
import type { StoreEvents, Ticket } from '../../src/core/ports.ts';
import { MemoryStore } from '../../src/store/memory/memory-store.ts';
import { SplitStore } from '../../src/store/split-store.ts';
import { StoreRecorder, sessionRecord, textMessage } from '../contract/store-recorder.ts';
import { ManualTime } from '../core/manual-time.ts';

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
  enqueue(): void {}
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
  time: ManualTime;
}> {
  const [sessions, retained] = [new SlowStore(), new SlowStore()];
  const [time, events] = [new ManualTime(), new StoreRecorder()];
  const store = new SplitStore(sessions, retained, time);
  await store.start(events, events);
  return { store, sessions, retained, events, time };
}

t.test('a ticket is due when all before it are, of both stores', async (t) => {
  const { store, sessions, retained, events, time } = await split();
  const record = sessionRecord(1, 'c');
  const tickets = [
    store.saveSession(record),
    store.putRetained(textMessage('r')),
    store.saveSession(record),
    store.putRetained(textMessage('r')),
  ];
  t.same(tickets, [1, 2, 3, 4]);
  t.equal(store.addInboundId(1, 1), 0, 'durable at once');
  retained.events!.committed(2, null);
  time.settle();
  t.same(events.reported, []);
  sessions.events!.committed(1, null);
  time.settle();
  t.equal(events.committedTicket, 2);
  sessions.events!.committed(2, new Error('no more'));
  time.settle();
  t.same(
    events.reported.map(({ ticket, error }) => [ticket, error?.message]),
    [
      [2, undefined],
      [3, 'no more'],
      [4, undefined],
    ],
    'only what failed is reported as that',
  );
});

t.test('it takes writes when both do, and stops both', async (t) => {
  const { store, sessions, retained } = await split();
  t.ok(store.writable);
  Object.defineProperty(retained, 'writable', { value: false });
  t.notOk(store.writable);
  sessions.stop = () => Promise.reject(new Error('stuck'));
  await t.rejects(store.stop(), /stuck/);
  t.ok(retained.isStopped);
});

t.test('what is retained is told apart, whatever sessions wait for', async (t) => {
  const { store, sessions, retained, events, time } = await split();
  t.ok(store.tellsRetained);
  store.saveSession(sessionRecord(1, 'c'));
  const tickets = [store.putRetained(textMessage('r')), store.removeRetained('a/b', null)];
  t.same(tickets, [2, 0]);
  retained.events!.committed(1, null);
  time.settle();
  t.strictSame(events.retainedTold, [{ ticket: 2, error: null }]);
  t.equal(events.committedTicket, 0, 'the session’s is not durable');
  store.putRetained(textMessage('r'));
  retained.events!.committed(2, new Error('full'));
  t.match(events.retainedTold[1], { ticket: 3, error: { message: 'full' } });
  sessions.events!.committed(1, null);
  time.settle();
  t.equal(events.committedTicket, 3);
});

/** The memory store keeps to what every store keeps to; it has no record of its own. */
import t from 'tap';
import { MemoryStore } from '../../src/store/memory/memory-store.ts';
import { storeContract } from '../contract/store.ts';
import { entryOf, StoreRecorder, textMessage } from '../contract/store-recorder.ts';
import { OwnPositions } from '../contract/store-subject.ts';

storeContract(
  t,
  () => ({
    open: async () => {
      const store = new MemoryStore();
      const events = new StoreRecorder();
      await store.start(events);
      return new OwnPositions({ store, events });
    },
  }),
  { isDurable: false },
);

t.test('everything is as durable as it will ever be at once', (t) => {
  const store = new MemoryStore();
  const entry = entryOf(1, textMessage('x'), 2);
  t.equal(store.append(1, entry), 0);
  t.ok(entry.durable);
  t.equal(store.keepsQueues, false, 'the queue of the core is the only record');
  t.end();
});

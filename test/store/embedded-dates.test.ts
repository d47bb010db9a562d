// When entries were queued, for queues whose budget asks for it: over a restart, and nothing of it for others.
import t from 'tap';
import type { Store } from '../../src/core/ports.ts';
import { DatedEntry, QueueEntry } from '../../src/core/queue-entry.ts';
import { sessionRecord, textMessage } from '../contract/store-recorder.ts';
import { EmbeddedHome } from './embedded-home.ts';

const FIRST_MS = 1_800_000_000_123;

function read(store: Store, session: number): Promise<readonly QueueEntry[]> {
  return new Promise((resolve, reject) => {
    store.read(session, 1, 100, 1e6, (entries, error) =>
      error === null ? resolve(entries) : reject(error),
    );
  });
}

t.test('an entry says when it was queued, after a restart too', async (t) => {
  const home = new EmbeddedHome(t);
  const { store, events } = await home.open();
  store.saveSession(sessionRecord(1, '$bridge/far'));
  await events.done(store.saveSession(sessionRecord(2, 'c')));
  const message = textMessage('m');
  for (const [seq, queuedAtMs] of [FIRST_MS, FIRST_MS + 5000].entries()) {
    store.append(2, new QueueEntry(seq + 1, message, 1, false, null, false));
    const entry = new DatedEntry(seq + 1, message, 1, false, null, false, queuedAtMs);
    await events.done(store.append(1, entry));
  }
  await store.stop();
  const again = await home.open();
  const dated = await read(again.store, 1);
  t.strictSame(
    dated.map(({ queuedAtMs }) => queuedAtMs),
    [FIRST_MS, FIRST_MS + 5000],
  );
  t.strictSame(
    (await read(again.store, 2)).map(({ queuedAtMs }) => queuedAtMs),
    [0, 0],
  );
});

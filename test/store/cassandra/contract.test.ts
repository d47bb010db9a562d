/**
 * The store of a region keeps to what every store keeps to, over the embedded store as its mirror: alone,
 * where it stamps what it writes; and of tombstones, with other nodes.
 */
import t, { type Test } from 'tap';
import type { Clock } from '../../../src/core/ports.ts';
import { systemScheduler } from '../../../src/listeners/scheduler.ts';
import { CassandraCounters } from '../../../src/store/cassandra/cassandra-counters.ts';
import { CassandraRetained } from '../../../src/store/cassandra/cassandra-retained.ts';
import { EmbeddedStore } from '../../../src/store/embedded/embedded-store.ts';
import { HybridClock } from '../../../src/util/hybrid-clock.ts';
import { keepingTombstones, type StoreHome, storeContract } from '../../contract/store.ts';
import { LogRecorder, StoreRecorder } from '../../contract/store-recorder.ts';
import { OwnPositions } from '../../contract/store-subject.ts';
import { SeededRandom } from '../../core/manual-time.ts';
import { EmbeddedHome } from '../embedded-home.ts';
import { FakeTable } from './fake-table.ts';

const clock: Clock = { monotonicMs: () => performance.now(), wallMs: () => Date.now() };

function homeOf(t: Test, isAlone: boolean): StoreHome {
  const { directory } = new EmbeddedHome(t);
  const table = new FakeTable({ later: (task) => void setImmediate(task), wallMs: clock.wallMs });
  const scheduler = systemScheduler;
  const opened: CassandraRetained[] = [];
  t.teardown(async () => {
    for (const store of opened) await store.stop();
  });
  const open = async (): Promise<OwnPositions> => {
    const log = new LogRecorder();
    const mirror = new EmbeddedStore({ directory, scheduler, log, marksRetained: true });
    const store = new CassandraRetained({
      mirror,
      table,
      clock,
      random: new SeededRandom(1),
      scheduler,
      log,
      counters: new CassandraCounters(),
      inFlightMax: 16,
      tombstoneS: 1000,
      stamps: isAlone ? { hybridClock: new HybridClock(clock.wallMs, 1000), writer: 1 } : null,
      keepers: { isLocalEnough: false, ask: () => false },
    });
    opened.push(store);
    const events = new StoreRecorder();
    await store.start(events, events);
    return new OwnPositions({ store, events });
  };
  return { open };
}

t.test('alone', async (t) => {
  storeContract(t, (t) => homeOf(t, true), { isDurable: true, stampsRetained: true });
});

t.test('with other nodes', async (t) => {
  keepingTombstones(t, (t) => homeOf(t, false));
});

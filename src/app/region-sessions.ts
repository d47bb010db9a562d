/**
 * Sessions that roam between regions (docs/adr/0023): their directory in the Cassandra of this region.
 * Made by `node.ts` where `regions.roaming` is on.
 */
import type { DirectoryView } from '../admin/directory-view.ts';
import type { Log } from '../core/ports.ts';
import type { SessionDirectory } from '../core/session-directory.ts';
import { systemClock, systemScheduler } from '../listeners/scheduler.ts';
import { CassandraDirectory } from '../store/cassandra/cassandra-directory.ts';
import { CqlTable } from '../store/cassandra/cql-table.ts';
import { DirectoryCounters } from '../store/cassandra/directory-counters.ts';
import type { RegionRetained } from './region-retained.ts';

/** Of the driver's requests, which retained messages need, too. */
const IN_FLIGHT_MAX = 64;
/** What is not written by then is found after the start as after a crash, or has its end already. */
const FLUSH_MS_MAX = 2000;

export class RegionSessions {
  readonly view: DirectoryView;
  readonly #directory: CassandraDirectory;

  constructor(name: string, region: RegionRetained, log: Log) {
    const counters = new DirectoryCounters();
    const directory = new CassandraDirectory({
      region: name,
      table: CqlTable.sessions(region.link),
      clock: systemClock,
      scheduler: systemScheduler,
      hybridClock: region.hybridClock,
      log,
      counters,
      inFlightMax: IN_FLIGHT_MAX,
    });
    this.#directory = directory;
    this.view = {
      counters,
      get waiting() {
        return directory.waiting;
      },
    };
  }

  /** Sessions are restored. */
  begin(): void {
    this.#directory.start();
  }

  get core(): SessionDirectory {
    return this.#directory;
  }

  /** The broker has stopped: no session changes any more. */
  async stop(leftMs: number): Promise<void> {
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, Math.min(FLUSH_MS_MAX, Math.max(0, leftMs)));
      this.#directory.flush(() => {
        clearTimeout(timer);
        resolve();
      });
    });
    this.#directory.stop();
  }
}

// A Cassandra that tests set: what the composition root would hand to admin, over the real counters of the
// rooms behind it.
import type { CassandraReport, CassandraView } from '../../src/admin/cassandra-view.ts';
import {
  type CassandraCounters as LinkCounters,
  newCassandraCounters,
} from '../../src/drivers/cassandra/cassandra-counters.ts';
import { CassandraCounters } from '../../src/store/cassandra/cassandra-counters.ts';

export class FakeCassandra implements CassandraView {
  current: CassandraReport = {
    state: 'up',
    reasons: [],
    localDatacenter: 'dc1',
    keyspace: 'causeway',
    warning: '',
    isFilling: false,
    round: null,
    isComparing: true,
    lastRoundMs: 1_700_000_000_000,
    waitingTopics: 3,
    lagMs: 4500,
    requests: 5,
    requestBytes: 600,
  };
  readonly retained: CassandraCounters = new CassandraCounters();
  readonly link: LinkCounters = newCassandraCounters();
  reports = 0;

  report(): CassandraReport {
    this.reports++;
    return this.current;
  }

  change(change: Partial<CassandraReport>): void {
    this.current = { ...this.current, ...change };
  }
}

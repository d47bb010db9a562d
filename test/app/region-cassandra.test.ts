/** What a node asks of its Cassandra at start: whether it syncs before it answers. */
import t from 'tap';
import { syncsLate } from '../../src/app/region-cassandra.ts';
import { CassandraFailure, type CassandraRow } from '../../src/drivers/cassandra/cassandra-port.ts';

function linkThat(answers: () => readonly CassandraRow[]) {
  return { command: async () => answers() };
}

t.test('commitlog_sync', async (t) => {
  t.match(await syncsLate(linkThat(() => [['periodic']])), {
    setting: 'commitlog_sync',
    value: 'periodic',
    wanted: 'batch or group',
  });
  for (const value of ['batch', 'group']) {
    t.equal(await syncsLate(linkThat(() => [[value]])), null, value);
  }
  t.equal(await syncsLate(linkThat(() => [])), null, 'it does not say');
  const refused = linkThat(() => {
    throw new CassandraFailure('refused', 'UNAUTHORIZED', 'no');
  });
  t.equal(await syncsLate(refused), null, 'the role may not ask');
  const broken = linkThat(() => {
    throw new TypeError('a fault of ours');
  });
  await t.rejects(syncsLate(broken), TypeError);
});

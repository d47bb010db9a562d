/**
 * The Cassandra that the tests have: it is one, it is up, and it is what is started here unless somebody
 * names another. Asked in its own protocol, without a driver.
 */
import { once } from 'node:events';
import { connect } from 'node:net';
import t from 'tap';
import { CASSANDRA_VERSION, findCassandra } from '../../scripts/provide-cassandra.ts';
import { sharedCassandra } from '../support/cassandra-server.ts';

const OPTIONS = 0x05;
const SUPPORTED = 0x06;

/** A request of protocol version 4 without a body. */
function request(opcode: number): Buffer {
  return Buffer.from([4, 0, 0, 1, opcode, 0, 0, 0, 0]);
}

t.test('answers in its protocol', async (t) => {
  const { contactPoints } = await sharedCassandra(t);
  const [host, port = '9042'] = contactPoints[0]?.split(':') ?? [];
  const socket = connect(Number(port), host);
  t.teardown(() => socket.destroy());
  await once(socket, 'connect');
  socket.write(request(OPTIONS));
  const [answer] = (await once(socket, 'data')) as [Buffer];
  t.equal(answer[0], 0x84, 'a response of version 4');
  t.equal(answer[4], SUPPORTED);
  t.match(answer.toString('latin1'), /CQL_VERSION/);
});

t.test('what it is started from is found, and is of the version that is meant', async (t) => {
  const kit = findCassandra();
  t.match(kit?.java, /java$/);
  t.ok(kit?.jars.endsWith(`cassandra-${CASSANDRA_VERSION}`));
});

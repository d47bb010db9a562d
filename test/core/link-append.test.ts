// A message of another region on its way into the queue of a session of the datacenter: it is safe there, and not
// in a journal, as whoever has the links next lets what is behind it into the queue (docs/adr/0022).
import t from 'tap';
import { RegionLinks } from '../../src/core/region-links.ts';
import { OWN_IDENTITY, type SharedAppend } from '../../src/core/shared-append.ts';
import { PublishView } from '../../src/wire/publish.ts';
import { FakeDatacenter } from './fake-datacenter.ts';

const DAY_MS = 24 * 3_600_000;

async function setUp() {
  const site = new FakeDatacenter();
  const links = new RegionLinks('eu', Buffer.alloc(16, 1));
  const terms = { region: 'us', user: 'us', certificate: null, topics: ['#'] };
  links.revise([{ ...terms, budgetAgeMs: DAY_MS, budgetBytes: 2 ** 20 }]);
  links.admits = () => true;
  const node = await site.node({ links });
  for (const clientId of ['reader', '$link/us']) {
    const client = node.world.connected(5, clientId, { clean: false, expiryS: 1000 });
    client.subscribe(['a/#'], 2);
    site.time.settle();
  }
  const appends: [number, SharedAppend][] = [];
  const enqueue = node.enqueue.bind(node);
  node.enqueue = (number, append) => {
    appends.push([number, append]);
    enqueue(number, append);
  };
  return { site, node, appends };
}

t.test('a journal does not make it safe', async (t) => {
  const { site, node, appends } = await setUp();
  const view = new PublishView();
  const topic = Buffer.from('\0\x03a/x');
  const payload = Buffer.from('one');
  Object.assign(view, { qos: 2, topicBuffer: topic, topicStart: 0, topicEnd: topic.length });
  Object.assign(view, { payloadBuffer: payload, payloadStart: 0, payloadEnd: payload.length });
  const settled: boolean[] = [];
  const id = 'ap.AAAAAAAAAAAAAAAAAAAAAA.AAAAAAAB.AAAAAAAB';
  const mark = { origin: { id, path: 'ap' }, version: null };
  site.isStuck = true;
  const { linkInlet } = node.world.broker;
  const done = (failed: boolean): number => settled.push(failed);
  linkInlet.publish(view, 'a/x', 0, mark, 0, done, OWN_IDENTITY, null);
  t.equal(appends.length, 2, 'for a client, and for the next region');
  for (const [number, append] of appends) node.events.kept(number, append);
  t.strictSame(settled, []);
  site.goOn();
  t.strictSame(settled, [false]);
});

t.test('what a client publishes is safe in a journal', async (t) => {
  const { site, node, appends } = await setUp();
  const publisher = node.world.connected(5, 'publisher');
  site.isStuck = true;
  publisher.publish('a/x', 'one', { qos: 1, id: 1 });
  t.strictSame(publisher.receive(), []);
  for (const [number, append] of appends) node.events.kept(number, append);
  node.world.settle();
  t.equal(publisher.receive()[0]?.type, 'puback');
  site.goOn();
});

t.test('nothing more is taken while too much waits for queues', async (t) => {
  const { node } = await setUp();
  const { linkInlet } = node.world.broker;
  t.equal(linkInlet.isFull, false);
  node.isFull = true;
  t.equal(linkInlet.isFull, true);
});

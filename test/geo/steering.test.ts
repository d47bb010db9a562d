// Steering: who is sent where at CONNECT, what they are told, and that nobody is sent in circles.
import t from 'tap';
import { AddressTable } from '../../src/geo/steering/address-table.ts';
import { type OtherNode, RegionSteering } from '../../src/geo/steering/steering.ts';
import {
  checkSteering,
  refuseReference,
  type SteeringOptions,
} from '../../src/geo/steering/steering-options.ts';
import { parseIpNetwork } from '../../src/util/ip-address.ts';
import { FakeSink } from '../core/fake-sink.ts';
import { ManualTime } from '../core/manual-time.ts';
import { World } from '../core/world.ts';

const EU = 'eu.example:8883';
const US = 'us.example:8883';
const JP = 'jp.example:8883';

const table: SteeringOptions = {
  legacy: 'accept',
  patienceS: 60,
  home: [],
  region: EU,
  nearest: [
    { reference: EU, addresses: ['192.0.2.0/24', '2001:db8:1::/48'], forGood: false },
    { reference: US, addresses: ['0.0.0.0/0', '2001:db8::/32'], forGood: false },
    { reference: JP, addresses: ['192.0.2.128/25', '203.0.113.7'], forGood: true },
  ],
};

const loads = (own: number, others: readonly OtherNode[]) => ({
  ownClients: () => own,
  others: () => others,
  isReachable: (region: string) => region !== 'dead',
});
/** Of the rest of a configuration. */
const byItself = { isInDatacenter: false, listedRegions: null };
const alone = loads(0, []);

t.test('the smallest network that holds an address counts', (t) => {
  const entries = ['0.0.0.0/0', '10.0.0.0/8', '10.1.0.0/17', '10.1.2.3', '2001:db8::/33'];
  const found = new AddressTable(entries.map((text) => [parseIpNetwork(text)!, text]));
  const cases: [address: string, wanted: string | null][] = [
    ['192.0.2.1', '0.0.0.0/0'],
    ['10.200.0.1', '10.0.0.0/8'],
    ['10.1.127.255', '10.1.0.0/17'],
    ['10.1.128.0', '10.0.0.0/8'],
    ['10.1.2.3', '10.1.2.3'],
    ['::ffff:10.1.2.3', '10.1.2.3'],
    ['2001:db8:7fff::1', '2001:db8::/33'],
    ['2001:db8:8000::1', null],
    ['::1', null],
    ['', null],
    ['no address', null],
  ];
  for (const [address, wanted] of cases) t.equal(found.find(address), wanted, address);
  t.end();
});

t.test(
  'a client is told which region its address belongs to, in the words of its version',
  async (t) => {
    const world = await World.start();
    world.broker.setSteering(new RegionSteering(table, world.time, alone));
    const connack = (
      version: 4 | 5,
      clientId: string,
      remoteAddress: string,
    ): object | undefined => {
      const sink = new FakeSink();
      sink.remoteAddress = remoteAddress;
      const client = world.client(version, clientId, sink);
      client.connect();
      world.settle();
      const [first] = client.receive();
      return first?.type === 'connack' ? first.packet : undefined;
    };
    t.match(connack(5, 'a', '192.0.2.1'), { reasonCode: 0 });
    t.match(connack(5, 'b', '198.51.100.1'), { reasonCode: 0x9c, serverReference: US });
    t.match(connack(5, 'c', '192.0.2.200'), { reasonCode: 0x9d, serverReference: JP });
    t.match(connack(5, 'd', '2001:db8:1::1'), { reasonCode: 0 });
    t.match(connack(5, 'e', '2001:db8:2::1'), { reasonCode: 0x9c, serverReference: US });
    t.match(connack(5, 'f', ''), { reasonCode: 0 }, 'a Unix socket is nowhere');
    t.match(connack(4, 'g', '198.51.100.1'), { reasonCode: 0 }, '3.1.1 is taken');
    t.equal(world.stats.refused.get('another_server'), 2);
    t.equal(world.stats.refused.get('server_moved'), 1);
    t.equal(world.stats.sessions, 4, 'no session is made for who is sent away');

    const strict = new RegionSteering({ ...table, legacy: 'refuse' }, world.time, alone);
    world.broker.setSteering(strict);
    t.match(
      connack(4, 'h', '198.51.100.1'),
      { reasonCode: 0x88 },
      'server unavailable is what 3.1.1 has',
    );
    t.match(connack(4, 'i', '192.0.2.1'), { reasonCode: 0 });
    world.broker.setSteering(null);
    t.match(connack(5, 'j', '198.51.100.1'), { reasonCode: 0 });
  },
);

t.test('who comes back is taken, and after a while sent away again', (t) => {
  const time = new ManualTime();
  const steering = new RegionSteering(table, time, alone);
  const ask = (one: RegionSteering = steering): string | undefined =>
    one.elsewhere('device', 5, '198.51.100.1')?.serverReference;
  t.equal(ask(), US);
  t.equal(ask(), undefined);
  time.pass(59_000);
  const reloaded = new RegionSteering(table, time, alone, steering);
  t.equal(ask(reloaded), undefined, 'a reload remembers');
  time.pass(1001);
  t.equal(ask(reloaded), US);
  t.strictSame(reloaded.counters, { nearest: 2, home: 0, leastLoaded: 0, returned: 2 });
  t.equal(steering.elsewhere('$link/us', 5, '198.51.100.1'), null, 'links are no devices');
  t.equal(steering.elsewhere('causeway-health-1', 5, '198.51.100.1'), null, 'nor is /health/full');
  t.end();
});

t.test('who was sent away is remembered within bounds', (t) => {
  const steering = new RegionSteering(table, new ManualTime(), alone);
  for (let i = 0; i <= 65_536; i++) steering.elsewhere(`c${i}`, 5, '198.51.100.1');
  t.equal(steering.elsewhere('c65536', 5, '198.51.100.1'), null);
  t.equal(steering.elsewhere('c1', 5, '198.51.100.1'), null);
  t.match(
    steering.elsewhere('c0', 5, '198.51.100.1'),
    { serverReference: US },
    'the oldest is not',
  );
  t.end();
});

t.test('the least loaded node, with slack, and not all to one', (t) => {
  const time = new ManualTime();
  const leastLoaded = { reference: 'n1', slackPercent: 20, clientsMin: 10 };
  const options: SteeringOptions = { ...table, nearest: [], leastLoaded };
  const node = (nodeKey: string, clients: number): OtherNode => ({
    nodeKey,
    reference: `${nodeKey}.example`,
    clients,
  });
  let next = 0;
  const sent = (own: number, ...others: OtherNode[]): (string | undefined)[] => {
    const steering = new RegionSteering(options, time, loads(own, others));
    return Array.from({ length: 40 }, () => {
      return steering.elsewhere(`s${next++}`, 5, '192.0.2.1')?.serverReference;
    });
  };
  t.ok(
    sent(9, node('b', 0)).every((one) => one === undefined),
    'few clients: all are taken',
  );
  t.ok(
    sent(100).every((one) => one === undefined),
    'nobody else is there',
  );
  t.ok(
    sent(100, node('b', 84)).every((one) => one === undefined),
    'within the slack',
  );
  const some = sent(100, node('b', 60), node('c', 70));
  t.strictSame([...new Set(some)], ['b.example', 'c.example', undefined]);
  const count = (name: string): number => some.filter((one) => one === name).length;
  t.strictSame([count('b.example'), count('c.example')], [24, 14], 'until these are level');
  t.end();
});

t.test('two nodes with the same view never send a client in circles', (t) => {
  const time = new ManualTime();
  const leastLoaded = { reference: 'x', slackPercent: 0, clientsMin: 0 };
  const options: SteeringOptions = { ...table, nearest: [], leastLoaded };
  for (let own = 0; own < 60; own++) {
    for (let other = 0; other < 60; other++) {
      const at = (mine: number, theirs: number): boolean =>
        new RegionSteering(
          options,
          time,
          loads(mine, [{ nodeKey: 'o', reference: 'o', clients: theirs }]),
        ).elsewhere('c', 5, '192.0.2.1') !== null;
      if (at(own, other) && at(other, own)) t.fail(`${own} and ${other}`);
    }
  }
  t.pass();
  t.end();
});

t.test('what a Server Reference may be', (t) => {
  for (const good of ['a', 'a.example', 'a.example:8883', '192.0.2.1:1', '[::1]:8883', 'a:1 b:2']) {
    t.equal(refuseReference(good), null, good);
  }
  for (const bad of [
    '',
    ' ',
    'a:0',
    'a:65536',
    'a  b',
    'mqtt://a',
    'a:',
    '-a',
    'a\n',
    'x'.repeat(1025),
  ]) {
    t.match(refuseReference(bad), /^expected HOST/, bad);
  }
  t.end();
});

t.test('what no option shows by itself', (t) => {
  t.strictSame(checkSteering(table, byItself), []);
  const twice = { reference: JP, addresses: ['192.0.2.0/24'], forGood: false };
  const leastLoaded = { reference: 'n', slackPercent: 20, clientsMin: 1 };
  const wrong = { ...table, region: 'x', nearest: [...table.nearest, twice], leastLoaded };
  t.match(checkSteering(wrong, byItself), [
    { path: ['nearest', 3, 'addresses', 0], message: /192.0.2.0\/24 is there twice; eu.example/ },
    { path: ['region'], message: /no entry of steering.nearest has the reference x/ },
    { path: ['leastLoaded'], message: /needs the section cluster/ },
  ]);
  t.strictSame(checkSteering({ ...table, leastLoaded }, { ...byItself, isInDatacenter: true }), []);
  const home = ['us', 'us', 'jp'].map((region) => ({ region, reference: US }));
  t.match(checkSteering({ ...table, home }, byItself), [
    { path: ['home'], message: /needs regions.directory or regions.roaming/ },
  ]);
  t.match(checkSteering({ ...table, home }, { ...byItself, listedRegions: ['us'] }), [
    { path: ['home', 1, 'region'], message: /us is there twice/ },
    { path: ['home', 2, 'region'], message: /regions.links has no link to jp/ },
  ]);
  t.end();
});

t.test('a session goes on at its home, unless that cannot be reached', (t) => {
  const home = ['us', 'dead'].map((region) => ({ region, reference: `${region}.example` }));
  const time = new ManualTime();
  const steering = new RegionSteering({ ...table, home }, time, alone);
  const ask = (id: string, region: string, version: 4 | 5 = 5): string | undefined =>
    steering.homeOf(id, version, region)?.serverReference;
  t.equal(ask('a', 'us'), 'us.example');
  t.equal(ask('a', 'us'), undefined, 'who comes back is taken');
  t.equal(ask('b', 'dead'), undefined, 'its link is down');
  t.equal(ask('c', 'jp'), undefined, 'no reference is known');
  t.equal(ask('d', 'us', 4), undefined, '3.1.1 is taken');
  t.match(steering.counters, { home: 1, returned: 1 });
  time.pass(60_001);
  t.equal(ask('a', 'us'), 'us.example', 'and is sent again after the patience');
  const refusing = new RegionSteering({ ...table, home, legacy: 'refuse' }, time, alone, steering);
  t.equal(refusing.homeOf('d', 4, 'us')?.serverReference, 'us.example');
  t.equal(new RegionSteering(table, time, alone).homeOf('a', 5, 'us'), null, 'off');
  t.end();
});

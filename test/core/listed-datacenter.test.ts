// What the directory of all regions is told of sessions that the nodes of a datacenter share, and clients that
// are sent to the region where their session stays (ADR 0023, 0024).
import t from 'tap';
import type { Elsewhere, Steering } from '../../src/core/ports.ts';
import { FakeDatacenter } from './fake-datacenter.ts';
import { FakeDirectory } from './fake-directory.ts';

const kept = { clean: false, expiryS: 100 } as const;

async function setUp() {
  const site = new FakeDatacenter();
  const directories = [new FakeDirectory(site.time), new FakeDirectory(site.time)] as const;
  for (const directory of directories) directory.moves = false;
  const one = await site.node({ directory: directories[0] });
  const two = await site.node({ directory: directories[1] });
  return { site, one, two, ofOne: directories[0], ofTwo: directories[1] };
}

/** Sends everybody to `far` who has a session there. */
class HomeSteering implements Steering {
  readonly asked: string[] = [];
  readonly hasHomes = true;

  elsewhere(): null {
    return null;
  }

  homeOf(clientId: string, _version: number, region: string): Elsewhere | null {
    this.asked.push(`${clientId} ${region}`);
    return { serverReference: 'far.example:8883', isForGood: false };
  }
}

t.test('whoever owns the session tells of it', async (t) => {
  const { site, one, two, ofOne, ofTwo } = await setUp();
  const client = one.world.connected(5, 'dev', kept);
  client.subscribe('a/#', 1);
  site.time.settle();
  t.strictSame(ofOne.taken(), ['claimed dev', 'changed dev a/#']);
  t.strictSame(ofTwo.taken(), ['released dev'], 'the other node only knows of it');
  const again = two.world.client(5, 'dev');
  again.connect(kept);
  site.time.settle();
  t.ok(again.accepted());
  t.equal(ofTwo.taken().at(-1), 'claimed dev');
  t.ok(
    ofOne.taken().every((told) => told === 'released dev'),
    'and the first has let go',
  );
  again.sink.close();
  site.time.settle();
  t.strictSame(ofTwo.taken(), ['left dev']);
  t.strictSame(
    ofOne.taken().filter((told) => !/^released/.test(told)),
    [],
  );
  // A clean start without a session that lasts.
  const last = one.world.client(5, 'dev');
  last.connect({ clean: true });
  site.time.settle();
  t.notOk(last.accepted(), 'no session is present');
  t.strictSame(
    ofOne.taken().filter((told) => !/^released/.test(told)),
    ['forgot dev'],
  );
  const short = two.world.client(5, 'short');
  short.connect({ clean: true });
  site.time.settle();
  t.notOk(
    ofTwo.taken().some((told) => /short/.test(told)),
    'nor one that never lasted',
  );
});

t.test('its node dies: one of the others says that its client is gone', async (t) => {
  const { site, one, two, ofTwo } = await setUp();
  one.world.connected(5, 'dev', kept);
  site.time.settle();
  ofTwo.taken();
  one.kill();
  two.remote.orphaned('dev');
  two.remote.orphaned('nobody');
  t.strictSame(ofTwo.taken(), ['left dev']);
});

t.test('a client whose session is elsewhere is sent there', async (t) => {
  const { site, one, ofOne } = await setUp();
  const steering = new HomeSteering();
  const { broker } = one.world;
  ofOne.list('dev', null, site.time.wallMs());
  const connect = (id: string, options: object = kept) => {
    const client = one.world.client(5, id);
    client.connect(options);
    ofOne.answer();
    site.time.settle();
    return client.receive()[0];
  };
  t.match(connect('dev'), { packet: { reasonCode: 0, sessionPresent: false } });
  t.strictSame(ofOne.lookups, [], 'nobody is sent anywhere: nothing is read');
  one.world.broker.remote!.applyEnd('dev', '', Number.MAX_SAFE_INTEGER);
  broker.setSteering(steering);
  t.match(connect('dev'), {
    packet: { reasonCode: 0x9c, serverReference: 'far.example:8883' },
  });
  t.strictSame(steering.asked, ['dev far']);
  ofOne.list('theirs', 'somebody', 0);
  t.match(connect('theirs'), { packet: { reasonCode: 0, sessionPresent: false } });
  t.match(connect('dev', { clean: true, expiryS: 100 }), { packet: { reasonCode: 0 } });
  t.strictSame(steering.asked, ['dev far'], "neither another one's session, nor a clean start");
});

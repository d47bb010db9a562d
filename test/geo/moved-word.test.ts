// What another region says of where its messages belong: as a whole or for one life of a node there, and never
// for a node of somebody else (ADR 0023).
import t from 'tap';
import { RegionLinks } from '../../src/core/region-links.ts';
import { RoamingState } from '../../src/core/roaming-state.ts';
import { encodeFrame } from '../../src/geo/roaming/frame.ts';
import { RegionMover } from '../../src/geo/roaming/mover.ts';
import { FakeDirectory } from '../core/fake-directory.ts';
import { SeededRandom } from '../core/manual-time.ts';
import { World } from '../core/world.ts';

const ONE = 'us.AAAAAAAAAAAAAAAAAAAAAA';

t.test('a node speaks for itself, within its region', async (t) => {
  const directory = new FakeDirectory();
  const links = new RegionLinks('eu', Buffer.alloc(16, 1));
  t.equal(links.prefix, `${links.source}.`);
  const world = await World.start({ directory, links, time: directory.time });
  const roaming = world.broker.roaming!;
  const problems: string[] = [];
  const ways = { regions: () => [], isUp: () => false, ask: () => false, sync: () => false };
  const mover = new RegionMover({
    roaming,
    links: ways,
    clock: world.time,
    random: new SeededRandom(1),
    scheduler: world.time,
    log: {
      debug: () => {},
      info: () => {},
      warn: (fields: object) => problems.push(JSON.stringify(fields)),
      error: () => {},
    },
    waitMs: 100,
  });
  world.connected(5, 'one', { expiryS: 100 });
  const session = roaming.session('one')!;
  session.roam ??= new RoamingState('eu', 0);
  const { roam } = session;
  roam.rest = 'us';
  const taken: boolean[] = [];
  const hear = (word: object) => {
    const frame = encodeFrame({ client: 'one', to: 'eu', epoch: roam.born + 60, ...word });
    const atOnce = (then: (failed: boolean) => void) => then(false);
    mover.moved('us', frame, atOnce, (isTaken) => taken.push(isTaken));
    world.settle();
  };
  hear({ by: ONE });
  t.ok(directory.nextEpoch() > roam.born + 60, 'a CONNECT now is above those that were heard of');
  t.equal(roam.homeOf(ONE), 'eu');
  t.equal(roam.homeOf('us'), 'us');
  for (const by of ['ap.AAAAAAAAAAAAAAAAAAAAAA', 'us', 'us.', `${ONE}.x`, 7, null]) {
    hear({ by, epoch: roam.born + 90 });
  }
  t.same(
    roam.record().streams,
    [[ONE, 'eu', roam.born + 60]],
    'what it says for others means nothing',
  );
  t.equal(problems.length, 1, 'and is said once in a while');
  hear({});
  t.same(roam.record().streams, [['us', 'eu', roam.born + 60]]);
  t.same(taken, Array(8).fill(true), 'none comes again');
  roam.epoch = roam.born + 80;
  hear({ by: ONE, epoch: roam.born + 70, to: 'us' });
  t.equal(roam.homeOf(ONE), 'us');
  mover.missed('us');
  t.equal(roam.homeOf(ONE), 'eu', 'what it has said was among what is lost');
});

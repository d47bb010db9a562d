// What the books of a run over regions excuse when a Redis is emptied: what was in its queues, for whom there is
// no other way, and nothing else.
import t from 'tap';
import type { LinkName } from '../support/region-config.ts';
import type { LostEntry } from './emptied-redis.ts';
import { Ledger } from './ledger.ts';
import { RegionLosses } from './region-losses.ts';

const REGIONS = ['eu', 'us', 'ap'];
const MESH: LinkName[] = ['eu<us', 'us<eu', 'eu<ap', 'ap<eu', 'us<ap', 'ap<us'];
/** The hub is eu. */
const STAR: LinkName[] = ['eu<us', 'us<eu', 'eu<ap', 'ap<eu'];

function run(links: readonly LinkName[], hasVersions: boolean) {
  const ledger = new Ledger();
  for (const region of REGIONS) {
    ledger.reader(`${region}-one`);
    ledger.subscribing(`${region}-one`, '#');
    ledger.subscribed(`${region}-one`, '#', 2);
  }
  const streams = Object.fromEntries(
    REGIONS.map((region) => [region, ledger.stream(`${region}-pub`, `t/${region}`, 2)]),
  );
  const sent = (region: string): number => {
    const seq = ledger.sent(streams[region]!);
    ledger.ackedMessage(streams[region]!, seq);
    return seq;
  };
  const got = (reader: string, origin: string, seq: number): void =>
    ledger.deliveredMessage(`${reader}-one`, streams[origin]!, seq);
  const losses = new RegionLosses(ledger, links, hasVersions);
  const entry = (clientId: string, origin: string, seq: number): LostEntry => ({
    ...{ clientId, group: undefined, topic: `t/${origin}`, retain: false },
    payload: Buffer.from(`${streams[origin]}:${seq}:`),
  });
  const lost = (): string[] =>
    [...ledger.missing()].map(({ reader, stream, seq }) => `${reader} ${stream.slice(0, 2)}${seq}`);
  return { ledger, losses, sent, got, entry, lost };
}

t.test('in the queue of a client: for that one alone', async (t) => {
  const { losses, sent, entry, lost } = run(MESH, true);
  sent('us');
  sent('us');
  losses.emptied('eu', [entry('eu-one', 'us', 1)]);
  t.strictSame(lost(), ['eu-one us2', 'us-one us1', 'us-one us2', 'ap-one us1', 'ap-one us2']);
});

t.test('in the queue of a link: for whom there is no other way', async (t) => {
  const mesh = run(MESH, true);
  mesh.sent('eu');
  mesh.sent('eu');
  mesh.losses.emptied('eu', [
    mesh.entry('$link/us', 'eu', 1),
    mesh.entry('$link/us', 'eu', 2),
    mesh.entry('$link/ap', 'eu', 2),
  ]);
  t.strictSame(mesh.lost(), ['eu-one eu1', 'eu-one eu2', 'us-one eu1', 'ap-one eu1']);

  const star = run(STAR, true);
  star.sent('us');
  star.sent('ap');
  star.losses.emptied('eu', [star.entry('$link/ap', 'us', 1)]);
  t.strictSame(star.lost(), ['eu-one us1', 'eu-one ap1', 'us-one us1', 'us-one ap1', 'ap-one ap1']);
});

t.test('twice and late', async (t) => {
  const { ledger, losses, sent, got, entry } = run(MESH, true);
  for (const region of REGIONS) for (let i = 0; i < 3; i++) sent(region);
  for (const reader of REGIONS) {
    for (const origin of REGIONS) if (reader !== 'ap' || origin !== 'us') got(reader, origin, 1);
  }
  losses.emptied('eu', [entry('$link/ap', 'us', 1)]);
  got('eu', 'us', 1);
  got('us', 'eu', 1);
  t.equal(ledger.verdict().duplicates, 0, 'readers there, and publishers there');
  got('us', 'ap', 1);
  t.equal(ledger.verdict().duplicates, 1, 'of the others each comes once');
  got('ap', 'us', 3);
  got('ap', 'us', 1);
  t.equal(ledger.verdict().orderViolations, 0, 'what the link has lost comes over another one');
  got('ap', 'us', 2);
  t.equal(ledger.verdict().orderViolations, 1);
  got('eu', 'us', 3);
  got('eu', 'us', 2);
  t.equal(ledger.verdict().orderViolations, 1, 'as readers there had it');
  got('eu', 'us', sent('us'));
  got('eu', 'us', 4);
  t.equal(ledger.verdict().duplicates, 2, 'what was sent since comes once');
});

t.test('retained changes, without a Cassandra that has them', async (t) => {
  const kept = (payload: string): LostEntry => ({
    ...{ clientId: '$link/us', group: undefined, topic: 'kept/eu/a', retain: true },
    payload: Buffer.from(payload),
  });
  for (const hasVersions of [true, false]) {
    const { losses } = run(MESH, hasVersions);
    losses.emptied('eu', [kept('0:1:')]);
    t.equal(losses.mayDiffer('kept/eu/a', ['0:1:']), !hasVersions);
    t.notOk(losses.mayDiffer('kept/eu/a', ['0:2:']), 'a later one has come');
    t.notOk(losses.mayDiffer('kept/eu/b', ['0:1:']));
  }
});

// Sessions that move among three regions, each linked to each (ADR 0023): what a region publishes comes to a
// session in its place between the words of that region, whichever way is the fastest.
import t from 'tap';
import { LoneRegions } from '../chaos/moving-regions.ts';
import { describeRoaming, runRoamingChaos } from '../chaos/run-roaming-chaos.ts';
import { seedOr } from '../support/seed.ts';
import { until } from './cluster-kit.ts';
import { drain } from './link-kit.ts';
import { startRoaming } from './roaming-kit.ts';

t.setTimeout(300_000);

const regions = await startRoaming(t, ['eu', 'us', 'ap']);

const durable = (id: string) => ({
  id,
  clean: false,
  properties: [['sessionExpiryInterval', 600]] as const,
});

t.test('what a third region passes on waits for the link that brings it', async (t) => {
  const filter = 'passed/#';
  const inEu = await regions.client('eu', durable('passed-eu'));
  await inEu.subscribed(filter, { qos: 2 });
  const inUs = await regions.client('us', durable('passed-us'));
  await inUs.subscribed(filter, { qos: 2 });
  for (const link of ['eu<us', 'eu<ap', 'us<ap'] as const) {
    await regions.subscribedTo(link, filter);
  }
  const inAp = await regions.client('ap');
  await inAp.publish('passed/a', 'first', { qos: 2 });
  t.strictSame(
    (await drain(inEu, 1000)).map(({ payload }) => payload.toString()),
    ['first'],
  );
  const direct = regions.proxy('eu<ap');
  direct.refuse(true);
  direct.cut();
  for (const qos of [1, 2] as const) await inAp.publish('passed/a', `qos ${qos}`, { qos });
  await until('they have come by way of us', async () => {
    return (await regions.ofLink('eu<us', 'deferred_total')) >= 2;
  });
  t.strictSame(await drain(inEu, 300), []);
  t.equal((await drain(inUs, 300)).length, 3);
  // Nothing of ap is asked for there by this link yet: it is taken from whoever has it.
  await inEu.subscribed('later/#', { qos: 2 });
  await regions.subscribedTo('eu<us', 'later/#');
  await inUs.subscribed('later/#', { qos: 2 });
  await regions.subscribedTo('us<ap', 'later/#');
  await inAp.publish('later/a', 'later', { qos: 2 });
  t.strictSame(
    (await drain(inEu, 1500)).map(({ payload }) => payload.toString()),
    ['later'],
  );
  direct.refuse(false);
  await regions.linksUp();
  t.strictSame(
    (await drain(inEu, 1500)).map(({ payload }) => payload.toString()),
    ['qos 1', 'qos 2'],
    'each once',
  );
  for (const client of [inEu, inUs, inAp]) await client.disconnect();
});

t.test('moves between two of them under kills: nothing lost, nothing twice', async (t) => {
  const report = await runRoamingChaos({
    regions: new LoneRegions(regions),
    names: ['eu', 'us', 'ap'],
    visited: ['eu', 'us'],
    seed: seedOr(1),
    moves: 120,
    movesPerKill: 50,
    devices: 5,
    ratePerS: 40,
    devicesPublish: false,
    stayMsMax: 100,
    log: (line) => t.comment(line),
  });
  t.comment(describeRoaming(report));
  const { lost, qos2Duplicates, ownedTwice, sessionsLost, acked } = report;
  t.match(
    { lost, qos2Duplicates, ownedTwice, sessionsLost },
    { lost: 0, qos2Duplicates: 0, ownedTwice: 0, sessionsLost: 0 },
    describeRoaming(report),
  );
  t.ok(acked > 50, 'it was a run');
});

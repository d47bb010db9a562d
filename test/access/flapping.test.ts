/** Flapping: too many connects in a window ban the identifier for that user, longer each time. */
import path from 'node:path';
import t from 'tap';
import { Flapping, type FlappingOptions } from '../../src/access/flapping.ts';
import { ManualTime } from '../core/manual-time.ts';
import { bansKit, folderFor } from './bans-kit.ts';

const options: FlappingOptions = { connectsMax: 30, windowS: 60, banS: 60, banMaxS: 600 };

t.test('up to the threshold nothing, then a ban that can be seen and lifted', async (t) => {
  const { bans, time } = bansKit();
  const flapping = new Flapping(options, bans, time);
  bans.onLifted = (ban) => flapping.lifted(ban);
  let early = 0;
  for (let i = 0; i < 30; i++) if (flapping.connected('dev1', 'alice') !== null) early++;
  t.equal(early, 0);
  const ban = flapping.connected('dev1', 'alice');
  t.match(ban, { kind: 'client', value: 'dev1', user: 'alice', origin: 'flapping', step: 0 });
  t.equal(ban!.expiresAtMs, time.wallMs() + 60_000);
  t.same([...bans.list()], [ban]);
  for (const user of [null, 'bob', '']) {
    t.equal(
      flapping.connected('dev1', user),
      null,
      'another user with that identifier counts apart',
    );
  }
  bans.lift(ban!.id);
  for (let i = 0; i < 30; i++) if (flapping.connected('dev1', 'alice') !== null) early++;
  t.equal(early, 0, 'forgiven');
});

t.test('a steady client is none, however long it goes on', async (t) => {
  const { bans, time } = bansKit();
  const flapping = new Flapping(options, bans, time);
  for (let i = 0; i < 10_000; i++) {
    flapping.connected('dev1', null);
    time.nowMs += 2500;
  }
  t.equal(bans.size, 0);
});

t.test('escalates up to the longest, and quiet times take it back', async (t) => {
  const { bans, time } = bansKit();
  const flapping = new Flapping(options, bans, time);
  const banS = (): number => {
    for (let i = 0; i < 1000; i++) {
      const ban = flapping.connected('dev1', null);
      if (ban === null) continue;
      const ms = ban.expiresAtMs - time.wallMs();
      time.nowMs += ms;
      return ms / 1000;
    }
    return 0;
  };
  t.same([banS(), banS(), banS(), banS(), banS(), banS()], [60, 120, 240, 480, 600, 600]);
  time.nowMs += 24 * 3_600_000;
  t.equal(banS(), 60);
});

t.test('kept over a restart, with its step', async (t) => {
  const file = path.join(await folderFor(t), 'bans.json');
  const time = new ManualTime();
  const { bans } = bansKit({ file }, time);
  await bans.start();
  const flapping = new Flapping(options, bans, time);
  for (let i = 0; i < 31; i++) flapping.connected('dev1', null);
  await bans.stop();
  const { bans: after } = bansKit({ file }, time);
  await after.start();
  const again = new Flapping(options, after, time);
  again.restore();
  t.ok(after.of({ clientId: 'dev1', user: null, remoteAddress: '', fingerprint: null }, null));
  time.nowMs += 60_000;
  let ban = null;
  for (let i = 0; i < 31; i++) ban = again.connected('dev1', null);
  t.equal(ban?.step, 1);
});

t.test('bounded: a flood of identifiers pushes out the quiet ones, not the busy one', async (t) => {
  const { bans, time } = bansKit({ automaticBansMax: 50 });
  const flapping = new Flapping(options, bans, time, 1000);
  let ban = null;
  for (let i = 0; i < 20_000; i++) {
    flapping.connected(`${'x'.repeat(500)}${i}`, null);
    if (i % 100 === 0) ban ??= flapping.connected('busy', null);
    time.nowMs += 1;
  }
  t.ok(flapping.size <= 1000);
  t.ok(ban, 'who keeps coming is found in the flood');
  t.ok(bans.size <= 50);
});

t.test('off, and on again by a reload', async (t) => {
  const { bans, time } = bansKit();
  const flapping = new Flapping({ ...options, connectsMax: 0 }, bans, time);
  for (let i = 0; i < 1000; i++) flapping.connected('dev1', null);
  t.equal(flapping.size, 0);
  flapping.revise({ ...options, connectsMax: 1 });
  t.equal(flapping.connected('dev1', null), null);
  t.ok(flapping.connected('dev1', null));
});

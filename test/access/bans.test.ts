/** Bans: one spelling, bounded, found with bounded work, kept over restarts or not started without. */
import { chmod, readFile, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import t from 'tap';
import { AccessError } from '../../src/access/access-error.ts';
import { BanError, banKey, canonicalBanValue } from '../../src/access/ban.ts';
import { BanFile, type StoredBan } from '../../src/access/ban-file.ts';
import { NetworkMap } from '../../src/access/ban-networks.ts';
import type { BanSubject } from '../../src/access/bans.ts';
import {
  containsAddress,
  formatIpAddress,
  type IpNetwork,
  parseIpAddress,
  parseIpNetwork,
} from '../../src/util/ip-address.ts';
import { ManualTime, SeededRandom } from '../core/manual-time.ts';
import { bansKit, folderFor, forEver } from './bans-kit.ts';

const FINGERPRINT = 'ab'.repeat(32);

function who(known: Partial<BanSubject> = {}): BanSubject {
  return {
    clientId: 'dev1',
    user: null,
    remoteAddress: '192.0.2.7',
    fingerprint: null,
    ...known,
  };
}

t.test('each kind finds its client, and nobody else', async (t) => {
  const { bans } = bansKit();
  t.equal(bans.of(who(), null), null);
  bans.add({ kind: 'client', value: 'bad' }, forEver);
  bans.add({ kind: 'user', value: 'mallory' }, forEver);
  bans.add({ kind: 'address', value: '203.0.113.9' }, forEver);
  bans.add({ kind: 'address', value: '198.51.100.0/24' }, forEver);
  bans.add({ kind: 'address', value: '2001:db8::/32' }, forEver);
  const colons = FINGERPRINT.toUpperCase().replace(/(..)(?!$)/g, '$1:');
  bans.add({ kind: 'certificate', value: colons }, forEver);
  const kindOf = (known: Partial<BanSubject>) => bans.of(who(known), null)?.value ?? null;
  t.equal(kindOf({}), null);
  t.equal(kindOf({ clientId: 'bad' }), 'bad');
  t.equal(kindOf({ user: 'mallory' }), 'mallory');
  t.equal(kindOf({ user: 'bad', clientId: 'mallory' }), null, 'kinds are not mixed up');
  t.equal(kindOf({ remoteAddress: '203.0.113.9' }), '203.0.113.9');
  t.equal(kindOf({ remoteAddress: '::ffff:203.0.113.9' }), '203.0.113.9', 'mapped is the same');
  t.equal(kindOf({ remoteAddress: '203.0.113.90' }), null);
  t.equal(kindOf({ remoteAddress: '198.51.100.255' }), '198.51.100.0/24');
  t.equal(kindOf({ remoteAddress: '198.51.101.0' }), null);
  t.equal(kindOf({ remoteAddress: '2001:db8:1::1' }), '2001:db8::/32');
  t.equal(kindOf({ remoteAddress: '2001:db8::1%eth0' }), '2001:db8::/32', 'a zone is no way out');
  t.equal(kindOf({ remoteAddress: '' }), null, 'a Unix socket has no address');
  t.equal(kindOf({ fingerprint: FINGERPRINT }), FINGERPRINT);
});

t.test('FIELD class 31: names are only names', async (t) => {
  const { bans } = bansKit();
  const names = [
    '__proto__',
    'constructor',
    'toString',
    'hasOwnProperty',
    'a/b#+',
    '%c',
    '\u{1f600}',
  ];
  for (const name of names) t.equal(bans.of(who({ clientId: name, user: name }), null), null, name);
  for (const name of names) {
    const ban = bans.add({ kind: 'client', value: name }, forEver);
    t.equal(bans.of(who({ clientId: name }), null), ban, name);
    t.equal(bans.of(who({ user: name }), null), null);
  }
  t.equal(({} as { polluted?: string }).polluted, undefined);
});

t.test('no two targets share a key', async (t) => {
  const texts = ['', 'a', 'b', 'ab', '1', '1+', '-', '=', '+a', '1=a', 'client:1=a', 'é'];
  const users: (string | null | undefined)[] = [undefined, null, ...texts];
  const keys = new Map<string, string>();
  for (const kind of ['client', 'user', 'address', 'certificate'] as const) {
    for (const value of texts) {
      for (const user of users) {
        const key = banKey(user === undefined ? { kind, value } : { kind, value, user });
        const target = JSON.stringify([kind, value, user === undefined ? 'any' : [user]]);
        t.equal(keys.get(key), undefined, target);
        keys.set(key, target);
      }
    }
  }
});

t.test('a ban with a user holds for that user alone', async (t) => {
  const { bans, time } = bansKit();
  const details = { reason: 'flapping', expiresAtMs: time.wallMs() + 1000, step: 0 };
  bans.addAutomatic({ kind: 'client', value: 'dev1', user: 'alice' }, 'flapping', details);
  t.ok(bans.of(who({ user: 'alice' }), null));
  t.equal(bans.of(who({ user: 'bob' }), null), null);
  t.equal(bans.of(who({ user: null }), null), null);
  bans.addAutomatic({ kind: 'client', value: 'dev2', user: null }, 'flapping', details);
  t.ok(bans.of(who({ clientId: 'dev2', user: null }), null));
  t.equal(bans.of(who({ clientId: 'dev2', user: '' }), null), null, 'an empty name is a name');
  bans.addAutomatic({ kind: 'address', value: '192.0.2.7', user: 'eve' }, 'login', details);
  t.equal(bans.ofAddress('192.0.2.7'), null, 'the address itself is not banned');
  t.ok(bans.of(who({ user: 'eve' }), '192.0.2.7'));
  t.equal(bans.of(who({ user: 'eve' }), null), null, 'not where the guard does not look');
});

t.test('what cannot be banned is said', async (t) => {
  const { bans, time } = bansKit({ operatorBansMax: 2 });
  const bad: [kind: 'client' | 'address' | 'certificate', value: string][] = [
    ['client', ''],
    ['address', 'example.org'],
    ['address', '192.0.2.1/24'],
    ['address', '192.0.2.300'],
    ['address', '10.0.0.0/8 '],
    ['certificate', 'abc'],
    ['certificate', 'zz'.repeat(32)],
    ['client', 'x'.repeat(70_000)],
  ];
  for (const [kind, value] of bad) {
    t.throws(
      () => bans.add({ kind, value }, forEver),
      { code: 'invalid' },
      `${kind} ${value.slice(0, 20)}`,
    );
  }
  const past = { ...forEver, expiresAtMs: time.wallMs() - 1 };
  t.throws(() => bans.add({ kind: 'client', value: 'a' }, past), { code: 'invalid' });
  const wordy = { ...forEver, reason: 'x'.repeat(1001) };
  t.throws(() => bans.add({ kind: 'client', value: 'a' }, wordy), { code: 'invalid' });
  bans.add({ kind: 'client', value: 'a' }, { ...forEver, expiresAtMs: time.wallMs() + 1000 });
  bans.add({ kind: 'client', value: 'b' }, forEver);
  t.throws(
    () => bans.add({ kind: 'client', value: 'c' }, forEver),
    new BanError('full', 'there are 2 bans already'),
  );
  const again = bans.add({ kind: 'client', value: 'b' }, { ...forEver, reason: 'still' });
  t.equal(again.reason, 'still', 'one that is there can be changed');
  t.equal(bans.size, 2);
  time.pass(1000);
  bans.add({ kind: 'client', value: 'c' }, forEver);
  t.pass('an expired one makes room');
});

t.test('expiry: not a moment longer, and swept', async (t) => {
  const { bans, time } = bansKit();
  const ban = bans.add(
    { kind: 'client', value: 'dev1' },
    { ...forEver, expiresAtMs: time.wallMs() + 5000 },
  );
  time.nowMs += 4999;
  t.ok(bans.of(who(), null));
  time.nowMs += 1;
  t.equal(bans.of(who(), null), null);
  t.equal(bans.get(ban.id), null);
  t.equal(bans.lift(ban.id), null, 'over is over');
  t.same([...bans.list()], []);
  t.equal(bans.size, 1);
  time.nowMs += 10_000;
  bans.tick(time.monotonicMs());
  t.equal(bans.size, 0);
  t.equal(bans.counters.expired, 1);
  t.equal(bans.activeOf('operator'), 0);
});

t.test('automatic bans are bounded, and never in the way of an operator', async (t) => {
  const { bans, time } = bansKit({ automaticBansMax: 100, operatorBansMax: 10 });
  const expiresAtMs = time.wallMs() + 1e6;
  const details = { reason: 'x', expiresAtMs, step: 0 };
  const mine = bans.add({ kind: 'address', value: '192.0.2.7' }, forEver);
  for (let i = 0; i < 1000; i++) {
    bans.addAutomatic({ kind: 'client', value: `c${i}`, user: null }, 'flapping', details);
  }
  t.equal(bans.size, 101);
  t.equal(bans.counters.displaced, 900);
  t.equal(bans.activeOf('flapping'), 100);
  t.ok(bans.of(who({ clientId: 'c999', remoteAddress: '' }), null), 'the newest are kept');
  t.equal(bans.of(who({ clientId: 'c1', remoteAddress: '' }), null), null);
  const same = bans.addAutomatic({ kind: 'address', value: '192.0.2.7' }, 'login', details);
  t.equal(same, mine, 'an operator’s ban is not replaced by a shorter one');
  t.equal(bans.ofAddress('192.0.2.7')?.origin, 'operator');
  const { bans: few } = bansKit({ clock: time });
  for (let i = 0; i < 300; i++) {
    few.addAutomatic(
      { kind: 'client', value: `${i}`.padEnd(60_000, 'x'), user: null },
      'flapping',
      details,
    );
  }
  t.ok(few.size < 150, `long names count: ${few.size} are kept`);
});

t.test('an operator’s word comes before what was noticed', async (t) => {
  const { bans, time } = bansKit();
  const details = { reason: 'x', expiresAtMs: time.wallMs() + 1000, step: 0 };
  bans.addAutomatic({ kind: 'address', value: '192.0.2.7' }, 'login', details);
  t.equal(bans.of(who(), '192.0.2.7')?.origin, 'login');
  bans.add({ kind: 'address', value: '192.0.0.0/16' }, forEver);
  t.equal(bans.of(who(), '192.0.2.7')?.origin, 'operator');
  t.equal(bans.ofAddress('192.0.2.7')?.origin, 'operator');
});

t.test('networks: the same answer as looking at each', async (t) => {
  const random = new SeededRandom(42);
  for (const size of [4, 16]) {
    const map = new NetworkMap<string>();
    const all = new Map<string, IpNetwork>();
    const address = () => {
      // Few values per byte, so that networks hold addresses.
      const bytes = new Uint8Array(size);
      for (let i = 0; i < size; i++) bytes[i] = [0, 1, 128, 255][random.below(4)]!;
      return bytes;
    };
    for (let i = 0; i < 400; i++) {
      const bytes = address();
      const prefixBits = random.below(size * 8 + 1);
      for (let bit = prefixBits; bit < size * 8; bit++) bytes[bit >> 3]! &= ~(0x80 >> (bit & 7));
      const network = { family: size === 4 ? 4 : 6, bytes, prefixBits } as const;
      const name = `${formatIpAddress(bytes)}/${prefixBits}`;
      if (random.below(3) === 0) {
        map.delete(network);
        all.delete(name);
      } else {
        map.set(network, name);
        all.set(name, network);
      }
      const probe = address();
      const found: string[] = [];
      map.find(probe, (item) => {
        found.push(item);
        return false;
      });
      const expected = [...all]
        .filter(([, one]) => containsAddress(one, probe))
        .map(([key]) => key);
      if (found.sort().join() !== expected.sort().join()) t.same(found, expected);
    }
    t.ok(all.size > 50, `${all.size} networks compared`);
  }
  t.ok(containsAddress(parseIpNetwork('0.0.0.0/0')!, parseIpAddress('1.2.3.4')!));
  t.equal(canonicalBanValue('address', '2001:DB8:0::1/128'), '2001:db8::1');
});

// ---------------------------------------------------------------------------------- on disk

t.test('kept over a restart, as they were', async (t) => {
  const file = path.join(await folderFor(t), 'bans.json');
  const time = new ManualTime();
  const first = bansKit({ file }, time).bans;
  await first.start();
  const expiresAtMs = time.wallMs() + 60_000;
  first.add(
    { kind: 'client', value: 'dév "1"\n#' },
    { reason: 'says "no"', by: 'ops', expiresAtMs: 0 },
  );
  first.add({ kind: 'address', value: '2001:db8::/32' }, { ...forEver, expiresAtMs });
  first.addAutomatic({ kind: 'client', value: 'dev2', user: null }, 'flapping', {
    reason: 'f',
    expiresAtMs,
    step: 3,
  });
  first.addAutomatic({ kind: 'address', value: '192.0.2.7', user: 'eve' }, 'login', {
    reason: 'l',
    expiresAtMs,
    step: 1,
  });
  const short = first.add(
    { kind: 'user', value: 'gone' },
    { ...forEver, expiresAtMs: time.wallMs() + 10 },
  );
  first.hit(short);
  await first.stop();
  t.equal((await stat(file)).mode & 0o777, 0o600);
  time.nowMs += 1000;
  const second = bansKit({ file }, time).bans;
  await second.start();
  t.same(
    [...second.list()],
    [...first.list()].map((ban) => ({ ...ban, hits: 0 })),
  );
  t.equal(second.size, 4, 'the one that expired meanwhile is not');
  const [lifted] = [...second.list()];
  second.lift(lifted!.id);
  await second.saved();
  const third = bansKit({ file }, time).bans;
  await third.start();
  t.equal(third.size, 3, 'a lifted ban does not come back');
});

t.test('FIELD class 2: a broken list is no empty list', async (t) => {
  const folder = await folderFor(t);
  const file = path.join(folder, 'bans.json');
  const { bans, time } = bansKit({ file });
  bans.add({ kind: 'client', value: 'dev1' }, forEver);
  bans.add({ kind: 'client', value: 'dev2' }, forEver);
  await bans.saved();
  const good = await readFile(file, 'utf8');
  const entry = JSON.parse(good).bans[0];
  const broken: Record<string, string> = {
    'torn in the middle': good.slice(0, good.length / 2),
    empty: '',
    zeros: '\0'.repeat(100),
    'another version': good.replace('"version":1', '"version":2'),
    'no list': '{"version":1}',
    list: '[]',
    null: '{"version":1,"bans":[null]}',
    kind: JSON.stringify({ version: 1, bans: [{ ...entry, kind: 'everybody' }] }),
    value: JSON.stringify({ version: 1, bans: [{ ...entry, kind: 'address', value: 'here' }] }),
    origin: JSON.stringify({ version: 1, bans: [{ ...entry, origin: 'nobody' }] }),
    user: JSON.stringify({ version: 1, bans: [{ ...entry, user: 7 }] }),
    expiry: JSON.stringify({ version: 1, bans: [{ ...entry, expiresAtMs: 'never' }] }),
    id: JSON.stringify({ version: 1, bans: [{ ...entry, id: undefined }] }),
  };
  for (const [what, text] of Object.entries(broken)) {
    await writeFile(file, text);
    const { bans: next } = bansKit({ file }, time);
    const error = await next.start().then(
      () => null,
      (thrown: unknown) => thrown,
    );
    t.ok(error instanceof AccessError, `${what}: ${String(error)}`);
    t.match(String(error), file, 'names the file');
    t.equal(await readFile(file, 'utf8'), text, 'and leaves it alone');
  }
  await writeFile(file, good);
  if (process.getuid?.() !== 0) {
    await chmod(file, 0o000);
    await t.rejects(bansKit({ file }, time).bans.start(), AccessError);
    await chmod(file, 0o600);
  }
  await t.rejects(bansKit({ file: folder }, time).bans.start(), AccessError, 'a folder');
  const restored = bansKit({ file }, time).bans;
  await restored.start();
  t.equal(restored.size, 2);
});

t.test('a crash while writing leaves the list as it was', async (t) => {
  const file = path.join(await folderFor(t), 'bans.json');
  const { bans, time } = bansKit({ file });
  bans.add({ kind: 'client', value: 'dev1' }, forEver);
  await bans.saved();
  await writeFile(`${file}.new`, '{"version":1,"bans":[{"id"', { mode: 0o644 });
  const next = bansKit({ file }, time).bans;
  await next.start();
  t.equal(next.size, 1, 'half of a new list is not looked at');
  next.add({ kind: 'client', value: 'dev2' }, forEver);
  await next.saved();
  t.equal((await stat(file)).mode & 0o777, 0o600, 'nor do its rights stay');
  t.equal(JSON.parse(await readFile(file, 'utf8')).bans.length, 2);
});

t.test('automatic bans are written together, and a failing disk is retried and told', async (t) => {
  const folder = await folderFor(t);
  const file = path.join(folder, 'missing', 'bans.json');
  const { bans, time, log } = bansKit({ file });
  await bans.start();
  bans.add({ kind: 'client', value: 'dev1' }, forEver);
  await t.rejects(bans.saved(), { code: 'ENOENT' });
  t.equal(bans.counters.saveErrors, 1);
  t.match(log.text, 'could not be written');
  t.ok(bans.of(who(), null), 'in force all the same');
  const { mkdir } = await import('node:fs/promises');
  await mkdir(path.dirname(file));
  time.nowMs += 6000;
  bans.tick(time.monotonicMs());
  await bans.saved();
  t.equal(JSON.parse(await readFile(file, 'utf8')).bans.length, 1);
  const written = (await stat(file)).mtimeMs;
  const details = { reason: 'x', expiresAtMs: time.wallMs() + 1e6, step: 0 };
  for (let i = 0; i < 50; i++) {
    bans.addAutomatic({ kind: 'client', value: `c${i}`, user: null }, 'flapping', details);
    bans.tick(time.monotonicMs());
  }
  t.equal((await stat(file)).mtimeMs, written, 'not before its time');
  time.nowMs += 1000;
  bans.tick(time.monotonicMs());
  await bans.saved();
  t.equal(JSON.parse(await readFile(file, 'utf8')).bans.length, 51);
});

t.test('an operator’s ban is on disk in a moment, also in the middle of a storm', async (t) => {
  const file = path.join(await folderFor(t), 'bans.json');
  const { bans, time } = bansKit({ file });
  const details = { reason: 'x', expiresAtMs: time.wallMs() + 1e6, step: 0 };
  let saves = 0;
  let isOver = false;
  const storm = (): void => {
    saves++;
    bans.addAutomatic(
      { kind: 'client', value: `c${saves % 500}`, user: null },
      'flapping',
      details,
    );
    if (!isOver && saves < 20_000) setImmediate(storm);
  };
  storm();
  for (let i = 0; i < 3; i++) {
    bans.add({ kind: 'client', value: `dev${i}` }, forEver);
    await Promise.all([bans.saved(), bans.saved()]);
    t.ok(saves < 20_000, 'did not wait for its end');
    const { bans: kept } = JSON.parse(await readFile(file, 'utf8'));
    t.ok(kept.some(({ value }: { value: string }) => value === `dev${i}`));
  }
  isOver = true;
});

t.test('a long list is written a little per turn', async (t) => {
  const { bans: table } = bansKit();
  const one = table.add({ kind: 'client', value: 'dev' }, forEver);
  const file = new BanFile(path.join(await folderFor(t), 'bans.json'));
  let turn = 0;
  const next = (): void => {
    turn++;
    ticking = setImmediate(next);
  };
  let ticking = setImmediate(next);
  const perTurn = new Map<number, number>();
  function* many(): Generator<StoredBan> {
    for (let i = 0; i < 5000; i++) {
      perTurn.set(turn, (perTurn.get(turn) ?? 0) + 1);
      yield { ...one, id: `id${i}`, value: `dev${i}` };
    }
  }
  await file.save(many());
  clearImmediate(ticking);
  t.ok(Math.max(...perTurn.values()) <= 1000, 'no client waits for it');
  const { bans: kept } = await file.load();
  t.equal(kept.length, 5000);
  t.match(kept[4999], { id: 'id4999', value: 'dev4999' });
  await file.save([]);
  t.same(await file.load(), { bans: [], lifts: [] });
});

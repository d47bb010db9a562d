/** Failed logins: who guesses waits, ever longer; who does not is not touched; memory is bounded. */
import path from 'node:path';
import t from 'tap';
import { AccessError } from '../../src/access/access-error.ts';
import type { Bans } from '../../src/access/bans.ts';
import { LoginGuard, type LoginGuardOptions } from '../../src/access/login-guard.ts';
import { ManualTime } from '../core/manual-time.ts';
import { bansKit, folderFor } from './bans-kit.ts';

const options: LoginGuardOptions = { failuresMax: 10, windowS: 60, blockS: 30, blockMaxS: 3600 };

interface Kit {
  readonly guard: LoginGuard;
  readonly bans: Bans;
  readonly time: ManualTime;
  /** As the gate does: refused when blocked, else it fails. */
  tries(address: string, user: string | null): boolean;
}

function kit(
  changes: Partial<LoginGuardOptions> = {},
  keysMax?: number,
  time = new ManualTime(),
): Kit {
  const { bans } = bansKit({ clock: time });
  const guard = new LoginGuard({ ...options, ...changes }, bans, time, keysMax);
  bans.onLifted = (ban) => guard.lifted(ban);
  const tries = (remoteAddress: string, user: string | null): boolean => {
    const login = guard.addressOf(remoteAddress);
    const subject = { clientId: 'c', user, remoteAddress, fingerprint: null };
    const ban = bans.of(subject, login);
    if (ban !== null && login !== null) return false;
    guard.failed(remoteAddress, user);
    return true;
  };
  return { guard, bans, time, tries };
}

function triesUntilBlocked(of: Kit, address: string, user: (i: number) => string | null): number {
  for (let i = 0; i < 1000; i++) if (!of.tries(address, user(i))) return i;
  return Number.POSITIVE_INFINITY;
}

t.test('an address may fail so often, one name from it a third of that', async (t) => {
  const guarded = kit();
  t.equal(
    triesUntilBlocked(guarded, '192.0.2.1', (i) => `user${i}`),
    10,
  );
  t.equal(
    triesUntilBlocked(guarded, '192.0.2.2', () => 'bob'),
    4,
  );
  t.ok(guarded.tries('192.0.2.2', 'alice'), 'others behind the same gateway are not kept out');
  t.equal(
    triesUntilBlocked(guarded, '192.0.2.3', () => null),
    10,
    'no name: the address alone',
  );
  t.equal(
    triesUntilBlocked(guarded, '192.0.2.4', () => 'x'.repeat(300)),
    10,
  );
  const one = kit({ failuresMax: 1 });
  t.equal(
    triesUntilBlocked(one, '192.0.2.1', () => 'bob'),
    1,
  );
});

t.test('one device with an old password does not lock out its gateway', async (t) => {
  const guarded = kit();
  let blockedS = 0;
  for (let s = 0; s < 3600; s++) {
    guarded.tries('192.0.2.1', 'forgotten');
    guarded.time.nowMs += 1000;
    if (guarded.bans.ofAddress('192.0.2.1') !== null) blockedS++;
  }
  t.equal(blockedS, 0);
  t.ok(guarded.bans.size > 0, 'the device itself has to wait');
});

t.test('issue: a storm of 2,000 wrong passwords/s from 50 addresses', async (t) => {
  const guarded = kit();
  const { guard, bans, time } = guarded;
  let hashed = 0;
  let hashedLater = 0;
  let n = 0;
  for (let second = 0; second < 60; second++) {
    for (let i = 0; i < 2000; i++) {
      n++;
      const address = `198.51.100.${n % 50}`;
      // Every third guess is at the good user's name.
      const user = n % 3 === 0 ? 'good' : `guess${n}`;
      if (!guarded.tries(address, user)) continue;
      hashed++;
      if (second > 0) hashedLater++;
    }
    const ban = bans.of(
      { clientId: 'g', user: 'good', remoteAddress: '192.0.2.9', fingerprint: null },
      guard.addressOf('192.0.2.9'),
    );
    if (ban !== null) t.fail('the good user from another address is locked out');
    time.nowMs += 1000;
    bans.tick(time.monotonicMs());
  }
  t.equal(n, 120_000);
  t.ok(hashed < 50 * 10 * 3, `${hashed} of ${n} guesses cost a hash`);
  t.ok(hashedLater < 50 * 10 * 2);
  t.ok(guard.size < 10_000, `${guard.size} keys`);
  t.ok(bans.size <= 200, `${bans.size} bans`);
});

t.test('memory is bounded whatever comes', async (t) => {
  const { guard, bans } = kit({ failuresMax: 1000 }, 500);
  for (let i = 0; i < 20_000; i++)
    guard.failed(`10.${(i >> 16) & 255}.${(i >> 8) & 255}.${i & 255}`, `u${i}`);
  t.ok(guard.size <= 1000, `${guard.size}`);
  t.equal(bans.size, 0);
  const own = kit({}, 500);
  for (let i = 0; i < 20_000; i++) own.guard.failed(`10.${(i >> 8) & 255}.${i & 255}.1`, `u${i}`);
  t.ok(own.guard.size <= 1000);
});

t.test('IPv6: a /64 is one address', async (t) => {
  const guarded = kit();
  let tries = 0;
  for (let i = 0; i < 100; i++)
    if (guarded.tries(`2001:db8:1:2::${i.toString(16)}`, `u${i}`)) tries++;
  t.equal(tries, 10);
  t.equal([...guarded.bans.list()][0]?.value, '2001:db8:1:2::/64');
  t.ok(guarded.tries('2001:db8:1:3::1', 'u'), 'its neighbour is another');
  t.notOk(guarded.tries('2001:db8:1:2:ffff::9', 'u'));
  t.equal(guarded.guard.addressOf('::ffff:192.0.2.1'), '192.0.2.1');
});

t.test(
  'escalating: twice as long each time, up to the longest; quiet makes it forget',
  async (t) => {
    const guarded = kit({ blockS: 30, blockMaxS: 200 });
    const { bans, time } = guarded;
    const blockS = (): number => {
      t.equal(
        triesUntilBlocked(guarded, '192.0.2.1', (i) => `u${i}`),
        10,
      );
      const ban = bans.ofAddress('192.0.2.1')!;
      const s = (ban.expiresAtMs - time.wallMs()) / 1000;
      time.nowMs += s * 1000;
      t.equal(bans.ofAddress('192.0.2.1'), null, 'over to the millisecond');
      return s;
    };
    t.same([blockS(), blockS(), blockS(), blockS(), blockS()], [30, 60, 120, 200, 200]);
    time.nowMs += 200_000;
    t.equal(blockS(), 200, 'as long quiet as the block took back one doubling of five');
    time.nowMs += 10_000_000;
    t.equal(blockS(), 30);
  },
);

t.test('one good password does not hide a thousand bad ones', async (t) => {
  const guarded = kit();
  let tried = 0;
  for (let i = 0; i < 100; i++) {
    if (guarded.tries('192.0.2.1', `victim${i}`)) tried++;
    guarded.guard.succeeded('192.0.2.1', 'mallory');
  }
  t.equal(tried, 10);
  const typos = kit();
  for (let i = 0; i < 3; i++) t.ok(typos.tries('192.0.2.5', 'typist'));
  typos.guard.succeeded('192.0.2.5', 'typist');
  for (let i = 0; i < 3; i++) t.ok(typos.tries('192.0.2.5', 'typist'), 'forgiven for that name');
});

t.test('who is not blocked: trusted addresses and Unix sockets; loopback is', async (t) => {
  const guarded = kit({ trustedAddresses: ['203.0.113.0/24', '2001:db8::1'] });
  t.equal(
    triesUntilBlocked(guarded, '203.0.113.77', () => 'u'),
    Number.POSITIVE_INFINITY,
  );
  t.equal(
    triesUntilBlocked(guarded, '2001:db8::1', () => 'u'),
    Number.POSITIVE_INFINITY,
  );
  t.equal(
    triesUntilBlocked(guarded, '', () => 'u'),
    Number.POSITIVE_INFINITY,
  );
  t.equal(
    triesUntilBlocked(guarded, '127.0.0.1', (i) => `u${i}`),
    10,
    'no bypass on this machine',
  );
  t.equal(
    triesUntilBlocked(guarded, '::1', (i) => `u${i}`),
    10,
  );
  t.throws(() => kit({ trustedAddresses: ['gateway'] }), AccessError);
  const off = kit({ failuresMax: 0 });
  t.equal(
    triesUntilBlocked(off, '192.0.2.1', () => 'u'),
    Number.POSITIVE_INFINITY,
  );
  t.equal(off.guard.size, 0);
});

t.test('a reload changes terms, and lets go of whom it trusts', async (t) => {
  const guarded = kit();
  triesUntilBlocked(guarded, '192.0.2.1', (i) => `u${i}`);
  triesUntilBlocked(guarded, '192.0.2.2', (i) => `u${i}`);
  t.throws(() => guarded.guard.revise({ ...options, trustedAddresses: ['nonsense'] }), AccessError);
  t.notOk(guarded.tries('192.0.2.1', 'u'), 'nothing changed');
  guarded.guard.revise({ ...options, failuresMax: 2, trustedAddresses: ['192.0.2.1'] });
  t.ok(guarded.tries('192.0.2.1', 'u'));
  t.notOk(guarded.tries('192.0.2.2', 'u'));
  t.equal(
    triesUntilBlocked(guarded, '192.0.2.3', (i) => `u${i}`),
    2,
  );
  guarded.guard.revise({ ...options, failuresMax: 0 });
  t.equal(guarded.bans.size, 0, 'off means off');
});

t.test('lifted by hand: forgiven; restarted: not', async (t) => {
  const file = path.join(await folderFor(t), 'bans.json');
  const time = new ManualTime();
  const { bans } = bansKit({ file }, time);
  await bans.start();
  const guard = new LoginGuard(options, bans, time);
  bans.onLifted = (ban) => guard.lifted(ban);
  const block = (of: LoginGuard, address: string) => {
    for (let i = 0; i < 10; i++) of.failed(address, `u${i}`);
  };
  block(guard, '192.0.2.1');
  block(guard, '192.0.2.2');
  for (let i = 0; i < 4; i++) guard.failed('192.0.2.3', 'bob');
  t.equal(bans.size, 3);
  bans.lift(bans.ofAddress('192.0.2.1')!.id);
  block(guard, '192.0.2.1');
  t.equal(bans.ofAddress('192.0.2.1')?.step, 0, 'it begins anew');
  await bans.stop();

  const { bans: after } = bansKit({ file }, time);
  await after.start();
  const again = new LoginGuard(options, after, time);
  again.restore();
  t.ok(after.ofAddress('192.0.2.2'), 'still blocked');
  t.equal(
    after.of(
      { clientId: '', user: 'bob', remoteAddress: '192.0.2.3', fingerprint: null },
      '192.0.2.3',
    )?.origin,
    'login',
  );
  time.nowMs += 30_000;
  t.equal(after.ofAddress('192.0.2.2'), null);
  block(again, '192.0.2.2');
  const ban = after.ofAddress('192.0.2.2');
  t.equal(ban?.step, 1, 'and the next time is twice as long');
  t.equal(ban!.expiresAtMs - time.wallMs(), 60_000);
});

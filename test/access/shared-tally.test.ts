// Failed logins and flapping with a common count beside the node's own (ADR 0018): what is told, who
// blocks, what another node's block does, and that a count that fails leaves the node as strict as alone.
import t from 'tap';
import { Flapping } from '../../src/access/flapping.ts';
import { LoginGuard } from '../../src/access/login-guard.ts';
import type { SharedCounting, Tally, TallyAnswer } from '../../src/access/tally.ts';
import { bansKit } from './bans-kit.ts';

type Entry = readonly [tally: string, act: string, key: string, amount?: number];

/** Says what the test wants it to, and writes down what it was told. */
class ToldCounting implements SharedCounting {
  readonly told: Entry[] = [];
  answer: TallyAnswer | Error = 'fine';
  hurries = 0;
  readonly blockedElsewhere = (): void => {
    this.hurries += 1;
  };

  readonly open = (name: string): Tally => ({
    count: async (key, events) => {
      this.told.push([name, 'count', key, events]);
      if (this.answer instanceof Error) throw this.answer;
      return this.answer;
    },
    block: (key, durationMs) => this.told.push([name, 'block', key, durationMs]),
    forget: (key) => this.told.push([name, 'forget', key]),
  });

  take(): Entry[] {
    return this.told.splice(0);
  }
}

const answered = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
const login = { failuresMax: 6, windowS: 60, blockS: 30, blockMaxS: 3600 };
const flapping = { connectsMax: 4, windowS: 60, banS: 60, banMaxS: 600 };
const address = '192.0.2.1';

t.test(
  'failed logins: told one by one, and blocked by whichever count is over first',
  async (t) => {
    const { bans, time } = bansKit({ isShared: true });
    const counting = new ToldCounting();
    const guard = new LoginGuard(login, bans, time, undefined, counting);
    bans.onLifted = (ban) => guard.lifted(ban);

    guard.failed(address, 'kim');
    await answered();
    t.same(counting.take(), [
      ['login-user', 'count', `${address} kim`, 1],
      ['login-address', 'count', address, 1],
    ]);
    t.equal(bans.size, 0);

    // The other nodes have had the rest.
    counting.answer = 'over';
    guard.failed(address, null);
    await answered();
    t.same(counting.take(), [
      ['login-address', 'count', address, 1],
      ['login-address', 'block', address, 30_000],
    ]);
    const [ban] = [...bans.list()];
    t.match(ban, { origin: 'login', value: address, step: 0 });

    // What was under way when it was blocked blocks nobody a second time.
    guard.failed(address, null);
    await answered();
    t.same(counting.take(), [['login-address', 'count', address, 1]]);
    t.equal(bans.size, 1);

    time.nowMs += 30_001;
    guard.failed(address, null);
    await answered();
    t.match([...bans.list()], [{ step: 1 }], 'longer the next time');
    counting.take();
    bans.lift([...bans.list()][0]!.id);
    t.same(counting.take(), [['login-address', 'forget', address]]);
  },
);

t.test('another node’s block is fetched, and its step goes on here', async (t) => {
  const { bans, time } = bansKit({ isShared: true });
  const counting = new ToldCounting();
  const guard = new LoginGuard(login, bans, time, undefined, counting);
  bans.onLearned = (ban) => guard.learned(ban);
  counting.answer = 'blocked';
  guard.failed(address, null);
  await answered();
  t.equal(counting.hurries, 1);
  t.equal(bans.size, 0, 'it comes with its own end');
  const there = bansKit({ isShared: true }, time);
  const expiresAtMs = time.wallMs() + 60_000;
  const made = there.bans.addAutomatic({ kind: 'address', value: address }, 'login', {
    ...{ reason: 'too many failed logins', expiresAtMs, step: 1 },
  });
  t.equal(bans.adoptBan(made).outcome, 'taken');
  t.equal(bans.adoptBan(made).outcome, 'known');
  time.nowMs += 60_001;
  counting.answer = 'over';
  guard.failed(address, null);
  await answered();
  t.match([...bans.list()], [{ step: 2 }]);
});

t.test('a count that fails, or says nothing: as strict as a node alone', async (t) => {
  for (const answer of ['fine', new Error('no Redis')] as const) {
    const { bans, time } = bansKit({ isShared: true });
    const counting = new ToldCounting();
    counting.answer = answer;
    const guard = new LoginGuard(login, bans, time, undefined, counting);
    for (let index = 0; index < 5; index++) guard.failed(address, null);
    await answered();
    t.equal(bans.size, 0);
    guard.failed(address, null);
    t.equal(bans.size, 1, 'at once, as ever');
    const block = counting.take().at(-1);
    t.same(block, ['login-address', 'block', address, 30_000]);
  }
});

t.test('a login that succeeds is told only where one had failed', async (t) => {
  const { bans, time } = bansKit({ isShared: true });
  const counting = new ToldCounting();
  const guard = new LoginGuard(login, bans, time, undefined, counting);
  guard.succeeded(address, 'kim');
  t.same(counting.take(), []);
  guard.failed(address, 'kim');
  counting.take();
  guard.succeeded(address, 'kim');
  t.same(counting.take(), [['login-user', 'forget', `${address} kim`]]);
});

t.test('an address that is trusted here may be blocked at other nodes', async (t) => {
  const { bans, time } = bansKit({ isShared: true });
  const expiresAtMs = time.wallMs() + 60_000;
  bans.addAutomatic({ kind: 'address', value: address }, 'login', {
    ...{ reason: 'r', expiresAtMs, step: 0 },
  });
  const guard = new LoginGuard({ ...login, trustedAddresses: [address] }, bans, time);
  t.equal(guard.addressOf(address), null, 'it does not hold here');
  t.equal(bans.size, 1, 'and is not lifted for all');
});

t.test('flapping: the first connect asks nobody, the second tells of both', async (t) => {
  const { bans, time } = bansKit({ isShared: true });
  const counting = new ToldCounting();
  const flaps = new Flapping(flapping, bans, time, undefined, counting);
  bans.onLifted = (ban) => flaps.lifted(ban);
  for (let index = 0; index < 1000; index++) flaps.connected(`once-${index}`, 'kim');
  t.same(counting.take(), []);
  for (let index = 0; index < 3; index++) t.equal(flaps.connected('c', 'kim'), null);
  t.match(counting.take(), [
    ['connects', 'count', /c/, 2],
    ['connects', 'count', /c/, 1],
  ]);
  await answered();
  t.equal(bans.size, 0);
  counting.answer = 'over';
  t.equal(flaps.connected('c', 'kim'), null);
  await answered();
  const [ban] = [...bans.list()];
  t.match(ban, { origin: 'flapping', kind: 'client', value: 'c', user: 'kim', step: 0 });
  t.match(counting.take(), [
    ['connects', 'count', /c/, 1],
    ['connects', 'block', /c/, 60_000],
  ]);
  bans.lift(ban!.id);
  t.match(counting.take(), [['connects', 'forget', /c/]]);
  counting.answer = 'blocked';
  for (let index = 0; index < 2; index++) flaps.connected('d', null);
  await answered();
  t.equal(counting.hurries, 1);
});

t.test('a node alone: its file has what it always had', async (t) => {
  const { bans } = bansKit();
  const ban = bans.add({ kind: 'user', value: 'u' }, { reason: 'r', by: 'alice', expiresAtMs: 0 });
  bans.lift(ban.id);
  t.equal([...bans.keysOf('operator')].length, 0, 'no lift is remembered');
});

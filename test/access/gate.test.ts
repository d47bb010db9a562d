/**
 * The gate without a broker: who is let in, as whom, and what each thing that can go wrong leads to.
 * Whatever fails inside lets nobody in and hurts nobody else.
 */
import { writeFile } from 'node:fs/promises';
import t from 'tap';
import { AccessError } from '../../src/access/access-error.ts';
import type { Identified } from '../../src/access/authenticator.ts';
import { AuthenticationChain } from '../../src/access/authn/chain.ts';
import { tenantOf } from '../../src/access/tenant.ts';
import {
  ALLOW,
  type ClientGate,
  type ConnectDecision,
  DENY,
  type GateWaiter,
  WAIT,
} from '../../src/core/ports.ts';
import { certificate, listener } from './backend-kit.ts';
import {
  type AccessKit,
  accessKit,
  decisionOf,
  FakeDecisions,
  FakeGrants,
  type FakeRequest,
  FakeUsers,
  grant,
  identified,
  refusalOf,
  request,
  turns,
} from './gate-kit.ts';

const never: GateWaiter = {
  resume: () => {
    throw new Error('resumed without a WAIT');
  },
};
const will = (topic: string) => ({ topic, qos: 0, retain: false }) as const;
const away = (clientId: string, identity: string | null = null) => ({
  clientId,
  identity,
  tenant: '',
});

async function letIn(kit: AccessKit, of = request()): Promise<ClientGate> {
  const { refusal, client } = await decisionOf(kit, of);
  if (refusal !== null || client === null) throw new Error(`refused: ${refusal}`);
  return client;
}

const may = (client: ClientGate, topic: string) =>
  client.publish(topic, 0, false, 1, never) === ALLOW;

t.test('FIELD class 1: no password is no password', async (t) => {
  const kit = await accessKit(t);
  kit.users.add('alice');
  kit.users.add('empty', 'x');
  t.equal(await refusalOf(kit, request()), null);
  t.equal(await refusalOf(kit, request({ password: null })), 'bad_credentials');
  t.equal(await refusalOf(kit, request({ password: '' })), 'bad_credentials');
  t.equal(await refusalOf(kit, request({ username: null })), 'bad_credentials', 'v5: no user');
  t.equal(await refusalOf(kit, request({ username: '' })), 'bad_credentials');
  t.equal(
    await refusalOf(kit, request({ username: 'bob' })),
    'bad_credentials',
    'unknown: the same',
  );
  t.equal(await refusalOf(kit, request({ username: null, password: null })), 'not_authorized');
});

t.test(
  'an answer at once needs no WAIT; one that takes time is never given from inside',
  async (t) => {
    const kit = await accessKit(t);
    kit.users.add('alice');
    const decide = () => t.fail('decided and answered');
    t.match(kit.access.gate.connect(request(), decide), { refusal: null, identity: 'alice' });
    kit.users.isSlow = true;
    const decisions: ConnectDecision[] = [];
    t.equal(
      kit.access.gate.connect(request(), (one) => decisions.push(one)),
      WAIT,
    );
    await turns();
    t.equal(decisions.length, 0);
    await kit.users.answer();
    t.equal(decisions.length, 1, 'once');
    t.match(decisions[0], { refusal: null, identity: 'alice' });
    t.equal(kit.access.gate.live.size, 2);
    decisions[0]!.client!.closed();
    decisions[0]!.client!.closed();
    t.equal(kit.access.gate.live.size, 1, 'given back once');
  },
);

t.test('anything thrown inside refuses, is counted, and does not end the process', async (t) => {
  const kit = await accessKit(t, { rules: 'rules: [{allow: publish, topics: [a]}]' });
  kit.users.add('alice');
  kit.users.failWith = new Error('secret-canary');
  t.equal(await refusalOf(kit, request()), 'authentication_unavailable');
  kit.users.failWith = null;
  const { gate } = kit.access;
  const broken = {
    ...request(),
    get listener(): never {
      throw new Error('secret-canary');
    },
  };
  t.equal((await decisionOf(kit, broken)).refusal, 'authentication_unavailable');
  t.equal(gate.failures.count, 1);
  const client = await letIn(kit);
  const good = gate.live.inForce.rules;
  const bad = Object.create(good, {
    compile: {
      value: () => {
        throw new Error('secret-canary');
      },
    },
  });
  gate.live.inForce.rules = bad;
  gate.live.inForce.version = -7;
  t.equal(
    client.publish('a', 0, false, 1, never),
    DENY,
    'rules that cannot be compiled allow nothing',
  );
  t.equal(client.subscribe('a', 0, never), DENY);
  t.equal(client.keeps('a', 0), false);
  t.equal(client.receive('a'), false);
  t.equal(client.filtersReceive, true);
  t.equal(
    gate.will(away('x'), null, will('a'), () => {}),
    false,
  );
  t.equal(gate.retainedSource(away('x'), 'a'), false);
  t.equal(gate.keeps(away('x'), 'a', 0), false);
  t.equal(await refusalOf(kit, request({ clientId: 'other' })), null, 'let in, with no rights');
  gate.live.setRules(good);
  t.ok(may(client, 'a'), 'and back');
  t.notMatch(kit.log.text, 'secret-canary', 'no message of an error reaches the log');
  // The core fails while it goes on with a decision: that connection is lost, and only that.
  kit.users.isSlow = true;
  const lost = request();
  gate.connect(lost, () => {
    throw new Error('core');
  });
  await kit.users.answer();
  await turns();
  t.same(lost.ended, ['internal_error']);
});

t.test('bans: by what is claimed before anybody is asked, by what is proven after', async (t) => {
  const kit = await accessKit(t);
  const { bans } = kit.access;
  kit.users.add('alice');
  kit.users.users.set('card', { password: 'right', who: identified('alice') });
  const forEver = { reason: 'x', by: 'ops', expiresAtMs: 0 };
  const banned = async (
    ban: Parameters<typeof bans.add>[0],
    of = request(),
  ): Promise<string | null> => {
    const { id } = bans.add(ban, forEver);
    const refusal = await refusalOf(kit, of);
    bans.lift(id);
    return refusal;
  };
  const before = kit.users.asked;
  t.equal(await banned({ kind: 'client', value: 'dev1' }), 'banned');
  t.equal(await banned({ kind: 'user', value: 'alice' }), 'banned');
  t.equal(await banned({ kind: 'address', value: '192.0.2.0/24' }), 'banned');
  const shows = request(
    {},
    { certificate: { ...certificate, fingerprint256: 'AB:'.repeat(31).concat('AB') } },
  );
  t.equal(await banned({ kind: 'certificate', value: 'ab'.repeat(32) }, shows), 'banned');
  t.equal(kit.users.asked, before, 'nobody was asked');
  t.equal(
    await banned({ kind: 'user', value: 'alice' }, request({ username: 'card' })),
    'banned',
    'proven to be alice',
  );
  t.equal(kit.users.asked, before + 1);
  t.equal(await banned({ kind: 'client', value: 'other' }), null);
  t.equal(bans.counters.hits, 5);
  // Added while the login is under way.
  kit.users.isSlow = true;
  const refusal = refusalOf(kit, request());
  bans.add({ kind: 'client', value: 'dev1' }, forEver);
  await kit.users.answer();
  t.equal(await refusal, 'banned');
});

t.test('a ban ends those who are in, a few per turn', async (t) => {
  const kit = await accessKit(t);
  kit.users.add('alice');
  kit.users.add('bob');
  const inside: ReturnType<typeof request>[] = [];
  for (let i = 0; i < 1200; i++) {
    const one = request(
      { clientId: `c${i}`, username: i % 2 ? 'alice' : 'bob' },
      { remoteAddress: i < 600 ? '192.0.2.7' : '2001:db8::7' },
    );
    await letIn(kit, one);
    inside.push(one);
  }
  const ended = () => inside.filter((one) => one.ended.length > 0).length;
  const forEver = { reason: 'x', by: 'ops', expiresAtMs: 0 };
  kit.access.bans.add({ kind: 'client', value: 'c3' }, forEver);
  t.equal(ended(), 1);
  kit.access.bans.add({ kind: 'address', value: '2001:db8::/64' }, forEver);
  t.equal(ended(), 501);
  kit.time.settle();
  t.equal(ended(), 601);
  kit.access.bans.add({ kind: 'user', value: 'alice' }, forEver);
  kit.time.settle();
  t.equal(ended(), 900);
  t.ok(inside.every((one) => one.ended.every((reason) => reason === 'banned')));
});

t.test(
  'sockets: banned addresses are closed unheard, blocked ones after they were told',
  async (t) => {
    const kit = await accessKit(t);
    const { gate, bans } = kit.access;
    const ban = bans.add(
      { kind: 'address', value: '203.0.113.0/24' },
      { reason: 'x', by: 'ops', expiresAtMs: 0 },
    );
    t.notOk(gate.socket('203.0.113.5', listener));
    t.ok(gate.socket('203.0.114.5', listener));
    t.ok(gate.socket('', listener));
    t.equal(ban.hits, 1);
    for (let i = 0; i < 9; i++)
      await refusalOf(kit, request({ username: `u${i}`, password: 'wrong' }));
    t.ok(gate.socket('192.0.2.7', listener), 'it may hear why');
    let told = 0;
    for (let i = 0; i < 100 && gate.socket('192.0.2.7', listener); i++) {
      if ((await refusalOf(kit, request({ username: `u${i}` }))) === 'login_blocked') told++;
    }
    t.equal(told, 50);
    t.notOk(gate.socket('192.0.2.7', listener), 'enough said: not even a handshake');
    kit.time.nowMs += 30_000;
    t.ok(gate.socket('192.0.2.7', listener));
  },
);

t.test(
  'failed logins: blocked before anybody is asked; failures of our own do not count',
  async (t) => {
    const kit = await accessKit(t);
    kit.users.add('alice');
    kit.users.failWith = new Error('down');
    for (let i = 0; i < 50; i++) await refusalOf(kit, request());
    kit.users.failWith = null;
    for (let i = 0; i < 50; i++) await refusalOf(kit, request({ username: null, password: null }));
    t.equal(await refusalOf(kit, request()), null, 'a backend that was away blocks nobody');
    for (let i = 0; i < 3; i++) {
      t.equal(await refusalOf(kit, request({ password: 'wrong' })), 'bad_credentials');
    }
    const asked = kit.users.asked;
    t.equal(
      await refusalOf(kit, request()),
      'login_blocked',
      'the right password is not looked at either',
    );
    t.equal(kit.users.asked, asked);
    t.equal(kit.access.gate.loginsBlocked, 1);
    t.equal(
      await refusalOf(kit, request({ clientId: 'd2' }, { remoteAddress: '192.0.2.8' })),
      null,
      'alice elsewhere',
    );
    kit.users.add('bob');
    t.equal(
      await refusalOf(kit, request({ clientId: 'd3', username: 'bob' })),
      null,
      'bob behind the same gateway',
    );
    const [ban] = [...kit.access.bans.list()];
    t.match(ban, { kind: 'address', value: '192.0.2.7', user: 'alice', origin: 'login' });
    kit.access.bans.lift(ban!.id);
    t.equal(await refusalOf(kit, request({ clientId: 'd4' })), null);
  },
);

t.test('the log says who claimed to be whom, and nothing that may be a token', async (t) => {
  const kit = await accessKit(t);
  const { gate } = kit.access;
  const claimed = (): unknown[] =>
    kit.log.lines
      .splice(0)
      .filter(({ level, message }) => level === 'debug' && message === 'login refused')
      .map(({ fields }) => (fields as { claimedUser?: string }).claimedUser);
  kit.users.add('alice');
  await refusalOf(kit, request({ password: 'wrong' }));
  t.strictSame(claimed(), ['alice']);
  const by = (kind: string): void => {
    for (const name of ['bob', null, 'eyJhbGciOi', 'x'.repeat(65)]) {
      gate.refuse(request(), name, { reason: 'not_authorized', detail: 'no', by: kind });
    }
  };
  by('password');
  t.strictSame(claimed(), ['bob', undefined, undefined, undefined]);
  by('jwt');
  t.strictSame(claimed(), [undefined, undefined, undefined, undefined], 'it may be the token');
  for (let i = 0; i < 3; i++) await refusalOf(kit, request({ password: 'wrong' }));
  claimed();
  t.equal(await refusalOf(kit, request()), 'login_blocked');
  t.strictSame(claimed(), ['alice'], 'also of who is not even asked');
});

t.test('failed tokens count for their address, not for the name beside them', async (t) => {
  const kit = await accessKit(t);
  const { gate, bans } = kit.access;
  const token = { reason: 'bad_credentials', detail: 'expired', by: 'jwt' } as const;
  for (let i = 0; i < 8; i++) gate.refuse(request(), 'device', token);
  t.equal(bans.size, 0, 'all devices of a site may give the same name');
  gate.refuse(request(), 'device', token);
  t.match([...bans.list()], [{ value: '192.0.2.7', origin: 'login' }]);
  t.notOk('user' in [...bans.list()][0]!);
});

t.test('flapping: only who is proven counts, and only for itself', async (t) => {
  const kit = await accessKit(t);
  kit.users.add('alice');
  kit.users.add('bob');
  // Somebody without the password hammers the identifier of alice, spread over addresses.
  for (let i = 0; i < 100; i++) {
    const remoteAddress = `198.51.100.${i}`;
    await refusalOf(kit, request({ username: 'alice', password: 'wrong' }, { remoteAddress }));
  }
  for (let i = 0; i < 5; i++) t.equal(await refusalOf(kit, request({ username: 'bob' })), null);
  t.equal(await refusalOf(kit, request({ username: 'bob' })), 'flapping');
  t.equal(await refusalOf(kit, request({ username: 'bob' })), 'flapping', 'unasked from now on');
  t.equal(await refusalOf(kit, request()), null, 'alice is let in with the same identifier');
  kit.time.nowMs += 60_000;
  t.equal(await refusalOf(kit, request({ username: 'bob' })), null);
  // Identifiers that were given out are new each time.
  for (let i = 0; i < 50; i++) {
    t.equal(await refusalOf(kit, request({ clientId: '' }, { clientId: 'auto-1' })), null);
  }
});

t.test('credentials that expire: not let in afterwards, ended when it is time', async (t) => {
  const kit = await accessKit(t);
  const expiresAtMs = kit.time.wallMs() + 3_600_000;
  kit.users.add('alice', 'right', { expiresAtMs });
  const one = request();
  await letIn(kit, one);
  const gone = await letIn(kit, request({ clientId: 'gone' }));
  gone.closed();
  kit.time.pass(3_599_000, 1000);
  t.same(one.ended, []);
  kit.time.pass(3000, 1000);
  t.same(one.ended, ['credentials_expired']);
  t.equal(await refusalOf(kit, request()), 'bad_credentials');
  // The wall clock is set forward: noticed within minutes.
  kit.users.add('alice', 'right', { expiresAtMs: kit.time.wallMs() + 7_200_000 });
  const other = request();
  await letIn(kit, other);
  kit.time.wallOffsetMs += 7_200_000;
  kit.time.pass(301_000, 1000);
  t.same(other.ended, ['credentials_expired']);
  // And back: not early.
  kit.users.add('alice', 'right', { expiresAtMs: kit.time.wallMs() + 10_000 });
  const early = request();
  await letIn(kit, early);
  kit.time.wallOffsetMs -= 3_600_000;
  kit.time.pass(60_000, 1000);
  t.same(early.ended, []);
});

t.test('tenants, by what names them', async (t) => {
  const from = (of: 'none' | 'username_prefix' | 'claim' | 'certificate' | 'listener') =>
    ({ from: of, separator: '/', claim: 'tenant', field: 'organization' }) as const;
  const who = (user: string | null, more: Partial<Identified> = {}) => identified(user, more);
  const plain = { listener, certificate: null };
  t.equal(tenantOf(from('none'), who('acme/dev1'), plain), '');
  t.equal(tenantOf(from('username_prefix'), who('acme/dev1'), plain), 'acme');
  t.equal(tenantOf(from('username_prefix'), who('acme'), plain), '');
  t.equal(tenantOf(from('username_prefix'), who(null), plain), '');
  t.equal(tenantOf(from('username_prefix'), who('/x'), plain), '');
  const claims = new Map<string, string | string[]>([
    ['tenant', 'acme'],
    ['list', ['a']],
  ]);
  t.equal(tenantOf(from('claim'), who('a', { claims }), plain), 'acme');
  t.equal(tenantOf({ ...from('claim'), claim: 'list' }, who('a', { claims }), plain), null);
  t.equal(tenantOf({ ...from('claim'), claim: 'constructor' }, who('a', { claims }), plain), null);
  t.equal(tenantOf(from('certificate'), who('a'), { listener, certificate }), 'Acme');
  t.equal(
    tenantOf({ ...from('certificate'), field: 'organizational_unit' }, who('a'), {
      listener,
      certificate,
    }),
    'Pumps',
  );
  t.equal(tenantOf(from('certificate'), who('a'), plain), '');
  t.equal(tenantOf(from('listener'), who(null), plain), listener.name);
  t.equal(
    tenantOf(from('listener'), who('a', { tenant: 'own' }), plain),
    'own',
    'credentials first',
  );
});

t.test('rules: none, a file, what credentials bring, a superuser', async (t) => {
  const open = await accessKit(t);
  open.users.add('alice');
  t.ok(may(await letIn(open), 'any'), 'without rules everything outside $');
  const kit = await accessKit(t, {
    rules:
      'rules: [{deny: receive, topics: ["+/secret"]}, {allow: [publish, subscribe], topics: ["%u/#"]}]',
  });
  kit.users.add('alice');
  kit.users.add('root', 'right', { superuser: true });
  kit.users.add('token', 'right', { rules: [grant('t/#')] });
  kit.users.add('nothing', 'right', { rules: [] });
  const alice = await letIn(kit);
  t.ok(may(alice, 'alice/x'));
  t.notOk(may(alice, 'bob/x'));
  t.equal(alice.subscribe('alice/#', 1, never), ALLOW);
  t.equal(alice.subscribe('#', 1, never), DENY);
  t.equal(alice.filtersReceive, true);
  t.equal(alice.receive('alice/x'), true);
  t.equal(alice.receive('alice/secret'), false);
  const root = await letIn(kit, request({ username: 'root' }));
  t.ok(may(root, 'bob/x'));
  const token = await letIn(kit, request({ username: 'token' }));
  t.ok(may(token, 't/1'));
  t.ok(may(token, 'token/1'), 'and those of the file');
  const bare = await accessKit(t);
  bare.users.add('nothing', 'right', { rules: [] });
  t.notOk(
    may(await letIn(bare, request({ username: 'nothing' })), 'x'),
    'an empty list is no lack of rules',
  );
  const { decisions } = kit.access.gate.live;
  t.match(decisions, {
    publishAllowed: 4,
    publishDenied: 1,
    subscribeAllowed: 1,
    subscribeDenied: 1,
    receiveAllowed: 1,
    receiveDenied: 1,
  });
  const metrics = [...kit.access.metrics()];
  t.match(
    metrics.find(
      ({ name, labels }) =>
        name === 'causeway_access_decisions_total' &&
        labels.action === 'publish' &&
        labels.decision === 'deny',
    ),
    { value: 1 },
  );
});

t.test('a reload: in force at the next decision; a broken file changes nothing', async (t) => {
  const kit = await accessKit(t, { rules: 'rules: [{allow: [publish, subscribe], topics: [a]}]' });
  kit.users.add('alice');
  const client = await letIn(kit);
  t.ok(may(client, 'a'));
  await writeFile(kit.rulesFile, 'rules: [{allow: publish, topics: [b]}, {alow: publish}]');
  await t.rejects(kit.access.reload(), AccessError);
  t.match(kit.users, { commits: 0, discards: 1 }, 'users are as they were: the rules are broken');
  t.ok(may(client, 'a'));
  t.equal(kit.rechecks, 0);
  kit.users.onPrepare = async () => {
    throw new AccessError([{ where: 'users', message: 'broken' }]);
  };
  const both = await kit.access.reload().catch((error: Error) => error.message);
  t.match(both, /^users: broken$/m);
  t.match(both, /acl\.yaml:1:\d+: unknown: `alow`/, 'both are told at once');
  await writeFile(kit.rulesFile, 'rules: [{allow: publish, topics: [b]}]');
  await t.rejects(kit.access.reload(), /^users: broken$/m);
  t.ok(may(client, 'a'), 'rules are as they were: the users are broken');
  t.equal(kit.rechecks, 0);
  kit.users.onPrepare = async () => {};
  await kit.access.reload();
  t.equal(kit.users.commits, 1);
  t.equal(kit.rechecks, 1);
  t.notOk(may(client, 'a'));
  t.ok(may(client, 'b'));
  t.equal(client.keeps('a', 0), false);
  await writeFile(kit.rulesFile, '');
  await kit.access.reload();
  t.notOk(may(client, 'b'), 'FIELD class 2: an empty file denies');
  const one = request({ clientId: 'x' });
  await letIn(kit, one);
  kit.access.usersChanged('jwt', new Set(['alice']));
  t.same(one.ended, []);
  kit.access.usersChanged('password', new Set(['alice']));
  t.same(one.ended, ['rights_revoked']);
});

t.test('nothing starts on a broken file, and all problems are told at once', async (t) => {
  const users = new FakeUsers();
  let stopped = 0;
  users.start = async () => {
    throw new AccessError([{ where: 'passwords:3', message: 'no hash' }]);
  };
  const grants = new FakeGrants();
  grants.stop = async () => {
    stopped++;
  };
  const error = await accessKit(t, {
    rules: 'rules: [{allow: publish}]',
    sources: [grants],
    changes: {
      chain: new AuthenticationChain({
        links: [users],
        anonymous: false,
        deadlineMs: 1000,
        clock: { monotonicMs: () => 0, wallMs: () => 0 },
        log: { debug() {}, info() {}, warn() {}, error() {} },
      }),
    },
  }).then(
    () => null,
    (thrown) => thrown,
  );
  t.ok(error instanceof AccessError);
  t.match(error.message, /passwords:3/);
  t.match(error.message, /acl\.yaml/);
  t.equal(stopped, 1);
});

t.test('FIELD class 2: an empty rule file denies everything', async (t) => {
  const kit = await accessKit(t, { noChain: true, rules: '' });
  t.notOk(may(await letIn(kit), 'a'));
});

t.test(
  'rules of Redis: at CONNECT, when they change, and not at all when it is away',
  async (t) => {
    const grants = new FakeGrants();
    const kit = await accessKit(t, { sources: [grants] });
    kit.users.add('alice');
    grants.rules.set('alice', [grant('a/#')]);
    for (const isSlow of [false, true]) {
      grants.isSlow = isSlow;
      const client = await letIn(kit, request({ clientId: `c${isSlow}` }));
      t.ok(may(client, 'a/1'));
      t.notOk(may(client, 'b'));
    }
    const client = await letIn(kit);
    t.equal(grants.watchers.size, 3);
    grants.change('alice', [grant('b')]);
    t.ok(may(client, 'b'));
    t.notOk(may(client, 'a/1'), 'at the next packet');
    kit.time.pass(2000, 1000);
    t.equal(kit.rechecks, 1, 'subscriptions are looked at, once for all who changed');
    client.closed();
    t.equal(grants.watchers.size, 2);
    t.ok(may(client, 'b'), 'for its will');
    grants.isAway = true;
    t.equal(await refusalOf(kit, request()), 'authentication_unavailable');
    grants.isSlow = false;
    t.equal(await refusalOf(kit, request()), 'authentication_unavailable');
    grants.isAway = false;
    t.equal(await refusalOf(kit, request({ clientId: 'again' })), null, 'back without a restart');
    kit.users.add('nobody');
    t.notOk(may(await letIn(kit, request({ username: 'nobody' })), 'x'), 'no rules are no rights');
  },
);

t.test(
  'a source that is asked: WAIT, one question, its answer for the packet that waits',
  async (t) => {
    const decisions = new FakeDecisions();
    decisions.decide = (action, topic) =>
      topic.startsWith('yes')
        ? 'allow'
        : topic.startsWith('ask the rules')
          ? 'ignore'
          : topic === 'down'
            ? 'unavailable'
            : action === 'publish'
              ? 'deny'
              : 'ignore';
    const kit = await accessKit(t, {
      sources: [decisions],
      rules: 'rules: [{allow: publish, topics: ["ask the rules"]}]',
    });
    kit.users.add('alice');
    const client = await letIn(kit);
    const publish = (topic: string): Promise<number> =>
      new Promise((resolve) => {
        const waiter = { resume: () => resolve(client.publish(topic, 0, false, 1, never)) };
        t.equal(client.publish(topic, 0, false, 1, waiter), WAIT);
      });
    t.equal(await publish('yes'), ALLOW);
    t.equal(await publish('yes'), ALLOW, 'nothing is kept that the source does not keep');
    t.equal(await publish('no'), DENY);
    t.equal(await publish('down'), DENY);
    t.equal(await publish('ask the rules'), ALLOW);
    t.equal(await publish('ask the rules too'), DENY);
    t.equal(decisions.asked.length, 6);
    kit.users.add('root', 'right', { superuser: true });
    t.ok(
      may(await letIn(kit, request({ username: 'root' })), 'no'),
      'a superuser is not asked about',
    );
    // Gone while it is asked: nobody is called back.
    client.publish('yes/later', 0, false, 1, {
      resume: () => t.fail('resumed after it was closed'),
    });
    client.closed();
    await turns(10);
    // Without a rule file silence denies.
    const silent = await accessKit(t, { sources: [new FakeDecisions()] });
    silent.users.add('alice');
    const quiet = await letIn(silent);
    const answer = await new Promise((resolve) => {
      quiet.publish('x', 0, false, 1, {
        resume: () => resolve(quiet.publish('x', 0, false, 1, never)),
      });
    });
    t.equal(answer, DENY);
  },
);

t.test('kept subscriptions: as was last said, asked again behind the back', async (t) => {
  const decisions = new FakeDecisions();
  decisions.decide = () => 'allow';
  const kit = await accessKit(t, { sources: [decisions] });
  kit.users.add('alice');
  const client = await letIn(kit);
  t.equal(client.keeps('never/asked', 0), true, 'nothing speaks against it');
  decisions.decide = () => 'deny';
  t.equal(client.keeps('never/asked', 0), true, 'until it is known otherwise');
  await turns(10);
  kit.time.pass(2000, 1000);
  t.ok(kit.rechecks >= 1);
  t.equal(client.keeps('never/asked', 0), false);
  const asked = decisions.asked.length;
  const checks = kit.rechecks;
  await turns(10);
  kit.time.pass(5000, 1000);
  t.ok(decisions.asked.length <= asked + 1, 'and that is that');
  t.equal(kit.rechecks, checks);
});

t.test('wills of those who are away: what is not known counts against them', async (t) => {
  const kit = await accessKit(t, {
    rules:
      'rules: [{allow: publish, topics: [a], users: [alice]}, {allow: publish, topics: [b], addresses: [10.0.0.0/8]}, {deny: publish, topics: [c], listeners: [outside]}, {allow: publish, topics: [c]}]',
  });
  const { gate } = kit.access;
  const late = () => t.fail('decided later');
  t.equal(gate.will(away('d', 'alice'), null, will('a'), late), true);
  t.equal(gate.will(away('d', 'bob'), null, will('a'), late), false);
  t.equal(gate.will(away('d', 'alice'), null, will('b'), late), false);
  t.equal(gate.will(away('d', 'alice'), null, will('c'), late), false, 'it may have been outside');
  kit.users.add('carol');
  const client = await letIn(kit, request({ username: 'carol' }, { remoteAddress: '10.1.2.3' }));
  client.closed();
  t.equal(
    gate.will(away('dev1', 'carol'), client, will('b'), late),
    true,
    'its own rights, still known',
  );
  t.match(gate.live.decisions, { willAllowed: 2, willDenied: 3 });
  await writeFile(kit.rulesFile, 'rules: [{deny: publish, topics: [b]}]');
  await kit.access.reload();
  t.equal(
    gate.will(away('dev1', 'carol'), client, will('b'), late),
    false,
    'FIELD class 7: taken back meanwhile',
  );
});

t.test(
  'FIELD class 7: a user who is removed while his rules are fetched is not let in',
  async (t) => {
    const grants = new FakeGrants();
    grants.isSlow = true;
    const kit = await accessKit(t, { sources: [grants] });
    for (const user of ['alice', 'bob']) kit.users.add(user);
    const logins = ['alice', 'bob'].map((username) => refusalOf(kit, request({ username })));
    kit.access.usersChanged('password', new Set(['alice']));
    t.same(await Promise.all(logins), ['bad_credentials', null]);
    t.equal(kit.access.gate.live.size, 1);
    t.equal(await refusalOf(kit, request({ username: 'alice' })), null, 'only those of then');
  },
);

t.test('FIELD class 7: who came in by a key that is gone, or is about to, is ended', async (t) => {
  const grants = new FakeGrants();
  const kit = await accessKit(t, { sources: [grants] });
  kit.users.kind = 'jwt';
  kit.users.add('none');
  for (const keyPrint of ['a', 'b']) kit.users.add(keyPrint, 'right', { keyPrint });
  const here = new Map<string, FakeRequest>();
  for (const user of ['a', 'b', 'none']) {
    const one = request({ username: user, clientId: user });
    await letIn(kit, one);
    here.set(user, one);
  }
  grants.isSlow = true;
  const entering = ['a', 'b'].map((username) =>
    refusalOf(kit, request({ username, clientId: `late-${username}` })),
  );
  kit.access.keysChanged('password', () => false);
  kit.access.keysChanged('jwt', (print) => print !== 'a');
  t.strictSame(await Promise.all(entering), ['bad_credentials', null]);
  t.strictSame(
    [...here].map(([user, { ended }]) => [user, ...ended]),
    [['a', 'rights_revoked'], ['b'], ['none']],
  );
});

t.test('the ends of many are spread over turns', async (t) => {
  const kit = await accessKit(t);
  const [many, perTurnMax] = [1200, 500];
  let ended = 0;
  for (let i = 0; i < many; i++) {
    kit.users.add(`u${i}`, 'right', { keyPrint: 'a' });
    const of = request({ username: `u${i}`, clientId: `c${i}` }, { end: () => ended++ });
    await letIn(kit, of);
  }
  kit.access.keysChanged('password', () => false);
  t.equal(ended, perTurnMax, 'in the turn itself');
  await turns();
  t.equal(ended, many);
});

t.test('the probe of this process has the rules it brings, whatever sources say', async (t) => {
  const decisions = new FakeDecisions();
  decisions.decide = () => 'deny';
  const grants = new FakeGrants();
  grants.isAway = true;
  const kit = await accessKit(t, { sources: [grants, decisions] });
  kit.users.add('$probe', 'right', { rules: [grant('health/#')] });
  kit.users.kind = 'probe';
  const client = await letIn(kit, request({ username: '$probe' }));
  const waiter = { resume: () => t.fail('nothing waits') };
  t.equal(client.publish('health/x', 1, false, 0, waiter), ALLOW);
  t.equal(client.subscribe('health/x', 1, waiter), ALLOW);
  t.equal(client.publish('other', 1, false, 0, waiter), DENY);
  t.same(decisions.asked, [], 'its name is told to nobody');
});

t.test('a superuser who is away is one still, for as long as he is one', async (t) => {
  const kit = await accessKit(t, {
    rules: 'rules: [{allow: publish, topics: [a], users: [alice]}]',
  });
  const { gate } = kit.access;
  const late = () => t.fail('decided later');
  const root = away('d', 'root');
  kit.users.add('root', 'right', { superuser: true });
  t.equal(gate.retainedSource(root, 'x/y'), true, 'what he has retained is handed out');
  t.equal(gate.keeps(root, '#', 1), true, 'his subscriptions outlive a reload');
  t.equal(gate.will(root, null, will('x'), late), true, 'and his will a restart');
  for (const nobody of [away('d', 'bob'), away('root', null)]) {
    t.equal(gate.retainedSource(nobody, 'x/y'), false);
    t.equal(gate.keeps(nobody, '#', 1), false);
    t.equal(gate.will(nobody, null, will('x'), late), false);
  }
  kit.users.add('root', 'right');
  t.equal(gate.retainedSource(root, 'x/y'), false, 'FIELD class 7: no more');
  t.equal(gate.keeps(root, '#', 1), false);
  t.equal(gate.will(root, null, will('x'), late), false);
});

t.test('wills: sources are asked, and never twice', async (t) => {
  const decisions = new FakeDecisions();
  const grants = new FakeGrants();
  grants.rules.set('alice', [grant('granted')]);
  decisions.decide = (_, topic) =>
    topic === 'yes'
      ? 'allow'
      : topic === 'no'
        ? 'deny'
        : topic === 'down'
          ? 'unavailable'
          : 'ignore';
  const kit = await accessKit(t, { sources: [decisions, grants] });
  kit.users.add('alice');
  const client = await letIn(kit);
  client.closed();
  const asks = (topic: string, of: ClientGate | null): Promise<boolean> =>
    new Promise((resolve) => {
      t.equal(kit.access.gate.will(away('dev1', 'alice'), of, will(topic), resolve), WAIT);
    });
  for (const whose of [client, null]) {
    t.equal(await asks('yes', whose), true);
    t.equal(await asks('no', whose), false);
    t.equal(await asks('down', whose), false);
    t.equal(await asks('granted', whose), true);
    t.equal(await asks('other', whose), false);
  }
  grants.isAway = true;
  t.equal(await asks('granted', null), false);
  t.match(decisions.subjects.at(-1), { remoteAddress: '', certificate: null, user: 'alice' });
});

t.test(
  'retained and kept of those who are away: only what is certain speaks against them',
  async (t) => {
    const kit = await accessKit(t, {
      rules:
        'rules: [{allow: [publish, subscribe], topics: ["%u/#"], users: [alice]}, {allow: [publish, subscribe], topics: [lan], addresses: [10.0.0.0/8]}]',
    });
    const { gate } = kit.access;
    const alice = away('d', 'alice');
    t.equal(gate.retainedSource(alice, 'alice/x'), true);
    t.equal(gate.retainedSource(alice, 'bob/x'), false);
    t.equal(gate.retainedSource(away('d', 'mallory'), 'alice/x'), false);
    t.equal(gate.retainedSource(alice, 'lan'), true, 'it was somewhere when it published that');
    t.equal(gate.keeps(alice, 'lan', 1), true);
    t.equal(gate.keeps(alice, 'wan', 1), false);
    t.equal(gate.live.decisions.retainedDenied, 2);
    await writeFile(kit.rulesFile, 'rules: [{allow: publish, topics: [other]}]');
    await kit.access.reload();
    t.equal(
      gate.retainedSource(alice, 'alice/x'),
      false,
      'FIELD class 7: the same principal, other rules',
    );
    t.equal(gate.keeps(alice, 'alice/x', 0), false);
    // Many principals: bounded, and right.
    let wrong = 0;
    for (let i = 0; i < 10_000; i++)
      if (!gate.retainedSource(away(`d${i}`, `u${i}`), 'other')) wrong++;
    t.equal(wrong, 0);
    const open = await accessKit(t);
    t.equal(open.access.gate.retainedSource(alice, 'any'), true);
    // Rules may have come with credentials: only a rule that denies is certain.
    const token = await accessKit(t, {
      rules: 'rules: [{deny: publish, topics: [never]}]',
      changes: { credentialsGrant: true },
    });
    t.equal(token.access.gate.retainedSource(alice, 't'), true);
    t.equal(token.access.gate.retainedSource(alice, 'never'), false);
  },
);

t.test('explain asks the sources too', async (t) => {
  const decisions = new FakeDecisions();
  const grants = new FakeGrants();
  grants.rules.set('alice', [grant('granted')]);
  decisions.decide = (_, topic) => (topic === 'yes' ? 'allow' : topic === 'no' ? 'deny' : 'ignore');
  const kit = await accessKit(t, {
    sources: [decisions, grants],
    rules: 'rules: [{allow: publish, topics: [ruled]}]',
  });
  const subject = {
    clientId: 'd',
    user: 'alice',
    tenant: '',
    remoteAddress: undefined,
    listenerName: undefined,
    certificate: undefined,
    claims: undefined,
    isSuperuser: false,
    grants: null,
  };
  const ask = (topic: string) => kit.access.explain({ subject, action: 'publish', topic });
  t.match(await ask('yes'), { allowed: true, rule: null, reason: 'http test allows it' });
  t.match(await ask('no'), { allowed: false, reason: 'http test denies it' });
  t.match(await ask('granted'), { allowed: true, rule: { file: 'test' } });
  t.match(await ask('ruled'), { allowed: true, rule: { line: 1 } });
  t.match(await ask('other'), { allowed: false });
  grants.isAway = true;
  t.match(await ask('ruled'), { allowed: false, reason: 'redis test does not answer' });
  kit.users.add('alice', 'right', { superuser: true });
  t.match(await ask('other'), { allowed: true, rule: null }, 'as the gate would let him');
});

// Bans, blocked logins and quotas of a datacenter (ADR 0018) as clients and operators see them: two
// real nodes, a real Redis that stops answering, loses its data and comes back.
import t, { type Test } from 'tap';
import type { Client } from '../conformance/client.ts';
import { DURABLE, RedisServer, redisAdmin } from '../support/redis-server.ts';
import {
  codeOf,
  FarNode,
  type LoginFields,
  login,
  passwordLines,
  type RunningNode,
  Site,
  until,
} from './access-kit.ts';
import { Broker } from './broker.ts';
import { sleep } from './cluster-kit.ts';

t.setTimeout(180_000);

const BANNED = 0x8a;
const BLOCKED = 0x9f;
const WRONG = 0x86;
const QUOTA = 0x97;
const UNAVAILABLE = 0x88;
/** A node hears of what changed at another within that; a loaded machine has more. */
const SOON_MS = 15_000;
/** The link of the sessions takes two seconds to know that Redis is gone; nobody waits longer. */
const ANSWERED_MS = 8000;

interface Scene {
  readonly redis: RedisServer;
  readonly admin: (...args: string[]) => Promise<unknown>;
  readonly site: Site;
  readonly start: (name: string) => Promise<FarNode>;
  readonly a: FarNode;
  b: FarNode;
}

async function scene(t: Test): Promise<Scene> {
  const redis = await RedisServer.start(t, DURABLE);
  const site = new Site(t);
  site.write('passwords', await passwordLines({ kim: 'right', 'acme/1': 'p', 'acme/2': 'p' }));
  site.configure({
    authentication: {
      chain: ['password'],
      password: { file: 'passwords' },
      tenant: { from: 'username_prefix', separator: '/' },
    },
    bans: { login: { failuresMax: 6, blockS: 20 }, flapping: { connectsMax: 0 } },
    quotas: [
      { name: 'tenant-connections', of: 'connections', per: 'tenant', max: 2 },
      { name: 'user-connects', of: 'connectsPerS', per: 'user', max: 1, burst: 12, users: ['kim'] },
    ],
  });
  const start = (name: string): Promise<FarNode> =>
    FarNode.start(t, site, {
      data: name,
      flags: [
        ...['--redis', redis.url, '--node-id', name],
        ...['--set', 'cluster.leaseMs=3000', '--set', 'cluster.redis.keyPrefix=dc:'],
      ],
    });
  // One after the other: on a loaded machine two that start at once take each longer than both.
  const a = await start('a');
  const b = await start('b');
  return { redis, admin: await redisAdmin(t, redis.url), site, start, a, b };
}

const kim: LoginFields = { username: 'kim', password: 'right' };
const guess = (from: string): LoginFields => ({ username: 'kim', password: 'wrong', from });

async function ban(node: RunningNode, kind: string, value: string): Promise<string> {
  const answer = await node.api('POST', '/bans', { body: { kind, value, reason: 'e2e' } });
  if (answer.status !== 201) throw new Error(`${answer.status}: ${answer.text}`);
  return answer.json.id;
}

async function soon(what: string, holds: () => Promise<boolean>): Promise<number> {
  const startMs = performance.now();
  await until(holds, what);
  return performance.now() - startMs;
}

t.test('bans, logins and quotas of two nodes', async (t) => {
  const s = await scene(t);
  const { a, admin, redis } = s;

  await t.test('a ban at a: the client at b is cut and refused; a lift lets it in', async (t) => {
    const there: Client = await login(s.b, { ...kim, clientId: 'banned' });
    const id = await ban(a, 'client', 'banned');
    await there.expect('DISCONNECT', { reasonCode: 0x98 }, SOON_MS);
    await there.expectClose();
    t.equal(await codeOf(s.b, { ...kim, clientId: 'banned' }), BANNED);
    const { json } = await s.b.api('GET', '/bans');
    t.match(json.items, [{ id, kind: 'client', value: 'banned', reason: 'e2e' }]);
    // Lifted where it was not made.
    t.equal((await s.b.api('DELETE', `/bans/${id}`)).status, 204);
    await soon('it is let in at a', async () => {
      return (await codeOf(a, { ...kim, clientId: 'banned' })) === 0;
    });
  });

  await t.test('kept over FLUSHALL, and over a node that was away', async (t) => {
    const lifted = await ban(a, 'client', 'lifted-meanwhile');
    const kept = await ban(a, 'address', '127.0.0.9');
    await soon('b has both', async () => (await s.b.api('GET', '/bans')).json.items.length === 2);
    await s.b.broker.kill();
    t.equal((await a.api('DELETE', `/bans/${lifted}`)).status, 204);
    await soon('Redis has it', async () => {
      return (await a.metric('causeway_shared_bans_waiting')) === 0;
    });
    await admin('FLUSHALL');
    await soon('a has put it back', async () => {
      return Number(await admin('HLEN', 'dc:l:{bans-operator}:d')) >= 2;
    });
    // It comes with both on its disk.
    s.b = await s.start('b');
    const { json } = await s.b.api('GET', '/bans');
    t.match(json.items, [{ id: kept }], 'a lift is not undone by who was away');
    t.equal(json.items.length, 1);
    const there: LoginFields = { ...kim, from: '127.0.0.9' };
    t.equal(await codeOf(s.b, there), null, 'its socket is closed');
    t.equal((await s.b.api('DELETE', `/bans/${kept}`)).status, 204);
    t.equal(await codeOf(s.b, there), 0);
  });

  await t.test('hard case 22: who cannot know the bans opens no door', async (t) => {
    const rest = ['n', 's', 'x', 't', 'o', 'probe'].map((name) => `~dc:${name}*`);
    await admin('ACL', 'SETUSER', 'half', 'on', '>pw', '+@all', ...rest);
    const c = new Broker({
      config: s.site.config,
      data: s.site.path('c'),
      flags: [
        ...['--redis', redis.url.replace('//', '//half:pw@'), '--node-id', 'c'],
        ...['--set', 'cluster.leaseMs=3000', '--set', 'cluster.redis.keyPrefix=dc:'],
      ],
    });
    t.teardown(() => c.kill());
    const said = await c.entry('bans are not shared: this node goes on with what it knows');
    t.match(said, { problem: /NOPERM/ });
    await sleep(1000);
    t.equal(c.entries.filter(({ msg }) => msg === 'ready').length, 0);
    await admin('ACL', 'SETUSER', 'half', '~dc:*');
    await c.ready;
    await c.stop();
  });

  await t.test('who guesses at both nodes in turn is blocked as fast as at one', async (t) => {
    const from = '127.0.0.3';
    // Two may be wrong of one name (a third of six), the third blocks it.
    for (const [index, node] of [a, s.b, a].entries()) {
      t.equal(await codeOf(node, guess(from)), WRONG, `guess ${index + 1}`);
    }
    const atA = await soon('blocked at a', async () => (await codeOf(a, guess(from))) === BLOCKED);
    const atB = await soon('blocked at b', async () => {
      return (await codeOf(s.b, { ...kim, from })) === BLOCKED;
    });
    t.ok(Math.max(atA, atB) < SOON_MS, `${Math.round(atA)} and ${Math.round(atB)} ms`);
    t.equal(await codeOf(s.b, { ...kim, from: '127.0.0.4' }), 0, 'the same user from elsewhere');
    const [block] = (await s.b.api('GET', '/bans')).json.items;
    t.match(block, { origin: 'login', value: from });
    t.equal((await s.b.api('DELETE', `/bans/${block.id}`)).status, 204);
    await soon('forgiven at a', async () => (await codeOf(a, { ...kim, from })) === 0);
  });

  await t.test('connections of a tenant count at both', async () => {
    const one = await login(a, { username: 'acme/1', password: 'p', clientId: 'one' });
    const two = await login(s.b, { username: 'acme/2', password: 'p', clientId: 'two' });
    const third: LoginFields = { username: 'acme/1', password: 'p', clientId: 'three' };
    // Each tells the other once a second.
    for (const node of [a, s.b]) {
      await soon('a third is refused', async () => (await codeOf(node, third)) === QUOTA);
    }
    two.destroy();
    await soon('room again', async () => (await codeOf(a, third)) === 0);
    one.destroy();
  });

  await t.test('connects of a user count at both', async (t) => {
    let taken = 0;
    // The window of 12 s may end in between: once.
    for (let index = 0; index < 30; index++) {
      if ((await codeOf(index % 2 === 0 ? a : s.b, kim)) === 0) taken += 1;
    }
    t.ok(taken <= 24, `${taken} of 30`);
    t.ok((await a.metric('causeway_shared_counts_total{where="redis"}')) > 0);
    t.ok(
      (await s.b.metric('causeway_quota_hits_total{quota="user-connects",action="refuse"}')) > 0,
    );
  });

  await t.test('every count has an end', async (t) => {
    const keys = (await admin('KEYS', 'dc:l:*')) as string[];
    const counts = keys.filter((key) => /^dc:l:[fq]:|^dc:l:use/.test(key));
    t.ok(counts.length > 0, keys.join(' '));
    for (const key of counts) t.ok(Number(await admin('PTTL', key)) !== -1, key);
  });

  await t.test('Redis stands still: logins are answered, and guesses blocked', async (t) => {
    redis.signal('SIGSTOP');
    t.teardown(() => redis.signal('SIGCONT'));
    for (let round = 0; round < 3; round++) {
      const startMs = performance.now();
      const code = await codeOf(a, { ...kim, from: '127.0.0.6', clientId: `still-${round}` });
      const tookMs = Math.round(performance.now() - startMs);
      // The quota is decided here; a session cannot be opened without Redis.
      t.ok([0, UNAVAILABLE, BLOCKED].includes(code ?? -1), `${code}`);
      t.ok(tookMs < ANSWERED_MS, `${tookMs} ms`);
    }
    const from = '127.0.0.5';
    const codes: (number | null)[] = [];
    const guessesMs = performance.now();
    for (let index = 0; index < 3; index++) codes.push(await codeOf(a, guess(from)));
    t.ok(performance.now() - guessesMs < ANSWERED_MS, 'nobody waits for Redis');
    t.same(codes, [WRONG, WRONG, BLOCKED], 'by its own count, as if it were alone');
    const id = await ban(a, 'client', 'while-away');
    redis.signal('SIGCONT');
    await soon('b hears of it', async () => {
      return (
        (await codeOf(s.b, { username: 'acme/2', password: 'p', clientId: 'while-away' })) ===
        BANNED
      );
    });
    t.equal((await s.b.api('DELETE', `/bans/${id}`)).status, 204);
  });
});

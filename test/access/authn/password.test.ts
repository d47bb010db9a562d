// The password link: who gets in, what reloads do, that nothing blocks, and that no secret is told.
import { chmodSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { format } from 'node:util';
import t from 'tap';
import { AccessError } from '../../../src/access/access-error.ts';
import type { Credentials } from '../../../src/access/authenticator.ts';
import { AuthenticationChain } from '../../../src/access/authn/chain.ts';
import { hashPassword } from '../../../src/access/authn/hash-password.ts';
import { HashQueue, type HashQueueOptions } from '../../../src/access/authn/hash-queue.ts';
import { PasswordAuthenticator } from '../../../src/access/authn/password-authenticator.ts';
import { VerifiedCache } from '../../../src/access/authn/verified-cache.ts';
import { temporaryFolder } from '../../config/temporary-folder.ts';
import { clock, LogRecord, loginOf } from './login-of.ts';

/** log2 of N for tests: about 4 ms. */
const CHEAP = 10;
const MOSQUITTO =
  '$7$101$gAwTUEksfKlsdwws$V+sz2neUtJ3sn78rDWzXIT+eX67aqB9k3EXHzCGin5g1u/i4/2G4+K9gRB/jW9bPT/yNY2QmiZt7m+j5DihcQQ==';

const hashOf = (password: string, cost = CHEAP): Promise<string> =>
  hashPassword(Buffer.from(password), 'scrypt', cost);

interface Setup {
  readonly cacheEntries?: number;
  readonly queue?: Partial<HashQueueOptions>;
}

async function open(
  t: Parameters<typeof temporaryFolder>[0],
  lines: readonly string[],
  setup: Setup = {},
) {
  const file = join(temporaryFolder(t), 'users');
  const write = (text: readonly string[]): void => {
    writeFileSync(file, `${text.join('\n')}\n`);
    chmodSync(file, 0o600);
  };
  write(lines);
  const log = new LogRecord();
  const changed: string[][] = [];
  const queue = new HashQueue({
    concurrency: 2,
    waitingMax: 1000,
    waitingPerAddressMax: 1000,
    waitMaxMs: 60_000,
    clock,
    ...setup.queue,
  });
  const cache = new VerifiedCache(setup.cacheEntries ?? 100);
  const onUsersChanged = (users: ReadonlySet<string>): number => changed.push([...users].sort());
  const link = new PasswordAuthenticator({ file, queue, cache, log, onUsersChanged });
  const chain = new AuthenticationChain({
    links: [link],
    anonymous: true,
    deadlineMs: 60_000,
    clock,
    log,
  });
  await chain.start();
  const login = async (credentials: Credentials) => chain.authenticate(credentials);
  return { file, write, log, changed, queue, cache, link, chain, login };
}

const wrong = { kind: 'refused', reason: 'bad_credentials' };

t.test('the right password, and nothing else', async (t) => {
  const { login, link } = await open(t, [
    `alice:${await hashOf('secret')}:tenant=acme,superuser`,
    `bob:${MOSQUITTO}`,
    `sam:${await hashPassword(Buffer.from('scram'), 'scram-sha-256', 4096)}`,
  ]);
  t.match(await login(loginOf('alice', 'secret')), {
    kind: 'accepted',
    who: { user: 'alice', tenant: 'acme', superuser: true, claims: null, expiresAtMs: 0 },
    by: 'password',
  });
  t.match(await login(loginOf('bob', 'pw')), {
    kind: 'accepted',
    who: { user: 'bob', tenant: null, superuser: false },
  });
  t.match(await login(loginOf('sam', 'scram')), { kind: 'accepted', who: { user: 'sam' } });
  const refusals: [string | null, string | Buffer | null][] = [
    ['alice', 'Secret'],
    ['alice', 'secret '],
    ['alice', 'secret\0'],
    ['alice', 'pw'],
    ['Alice', 'secret'],
    ['alice\0', 'secret'],
    ['alice ', 'secret'],
    ['nobody', 'secret'],
    ['__proto__', 'secret'],
    ['constructor', ''],
    ['', 'secret'],
    ['', ''],
  ];
  for (const [user, password] of refusals) {
    t.match(await login(loginOf(user, password)), wrong, format('%j %j', user, password));
  }
  t.match(link.counters, { accepted: 3, errors: 0 });
});

t.test('FIELD 1: without a password, with an empty one, or without a user name', async (t) => {
  const { login } = await open(t, [`alice:${await hashOf('x')}`]);
  for (const user of ['alice', 'nobody', '']) {
    t.match(await login(loginOf(user, null)), wrong, `${user}, no password`);
    t.match(await login(loginOf(user, '')), wrong, `${user}, empty password`);
  }
  t.match(await login(loginOf(null, 'x')), wrong, 'a password alone');
  t.match(await login(loginOf(null, '')), wrong, 'an empty password alone');
  t.match(await login(loginOf(null, null)), { by: 'anonymous' }, 'nothing at all is anonymous');
});

t.test(
  'unknown user and wrong password: one answer, one cost, one way when it is busy',
  async (t) => {
    const { login, queue } = await open(t, [`alice:${await hashOf('x')}`], {
      queue: { concurrency: 1, waitingPerAddressMax: 1 },
    });
    // Hashes are counted, not timed: the only one of the file gives the cost for all.
    for (const [i, user] of ['alice', 'nobody', 'alice', 'nobody'].entries()) {
      t.match(await login(loginOf(user, `wrong ${i}`)), wrong);
      t.equal(queue.counters.done, i + 1, `${user}: one hash`);
    }

    for (const user of ['alice', 'nobody']) {
      const answers = ['a', 'b', 'c'].map((password) => login(loginOf(user, password)));
      const reasons = (await Promise.all(answers)).map((answer) =>
        answer.kind === 'refused' ? answer.reason : answer.kind,
      );
      const expected = ['bad_credentials', 'bad_credentials', 'authentication_busy'];
      t.strictSame(reasons, expected, user);
    }
  },
);

t.test('passwords that were right cost no second hash; wrong ones always do', async (t) => {
  const { login, link, queue, cache } = await open(t, [
    `alice:${await hashOf('a')}`,
    `bob:${await hashOf('b')}`,
  ]);
  for (let i = 0; i < 5; i += 1) {
    t.match(await login(loginOf('alice', 'a')), { kind: 'accepted' });
    t.match(await login(loginOf('alice', 'b')), wrong);
    t.match(await login(loginOf('bob', 'a')), wrong);
  }
  t.match(queue.counters, { done: 11 });
  t.match(link.counters, { accepted: 5, refused: 10, cacheHits: 4 });
  t.equal(cache.size, 1);
  t.notOk(link.authenticate(loginOf('alice', 'a')) instanceof Promise, 'answered at once');

  const storm = Array.from({ length: 100 }, () => login(loginOf('bob', 'b')));
  for (const answer of await Promise.all(storm)) t.match(answer, { kind: 'accepted' });
  t.match(queue.counters, { done: 12 }, 'those that come together share one hash');
});

t.test('the cache is bounded, drops what was not used for longest, and can be off', async (t) => {
  const cache = new VerifiedCache(3);
  const keys = ['a', 'b', 'c', 'd'].map((user) => cache.key(user, 'hash', Buffer.from('x')));
  for (const [i, key] of keys.slice(0, 3).entries()) cache.add(key, `user${i}`);
  t.ok(cache.has(keys[0]!));
  cache.add(keys[3]!, 'user3');
  t.strictSame(
    keys.map((key) => cache.has(key)),
    [true, false, true, true],
  );
  t.equal(cache.size, 3);
  cache.forget(new Set(['user0', 'user3']));
  t.strictSame(
    keys.map((key) => cache.has(key)),
    [false, false, true, false],
  );
  const off = new VerifiedCache(0);
  off.add('key', 'user');
  t.notOk(off.has('key'));
  const parts: [string, string, string][] = [
    ['ab', 'c', 'd'],
    ['a', 'bc', 'd'],
    ['a', 'b', 'cd'],
    ['', 'abc', 'd'],
  ];
  const all = parts.map(([user, hash, password]) => cache.key(user, hash, Buffer.from(password)));
  t.equal(new Set(all).size, all.length, 'no two share a key');
  t.not(
    new VerifiedCache(1).key('a', 'b', Buffer.from('c')),
    cache.key('a', 'b', Buffer.from('c')),
  );
});

t.test('a reload takes effect at once, also for what is cached or being checked', async (t) => {
  const { login, write, link, changed, cache, queue } = await open(t, [
    `alice:${await hashOf('a')}`,
    `bob:${await hashOf('b')}`,
    `carl:${MOSQUITTO}`,
  ]);
  for (const [user, password] of [
    ['alice', 'a'],
    ['bob', 'b'],
    ['carl', 'pw'],
  ] as const) {
    t.match(await login(loginOf(user, password)), { kind: 'accepted' });
  }
  write([`alice:${await hashOf('new')}`, `carl:${MOSQUITTO}:superuser`]);
  (await link.prepare()).commit();
  t.strictSame(changed, [['alice', 'bob']]);
  t.equal(cache.size, 1, 'what is as it was stays known');
  t.match(await login(loginOf('alice', 'a')), wrong);
  t.match(await login(loginOf('bob', 'b')), wrong);
  t.match(await login(loginOf('alice', 'new')), { kind: 'accepted' });
  t.match(await login(loginOf('carl', 'pw')), { who: { superuser: true } }, 'cached, new rights');

  write([`dora:${await hashOf('old')}`, `eve:${await hashOf('e')}`]);
  (await link.prepare()).commit();
  const { promise: held, resolve: release } = Promise.withResolvers<void>();
  const holding = [queue.submit('a', () => held), queue.submit('b', () => held)];
  const during = [login(loginOf('dora', 'old')), login(loginOf('eve', 'e'))];
  write([`dora:${await hashOf('newer')}`]);
  (await link.prepare()).commit();
  release();
  await Promise.all(holding);
  for (const answer of await Promise.all(during))
    t.match(answer, wrong, 'checked against the past');
  t.match(await login(loginOf('dora', 'old')), wrong, 'nor was it cached');
});

t.test(
  'FIELD 2: a broken file keeps the users there were, and opens nothing at start',
  async (t) => {
    const good = `alice:${await hashOf('a')}`;
    const { login, write, chain, file: live, changed } = await open(t, [good]);
    const stillSo = async (name: string): Promise<void> => {
      t.match(await login(loginOf('alice', 'a')), { kind: 'accepted' }, name);
      t.match(await login(loginOf('alice', '')), wrong, name);
      t.match(await login(loginOf('mallory', 'x')), wrong, name);
      t.match(await login(loginOf('mallory', null)), wrong, name);
    };
    const broken: [string, string[]][] = [
      ['no hash', [good, 'mallory']],
      ['empty hash', [good, 'mallory:']],
      ['a password in the clear', [good, 'mallory:x']],
      ['twice', [good, good]],
      ['empty', []],
    ];
    for (const [name, lines] of broken) {
      write(lines);
      await t.rejects(chain.prepare(), AccessError, name);
      await stillSo(name);
      const cold = await open(t, [good]);
      cold.write(lines);
      const { file, queue, cache, log } = cold;
      const fresh = new PasswordAuthenticator({ file, queue, cache, log });
      await t.rejects(fresh.start(), AccessError, `${name}, at start`);
      t.throws(() => fresh.authenticate(loginOf('alice', 'a')), 'and nobody is let in');
    }
    rmSync(live);
    await t.rejects(chain.prepare(), /cannot be read: ENOENT/);
    await stillSo('gone');
    t.strictSame(changed, []);
  },
);

t.test(
  'FIELD 7: a reload that takes rights from a user ends those who came in with them',
  async (t) => {
    const hash = await hashOf('secret');
    const { write, link, changed } = await open(t, [
      `root:${hash}:tenant=acme,superuser`,
      `moved:${hash}:tenant=acme`,
      `left:${hash}:tenant=acme`,
      `same:${hash}:tenant=acme`,
      `plain:${hash}`,
    ]);
    write([
      `root:${hash}:tenant=acme`,
      `moved:${hash}:tenant=other`,
      `left:${hash}`,
      `same:${hash}:tenant=acme`,
      `plain:${hash}:superuser`,
    ]);
    (await link.prepare()).commit();
    t.strictSame(changed, [['left', 'moved', 'root']], 'who gains may stay');
  },
);

t.test('FIELD 2: a reload without a free file descriptor keeps the users there were', async (t) => {
  const { login, chain, link } = await open(t, [`alice:${await hashOf('a')}`]);
  // In this process, so that the shortage is real: all descriptors it may have are taken.
  const { openSync, closeSync } = await import('node:fs');
  const { execFileSync } = await import('node:child_process');
  const limit = (): string => `--nofile=${readdirSync('/proc/self/fd').length + 20}`;
  if (process.platform !== 'linux') t.comment('only Linux has prlimit: no shortage was made');
  else {
    const before = execFileSync('prlimit', [
      '--nofile',
      '-o',
      'SOFT',
      '--noheadings',
      '-p',
      `${process.pid}`,
    ]);
    execFileSync('prlimit', [`--pid=${process.pid}`, `${limit()}:`]);
    const taken: number[] = [];
    try {
      for (;;) taken.push(openSync('/dev/null', 'r'));
    } catch {
      // All are taken.
    }
    try {
      await t.rejects(chain.prepare(), /cannot be read: EMFILE/);
    } finally {
      for (const descriptor of taken) closeSync(descriptor);
      execFileSync('prlimit', [`--pid=${process.pid}`, `--nofile=${String(before).trim()}:`]);
    }
  }
  t.match(await login(loginOf('alice', 'a')), { kind: 'accepted' });
  t.match(await login(loginOf('alice', 'b')), wrong);
  (await link.prepare()).commit();
  t.match(await login(loginOf('alice', 'a')), { kind: 'accepted' });
});

t.test('200 logins do not hold up the event loop', async (t) => {
  const { login, queue } = await open(t, [`alice:${await hashOf('x', 11)}`]);
  const delay = monitorEventLoopDelay({ resolution: 2 });
  delay.enable();
  const startMs = performance.now();
  const logins = Array.from({ length: 200 }, (_, i) => login(loginOf('alice', `wrong ${i}`)));
  for (const answer of await Promise.all(logins)) t.match(answer, wrong);
  const hashMs = (performance.now() - startMs) / 100;
  delay.disable();
  t.equal(queue.counters.done, 200);
  // On the loop, every turn would last a hash; here most turns are as short as the timer allows.
  const medianMs = delay.percentile(50) / 1e6;
  t.ok(delay.count > 50, `${delay.count} turns were measured`);
  t.ok(medianMs < Math.max(8, hashMs / 2), `median ${medianMs} ms, a hash ${hashMs} ms`);
});

t.test('a storm of wrong passwords from 50 addresses does not keep a good user out', async (t) => {
  const { login, queue } = await open(t, [`alice:${await hashOf('x')}`], {
    cacheEntries: 0,
    queue: { waitingMax: 256, waitingPerAddressMax: 16, waitMaxMs: 30_000 },
  });
  let attempts = 0;
  let isOver = false;
  let waitingMost = 0;
  const attack = async (): Promise<void> => {
    while (!isOver) {
      for (let i = 0; i < 40; i += 1) {
        attempts += 1;
        const remoteAddress = `198.51.100.${attempts % 50}`;
        const user = attempts % 2 === 0 ? 'alice' : `nobody${attempts}`;
        void login(loginOf(user, `guess ${attempts}`, { remoteAddress }));
      }
      waitingMost = Math.max(waitingMost, queue.waiting);
      await new Promise((done) => setTimeout(done, 10));
    }
  };
  const attacking = attack();
  // Until each of them had its first turn, as newcomers all.
  while (queue.counters.done < 150) await new Promise((done) => setTimeout(done, 5));
  // Counted in hashes, not in time: a round of the others is 50, and 250 of them are waiting.
  const hashesUntil = async (remoteAddress: string): Promise<number> => {
    const { done } = queue.counters;
    t.match(await login(loginOf('alice', 'x', { remoteAddress })), { kind: 'accepted' });
    return queue.counters.done - done;
  };
  const first: number[] = [];
  for (let i = 0; i < 5; i += 1) first.push(await hashesUntil(`192.0.2.${i}`));
  const again = await hashesUntil('192.0.2.4');
  isOver = true;
  await attacking;
  t.ok(queue.counters.refused > 100, `${queue.counters.refused} of ${attempts} turned away`);
  t.ok(waitingMost <= 256, `${waitingMost} waiting at most`);
  t.ok(Math.max(...first) <= 8, `a good user waits for ${first.join(', ')} hashes`);
  t.ok(again <= 60, `one that comes again at once for a round: ${again}`);
});

t.test('FIELD 26: no password in logs, errors or counters', async (t) => {
  const canary = 'canary-7f3a';
  const { login, write, chain, log, link, queue } = await open(t, [
    `alice:${await hashOf(canary)}`,
  ]);
  const answers = [
    await login(loginOf('alice', canary)),
    await login(loginOf('alice', `${canary}-wrong`)),
    await login(loginOf('nobody', canary)),
    await login(loginOf(null, canary)),
  ];
  write([`alice:${canary}`, canary]);
  const error = await chain.prepare().catch((thrown: unknown) => thrown);
  t.type(error, AccessError);
  const told = format('%o %o %o %o', answers, log.lines, link.counters, queue.counters);
  t.notMatch(told + format('%o', error), canary);
});

// Passwords that wait to be hashed while their address is blocked: dropped, with what the guard says.
import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import type { Authenticator } from '../../src/access/authenticator.ts';
import { AuthenticationChain, type UnknownUser } from '../../src/access/authn/chain.ts';
import { hashPassword } from '../../src/access/authn/hash-password.ts';
import { HashQueue } from '../../src/access/authn/hash-queue.ts';
import { PasswordAuthenticator } from '../../src/access/authn/password-authenticator.ts';
import { VerifiedCache } from '../../src/access/authn/verified-cache.ts';
import { temporaryFolder } from '../config/temporary-folder.ts';
import { clock, LogRecord } from './authn/login-of.ts';
import { type AccessKit, accessKit, refusalOf, request } from './gate-kit.ts';

const ATTEMPTS = 60;
/** As the kit has it. */
const FAILURES_MAX = 9;
const CONCURRENCY = 2;

interface Line {
  readonly kit: AccessKit;
  readonly queue: HashQueue;
}

async function lineOf(
  t: Parameters<typeof accessKit>[0] & Parameters<typeof temporaryFolder>[0],
  before: readonly Authenticator[] = [],
): Promise<Line> {
  const file = join(temporaryFolder(t), 'users');
  writeFileSync(file, `alice:${await hashPassword(Buffer.from('right'), 'scrypt', 10)}\n`);
  chmodSync(file, 0o600);
  const log = new LogRecord();
  const queue = new HashQueue({
    concurrency: CONCURRENCY,
    waitingMax: 1000,
    waitingPerAddressMax: 1000,
    waitMaxMs: 60_000,
    clock,
  });
  const password = new PasswordAuthenticator({ file, queue, cache: new VerifiedCache(10), log });
  const links = [...before, password];
  const chain = new AuthenticationChain({
    ...{ links, anonymous: false, deadlineMs: 60_000, clock, log },
  });
  return { kit: await accessKit(t, { changes: { chain } }), queue };
}

const guess = (i: number, remoteAddress = '192.0.2.7') =>
  request(
    { clientId: `c${i}`, username: i % 2 === 0 ? 'alice' : `guess-${i}`, password: `p${i}` },
    { remoteAddress },
  );

t.test('who is blocked while its passwords wait costs no more of them', async (t) => {
  const { kit, queue } = await lineOf(t);
  const guesses = Array.from({ length: ATTEMPTS }, (_, i) => refusalOf(kit, guess(i)));
  const elsewhere = refusalOf(kit, request({ clientId: 'good' }, { remoteAddress: '192.0.2.8' }));
  const answers = await Promise.all(guesses);
  const hashed = answers.filter((reason) => reason === 'bad_credentials').length;
  t.ok(hashed >= FAILURES_MAX && hashed <= FAILURES_MAX + 2 * CONCURRENCY, `${hashed} were hashed`);
  t.equal(
    answers.filter((reason) => reason === 'login_blocked').length,
    ATTEMPTS - hashed,
    'the others hear what the guard says',
  );
  t.equal(await elsewhere, null, 'another address is hashed as ever');
  t.match(queue, { waiting: 0, running: 0, counters: { done: hashed + 1 } });
  t.equal(queue.counters.keptOut, ATTEMPTS - hashed);
  t.equal(kit.access.gate.loginsBlocked, ATTEMPTS - hashed, 'and are counted as such');
});

t.test('who shares a check with a blocked address is not refused for it', async (t) => {
  const { kit } = await lineOf(t);
  const guesses = Array.from({ length: ATTEMPTS }, (_, i) => refusalOf(kit, guess(i)));
  // The same password as somebody behind the blocked address has: one check for both.
  const blocked = refusalOf(kit, request({ clientId: 'gateway' }));
  const shared = refusalOf(kit, request({ clientId: 'good' }, { remoteAddress: '192.0.2.8' }));
  await Promise.all(guesses);
  t.equal(await blocked, 'login_blocked');
  t.equal(await shared, null);
});

t.test('the time of a refusal is not spent on who is kept out', async (t) => {
  let spent = 0;
  const before: Authenticator = {
    kind: 'redis',
    counters: { accepted: 0, refused: 0, ignored: 0, errors: 0, cacheHits: 0 },
    start: async () => {},
    stop: async () => {},
    prepare: async () => ({ commit: () => {}, discard: () => {} }),
    authenticate: (): UnknownUser => ({
      kind: 'ignored',
      beforeRefusal: async () => {
        spent++;
        return 'bad_credentials';
      },
    }),
  };
  const { kit } = await lineOf(t, [before]);
  const known = Array.from({ length: ATTEMPTS }, (_, i) => refusalOf(kit, guess(2 * i)));
  const answers = await Promise.all(known);
  t.equal(spent, answers.filter((reason) => reason === 'bad_credentials').length);
});

// SCRAM-SHA-256: the vector of RFC 7677, whole exchanges, and everything a client may get wrong.
import { chmodSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import t from 'tap';
import { AccessError } from '../../../src/access/access-error.ts';
import { hashPassword } from '../../../src/access/authn/hash-password.ts';
import type { ScramExchange, ScramStep } from '../../../src/access/authn/scram-exchange.ts';
import { readClientFinal, readClientFirst } from '../../../src/access/authn/scram-message.ts';
import { isPrepared } from '../../../src/access/authn/scram-prepare.ts';
import { ScramUsers } from '../../../src/access/authn/scram-users.ts';
import { temporaryFolder } from '../../config/temporary-folder.ts';
import { LogRecord } from './login-of.ts';
import { ScramClient } from './scram-client.ts';

type Teardown = Parameters<typeof temporaryFolder>[0];

const hashOf = (password: string): Promise<string> =>
  hashPassword(Buffer.from(password), 'scram-sha-256', 4096);

async function usersOf(t: Teardown, lines: readonly string[], nonce?: () => string) {
  const file = join(temporaryFolder(t), 'users');
  const write = (text: readonly string[]): void => {
    writeFileSync(file, `${text.join('\n')}\n`);
    chmodSync(file, 0o600);
  };
  write(lines);
  const log = new LogRecord();
  const changed: string[][] = [];
  const onUsersChanged = (names: ReadonlySet<string>): number => changed.push([...names]);
  const users = new ScramUsers({ file, log, onUsersChanged, nonce });
  await users.start();
  return { users, file, write, log, changed };
}

/** Runs the exchange to its end. */
function talk(exchange: ScramExchange, client: ScramClient): ScramStep {
  let step = exchange.step(client.first());
  for (let i = 0; i < 3 && step.kind === 'continue'; i += 1) {
    step = exchange.step(client.authenticate(step.data));
  }
  if (step.kind === 'accepted') client.authenticate(step.data);
  return step;
}

const failed = { kind: 'refused', reason: 'authentication_failed' };

t.test(
  'FIELD 7: a reload that takes rights from a user ends those who came in with them',
  async (t) => {
    const hash = await hashOf('secret');
    const { users, write, changed } = await usersOf(t, [
      `root:${hash}:superuser`,
      `moved:${hash}:tenant=acme`,
      `plain:${hash}`,
    ]);
    write([`root:${hash}`, `moved:${hash}:tenant=other`, `plain:${hash}:superuser`]);
    (await users.prepare()).commit();
    t.strictSame(changed, [['root', 'moved']], 'who gains may stay');
  },
);

t.test('the example of RFC 7677 §3', async (t) => {
  // Salted password and keys as the password "pencil" gives them; the messages are the RFC's.
  const clientNonce = 'rOprNGfwEbeRWgbNEkqO';
  const serverNonce = '%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0';
  const line =
    'user:$scram-sha-256$4096$W22ZaJ0SNY7soEsUEjb6gQ==' +
    '$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=$wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=';
  const { users } = await usersOf(t, [line], () => serverNonce);
  const exchange = users.begin(null);
  const first = exchange.step(Buffer.from(`n,,n=user,r=${clientNonce}`));
  t.match(first, { kind: 'continue' });
  t.equal(
    first.kind === 'continue' && first.data?.toString(),
    `r=${clientNonce}${serverNonce},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096`,
  );
  const last = exchange.step(
    Buffer.from(
      `c=biws,r=${clientNonce}${serverNonce},p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=`,
    ),
  );
  t.match(last, { kind: 'accepted', who: { user: 'user', superuser: false } });
  t.equal(
    last.kind === 'accepted' && last.data.toString(),
    'v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=',
  );
});

t.test('whole exchanges: right, wrong, unknown, and both sides proven', async (t) => {
  const { users } = await usersOf(t, [
    '# devices',
    `alice:${await hashOf('right')}:tenant=acme,superuser`,
    `a=b,c é:${await hashOf('geheim')}`,
    'carl:$7$101$gAwTUEksfKlsdwws$V+sz2neUtJ3sn78rDWzXIT+eX67aqB9k3EXHzCGin5g1u/i4/2G4+K9gRB/jW9bPT/yNY2QmiZt7m+j5DihcQQ==',
  ]);
  const client = new ScramClient('alice', 'right');
  const exchange = users.begin(null);
  t.equal(exchange.claimedUser, null);
  t.match(talk(exchange, client), {
    kind: 'accepted',
    who: { user: 'alice', tenant: 'acme', superuser: true, expiresAtMs: 0 },
  });
  t.equal(exchange.claimedUser, 'alice');
  t.ok(client.isServerProven);
  t.match(talk(users.begin(null), new ScramClient('a=b,c é', 'geheim')), {
    kind: 'accepted',
    who: { user: 'a=b,c é', tenant: null },
  });
  t.match(talk(users.begin(null), new ScramClient('alice', 'right', undefined, 'y,,')), {
    kind: 'accepted',
  });
  const asHimself = new ScramClient('alice', 'right', undefined, 'n,a=alice,');
  t.match(talk(users.begin(null), asHimself), { kind: 'accepted' });
  const asOther = new ScramClient('alice', 'right', undefined, 'n,a=bob,');
  t.match(talk(users.begin(null), asOther), failed);
  const wrong = talk(users.begin(null), new ScramClient('alice', 'wrong'));
  const unknown = talk(users.begin(null), new ScramClient('nobody', 'right'));
  t.match(wrong, failed);
  t.strictSame(unknown, wrong, 'one answer for both');
  const pw = talk(users.begin(null), new ScramClient('carl', 'pw'));
  t.strictSame(pw, wrong, 'a user with another kind of hash has no SCRAM');
  t.strictSame(users.counters, { accepted: 4, refused: 4 });
});

t.test('an unknown user looks like a known one until the end', async (t) => {
  const { users } = await usersOf(t, [`alice:${await hashOf('x')}`]);
  const challenge = (user: string): string => {
    const step = users.begin(null).step(Buffer.from(`n,,n=${user},r=abc`));
    return step.kind === 'continue' ? (step.data?.toString() ?? '') : '';
  };
  const form = /^r=abc[!-+\--~]{20,},s=([A-Za-z0-9+/]{22}==),i=4096$/;
  const saltOf = (user: string): string => form.exec(challenge(user))?.[1] ?? '';
  t.match(challenge('alice'), form);
  t.match(challenge('nobody'), form);
  t.equal(saltOf('nobody'), saltOf('nobody'), 'the same salt each time');
  t.not(saltOf('nobody'), saltOf('anybody'));
  t.not(challenge('alice'), challenge('alice'), 'a new nonce each time');
});

t.test('made-up salts are the same after a restart, where there is a place for it', async (t) => {
  const { file, log } = await usersOf(t, [`alice:${await hashOf('x')}`]);
  const folder = temporaryFolder(t);
  const secretFile = join(folder, 'new', 'scram-secret');
  const saltOf = async (options: { readonly secretFile?: string }): Promise<string> => {
    const users = new ScramUsers({ file, log, ...options });
    await users.start();
    return users.find('nobody').hash.salt.toString('hex');
  };
  const salt = await saltOf({ secretFile });
  t.equal(await saltOf({ secretFile }), salt, 'started again');
  t.equal(statSync(secretFile).mode & 0o777, 0o600);
  t.not(await saltOf({ secretFile: join(folder, 'other') }), salt, 'each node has its own');
  t.not(await saltOf({}), await saltOf({}), 'nothing is kept without a place');

  const secret = readFileSync(secretFile).toString('hex');
  writeFileSync(secretFile, 'short');
  const refused = await saltOf({ secretFile }).catch((error: Error) => error);
  t.ok(refused instanceof AccessError, 'a damaged one is not gone on with');
  t.match(String(refused), secretFile);
  t.notOk(`${refused}${JSON.stringify(log)}`.includes(secret));
  const impossible = await saltOf({ secretFile: join(file, 'x') }).catch((error: Error) => error);
  t.ok(impossible instanceof AccessError, 'no place there');
});

t.test('a client that sends nothing at first gets an empty challenge, once', async (t) => {
  const { users } = await usersOf(t, [`alice:${await hashOf('x')}`]);
  for (const nothing of [null, Buffer.alloc(0)]) {
    const client = new ScramClient('alice', 'x');
    const exchange = users.begin(null);
    t.strictSame(exchange.step(nothing), { kind: 'continue', data: null });
    const challenge = exchange.step(client.first());
    t.match(challenge, { kind: 'continue' });
    const data = challenge.kind === 'continue' ? challenge.data : null;
    t.match(exchange.step(client.authenticate(data)), { kind: 'accepted' });
    const silent = users.begin(null);
    silent.step(nothing);
    t.match(silent.step(nothing), failed);
  }
});

t.test('what a first message must not be', async (t) => {
  const { users } = await usersOf(t, [`alice:${await hashOf('x')}`]);
  const wrong = [
    'x',
    ',',
    'n',
    'n,',
    'n,,',
    'n,,n=alice',
    'n,,n=alice,',
    'n,,n=alice,r=',
    'n,,r=abc,n=alice',
    'n,,n=,r=abc',
    'n,,m=x,n=alice,r=abc',
    'n,,n=alice,m=x,r=abc',
    'n,,n=alice,r=abc,',
    'n,,n=alice,r=abc,r=abc',
    'n,,n=alice,r=abc,m=must',
    'n,,n=al=ice,r=abc',
    'n,,n=al=2cice,r=abc',
    'n,,n=alice=,r=abc',
    'n,,n=al\0ice,r=abc',
    'n,,n=alice,r=a c',
    'n,,n=alice,r=aé',
    `n,,n=alice,r=${'a'.repeat(600)}`,
    `n,,n=${'a'.repeat(5000)},r=abc`,
    'n,x=bob,n=alice,r=abc',
    'n,a=,n=alice,r=abc',
    'n,a=bob,n=alice,r=abc',
    'N,,n=alice,r=abc',
    'p=tls-exporter,,n=alice,r=abc',
    'p=,,n=alice,r=abc',
    ' n,,n=alice,r=abc',
  ];
  for (const text of wrong) {
    t.match(users.begin(null).step(Buffer.from(text)), failed, JSON.stringify(text.slice(0, 40)));
  }
  const notUtf8 = Buffer.concat([Buffer.from('n,,n=al'), Buffer.from([0xff]), Buffer.from(',r=a')]);
  t.match(users.begin(null).step(notUtf8), failed, 'not UTF-8');
  t.match(users.begin(null).step(Buffer.from('n,,n=alice,r=abc,x=1,z=2')), { kind: 'continue' });
});

t.test('what a final message must not be', async (t) => {
  const { users } = await usersOf(t, [`alice:${await hashOf('x')}`]);
  const changes: [string, (text: string) => string | null][] = [
    ['nothing', () => null],
    ['empty', () => ''],
    ['the first message again', () => 'n,,n=alice,r=abc'],
    ['another nonce', (text) => text.replace(/r=[^,]+/, 'r=abcabcabcabcabc')],
    ['a nonce cut short', (text) => text.replace(/(r=[^,]+).,/, '$1,')],
    ['only the client nonce', (text) => text.replace(/r=[^,]+/, 'r=abc')],
    ['y for n', (text) => text.replace('c=biws', `c=${btoa('y,,')}`)],
    ['binding with data', (text) => text.replace('c=biws', `c=${btoa('n,,x')}`)],
    ['no binding', (text) => text.replace('c=biws,', '')],
    ['binding not base64', (text) => text.replace('c=biws', 'c=bi_s')],
    ['no proof', (text) => text.replace(/,p=.*/, '')],
    ['empty proof', (text) => text.replace(/,p=.*/, ',p=')],
    ['short proof', (text) => text.replace(/,p=.*/, `,p=${btoa('short')}`)],
    ['zero proof', (text) => text.replace(/,p=.*/, `,p=${btoa('\0'.repeat(32))}`)],
    ['proof not last', (text) => `${text},x=1`],
    ['an extension that was not signed', (text) => text.replace(',p=', ',x=1,p=')],
    ['a mandatory extension', (text) => text.replace(',p=', ',m=1,p=')],
    ['NUL', (text) => text.replace('c=', 'c=\0')],
  ];
  for (const [name, change] of changes) {
    const client = new ScramClient('alice', 'x', 'abc');
    const exchange = users.begin(null);
    const challenge = exchange.step(client.first());
    const data = challenge.kind === 'continue' ? challenge.data : null;
    const text = change(client.authenticate(data)?.toString() ?? '');
    t.match(exchange.step(text === null ? null : Buffer.from(text)), failed, name);
    t.throws(() => exchange.step(null), /after the end/, `${name}: it is over`);
  }
});

t.test('a proof is good once: replayed in another exchange it fails', async (t) => {
  const { users } = await usersOf(t, [`alice:${await hashOf('x')}`]);
  const client = new ScramClient('alice', 'x', 'abc');
  const exchange = users.begin(null);
  const challenge = exchange.step(client.first());
  const proof = client.authenticate(challenge.kind === 'continue' ? challenge.data : null);
  const other = users.begin(null);
  other.step(client.first());
  t.match(other.step(proof), failed);
  t.match(exchange.step(proof), { kind: 'accepted' });
});

t.test('re-authentication only as the same user', async (t) => {
  const { users } = await usersOf(t, [`alice:${await hashOf('a')}`, `bob:${await hashOf('b')}`]);
  t.match(talk(users.begin('alice'), new ScramClient('alice', 'a')), { kind: 'accepted' });
  t.match(talk(users.begin('alice'), new ScramClient('bob', 'b')), failed);
  t.match(talk(users.begin(''), new ScramClient('bob', 'b')), failed);
});

t.test(
  'a reload counts at once, also within an exchange; a broken file changes nothing',
  async (t) => {
    const alice = `alice:${await hashOf('a')}`;
    const bob = `bob:${await hashOf('b')}`;
    const { users, file, write, log, changed } = await usersOf(t, [alice, bob]);
    const begun = (client: ScramClient) => {
      const exchange = users.begin(null);
      const challenge = exchange.step(client.first());
      const data = challenge.kind === 'continue' ? challenge.data : null;
      return { exchange, final: client.authenticate(data) };
    };
    const changing = begun(new ScramClient('alice', 'a'));
    const leaving = begun(new ScramClient('bob', 'b'));
    write([`alice:${await hashOf('new')}`]);
    (await users.prepare()).commit();
    t.match(changing.exchange.step(changing.final), failed);
    t.match(leaving.exchange.step(leaving.final), failed);
    t.match(talk(users.begin(null), new ScramClient('alice', 'new')), { kind: 'accepted' });
    t.strictSame(changed, [['alice', 'bob']]);

    const carl =
      'carl:$7$101$gAwTUEksfKlsdwws$V+sz2neUtJ3sn78rDWzXIT+eX67aqB9k3EXHzCGin5g1u/i4/2G4+K9gRB/jW9bPT/yNY2QmiZt7m+j5DihcQQ==';
    const broken: [string[], RegExp][] = [
      [[], /no user/],
      [[carl], /no user has a SCRAM hash/],
      [[alice, `bob:${'x'}`], /users:2:5: /],
      [[alice, `\u2126:${await hashOf('x')}`], /users:2:1: SCRAM clients would write/],
    ];
    for (const [lines, message] of broken) {
      write(lines);
      const error = await users.prepare().catch((thrown: unknown) => thrown);
      t.type(error, AccessError);
      t.match(error, { message });
      t.match(talk(users.begin(null), new ScramClient('alice', 'new')), { kind: 'accepted' });
    }
    t.equal(changed.length, 1);
    t.strictSame(log.lines, []);
    const cold = new ScramUsers({ file, log });
    await t.rejects(cold.start(), AccessError);
    t.match(talk(cold.begin(null), new ScramClient('alice', 'a')), failed, 'nobody without a file');
  },
);

t.test('no message makes an exchange throw or accept', async (t) => {
  const { users } = await usersOf(t, [`alice:${await hashOf('x')}`]);
  const piece = fc.constantFrom(
    'n,,',
    'y,,',
    'n=alice',
    'r=abc',
    ',',
    '=',
    'c=biws',
    'p=AAAA',
    'm=',
  );
  const message = fc.oneof(
    fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes)),
    fc.array(piece, { maxLength: 8 }).map((pieces) => Buffer.from(pieces.join(''))),
  );
  fc.assert(
    fc.property(fc.array(message, { minLength: 1, maxLength: 3 }), (messages) => {
      const exchange = users.begin(null);
      for (const data of messages) {
        const step = exchange.step(data);
        if (step.kind === 'accepted') return false;
        if (step.kind === 'refused') return true;
      }
      return true;
    }),
    { numRuns: 2000 },
  );
  t.equal(users.counters.accepted, 0);
  t.equal(readClientFirst(Buffer.from('n,,n=a=2Cb=3D,r=x'))?.user, 'a,b=');
  t.equal(readClientFinal(Buffer.from('c=biws,r=x,p=AA==')), null);
});

t.test('names and passwords on which all clients agree', async (t) => {
  const good = ['alice', 'a b', 'ä', 'Ω', '名前', 'a,b=c', '~!@#$%^&*()', '😀'];
  for (const text of good) t.ok(isPrepared(text), JSON.stringify(text));
  const bad = {
    empty: '',
    control: 'a\u0007',
    'NFKC changes it (Ohm sign)': '\u2126',
    'not composed': 'a\u0308',
    'full width': '\uff41',
    'no-break space': 'a\u00a0b',
    'ideographic space': 'a\u3000b',
    'soft hyphen': 'a\u00adb',
    'zero width joiner': 'a\u200db',
    'combining grapheme joiner': 'a\u034fb',
    'variation selector': 'a\ufe0f',
    'private use': '\ue000',
    'half a pair': '\ud800',
    unassigned: '\u0378',
    hebrew: 'א',
    arabic: 'ب',
    'object replacement': '\ufffc',
    'line separator': 'a\u2028b',
  };
  for (const [name, text] of Object.entries(bad)) t.notOk(isPrepared(text), name);
});

// Tokens: who they say a client is, and everything that must not get in. Keys from files; keys from a
// URL are in jwks.test.ts.
import { createSecretKey, randomBytes } from 'node:crypto';
import t from 'tap';
import type { AuthenticationAnswer, Identified } from '../../../src/access/authenticator.ts';
import type { JwtAuthenticator } from '../../../src/access/authn/jwt-authenticator.ts';
import { credentials, encode, keyPair, makeToken, Workshop } from './token-workshop.ts';

const shop = new Workshop();
const rsa = keyPair('rsa');
const otherRsa = keyPair('rsa');
const publicKeyFile = shop.file('rsa.pem', rsa.pem);
const secret = randomBytes(64);
const secretFile = shop.file('secret', secret);
const RS256 = { alg: 'RS256' };

function good(more: object = {}, header: object = {}): string {
  return makeToken({ ...RS256, ...header }, shop.claims(more), rsa.privateKey);
}

async function ask(
  authenticator: JwtAuthenticator,
  token: string,
  more: object = {},
): Promise<AuthenticationAnswer> {
  return await authenticator.authenticate(credentials({ password: Buffer.from(token), ...more }));
}

async function who(authenticator: JwtAuthenticator, token: string): Promise<Identified> {
  const answer = await ask(authenticator, token);
  if (answer.kind !== 'accepted') throw new Error(JSON.stringify(answer));
  return answer.who;
}

/** `reason: detail` of a refusal, or the kind of another answer. */
async function outcome(
  authenticator: JwtAuthenticator,
  token: string,
  more: object = {},
): Promise<string> {
  const answer = await ask(authenticator, token, more);
  return answer.kind === 'refused' ? `${answer.reason}: ${answer.detail}` : answer.kind;
}

t.test('each algorithm', async (t) => {
  const curves = { ES256: 'P-256', ES384: 'P-384', ES512: 'P-521' } as const;
  for (const alg of ['HS256', 'HS384', 'HS512'] as const) {
    const authenticator = await shop.jwt({ algorithms: [alg], secretFile });
    t.match(
      await who(authenticator, makeToken({ alg }, shop.claims(), secret)),
      { user: 'alice' },
      alg,
    );
    const wrong = makeToken({ alg }, shop.claims(), randomBytes(64));
    t.equal(
      await outcome(authenticator, wrong),
      'bad_credentials: the signature of the token is wrong',
    );
  }
  for (const alg of ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512'] as const) {
    const authenticator = await shop.jwt({ algorithms: [alg], publicKeyFile });
    t.equal(
      (await who(authenticator, makeToken({ alg }, shop.claims(), rsa.privateKey))).user,
      'alice',
      alg,
    );
    t.match(
      await outcome(authenticator, makeToken({ alg }, shop.claims(), otherRsa.privateKey)),
      /wrong/,
    );
  }
  for (const alg of ['ES256', 'ES384', 'ES512', 'EdDSA'] as const) {
    const make = () => (alg === 'EdDSA' ? keyPair('ed25519') : keyPair('ec', curves[alg]));
    const pair = make();
    const file = shop.file(`${alg}.pem`, pair.pem);
    const authenticator = await shop.jwt({ algorithms: [alg], publicKeyFile: file });
    t.equal(
      (await who(authenticator, makeToken({ alg }, shop.claims(), pair.privateKey))).user,
      'alice',
      alg,
    );
    t.match(
      await outcome(authenticator, makeToken({ alg }, shop.claims(), make().privateKey)),
      /wrong/,
    );
  }
});

t.test('what a token says of the client', async (t) => {
  const authenticator = await shop.jwt({ publicKeyFile, clockToleranceS: 5 });
  const found = await who(
    authenticator,
    good({
      roles: ['a', 'b'],
      level: 3,
      admin: true,
      nested: { a: 1 },
      mixed: ['a', { b: 1 }],
      nothing: null,
      acl: [{ allow: 'publish', topic: 'd/%c/#' }],
    }),
  );
  t.equal(found.user, 'alice');
  t.equal(found.tenant, null);
  t.equal(found.superuser, false);
  t.equal(found.expiresAtMs, (shop.clock.nowS + 3600 + 5) * 1000, 'for as long as it is accepted');
  t.strictSame(
    [...found.claims!],
    [
      ['sub', 'alice'],
      ['exp', String(shop.clock.nowS + 3600)],
      ['roles', ['a', 'b']],
      ['level', '3'],
      ['admin', 'true'],
    ],
  );
  t.match(found.rules, [{ allow: true, topic: 'd/%c/#', source: 'token claim acl[0]' }]);
  t.equal((await who(authenticator, good())).rules, null, 'no claim, no rules');
  t.strictSame((await who(authenticator, good({ acl: [] }))).rules, [], 'none is not the same');
});

t.test('user, client identifier and field as configured', async (t) => {
  const named = await shop.jwt({ publicKeyFile, userClaim: 'name', clientIdClaim: 'device' });
  t.equal((await who(named, good({ name: 'bob', device: 'c1' }))).user, 'bob');
  t.equal((await who(named, good({ name: 7, device: ['c0', 'c1'] }))).user, '7');
  t.equal(
    await outcome(named, good({ name: 'bob', device: 'c2' })),
    'client_id_invalid: the token is for another client identifier',
  );
  t.match(
    await outcome(named, good({ name: 'bob' })),
    /^bad_credentials: .*device names no client/,
  );
  for (const name of [undefined, '', null, { a: 1 }, ['a'], 'a\nb', '\ud800', 'x'.repeat(2000)]) {
    const shown = JSON.stringify(name)?.slice(0, 20);
    t.match(await outcome(named, good({ name, device: 'c1' })), /names no user/, shown);
  }
  // Known by now, and still for one client only.
  t.match(
    await outcome(named, good({ name: 'bob', device: 'c1' }), { clientId: 'c9' }),
    /^client_id/,
  );

  const inUsername = await shop.jwt({ publicKeyFile, source: 'username' });
  const shown = credentials({ username: good(), password: Buffer.from('whatever') });
  t.match(await inUsername.authenticate(shown), { kind: 'accepted', who: { user: 'alice' } });
  t.strictSame(await ask(inUsername, good()), { kind: 'ignored' }, 'not in the password');
});

t.test('what is no token is left to the next one', async (t) => {
  const authenticator = await shop.jwt({ publicKeyFile });
  const passwords = [
    'secret',
    '',
    'a.b',
    'a.b.c',
    'a.b.c.d',
    '..',
    `${encode('[]')}.e30.x`,
    `${encode('null')}.e30.x`,
    `${encode('{"typ":"JWT"}')}.e30.x`,
    `${encode('{"alg":1}')}.e30.x`,
    `${encode('{"__proto__":{"alg":"RS256"}}')}.e30.x`,
    `${encode('{broken')}.e30.x`,
    `${encode({ alg: 'RS256' })}=.e30.x`,
    `${encode({ alg: 'RS256' })}.e30`,
    `${encode({ alg: 'dir', enc: 'A128GCM' })}..a.b.c`,
    'x'.repeat(65_535),
    `${'A'.repeat(60_000)}.b.c`,
    '.'.repeat(65_535),
  ];
  for (const password of passwords) {
    t.strictSame(await ask(authenticator, password), { kind: 'ignored' }, password.slice(0, 40));
  }
  t.strictSame(await authenticator.authenticate(credentials({ username: 'u' })), {
    kind: 'ignored',
  });
  t.strictSame(
    { ...authenticator.counters },
    {
      accepted: 0,
      refused: 0,
      ignored: passwords.length + 1,
      errors: 0,
      cacheHits: 0,
    },
  );
});

t.test('a token that fails is refused', async (t) => {
  const authenticator = await shop.jwt({
    publicKeyFile,
    issuer: 'https://idp.example',
    audience: 'mqtt',
  });
  const fit = { iss: 'https://idp.example', aud: ['x', 'mqtt'] };
  t.equal((await who(authenticator, good(fit))).user, 'alice');
  const now = shop.clock.nowS;
  const claims: [object, RegExp][] = [
    [{ ...fit, iss: 'https://evil.example' }, /claim iss of the token is not the one asked for/],
    [{ ...fit, iss: ['https://idp.example'] }, /claim iss/],
    [{ ...fit, iss: undefined }, /has no claim iss/],
    [{ ...fit, aud: 'other' }, /claim aud/],
    [{ ...fit, aud: undefined }, /has no claim aud/],
    [{ ...fit, aud: { mqtt: true } }, /claim aud/],
    [{ ...fit, exp: now }, /has expired/],
    [{ ...fit, exp: now - 3600 }, /has expired/],
    [{ ...fit, exp: undefined }, /has no claim exp/],
    [{ ...fit, exp: String(now + 60) }, /claim exp/],
    [{ ...fit, nbf: now + 10 }, /is not valid yet/],
    [{ ...fit, nbf: 'soon' }, /claim nbf/],
    [{ ...fit, acl: 'all' }, /claim acl is neither a list nor an object/],
    [{ ...fit, acl: [{ allow: 'publish', topic: 'a/#/b' }] }, /claim acl \[0\] has a topic/],
    [
      { ...fit, ...Object.fromEntries(Array.from({ length: 101 }, (_, i) => [`c${i}`, i])) },
      /more than 100 claims/,
    ],
  ];
  for (const [changes, detail] of claims) {
    t.match(await outcome(authenticator, good(changes)), detail, String(detail));
  }
  const payload = encode(shop.claims(fit));
  const [, , signature] = good({ ...fit, sub: 'bob' }).split('.');
  const raw: [string, RegExp][] = [
    [`${encode(RS256)}.${payload}.`, /signature|cannot be used/],
    [`${encode(RS256)}.${payload}.${signature}`, /the signature of the token is wrong/],
    [`${encode(RS256)}..${signature}`, /signature|cannot be used/],
    [`${encode(RS256)}.${payload}.###`, /cannot be used/],
    [makeToken({ ...RS256, crit: ['x'] }, shop.claims(fit), rsa.privateKey), /cannot be used/],
    [
      makeToken({ ...RS256, b64: false, crit: ['b64'] }, shop.claims(fit), rsa.privateKey),
      /bad_cred/,
    ],
    [makeToken(RS256, 'no json', rsa.privateKey), /cannot be used/],
    [makeToken(RS256, '[]', rsa.privateKey), /cannot be used/],
    [makeToken(RS256, 'null', rsa.privateKey), /cannot be used/],
    // 64 KiB of it, well signed.
    [good({ ...fit, pad: 'x'.repeat(48_000) }), /longer than 8192 bytes/],
  ];
  for (const [token, detail] of raw) {
    const found = await outcome(authenticator, token);
    t.match(found, /^bad_credentials: /, found);
    t.match(found, detail);
  }
});

t.test('no algorithm of the client’s choice (EC #17736)', async (t) => {
  const authenticator = await shop.jwt({ publicKeyFile });
  const notAccepted = 'bad_credentials: the token is signed by an algorithm that is not accepted';
  const payload = encode(shop.claims());
  for (const alg of [
    'none',
    'None',
    'NONE',
    'nOnE',
    '',
    'RS384',
    'PS256',
    'ES256',
    'rs256',
    'constructor',
  ]) {
    const token = `${encode({ alg, typ: 'JWT' })}.${payload}.`;
    t.equal(await outcome(authenticator, token), notAccepted, alg);
    const signed = makeToken({ alg: 'RS256' }, shop.claims(), rsa.privateKey).split('.')[2];
    t.equal(await outcome(authenticator, `${token}${signed}`), notAccepted, `${alg}, signed`);
  }
  // RS256 → HS256 confusion: signed with the public key as if it were a secret.
  const der = rsa.publicKey.export({ type: 'spki', format: 'der' });
  for (const key of [rsa.pem, rsa.pem.trim(), der]) {
    const token = makeToken({ alg: 'HS256' }, shop.claims(), createSecretKey(Buffer.from(key)));
    t.equal(await outcome(authenticator, token), notAccepted, 'the public key as secret');
  }
  // Keys the token brings along are not looked at.
  const own = { jwk: otherRsa.publicKey.export({ format: 'jwk' }) };
  for (const header of [
    own,
    { jku: 'http://127.0.0.1:1/' },
    { x5u: 'http://127.0.0.1:1/' },
    { x5c: ['AA=='] },
  ]) {
    const token = makeToken({ ...RS256, ...header }, shop.claims(), otherRsa.privateKey);
    t.match(
      await outcome(authenticator, token),
      /signature of the token is wrong/,
      JSON.stringify(header).slice(0, 12),
    );
  }
});

t.test('settings that would open the door are refused', async (t) => {
  const pemAsSecret = shop.file('pem-as-secret', rsa.pem);
  const privateFile = shop.file(
    'private.pem',
    rsa.privateKey.export({ type: 'pkcs8', format: 'pem' }),
  );
  const weak = shop.file('weak.pem', keyPair('rsa', 1024).pem);
  const secretJwk = JSON.stringify({ kty: 'oct', k: secret.toString('base64url') });
  const cases: [Parameters<Workshop['jwt']>[0], RegExp][] = [
    [{ algorithms: [], publicKeyFile }, /jwt\.algorithms: has to name the algorithms/],
    [{ algorithms: ['none' as never], publicKeyFile }, /has none; known are HS256/],
    [{ algorithms: ['RS256', 'HS256'], publicKeyFile }, /mixes algorithms of secrets/],
    [{ algorithms: ['HS256'], publicKeyFile }, /HS256, which needs secretFile/],
    [{ algorithms: ['RS256'], secretFile }, /jwt\.secretFile: is for HS256/],
    [{ algorithms: ['HS256'], jwksUrl: 'https://idp.example/' }, /which needs secretFile/],
    [{ algorithms: ['HS256'], secretFile, publicKeyFile }, /exactly one of/],
    [{ algorithms: ['RS256'] }, /exactly one of/],
    [
      { algorithms: ['HS256'], secretFile: pemAsSecret },
      /holds a PEM key; secretFile is for secrets/,
    ],
    [
      {
        algorithms: ['HS256'],
        secretFile: shop.file('jwk', JSON.stringify(rsa.publicKey.export({ format: 'jwk' }))),
      },
      /holds a public key/,
    ],
    [{ algorithms: ['HS256'], secretFile: shop.file('empty', '\n') }, /it is empty/],
    [{ algorithms: ['HS256'], secretFile: shop.file('half', '{"kty":"oct"') }, /begins as JSON/],
    [
      { algorithms: ['HS256'], secretFile: '/nowhere' },
      /the secret of tokens cannot be read: ENOENT/,
    ],
    [{ publicKeyFile: shop.folder }, /is not a file/],
    [{ publicKeyFile: shop.file('oct.json', secretJwk) }, /holds a secret/],
    [{ publicKeyFile: privateFile }, /holds a private key/],
    [
      {
        publicKeyFile: shop.file(
          'd.json',
          JSON.stringify(rsa.privateKey.export({ format: 'jwk' })),
        ),
      },
      /key 1 is a private key/,
    ],
    [{ publicKeyFile: weak }, /key 1 has 1024 bits/],
    [{ publicKeyFile: shop.file('cut.pem', rsa.pem.slice(0, 200)) }, /cut off or damaged/],
    [
      {
        publicKeyFile: shop.file(
          'bad.pem',
          '-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n',
        ),
      },
      /key 1 cannot be read/,
    ],
    [{ publicKeyFile: shop.file('none.pem', 'hello') }, /holds neither/],
    [
      {
        publicKeyFile: shop.file(
          'enc.json',
          JSON.stringify({ keys: [{ kty: 'RSA', use: 'enc' }] }),
        ),
      },
      /holds no key for signatures/,
    ],
    [{ algorithms: ['ES256'], publicKeyFile }, /holds no key for ES256 \(its keys are for: RS256/],
    [{ publicKeyFile: shop.file('ec.pem', keyPair('ec', 'secp256k1').pem) }, /curve secp256k1/],
  ];
  for (const [options, message] of cases) {
    const made = (async () => shop.jwt(options))();
    await t.rejects(made, { name: 'AccessError', message }, String(message));
  }
});

t.test('random bytes that begin like JSON are a secret like any other', async (t) => {
  const bytes = Buffer.concat([Buffer.from('{\xff', 'latin1'), Buffer.alloc(40, 0xfe)]);
  const authenticator = await shop.jwt({
    ...{ algorithms: ['HS256'], secretFile: shop.file('brace', bytes) },
  });
  const signed = makeToken({ alg: 'HS256' }, shop.claims(), bytes);
  t.equal(await outcome(authenticator, signed), 'accepted');
});

t.test('several keys: by name, and without', async (t) => {
  const pairs = ['a', 'b'].map((kid) => ({ kid, ...keyPair('ec') }));
  const keys = pairs.map(({ kid, publicKey }) => ({ ...publicKey.export({ format: 'jwk' }), kid }));
  const file = shop.file('set.json', JSON.stringify({ keys }));
  const authenticator = await shop.jwt({ algorithms: ['ES256'], publicKeyFile: file });
  const token = (header: object, key: number, more: object = {}): string =>
    makeToken({ alg: 'ES256', ...header }, shop.claims(more), pairs[key]!.privateKey);
  t.equal(await outcome(authenticator, token({ kid: 'a' }, 0)), 'accepted');
  t.equal(await outcome(authenticator, token({ kid: 'b' }, 1)), 'accepted');
  t.match(await outcome(authenticator, token({ kid: 'a' }, 1)), /signature of the token is wrong/);
  t.match(await outcome(authenticator, token({ kid: 'c' }, 0)), /a key that is not known/);
  t.match(await outcome(authenticator, token({ kid: '__proto__' }, 0)), /a key that is not known/);
  t.equal(await outcome(authenticator, token({}, 0)), 'accepted', 'any of them');
  t.equal(await outcome(authenticator, token({}, 1)), 'accepted');

  const pem = shop.file('two.pem', pairs.map((pair) => pair.pem).join('\n'));
  const unnamed = await shop.jwt({ algorithms: ['ES256'], publicKeyFile: pem });
  t.equal(await outcome(unnamed, token({ kid: 'whatever' }, 1)), 'accepted');
  const many = Array.from({ length: 5 }, () => keyPair('ec'));
  const crowd = shop.file('five.pem', many.map((pair) => pair.pem).join('\n'));
  const crowded = await shop.jwt({ algorithms: ['ES256'], publicKeyFile: crowd });
  t.match(await outcome(crowded, token({}, 0)), /which of many keys/);

  const oct = ['old', 'new'].map((kid) => ({
    kty: 'oct',
    kid,
    k: randomBytes(32).toString('base64url'),
  }));
  const secrets = shop.file('secrets.json', JSON.stringify({ keys: oct }));
  const hmac = await shop.jwt({ algorithms: ['HS256'], secretFile: secrets });
  for (const { kid, k } of oct) {
    const signed = makeToken({ alg: 'HS256', kid }, shop.claims(), Buffer.from(k, 'base64url'));
    t.equal(await outcome(hmac, signed), 'accepted', kid);
  }
});

t.test('who came in by a key is known by it after a reload', async (t) => {
  const oct = (...texts: string[]): string =>
    JSON.stringify({
      keys: texts.map((text) => ({
        ...{ kty: 'oct', kid: text, k: Buffer.from(text.repeat(40)).toString('base64url') },
      })),
    });
  const secretFile = shop.file('kept.json', oct('a', 'b'));
  const told: ((print: string) => boolean)[] = [];
  const authenticator = await shop.jwt({
    ...{ algorithms: ['HS256'], secretFile, onKeysRead: (isInForce) => told.push(isInForce) },
  });
  const printOf = async (kid: string): Promise<string> => {
    const signed = makeToken({ alg: 'HS256', kid }, shop.claims(), Buffer.from(kid.repeat(40)));
    const answer = await ask(authenticator, signed);
    return answer.kind === 'accepted' ? (answer.who.keyPrint ?? '') : '';
  };
  const [a, b] = [await printOf('a'), await printOf('b')];
  t.ok(a !== '' && b !== '' && a !== b);
  t.equal(await printOf('a'), a, 'also from the cache');
  t.strictSame(told, [], 'not at start');
  (await authenticator.prepare()).commit();
  shop.file('kept.json', oct('c', 'b'));
  (await authenticator.prepare()).discard();
  const { commit } = await authenticator.prepare();
  t.equal(told.length, 1, 'told when it is in force');
  commit();
  t.strictSame(
    told.map((isInForce) => [isInForce(a), isInForce(b)]),
    [
      [true, true],
      [false, true],
    ],
  );
});

t.test('a reload: new keys count at once, a broken file leaves the old ones', async (t) => {
  const file = shop.file('live.pem', rsa.pem);
  const authenticator = await shop.jwt({ publicKeyFile: file });
  const old = good();
  t.equal(await outcome(authenticator, old), 'accepted');
  t.equal(await outcome(authenticator, old), 'accepted');
  t.equal(authenticator.counters.cacheHits, 1);
  shop.file('live.pem', 'broken');
  await t.rejects(authenticator.prepare(), {
    name: 'AccessError',
    message: /live\.pem: holds neither/,
  });
  t.equal(await outcome(authenticator, old), 'accepted');
  shop.file('live.pem', otherRsa.pem);
  (await authenticator.prepare()).commit();
  t.match(await outcome(authenticator, old), /wrong/, 'also one that was verified before');
  t.equal(
    await outcome(authenticator, makeToken(RS256, shop.claims(), otherRsa.privateKey)),
    'accepted',
  );
  // Replaced while a token is being verified.
  const racing = ask(authenticator, makeToken(RS256, shop.claims({ jti: 1 }), otherRsa.privateKey));
  shop.file('live.pem', rsa.pem);
  (await authenticator.prepare()).commit();
  const late = makeToken(RS256, shop.claims({ jti: 2 }), otherRsa.privateKey);
  await racing;
  t.match(await outcome(authenticator, late), /wrong/);
  t.match(
    await outcome(authenticator, makeToken(RS256, shop.claims({ jti: 1 }), otherRsa.privateKey)),
    /wrong/,
  );
  await authenticator.stop();
  t.match(
    await outcome(authenticator, good()),
    /^authentication_unavailable/,
    'nobody after the stop',
  );
});

t.test('a token that was verified before expires all the same', async (t) => {
  const authenticator = await shop.jwt({ publicKeyFile, clockToleranceS: 2 });
  const startMs = shop.clock.nowMs;
  const token = good({ exp: shop.clock.nowS + 10 });
  const answer = ask(authenticator, token);
  t.equal((await answer).kind, 'accepted');
  shop.clock.nowMs = startMs + 11_999;
  t.notOk(
    authenticator.authenticate(credentials({ password: Buffer.from(token) })) instanceof Promise,
    'at once',
  );
  shop.clock.nowMs = startMs + 12_000;
  t.match(await outcome(authenticator, token), /has expired/);
  shop.clock.nowMs = startMs;
  const forEver = await shop.jwt({ publicKeyFile, requireExpiry: false });
  t.equal((await who(forEver, good({ exp: undefined }))).expiresAtMs, 0);
  t.equal((await who(forEver, good({ exp: 1e300 }))).expiresAtMs, 8.64e15, 'still a date');
});

t.test('memory is bounded', async (t) => {
  const authenticator = await shop.jwt({ algorithms: ['HS256'], secretFile, verifiedMax: 2 });
  const tokens = [1, 2, 3].map((jti) => makeToken({ alg: 'HS256' }, shop.claims({ jti }), secret));
  for (const token of tokens) t.equal(await outcome(authenticator, token), 'accepted');
  t.equal(await outcome(authenticator, tokens[2]!), 'accepted');
  t.equal(authenticator.counters.cacheHits, 1);
  t.equal(await outcome(authenticator, tokens[0]!), 'accepted');
  t.equal(authenticator.counters.cacheHits, 1, 'the oldest was forgotten');
  const none = await shop.jwt({ algorithms: ['HS256'], secretFile, verifiedMax: 0 });
  for (let i = 0; i < 2; i += 1) t.equal(await outcome(none, tokens[0]!), 'accepted');
  t.equal(none.counters.cacheHits, 0);
});

t.test('claims with names of JavaScript (FIELD class 31)', async (t) => {
  const authenticator = await shop.jwt({ publicKeyFile });
  const payload = `{"sub":"alice","exp":${shop.clock.nowS + 60},"__proto__":"p","constructor":"c","toString":["t"]}`;
  const found = await who(authenticator, makeToken(RS256, payload, rsa.privateKey));
  t.strictSame(
    [
      found.claims!.get('__proto__'),
      found.claims!.get('constructor'),
      found.claims!.get('toString'),
    ],
    ['p', 'c', ['t']],
  );
  t.equal(found.claims!.get('hasOwnProperty'), undefined);
  t.equal(({} as Record<string, unknown>).exp, undefined);
  // Inherited through JSON they are not.
  const inherited = `{"sub":"alice","__proto__":{"exp":${shop.clock.nowS + 60}}}`;
  t.match(
    await outcome(authenticator, makeToken(RS256, inherited, rsa.privateKey)),
    /no claim exp/,
  );
  for (const userClaim of ['constructor', '__proto__', 'toString']) {
    const odd = await shop.jwt({ publicKeyFile, userClaim });
    t.match(await outcome(odd, good()), /names no user/, userClaim);
  }
});

t.test('secrets: warnings in words, and nowhere a secret or token (class 26)', async (t) => {
  const log = shop.log.lines.length;
  const short = 'canary-secret-27';
  const file = shop.file('short', `${short}\n`, 0o644);
  const authenticator = await shop.jwt({ algorithms: ['HS256'], secretFile: file });
  t.match(shop.log.lines.slice(log), [
    { level: 'warn', message: /^other users of this machine may open/, fields: { mode: '0644' } },
    {
      level: 'warn',
      message: /shorter than its algorithm asks for/,
      fields: { secretBytes: 16, neededBytes: 32 },
    },
  ]);
  const token = makeToken({ alg: 'HS256' }, shop.claims(), short);
  t.equal(await outcome(authenticator, token), 'accepted', 'without the line feed');
  const said = [
    await outcome(
      authenticator,
      makeToken({ alg: 'HS256' }, shop.claims({ exp: 1, sub: 'canary-claim' }), short),
    ),
    await outcome(
      authenticator,
      makeToken(
        { alg: 'HS256' },
        shop.claims({ sub: 'canary-claim', acl: ['canary-claim'] }),
        short,
      ),
    ),
    await outcome(
      authenticator,
      makeToken({ alg: 'HS256' }, shop.claims({ sub: 'canary-claim' }), 'other'),
    ),
    await outcome(authenticator, `${token}canary`),
  ].join('\n');
  const all = `${said}\n${JSON.stringify(shop.log.lines)}`;
  t.notMatch(all, /canary/);
  for (const part of token.split('.')) t.notOk(all.includes(part), 'no part of a token');
});

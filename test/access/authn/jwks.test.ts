// Keys published under a URL, from a real HTTP server that rotates them, is slow, down, lying or back.
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import t from 'tap';
import type { JwtAuthenticator, JwtOptions } from '../../../src/access/authn/jwt-authenticator.ts';
import { Certificates } from '../../listeners/certificates.ts';
import { until } from '../../listeners/recorder.ts';
import { credentials, jwk, type KeyPair, keyPair, makeToken, Workshop } from './token-workshop.ts';

const keys = { a: keyPair('ec'), b: keyPair('ec'), c: keyPair('ec') };
type Name = keyof typeof keys;

type Answer = (request: IncomingMessage, response: ServerResponse) => void;

/** Publishes keys, or does something worse. */
class Issuer {
  readonly server: Server;
  requests = 0;
  answer: Answer;

  constructor(...names: Name[]) {
    this.answer = this.publish(...names);
    this.server = createServer((request, response) => {
      this.requests += 1;
      this.answer(request, response);
    });
    t.teardown(() => this.stop());
  }

  document(...names: Name[]): object {
    return { keys: names.map((kid) => jwk(keys[kid], { kid, use: 'sig', alg: 'ES256' })) };
  }

  publish(...names: Name[]): Answer {
    this.answer = (_, response) => response.end(JSON.stringify(this.document(...names)));
    return this.answer;
  }

  say(status: number, body: string | Buffer): void {
    this.answer = (_, response) => response.writeHead(status).end(body);
  }

  async listen(port: number = 0): Promise<string> {
    await new Promise<void>((resolve) => this.server.listen(port, '127.0.0.1', resolve));
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}/keys?token=canary`;
  }

  async stop(): Promise<void> {
    if (!this.server.listening) return;
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }
}

function token(
  shop: Workshop,
  kid: string,
  more: object = {},
  pair: KeyPair = keys[kid as Name],
): string {
  return makeToken({ alg: 'ES256', kid }, shop.claims(more), pair.privateKey);
}

async function outcome(authenticator: JwtAuthenticator, text: string): Promise<string> {
  const answer = await authenticator.authenticate(credentials({ password: Buffer.from(text) }));
  return answer.kind === 'refused' ? `${answer.reason}: ${answer.detail}` : answer.kind;
}

const base = { algorithms: ['ES256'], jwksCooldownMs: 5000 } satisfies Partial<JwtOptions>;
const unknown = 'bad_credentials: the token is signed by a key that is not known';
const unavailable = 'authentication_unavailable: there are no keys to verify tokens with';

t.test('rotation: an unknown key is fetched once for all who show it', async (t) => {
  const shop = new Workshop();
  const issuer = new Issuer('a');
  const authenticator = await shop.jwt({ ...base, jwksUrl: await issuer.listen() });
  t.equal(await outcome(authenticator, token(shop, 'a')), 'accepted');
  t.equal(await outcome(authenticator, token(shop, 'b')), unknown, 'too soon after the last fetch');
  t.equal(issuer.requests, 1);

  issuer.publish('a', 'b');
  shop.clock.nowMs += 5000;
  const many = Array.from({ length: 50 }, (_, jti) =>
    outcome(authenticator, token(shop, 'b', { jti })),
  );
  t.strictSame(new Set(await Promise.all(many)), new Set(['accepted']));
  t.equal(issuer.requests, 2, 'one fetch');

  // A storm of made-up names costs the issuer no more than one fetch per cooldown.
  shop.clock.nowMs += 5000;
  for (let i = 0; i < 50; i += 1) {
    t.equal(await outcome(authenticator, token(shop, `x${i}`, {}, keys.a)), unknown);
  }
  t.equal(issuer.requests, 3);
  // Nor does an algorithm that is not accepted.
  shop.clock.nowMs += 5000;
  t.match(
    await outcome(authenticator, makeToken({ alg: 'HS256', kid: 'z' }, shop.claims(), 'x')),
    /not accepted/,
  );
  t.equal(issuer.requests, 3);

  // A key taken back counts no more, not even for tokens verified before.
  const known = token(shop, 'a');
  t.equal(await outcome(authenticator, known), 'accepted');
  issuer.publish('b');
  (await authenticator.prepare()).commit();
  t.match(await outcome(authenticator, known), /not known/);
  t.equal(await outcome(authenticator, token(shop, 'b')), 'accepted');
});

t.test('a bad document never replaces good keys', async (t) => {
  const shop = new Workshop();
  const issuer = new Issuer('a');
  const authenticator = await shop.jwt({
    ...base,
    jwksUrl: await issuer.listen(),
    jwksTimeoutMs: 200,
  });
  const [ecKey] = (issuer.document('a') as { keys: object[] }).keys;
  const bad: [string, () => void][] = [
    ['garbage', () => issuer.say(200, 'no json')],
    ['no object', () => issuer.say(200, '[]')],
    ['null', () => issuer.say(200, 'null')],
    ['no keys', () => issuer.say(200, '{}')],
    ['keys no list', () => issuer.say(200, '{"keys":{"a":1}}')],
    ['inherited keys', () => issuer.say(200, '{"__proto__":{"keys":[]}}')],
    ['empty', () => issuer.say(200, '{"keys":[]}')],
    [
      'other kinds only',
      () => issuer.say(200, JSON.stringify({ keys: [jwk(keyPair('ed25519'))] })),
    ],
    ['a secret', () => issuer.say(200, '{"keys":[{"kty":"oct","k":"c2VjcmV0","kid":"a"}]}')],
    ['too many keys', () => issuer.say(200, JSON.stringify({ keys: Array(101).fill(ecKey) }))],
    ['huge', () => issuer.say(200, Buffer.alloc(1_000_000, 0x20))],
    ['server error', () => issuer.say(500, JSON.stringify(issuer.document('b')))],
    ['not found', () => issuer.say(404, 'no')],
    ['no content', () => issuer.say(204, '')],
    [
      'cut off',
      () => {
        issuer.answer = (_, response) => {
          response.writeHead(200, { 'content-length': '1000' });
          response.write('{"keys":[');
          setImmediate(() => response.destroy());
        };
      },
    ],
    [
      'a redirect',
      () => {
        issuer.answer = (request, response) => {
          if (request.url === '/other') response.end(JSON.stringify(issuer.document('b')));
          else response.writeHead(302, { location: '/other' }).end();
        };
      },
    ],
    [
      'silence',
      () => {
        issuer.answer = () => {};
      },
    ],
    [
      'a drip',
      () => {
        issuer.answer = (_, response) => {
          const timer = setInterval(() => response.write(' '), 20);
          response.on('close', () => clearInterval(timer));
        };
      },
    ],
  ];
  for (const [name, make] of bad) {
    make();
    const { failures } = authenticator.jwks!;
    (await authenticator.prepare()).commit();
    t.equal(authenticator.jwks?.failures, failures + 1, name);
    t.equal(await outcome(authenticator, token(shop, 'a')), 'accepted', name);
    t.equal(await outcome(authenticator, token(shop, 'b')), unknown, name);
  }
  t.match(shop.log.lines.at(-1), { level: 'warn', fields: { code: 'timeout' } });
  issuer.answer = (_, response) => {
    const { keys: good } = issuer.document('b') as { keys: object[] };
    const list = [
      { kty: 'new' },
      null,
      7,
      { kty: 'oct', k: 'YQ' },
      { ...ecKey, use: 'enc' },
      ...good,
    ];
    response.end(JSON.stringify({ keys: list }));
  };
  (await authenticator.prepare()).commit();
  t.equal(
    await outcome(authenticator, token(shop, 'b')),
    'accepted',
    'what is unknown is passed over',
  );
  t.equal(
    await outcome(authenticator, token(shop, 'a')),
    unknown,
    'a key for encryption is no key',
  );
  const text = JSON.stringify(shop.log.lines);
  t.notMatch(text, /canary/, 'the query of the URL is not told');
});

t.test('the issuer is away: old keys count for a while, then nobody gets in', async (t) => {
  const shop = new Workshop();
  const issuer = new Issuer('a');
  const jwksUrl = await issuer.listen();
  const authenticator = await shop.jwt({ ...base, jwksUrl, jwksStaleS: 600 });
  const verified = token(shop, 'a');
  t.equal(await outcome(authenticator, verified), 'accepted');
  await issuer.stop();
  shop.clock.nowMs += 600_000;
  t.equal(await outcome(authenticator, token(shop, 'a', { jti: 1 })), 'accepted');
  t.equal(await outcome(authenticator, token(shop, 'b')), unknown);
  t.match(shop.log.lines.at(-1), { level: 'warn', message: /the old ones are used$/ });
  shop.clock.nowMs += 1;
  t.equal(await outcome(authenticator, verified), unavailable);
  t.equal(authenticator.counters.errors, 1);
  // Back: found without a restart.
  await issuer.listen(Number(new URL(jwksUrl).port));
  const fresh = (): string => token(shop, 'a', { jti: 2 });
  let answer = '';
  await until(() => {
    outcome(authenticator, fresh()).then((found) => {
      answer = found;
    });
    return answer === 'accepted';
  }, 'the keys are fetched again');
});

t.test('away at the start: the broker starts, tokens are refused until it is there', async (t) => {
  const shop = new Workshop();
  const issuer = new Issuer('a');
  const jwksUrl = await issuer.listen();
  await issuer.stop();
  const authenticator = await shop.jwt({ ...base, jwksUrl, jwksCooldownMs: 50 });
  t.equal(await outcome(authenticator, token(shop, 'a')), unavailable);
  t.match(shop.log.lines, [
    { level: 'error', message: /tokens are refused$/, fields: { code: 'connect' } },
  ]);
  await issuer.listen(Number(new URL(jwksUrl).port));
  await until(() => issuer.requests > 0, 'it tries again by itself');
  let answer = '';
  await until(() => {
    outcome(authenticator, token(shop, 'a')).then((found) => {
      answer = found;
    });
    return answer === 'accepted';
  }, 'what came counts as soon as it is read');
});

t.test('keys are fetched again when they are old', async (t) => {
  const shop = new Workshop();
  const issuer = new Issuer('a');
  const authenticator = await shop.jwt({
    ...base,
    jwksUrl: await issuer.listen(),
    jwksCacheS: 0.05,
  });
  issuer.publish('b');
  let answer = '';
  await until(() => {
    outcome(authenticator, token(shop, 'b')).then((found) => {
      answer = found;
    });
    return answer === 'accepted';
  }, 'the new key');
  await authenticator.stop();
  const { requests } = issuer;
  await new Promise((resolve) => setTimeout(resolve, 120));
  t.equal(issuer.requests, requests, 'nothing after the stop');
});

t.test('https, with the authorities of the settings only', async (t) => {
  const files = new Certificates();
  files.authority('ca');
  files.authority('other');
  files.issue('idp', 'ca', 'IP:127.0.0.1');
  const shop = new Workshop();
  const issuer = new Issuer('a');
  const tls = { cert: files.pem('idp.pem'), key: files.pem('idp.key') };
  const server = createTlsServer(tls, (request, response) => issuer.answer(request, response));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => server.close());
  const jwksUrl = `https://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  const trusting = await shop.jwt({ ...base, jwksUrl, jwksCaFile: files.path('ca.pem') });
  t.equal(await outcome(trusting, token(shop, 'a')), 'accepted');
  for (const jwksCaFile of [undefined, files.path('other.pem')]) {
    const wary = await shop.jwt({ ...base, jwksUrl, jwksCaFile });
    t.equal(await outcome(wary, token(shop, 'a')), unavailable);
  }
  await t.rejects(shop.jwt({ ...base, jwksUrl, jwksCaFile: '/nowhere' }), {
    name: 'AccessError',
    message: /nowhere: cannot be read/,
  });
});

t.test('URLs that could be anybody’s are refused', async (t) => {
  const shop = new Workshop();
  const cases: [string, RegExp][] = [
    ['http://idp.example/keys', /must begin with https/],
    ['http://127.0.0.1.evil.example/', /must begin with https/],
    ['http://localhost.evil.example/', /must begin with https/],
    ['file:///etc/passwd', /must begin with https/],
    ['https://user:canary@idp.example/', /must not hold a user name/],
    ['idp.example', /is no URL/],
  ];
  for (const [jwksUrl, message] of cases) {
    const made = (async () => shop.jwt({ ...base, jwksUrl }))();
    await t.rejects(made, { name: 'AccessError', message }, jwksUrl);
  }
});

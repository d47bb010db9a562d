/**
 * Every way to say who one is, over real sockets into a running node: password file, tokens,
 * certificates, pre-shared keys and SCRAM; chains per listener, tenants, and whose a session is. HTTP
 * and Redis have files of their own (`backend-*.test.ts`).
 */
import { pbkdf2Sync, randomBytes } from 'node:crypto';
import type { ConnectionOptions } from 'node:tls';
import { connectAsync } from 'mqtt';
import t from 'tap';
import { ScramClient } from '../access/authn/scram-client.ts';
import { jwk, keyPair, makeToken } from '../access/authn/token-workshop.ts';
import type { Client } from '../conformance/client.ts';
import { auth, type Property } from '../conformance/packets.ts';
import { property } from '../conformance/reader.ts';
import { Certificates } from '../listeners/certificates.ts';
import { HttpService, json, status } from '../support/http-service.ts';
import {
  codeOf,
  heard,
  type LoginFields,
  login,
  NearNode,
  passwordLines,
  persistent,
  type RunningNode,
  Site,
  sendLogin,
  until,
} from './access-kit.ts';

const BAD = 0x86;
const NOT_AUTHORIZED = 0x87;
const UNAVAILABLE = 0x88;

const nowS = (): number => Math.floor(Date.now() / 1000);

/** As mosquitto_passwd writes it. */
function mosquittoHash(password: string): string {
  const salt = randomBytes(12);
  const key = pbkdf2Sync(password, salt, 101, 64, 'sha512');
  return `$7$101$${salt.toString('base64')}$${key.toString('base64')}`;
}

async function userOf(node: RunningNode, clientId: string): Promise<string | null> {
  return (await node.api('GET', `/clients/${encodeURIComponent(clientId)}`)).json.identity;
}

t.test('passwords: scrypt, argon2id and those of mosquitto', async (t) => {
  const site = new Site(t);
  site.write(
    'passwords',
    [
      await passwordLines({ scrypted: 'pass one' }),
      await passwordLines({ argoned: 'pass two' }, 'argon2id', 8192),
      `moved:${mosquittoHash('pass three')}\n`,
    ].join(''),
  );
  site.configure({ authentication: { chain: ['password'], password: { file: 'passwords' } } });
  const node = await NearNode.start(t, site);
  const users = [
    ['scrypted', 'pass one'],
    ['argoned', 'pass two'],
    ['moved', 'pass three'],
  ] as const;
  for (const [username, password] of users) {
    for (const version of [3, 4, 5] as const) {
      const good = { version, username, password };
      t.equal(await codeOf(node, good), 0, `${username} by ${version}`);
      const refused = version === 5 ? BAD : 4;
      for (const wrong of ['wrong', 'pass', `${password}\0`, password.toUpperCase()]) {
        t.equal(
          await codeOf(node, { ...good, password: wrong }),
          refused,
          `${username}, not ${JSON.stringify(wrong)}`,
        );
      }
      t.equal(await codeOf(node, { ...good, username: username.toUpperCase() }), refused);
    }
  }
  const url = node.address();
  const foreign = await connectAsync(url, { username: 'moved', password: 'pass three' });
  await foreign.endAsync();
  await t.rejects(
    connectAsync(url, { username: 'moved', password: 'x', reconnectPeriod: 0 }),
    /Bad username or password/,
  );
});

t.test(
  'tokens: HS256, claims that count, and the end of a connection with its token',
  async (t) => {
    const secret = randomBytes(40);
    const site = new Site(t);
    site.write('secret', secret);
    site.rules([
      { allow: ['publish', 'subscribe'], topics: ['common/#'] },
      { allow: 'publish', topics: ['vehicles/%{vehicle}/#'] },
    ]);
    site.configure({
      authentication: {
        chain: ['jwt'],
        jwt: {
          algorithms: ['HS256'],
          secretFile: 'secret',
          issuer: 'us',
          audience: 'mqtt',
          clientIdClaim: 'device',
        },
      },
      authorization: { rulesFile: 'acl.yaml' },
    });
    const node = await NearNode.start(t, site);
    const claims = { sub: 'ann', iss: 'us', aud: 'mqtt', device: 'd1', exp: nowS() + 600 };
    const token = (more: object, key: Buffer | string = secret, alg = 'HS256'): string =>
      makeToken({ alg }, { ...claims, ...more }, key);
    const with_ = (password: string): LoginFields => ({ clientId: 'd1', username: 'x', password });

    const ann = await login(node, with_(token({ vehicle: 'v7' })));
    t.equal(await userOf(node, 'd1'), 'ann', 'the token says who it is, not CONNECT');
    await ann.publish('vehicles/v7/speed', 'x', { qos: 1 });
    ann.sendPublish('vehicles/v8/speed', 'x', { qos: 1, packetId: 9 });
    await ann.waitFor('PUBACK', { packetId: 9, reasonCode: NOT_AUTHORIZED });
    ann.destroy();

    const bad: readonly (readonly [string, string])[] = [
      ['another secret', token({}, randomBytes(40))],
      ['expired', token({ exp: nowS() - 1 })],
      ['without an end', token({ exp: undefined })],
      ['not yet', token({ nbf: nowS() + 600 })],
      ['of another issuer', token({ iss: 'them' })],
      ['for another audience', token({ aud: 'web' })],
      ['of another device', token({ device: 'd2' })],
      ['without the device', token({ device: undefined })],
      ['of nobody', token({ sub: undefined })],
      ['by no algorithm', token({}, '', 'none')],
      ['by an algorithm that is not pinned', token({}, secret, 'HS512')],
      ['with rules nobody understands', token({ acl: [{ allow: 'fly', topic: '#' }] })],
      ['cut off', token({}).slice(0, -2)],
    ];
    for (const [what, password] of bad) {
      const code = await codeOf(node, with_(password));
      t.ok(code === BAD || code === 0x85, `${what}: ${code}`);
    }
    t.equal(await codeOf(node, with_('no token at all')), BAD);
    t.equal(await codeOf(node, { clientId: 'd1' }), NOT_AUTHORIZED);

    const narrow = await login(
      node,
      with_(token({ acl: [{ allow: 'publish', topic: 'own/%c' }] })),
    );
    await narrow.publish('own/d1', 'x', { qos: 1 });
    narrow.sendPublish('own/d2', 'x', { qos: 1, packetId: 9 });
    await narrow.waitFor('PUBACK', { packetId: 9, reasonCode: NOT_AUTHORIZED });
    narrow.destroy();

    const short = token({ exp: nowS() + 2 });
    const brief = await login(node, with_(short));
    const beganMs = performance.now();
    await brief.expectError(0xa0);
    t.ok(performance.now() - beganMs < 4000, 'told in time');
    t.equal(await codeOf(node, with_(short)), BAD, 'and not let in with it again');
    const old = await login(node, { ...with_(token({ exp: nowS() + 1 })), version: 4 });
    await old.expectClose();
  },
);

t.test('tokens: RS256 from a file, and no public key taken for a secret', async (t) => {
  const keys = keyPair('rsa');
  const site = new Site(t);
  site.write('public.pem', keys.pem, 0o644);
  site.configure({
    authentication: {
      chain: ['jwt'],
      jwt: { algorithms: ['RS256', 'PS256'], publicKeyFile: 'public.pem' },
    },
  });
  const node = await NearNode.start(t, site);
  const claims = { sub: 'ann', exp: nowS() + 600 };
  const code = (password: string) => codeOf(node, { username: 'x', password });
  t.equal(await code(makeToken({ alg: 'RS256' }, claims, keys.privateKey)), 0);
  t.equal(await code(makeToken({ alg: 'RS256' }, claims, keyPair('rsa').privateKey)), BAD);
  t.equal(await code(makeToken({ alg: 'HS256' }, claims, keys.pem)), BAD, 'signed with the PEM');
  t.equal(await code(makeToken({ alg: 'none' }, claims, '')), BAD);

  // A reload takes the key; a broken one is refused and changes nothing.
  const next = keyPair('rsa');
  site.write('public.pem', 'no key', 0o644);
  t.notOk(await node.reload());
  t.equal(await code(makeToken({ alg: 'RS256' }, claims, keys.privateKey)), 0);
  const here = await login(node, {
    username: 'x',
    password: makeToken({ alg: 'RS256' }, claims, keys.privateKey),
  });
  site.write('public.pem', keys.pem, 0o644);
  t.ok(await node.reload());
  await here.ping();
  site.write('public.pem', next.pem, 0o644);
  t.ok(await node.reload());
  await here.expectError(NOT_AUTHORIZED);
  t.equal(await code(makeToken({ alg: 'RS256' }, claims, keys.privateKey)), BAD);
  t.equal(await code(makeToken({ alg: 'RS256' }, claims, next.privateKey)), 0);
});

t.test('tokens: keys from a URL that is away, lies, comes back and rotates', async (t) => {
  const [first, second] = [keyPair('ec'), keyPair('ec')];
  const service = await HttpService.start(t, status(503));
  const site = new Site(t);
  site.configure({
    authentication: {
      chain: ['jwt'],
      jwt: { algorithms: ['ES256'], jwksUrl: `${service.url}/keys` },
    },
  });
  const node = await NearNode.start(t, site);
  const claims = { sub: 'ann', exp: nowS() + 600 };
  const by = (keys: typeof first, kid: string) =>
    codeOf(node, {
      username: 'x',
      password: makeToken({ alg: 'ES256', kid }, claims, keys.privateKey),
    });
  t.equal(await by(first, 'one'), UNAVAILABLE, 'no keys, nobody');
  service.answer = json({ keys: [jwk(first, { kid: 'one', alg: 'ES256' })] });
  t.ok(await node.reload());
  t.equal(await by(first, 'one'), 0);
  t.equal(await by(second, 'one'), BAD, 'the name of the key alone is nothing');
  t.equal(await by(second, 'two'), BAD);

  const stays = await login(node, {
    username: 'x',
    password: makeToken({ alg: 'ES256', kid: 'one' }, claims, first.privateKey),
  });
  for (const lie of [json({ keys: 'all' }), json([]), status(500)]) {
    service.answer = lie;
    t.ok(await node.reload(), 'an issuer with troubles stops no reload');
    await stays.ping();
    t.equal(await by(first, 'one'), 0, 'keys that were good stay');
    t.equal(await by(second, 'two'), BAD);
  }
  await service.stop();
  t.ok(await node.reload());
  t.equal(await by(first, 'one'), 0);
  await service.resume();
  service.answer = json({ keys: [jwk(second, { kid: 'two', alg: 'ES256' })] });
  t.ok(await node.reload());
  t.equal(await by(second, 'two'), 0);
  t.equal(await by(first, 'one'), BAD, 'a key that was taken back');
  await stays.expectError(NOT_AUTHORIZED);
});

t.test('certificates: the name, its authority, its end by a revocation list', async (t) => {
  const files = new Certificates();
  files.authority('ca');
  files.authority('other');
  files.issue('server', 'ca', 'IP:127.0.0.1');
  files.issue('meter', 'ca', 'DNS:meter.example', '/O=Acme/CN=meter');
  files.issue('pump', 'ca', 'DNS:pump.example', '/O=Acme/CN=pump');
  files.issue('stranger', 'other', 'DNS:x.example', '/O=Acme/CN=meter');
  files.revoke('ca', 'list', []);
  const site = new Site(t);
  site.rules([{ allow: ['publish', 'subscribe'], topics: ['%t/%u/#'] }]);
  site.configure({
    listeners: [
      {
        url: 'mqtts://127.0.0.1:0',
        name: 'secure',
        tls: {
          certFile: files.path('server.pem'),
          keyFile: files.path('server.key'),
          caFile: files.path('ca.pem'),
          crlFile: files.path('list.crl'),
          clientCertificate: 'optional',
        },
      },
    ],
    authentication: {
      chain: ['certificate'],
      tenant: { from: 'certificate' },
    },
    authorization: { rulesFile: 'acl.yaml' },
  });
  const node = await NearNode.start(t, site);
  const by = (name: string | null): LoginFields => ({
    at: 'secure',
    tls: {
      ca: files.pem('ca.pem'),
      ...(name === null ? {} : { cert: files.pem(`${name}.pem`), key: files.pem(`${name}.key`) }),
    },
  });
  const meter = await login(node, { ...by('meter'), clientId: 'm1', username: 'pump' });
  t.equal(await userOf(node, 'm1'), 'meter', 'the certificate says who it is, not CONNECT');
  await meter.publish('Acme/meter/x', 'x', { qos: 1 });
  meter.sendPublish('Acme/pump/x', 'x', { qos: 1, packetId: 9 });
  await meter.waitFor('PUBACK', { packetId: 9, reasonCode: NOT_AUTHORIZED });
  t.equal(await codeOf(node, by(null)), NOT_AUTHORIZED, 'no certificate');
  t.equal(await codeOf(node, by('stranger')), NOT_AUTHORIZED, 'the same name by somebody else');
  t.equal(
    await codeOf(node, { ...by('stranger'), username: 'meter', password: 'x' }),
    BAD,
    'and a password proves nothing here',
  );
  const pump = await login(node, by('pump'));
  files.revoke('ca', 'list', ['meter']);
  t.ok(await node.reload());
  await meter.expectError(NOT_AUTHORIZED);
  await pump.ping();
  t.not(await codeOf(node, by('meter')).catch(() => null), 0, 'class 7: nor does it come back');
  t.equal(await codeOf(node, by('pump')), 0);
});

t.test('pre-shared keys', async (t) => {
  const [good, better] = [randomBytes(32), randomBytes(32)];
  const site = new Site(t);
  const listed = (key: Buffer): string => `meter:${key.toString('hex')}\npump:${'ab'.repeat(16)}\n`;
  site.write('keys', listed(good));
  site.rules([{ allow: ['publish', 'subscribe'], topics: ['%u/#'] }]);
  site.configure({
    listeners: [{ url: 'mqtts://127.0.0.1:0', name: 'psk', tls: { psk: true } }],
    authentication: { chain: ['psk'], psk: { file: 'keys' } },
    authorization: { rulesFile: 'acl.yaml' },
  });
  const node = await NearNode.start(t, site);
  const by = (identity: string, key: Buffer): LoginFields => ({
    at: 'psk',
    tls: {
      pskCallback: () => ({ identity, psk: key }),
      ciphers: 'PSK',
      maxVersion: 'TLSv1.2',
      checkServerIdentity: () => undefined,
    } as ConnectionOptions,
  });
  const meter = await login(node, { ...by('meter', good), clientId: 'm', username: 'pump' });
  t.equal(await userOf(node, 'm'), 'meter');
  await meter.publish('meter/x', 'x', { qos: 1 });
  await t.rejects(codeOf(node, by('meter', better)), 'another key');
  await t.rejects(codeOf(node, by('nobody', good)), 'another name');
  const pump = await login(node, { ...by('pump', Buffer.from('ab'.repeat(16), 'hex')) });
  site.write('keys', 'meter:nothex\n');
  t.notOk(await node.reload(), 'class 2: a broken file opens nothing');
  t.equal(await codeOf(node, by('meter', good)), 0, 'and changes nothing');
  site.write('keys', listed(better));
  await meter.ping();
  t.ok(await node.reload());
  await meter.expectError(NOT_AUTHORIZED);
  await pump.ping();
  t.equal(await codeOf(node, by('meter', better)), 0);
  await t.rejects(codeOf(node, by('meter', good)), 'class 7: the key of yesterday');
});

const METHOD = 'SCRAM-SHA-256';

/** Sends CONNECT and goes through the exchange; the last packet that came. */
async function scramLogin(node: RunningNode, side: ScramClient, fields: LoginFields = {}) {
  const client = await sendLogin(node, {
    ...fields,
    properties: [
      ['authenticationMethod', METHOD],
      ['authenticationData', side.first()],
      ...(fields.properties ?? []),
    ],
  });
  const first = await client.next();
  if (first?.type !== 'AUTH') return { client, last: first };
  const said = side.final(String(property(first, 'authenticationData')));
  client.send(auth(0x18, scramProperties(said)));
  return { client, last: await client.next() };
}

function scramProperties(data: Buffer): Property[] {
  return [
    ['authenticationMethod', METHOD],
    ['authenticationData', data],
  ];
}

/** AUTH 0x19 on an open connection, up to what ends it. */
async function again(client: Client, side: ScramClient) {
  client.send(auth(0x19, scramProperties(side.first())));
  const first = await client.next();
  if (first?.type !== 'AUTH') return first;
  const said = side.final(String(property(first, 'authenticationData')));
  client.send(auth(0x18, scramProperties(said)));
  return client.next();
}

t.test('SCRAM-SHA-256, and once more on an open connection', async (t) => {
  const site = new Site(t);
  site.write(
    'scram',
    await passwordLines({ ann: 'secret-1', ben: 'secret-2' }, 'scram-sha-256', 4096),
  );
  site.rules([{ allow: ['publish', 'subscribe'], topics: ['%u/#'] }]);
  site.configure({
    listeners: [
      { url: 'mqtt://127.0.0.1:0' },
      { url: 'mqtt://127.0.0.1:0', name: 'passwords', authentication: { chain: ['password'] } },
    ],
    authentication: {
      chain: ['scram'],
      scram: { file: 'scram' },
      password: { file: 'scram' },
    },
    authorization: { rulesFile: 'acl.yaml' },
  });
  const node = await NearNode.start(t, site);
  const elsewhere = await sendLogin(node, {
    at: 'passwords',
    properties: [
      ['authenticationMethod', METHOD],
      ['authenticationData', new ScramClient('ann', 'secret-1').first()],
    ],
  });
  await elsewhere.expectRefusal(0x8c);
  const byPassword = { at: 'passwords', username: 'ann', password: 'secret-1' };
  t.equal(await codeOf(node, byPassword), 0, 'its own way in is open');
  const side = new ScramClient('ann', 'secret-1');
  const { client: ann, last } = await scramLogin(node, side, { clientId: 'a' });
  t.match(last, { type: 'CONNACK', reasonCode: 0 });
  side.verify(String(property(last!, 'authenticationData')));
  t.ok(side.isServerProven, 'the broker knows ann’s password too');
  t.equal(await userOf(node, 'a'), 'ann');
  await ann.publish('ann/x', 'x', { qos: 1 });

  for (const [user, password] of [
    ['ann', 'wrong'],
    ['nobody', 'secret-1'],
    ['ben', 'secret-1'],
  ] as const) {
    const { last, client } = await scramLogin(node, new ScramClient(user, password));
    t.match(last, { type: 'CONNACK', reasonCode: NOT_AUTHORIZED }, user);
    await client.expectClose();
  }
  t.equal(await codeOf(node), NOT_AUTHORIZED, 'without it nobody');
  t.equal(await codeOf(node, { username: 'ann', password: 'secret-1' }), BAD);
  const plain = await sendLogin(node, { properties: [['authenticationMethod', 'PLAIN']] });
  await plain.expectRefusal(0x8c);

  const renewed = new ScramClient('ann', 'secret-1');
  const done = await again(ann, renewed);
  t.match(done, { type: 'AUTH', reasonCode: 0 });
  renewed.verify(String(property(done!, 'authenticationData')));
  await ann.publish('ann/x', 'x', { qos: 1 });
  t.match(await again(ann, new ScramClient('ann', 'wrong')), { type: 'DISCONNECT' });
  await ann.expectClose();

  const { client: other } = await scramLogin(node, new ScramClient('ann', 'secret-1'), {
    clientId: 'a',
  });
  const taken = await again(other, new ScramClient('ben', 'secret-2'));
  t.match(taken, { type: 'DISCONNECT' }, 'class 23: nobody becomes somebody else on the way');
  await other.expectClose();
});

t.test('each listener asks whom it is told to ask', async (t) => {
  const secret = randomBytes(40);
  const site = new Site(t);
  site.write('passwords', await passwordLines({ ann: 'right' }));
  site.write('secret', secret);
  const url = 'mqtt://127.0.0.1:0';
  site.configure({
    listeners: [
      { url, name: 'usual' },
      { url, name: 'tokens', authentication: { chain: ['jwt'] } },
      { url, name: 'both', authentication: { chain: ['jwt', 'password'] } },
      { url, name: 'lenient', authentication: { anonymous: true } },
      { url, name: 'open', authentication: { chain: [], anonymous: true } },
      { url, name: 'closed', authentication: { chain: [], anonymous: false } },
    ],
    authentication: {
      chain: ['password'],
      password: { file: 'passwords' },
      jwt: { algorithms: ['HS256'], secretFile: 'secret' },
    },
  });
  const node = await NearNode.start(t, site);
  const token = makeToken({ alg: 'HS256' }, { sub: 'tom', exp: nowS() + 600 }, secret);
  const shown: Readonly<Record<string, LoginFields>> = {
    password: { username: 'ann', password: 'right' },
    wrong: { username: 'ann', password: 'wrong' },
    token: { username: 'x', password: token },
    nothing: {},
    name: { username: 'ann' },
  };
  const expected: Readonly<Record<string, Readonly<Record<string, number>>>> = {
    usual: { password: 0, wrong: BAD, token: BAD, nothing: NOT_AUTHORIZED, name: BAD },
    tokens: { password: BAD, wrong: BAD, token: 0, nothing: NOT_AUTHORIZED, name: BAD },
    both: { password: 0, wrong: BAD, token: 0, nothing: NOT_AUTHORIZED, name: BAD },
    lenient: { password: 0, wrong: BAD, token: BAD, nothing: 0, name: BAD },
    open: { password: 0, wrong: 0, token: 0, nothing: 0, name: 0 },
    closed: { password: BAD, wrong: BAD, token: BAD, nothing: NOT_AUTHORIZED, name: BAD },
  };
  const found: Record<string, Record<string, number | null>> = {};
  for (const at of Object.keys(expected)) {
    found[at] = {};
    for (const [what, fields] of Object.entries(shown)) {
      found[at][what] = await codeOf(node, { ...fields, at });
    }
  }
  t.strictSame(found, expected);
  const nobody = await login(node, { at: 'open', clientId: 'n', username: 'ann', password: 'x' });
  t.equal(await userOf(node, 'n'), null, 'who was not asked is nobody, whatever it says');
  nobody.destroy();
});

t.test('tenants from wherever they are said to come', async (t) => {
  const secret = randomBytes(40);
  const url = 'mqtt://127.0.0.1:0';
  const token = (claims: object): string =>
    makeToken({ alg: 'HS256' }, { sub: 'tom', exp: nowS() + 600, ...claims }, secret);
  const cases: readonly {
    readonly tenant: object;
    readonly fields: LoginFields;
    readonly expected: string | null;
  }[] = [
    {
      tenant: { from: 'username_prefix' },
      fields: { username: 'acme/ann', password: 'p' },
      expected: 'acme',
    },
    {
      tenant: { from: 'username_prefix' },
      fields: { username: 'ben', password: 'p' },
      expected: '',
    },
    {
      tenant: { from: 'claim' },
      fields: { username: 'x', password: token({ tenant: 'umbrella' }) },
      expected: 'umbrella',
    },
    { tenant: { from: 'claim' }, fields: { username: 'x', password: token({}) }, expected: null },
    { tenant: { from: 'listener' }, fields: { username: 'ben', password: 'p' }, expected: 'door' },
    { tenant: { from: 'none' }, fields: { username: 'acme/ann', password: 'p' }, expected: '' },
  ];
  for (const { tenant, fields, expected } of cases) {
    const site = new Site(t);
    site.write('passwords', await passwordLines({ 'acme/ann': 'p', ben: 'p' }));
    site.write('secret', secret);
    site.rules([{ allow: ['publish', 'subscribe'], topics: ['of/%t/#'] }]);
    site.configure({
      listeners: [{ url, name: 'door' }],
      authentication: {
        chain: ['jwt', 'password'],
        password: { file: 'passwords' },
        jwt: { algorithms: ['HS256'], secretFile: 'secret' },
        tenant,
      },
      authorization: { rulesFile: 'acl.yaml' },
    });
    const node = await NearNode.start(t, site);
    const what = `${JSON.stringify(tenant)} ${expected}`;
    if (expected === null) {
      t.equal(await codeOf(node, fields), NOT_AUTHORIZED, what);
    } else {
      const client = await login(node, { ...fields, clientId: 'c' });
      t.equal((await node.api('GET', '/clients/c')).json.tenant, expected, what);
      const own = await client.subscribe([`of/${expected === '' ? 'x' : expected}/#`, 'of/x/#']);
      t.strictSame(
        own.reasonCodes,
        [expected === '' ? NOT_AUTHORIZED : 0, NOT_AUTHORIZED],
        'and rules speak of it',
      );
      client.destroy();
    }
    await node.stop();
  }
});

t.test('class 23: a session is its user’s, by whatever it came in', async (t) => {
  const secret = randomBytes(40);
  const site = new Site(t);
  site.write('passwords', await passwordLines({ ann: 'p', ben: 'p' }));
  site.write('scram', await passwordLines({ ben: 's' }, 'scram-sha-256', 4096));
  site.write('secret', secret);
  const url = 'mqtt://127.0.0.1:0';
  site.configure({
    listeners: [
      { url, name: 'usual' },
      { url, name: 'open', authentication: { chain: [], anonymous: true } },
    ],
    authentication: {
      chain: ['jwt', 'scram', 'password'],
      password: { file: 'passwords' },
      scram: { file: 'scram' },
      jwt: { algorithms: ['HS256'], secretFile: 'secret' },
    },
  });
  const node = await NearNode.start(t, site);
  const token = (sub: string): LoginFields => ({
    at: 'usual',
    username: 'x',
    password: makeToken({ alg: 'HS256' }, { sub, exp: nowS() + 600 }, secret),
  });
  const mine = { clientId: 'door-1', ...persistent };
  const ann = await login(node, { ...mine, at: 'usual', username: 'ann', password: 'p' });
  await ann.subscribed('news', { qos: 1 });
  const others: readonly (readonly [string, LoginFields])[] = [
    ['another user', { at: 'usual', username: 'ben', password: 'p' }],
    ['another user by a token', token('ben')],
    ['nobody', { at: 'open' }],
    ['nobody who says the name', { at: 'open', username: 'ann', password: 'p' }],
  ];
  const tryAll = async (): Promise<void> => {
    for (const [who, fields] of others) {
      for (const clean of [false, true]) {
        const stolen = { ...mine, ...fields, clean };
        t.equal(await codeOf(node, stolen), NOT_AUTHORIZED, `${who}, clean ${clean}`);
      }
    }
    const { last, client } = await scramLogin(node, new ScramClient('ben', 's'), {
      clientId: 'door-1',
      at: 'usual',
      clean: false,
    });
    t.match(last, { type: 'CONNACK', reasonCode: NOT_AUTHORIZED }, 'another user by SCRAM');
    client.destroy();
  };
  await tryAll();
  await ann.ping();
  ann.destroy();
  await until(async () => (await node.api('GET', '/clients/door-1')).status === 404, 'it is away');
  const writer = await login(node, token('ben'));
  await writer.publish('news', 'waits', { qos: 1 });
  await tryAll();
  const back = await login(node, { ...mine, ...token('ann') });
  t.ok(back.connack.sessionPresent, 'the same user by a token');
  t.strictSame(await heard(back), ['news waits']);
});

t.test('class 1: a user name is no proof, whoever is asked', async (t) => {
  const files = new Certificates();
  files.authority('ca');
  files.issue('server', 'ca', 'IP:127.0.0.1');
  const service = await HttpService.start(t, json({ result: 'allow' }));
  const site = new Site(t);
  site.write('passwords', await passwordLines({ ann: 'right' }));
  site.write('secret', randomBytes(40));
  const url = 'mqtt://127.0.0.1:0';
  site.configure({
    listeners: ['password', 'jwt', 'http', 'certificate'].map((kind) => ({
      url: kind === 'certificate' ? 'mqtts://127.0.0.1:0' : url,
      name: kind,
      authentication: { chain: [kind] },
      ...(kind === 'certificate'
        ? {
            tls: {
              certFile: files.path('server.pem'),
              keyFile: files.path('server.key'),
              caFile: files.path('ca.pem'),
              clientCertificate: 'optional',
            },
          }
        : {}),
    })),
    authentication: {
      password: { file: 'passwords' },
      jwt: { algorithms: ['HS256'], secretFile: 'secret' },
      http: { url: service.url },
    },
  });
  const node = await NearNode.start(t, site);
  const shown: readonly LoginFields[] = [
    {},
    { username: 'ann' },
    { username: 'ann', password: '' },
    { username: '', password: 'right' },
    { username: '' },
    { username: '', password: '' },
    { password: 'right' },
    { password: '' },
  ];
  for (const at of ['password', 'jwt', 'http', 'certificate']) {
    const tls = at === 'certificate' ? { tls: { ca: files.pem('ca.pem') } } : {};
    for (const fields of shown) {
      const what = `${at} ${JSON.stringify(fields)}`;
      const code = await codeOf(node, { ...fields, at, ...tls });
      t.ok(code === BAD || code === NOT_AUTHORIZED, `${what}: ${code}`);
      // [MQTT311-3.1.2-22] no password without a user name before MQTT 5.
      const old = await codeOf(node, { ...fields, at, ...tls, version: 4 });
      t.ok(old === null || old === 4 || old === 5, `${what} by 3.1.1: ${old}`);
    }
  }
  t.equal(service.asked.length, 0, 'the service, which would say yes, is not asked');
  t.equal(await codeOf(node, { at: 'password', username: 'ann', password: 'right' }), 0);
});

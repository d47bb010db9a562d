// The door itself: tokens, limits of calls, secrets, names from outside, audit, TLS, metrics.
import { execFileSync } from 'node:child_process';
import { chmodSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { request as httpsRequest } from 'node:https';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import type { TLSSocket } from 'node:tls';
import t, { type Test } from 'tap';
import { AUDIT_ENTRIES_MAX, AuditLog } from '../../src/admin/api/audit-log.ts';
import { addressKey, CallLimiter } from '../../src/admin/api/call-limiter.ts';
import { roles } from '../../src/admin/api/role.ts';
import { ApiDoor } from './api-door.ts';

/** Names that have broken brokers and dashboards (classes 4, 23, 29, 31). */
const names: readonly string[] = [
  '__proto__',
  'constructor',
  'hasOwnProperty',
  'a/b',
  '..',
  '.',
  '%2F',
  '%',
  'a?b#c',
  '<script>alert(1)</script>',
  '"\'`\\',
  '+',
  '#',
  '*',
  '.*',
  '$share/x',
  'grüße 😀 \u202e',
  ' ',
  'x'.repeat(1024),
];

function encoded(name: string): string {
  return encodeURIComponent(name).replace(/^\.+$/, (dots) => dots.replaceAll('.', '%2E'));
}

t.test('classes 29 and 31: what clients choose is data, whatever it is', async (t) => {
  const door = await ApiDoor.open(t);
  const { world } = door;
  for (const name of names) world.connected(5, name, { clean: false, expiryS: 100 });
  const seen = (await door.all('/sessions?limit=4')).map(({ clientId }) => clientId);
  t.strictSame(seen.toSorted(), names.toSorted());
  for (const name of names) {
    const client = await door.get(`/clients/${encoded(name)}`);
    t.equal(client.json().clientId, name, `shows ${name.slice(0, 30)}`);
    t.equal(client.headers['content-type'], 'application/json; charset=utf-8');
    t.equal(client.headers['x-content-type-options'], 'nosniff');
    t.equal(client.headers['content-security-policy'], "default-src 'none'");
    // A * in the name of a client matches itself, and others.
    const listed = await door.all(`/clients?clientId=${encodeURIComponent(name.slice(0, 200))}`);
    t.ok(name.length > 200 || listed.some(({ clientId }) => clientId === name), 'is listed');
    t.equal((await door.get(`/sessions/${encoded(name)}`)).json().clientId, name);
    const gone = await door.ask('DELETE', `/sessions/${encoded(name)}`, { as: 'operator' });
    t.equal(gone.status, 204);
    t.equal((await door.get(`/sessions/${encoded(name)}`)).status, 404);
  }
  t.equal(world.stats.sessions, 0);
  t.equal(Object.getOwnPropertyNames(Object.prototype).length, 12, 'nothing was added to objects');
});

t.test('class 31: keys of objects that mean something to JavaScript', async (t) => {
  const door = await ApiDoor.open(t);
  const publish = '{"topic":"a","payload":"","__proto__":{"qos":2}}';
  const test = '{"clientId":"c","action":"publish","topic":"a","claims":{"__proto__":["x"]}}';
  for (const [path, body] of [
    ['/publish', publish],
    ['/publish', '{"topic":"a","payload":"","constructor":{"prototype":{}}}'],
    ['/publish', '{"topic":"a","payload":"","constructor":1}'],
    ['/acl/test', test],
    ['/publish', '[]'],
    ['/publish', 'null'],
    ['/publish', '"topic"'],
    ['/publish', '{'],
    ['/publish', ''],
  ] as const) {
    const answer = await door.ask('POST', path, { as: 'operator', body });
    t.equal(answer.status, 400, `${path} ${body}`);
  }
  for (const query of ['__proto__=x', 'constructor=x', 'limit[]=1', 'limit=1&limit=2', 'x=1']) {
    t.equal((await door.get(`/clients?${query}`)).status, 400, query);
  }
  t.strictSame((await door.get('/clients?x=1&limit=0&cursor=')).json().errors, [
    { field: 'x', message: 'is not known here' },
    { field: 'limit', message: 'must be >= 1' },
    { field: 'cursor', message: 'must NOT have fewer than 1 characters' },
  ]);
  for (const limit of ['', '-1', '1.5', '1e1', '1001', 'ten', '99999999999999999999']) {
    t.equal((await door.get(`/clients?limit=${limit}`)).status, 400, `limit ${limit}`);
  }
  const text = { as: 'operator', body: 'x', headers: { 'content-type': 'text/plain' } } as const;
  t.equal((await door.ask('POST', '/publish', text)).status, 415);
  const large = { kind: 'client', value: 'x', reason: 'y'.repeat(600_000) };
  t.equal((await door.ask('POST', '/bans', { as: 'operator', body: large })).status, 413);
});

t.test('other methods and paths', async (t) => {
  const door = await ApiDoor.open(t);
  for (const [method, path, status, allow] of [
    ['PUT', '/api/v1/clients/a', 405, 'GET, DELETE'],
    ['OPTIONS', '/api/v1/publish', 405, 'POST'],
    ['POST', '/api/v1/openapi.json', 405, 'GET'],
    ['HEAD', '/api/v1/node', 405, 'GET'],
    ['GET', '/api/v1/nothing', 404, undefined],
    ['GET', '/api/v1', 404, undefined],
    ['GET', '/api/v1/clients/', 400, undefined],
    ['GET', '/api/v2/clients', 404, undefined],
  ] as const) {
    const answer = await door.send(method, path, { as: 'admin', headers: { origin: 'https://x' } });
    t.equal(answer.status, status, `${method} ${path}`);
    t.equal(answer.headers.allow, allow);
    t.notOk(
      Object.keys(answer.headers).some((name) => name.startsWith('access-control-')),
      'no CORS',
    );
    t.equal(answer.headers['set-cookie'], undefined, 'no cookies');
  }
  const rebound = { as: 'admin', headers: { host: 'evil.example' } } as const;
  t.equal((await door.ask('GET', '/node', rebound)).status, 421);
});

t.test('a token comes in the header, and in no other way', async (t) => {
  const door = await ApiDoor.open(t);
  const token = door.tokens.get('admin')!;
  const status = async (headers: Record<string, string>, query = ''): Promise<number> =>
    (await door.ask('GET', `/node${query}`, { headers })).status;
  t.equal(await status({ authorization: `bearer  ${token}` }), 200, 'the scheme has no case');
  t.equal(await status({ authorization: token }), 401);
  t.equal(await status({ authorization: `Basic ${token}` }), 401);
  t.equal(await status({ authorization: 'Bearer ' }), 401);
  t.equal(await status({ cookie: `token=${token}` }), 401);
  t.equal(await status({}, `?token=${token}`), 401);
  t.equal(await status({ authorization: `Bearer ${'x'.repeat(5000)}` }), 401);
  t.equal(await status({ authorization: `Bearer ${token.slice(0, -1)}` }), 401);
});

t.test('no token at all: what to do about it', async (t) => {
  const door = await ApiDoor.open(t, { tokens: [] });
  const answer = await door.ask('GET', '/node');
  t.equal(answer.status, 401);
  t.match(answer.json().detail, /causeway init.*CAUSEWAY_ADMIN_TOKEN/);
  t.equal((await door.ask('GET', '/node', { token: 'admin' })).status, 401, 'no default password');
  for (const path of ['/health/live', '/health/ready', '/metrics', '/api/v1/openapi.json']) {
    t.equal((await door.send('GET', path)).status, 200, `${path} needs none`);
  }
});

t.test('a token from the environment', async (t) => {
  const environmentToken = 'from-the-environment-0123';
  const door = await ApiDoor.open(t, { tokens: [], api: { environmentToken } });
  const ask = { token: environmentToken };
  const [shown] = (await door.ask('GET', '/tokens', ask)).json().items;
  t.match(shown, { name: 'environment', role: 'admin', origin: 'environment' });
  t.equal((await door.ask('DELETE', '/tokens/environment', ask)).status, 409);
  const body = { name: 'environment', role: 'viewer' };
  t.equal((await door.ask('POST', '/tokens', { ...ask, body })).status, 409, 'the name is taken');
  await t.rejects(
    ApiDoor.open(t, { api: { environmentToken: 'too-short' } }),
    { message: /CAUSEWAY_ADMIN_TOKEN/ },
    'a short one does not start',
  );
});

t.test('tokens are made, used, listed and deleted', async (t) => {
  const door = await ApiDoor.open(t);
  const create = (body: object) => door.ask('POST', '/tokens', { as: 'admin', body });
  const made = await create({ name: 'ci', role: 'operator', expiresInS: 1000 });
  t.equal(made.status, 201);
  const { token, ...view } = made.json();
  t.match(token, /^cwt_[\w-]{43}$/, '256 bits');
  t.match(view, { name: 'ci', role: 'operator', origin: 'file' });
  t.equal(Date.parse(view.expiresAt) - Date.parse(view.createdAt), 1_000_000);
  t.equal((await door.ask('GET', '/retained', { token })).status, 200);
  t.equal((await door.ask('GET', '/tokens', { token })).status, 403);
  const listed = await door.all('/tokens?limit=2');
  t.strictSame(listed.map(({ name }) => name).toSorted(), [
    'ci',
    'the-admin',
    'the-operator',
    'the-viewer',
  ]);
  t.notMatch(JSON.stringify(listed), /sha256|hash|cwt_/);
  const stored = readFileSync(door.tokensFile, 'utf8');
  t.notMatch(stored, token, 'only a hash is kept');
  t.equal(statSync(door.tokensFile).mode & 0o777, 0o600);
  t.equal(statSync(join(door.folder, 'data')).mode & 0o777, 0o700);
  for (const [body, status] of [
    [{ name: 'ci', role: 'viewer' }, 409],
    [{ name: 'a b', role: 'viewer' }, 400],
    [{ name: '../x', role: 'viewer' }, 400],
    [{ name: '', role: 'viewer' }, 400],
    [{ name: 'x', role: 'root' }, 400],
    [{ name: 'x' }, 400],
    [{ name: 'x', role: 'viewer', token: 'chosen' }, 400],
  ] as const) {
    t.equal((await create(body)).status, status, JSON.stringify(body));
  }
  const remove = (name: string) => door.ask('DELETE', `/tokens/${name}`, { as: 'admin' });
  t.equal((await remove('ci')).status, 204);
  t.equal((await door.ask('GET', '/retained', { token })).status, 401, 'refused at once');
  t.equal((await remove('ci')).status, 404);
  t.equal((await remove('the-admin')).status, 409, 'the last admin stays');
  await create({ name: '__proto__', role: 'admin' });
  t.equal((await remove('the-admin')).status, 204, 'there is another');
});

t.test('class 2: a broken file of tokens opens nothing', async (t) => {
  const broken: readonly [string, RegExp][] = [
    ['{', /is not JSON/],
    ['{}', /no list/],
    ['null', /no list/],
    ['{"tokens":[{}]}', /tokens\[0\]: name/],
    [record({ sha256: 'secret' }), /sha256/],
    [record({ role: 'root' }), /role/],
    [record({ expiresAt: undefined }), /expiresAt/],
    [record({ expiresAt: 'soon' }), /expiresAt/],
    [record({ password: 'secret' }), /unknown field "password"/],
    [`{"tokens":[${token()},${token()}]}`, /second/],
  ];
  for (const [text, message] of broken) {
    const door = await ApiDoor.open(t);
    writeFileSync(door.tokensFile, text);
    await t.rejects(door.server.reload(), { name: 'TokenFileError', message });
    const said = await door.server.reload().catch((error: Error) => error.message);
    t.notMatch(said, /secret"?$|"secret/, 'nothing of what it holds is said');
    t.equal((await door.get('/node')).status, 200, 'a reload keeps what it had');
    const body = { name: 'x', role: 'viewer' };
    const made = await door.ask('POST', '/tokens', { as: 'admin', body });
    t.equal(made.status, 500, 'and does not write over it');
    t.equal(readFileSync(door.tokensFile, 'utf8'), text);
    await door.server.stop();
    await t.rejects(door.server.start(), { message }, 'nothing starts with it');
  }
  const door = await ApiDoor.open(t);
  chmodSync(door.tokensFile, 0o666);
  await t.rejects(door.server.reload(), { message: /chmod 600/ });
});

function token(changes: object = {}): string {
  return JSON.stringify({
    name: 'x',
    role: 'admin',
    sha256: '0'.repeat(64),
    createdAt: '2026-01-01T00:00:00.000Z',
    expiresAt: null,
    ...changes,
  });
}

function record(changes: object): string {
  return `{"tokens":[${token(changes)}]}`;
}

t.test('a changed file of tokens holds after a reload', async (t) => {
  const door = await ApiDoor.open(t);
  const { tokens } = JSON.parse(readFileSync(door.tokensFile, 'utf8')) as { tokens: object[] };
  writeFileSync(door.tokensFile, JSON.stringify({ tokens: tokens.slice(1) }));
  t.equal((await door.get('/node', 'viewer')).status, 200);
  await door.server.reload();
  t.equal((await door.get('/node', 'viewer')).status, 401);
  t.equal((await door.get('/node', 'operator')).status, 200);
});

t.test('failed logins block their address for a while', async (t) => {
  const rates = { failures: { calls: 3, perS: 60, blockS: 1 }, calls: { calls: 100, perS: 1 } };
  const door = await ApiDoor.open(t, { api: { rates } });
  const wrong = { token: 'cwt_canary' };
  for (let i = 0; i < 4; i++) t.equal((await door.ask('GET', '/node', wrong)).status, 401);
  const written = door.logged.length;
  const blocked = await door.ask('GET', '/node', wrong);
  t.equal(blocked.status, 429);
  t.equal(blocked.headers['retry-after'], '1');
  t.equal((await door.get('/node')).status, 429, 'also with a good token');
  t.equal(door.logged.length, written, 'a flood does not fill the log');
  await new Promise((resolve) => setTimeout(resolve, 1100));
  t.equal((await door.get('/node')).status, 200, 'for a while');
  const metrics = (await door.send('GET', '/metrics')).body;
  t.match(metrics, /^causeway_api_refused_total\{reason="unknown_token"\} 4$/m);
  t.match(metrics, /^causeway_api_refused_total\{reason="blocked_address"\} 2$/m);
  t.match(metrics, /_requests_total\{route="GET \/api\/v1\/node",status="429"\} 2$/m);
});

t.test('calls of one token are limited, those of another are not', async (t) => {
  const rates = { failures: { calls: 3, perS: 60 }, calls: { calls: 5, perS: 60 } };
  const door = await ApiDoor.open(t, { api: { rates } });
  for (let i = 0; i < 5; i++) t.equal((await door.get('/node', 'viewer')).status, 200);
  const refused = await door.get('/node', 'viewer');
  t.equal(refused.status, 429);
  t.ok(Number(refused.headers['retry-after']) > 0);
  t.equal((await door.get('/node', 'admin')).status, 200);
});

t.test('what is remembered of callers is bounded', async (t) => {
  const limiter = new CallLimiter({ calls: 1, perS: 60 });
  for (let i = 0; i < 12_000; i++) await limiter.take(`key ${i}`);
  t.equal(limiter.size, 10_000);
  t.ok((await limiter.take('key 11999')) > 0, 'the last are known');
  t.equal(await limiter.take('key 0'), 0, 'the oldest are forgotten');
  t.equal(addressKey('::ffff:192.0.2.1'), addressKey('192.0.2.1'));
  t.equal(addressKey('2001:db8:1:2:3::1'), addressKey('2001:db8:1:2:4::2'), 'one network');
  t.not(addressKey('2001:db8:1:2::1'), addressKey('2001:db8:1:3::1'));
  t.equal(addressKey('fe80::1%eth0'), addressKey('fe80::2'));
});

t.test('audit: who changed what, and no secret', async (t) => {
  const door = await ApiDoor.open(t);
  door.world.connected(5, 'a/b');
  const created = { name: 'made', role: 'viewer' };
  const { token } = (await door.ask('POST', '/tokens', { as: 'admin', body: created })).json();
  await door.ask('DELETE', '/clients/a%2Fb', { as: 'operator' });
  await door.ask('DELETE', '/clients/a%2Fb', { as: 'viewer' });
  const message = { topic: 'x/y', payload: 'canary-payload' };
  await door.ask('POST', '/publish', { as: 'operator', body: message });
  await door.ask('POST', '/publish', { as: 'operator', body: { topic: 1 } });
  await door.ask('POST', '/publish', {
    as: 'operator',
    body: { ...message, topic: 'x'.repeat(999) },
  });
  await door.get('/clients');
  const entries = await door.all('/audit?limit=3');
  t.strictSame(
    entries.map(({ name, method, path, target, status }) => [name, method, path, target, status]),
    [
      ['the-operator', 'POST', '/api/v1/publish', `${'x'.repeat(256)}…`, 204],
      ['the-operator', 'POST', '/api/v1/publish', '', 400],
      ['the-operator', 'POST', '/api/v1/publish', 'x/y', 204],
      ['the-viewer', 'DELETE', '/api/v1/clients/{clientId}', '', 403],
      ['the-operator', 'DELETE', '/api/v1/clients/{clientId}', 'a/b', 204],
      ['the-admin', 'POST', '/api/v1/tokens', 'made viewer', 201],
    ],
    'the newest first',
  );
  t.ok(entries.every(({ address }) => address === '127.0.0.1'));
  const audited = door.logged.filter(({ fields }) => (fields as { audit?: true }).audit);
  t.equal(audited.length, entries.length, 'the log has the same');

  await door.ask('GET', '/node', { token: `${token}x` });
  const said = JSON.stringify(door.logged) + (await door.send('GET', '/metrics')).body;
  for (const secret of [token, 'canary-payload', ...door.tokens.values()]) {
    t.notOk(said.includes(secret.slice(0, 20)), 'class 26: no token and no payload is said');
  }
});

t.test('the audit keeps a bounded number, the newest first', async (t) => {
  const silent = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };
  const audit = new AuditLog(silent);
  const entry = { name: 'n', role: 'admin', address: '', method: 'POST', path: '/', status: 200 };
  for (let atMs = 1; atMs <= AUDIT_ENTRIES_MAX + 5; atMs++) {
    audit.add({ ...entry, role: 'admin', atMs, target: '' });
  }
  const times = audit.list().map(({ atMs }) => atMs);
  t.equal(times.length, AUDIT_ENTRIES_MAX);
  t.equal(times[0], AUDIT_ENTRIES_MAX + 5);
  t.equal(times.at(-1), 6);
  t.ok(times.every((atMs, i) => i === 0 || atMs === times[i - 1]! - 1));
});

t.test('an error of a room is logged and not shown', async (t) => {
  const door = await ApiDoor.open(t, {
    api: {
      config: {
        shown: () => {
          throw new Error('canary /etc/secret');
        },
        reload: () => Promise.reject(new Error('canary')),
        reloadCertificates: () => Promise.reject(new Error('canary')),
      },
    },
  });
  const answer = await door.get('/config');
  t.equal(answer.status, 500);
  t.notMatch(answer.body, /canary/);
  t.match(door.logged, [{ fields: { err: { message: 'canary /etc/secret' } } }]);
});

/** An address of this machine that is not loopback, or null. */
function outerAddress(): string | null {
  const all = Object.values(networkInterfaces()).flatMap((list) => list ?? []);
  return all.find(({ internal, family }) => !internal && family === 'IPv4')?.address ?? null;
}

t.test('metrics where other machines can ask need a token', async (t) => {
  const door = await ApiDoor.open(t, { admin: { host: '0.0.0.0' } });
  t.equal((await door.send('GET', '/metrics')).status, 401, 'class 30: also from this machine');
  t.equal((await door.send('GET', '/metrics', { as: 'viewer' })).status, 200);
  t.equal((await door.send('GET', '/health/live')).status, 200, 'health needs none');
  const open = await ApiDoor.open(t, { admin: { host: '0.0.0.0', metricsAnonymous: true } });
  t.equal((await open.send('GET', '/metrics')).status, 200);
  const outer = outerAddress();
  if (outer === null) return;
  const there = await ApiDoor.open(t, { admin: { host: outer } });
  t.equal((await there.send('GET', '/metrics')).status, 401);
  t.equal((await there.get('/node')).status, 200);
});

function selfSigned(folder: string, name: string): { key: string; cert: string } {
  const [key, cert] = [join(folder, `${name}.key`), join(folder, `${name}.crt`)];
  const subject = ['-subj', `/CN=${name}`, '-addext', 'subjectAltName=IP:127.0.0.1'];
  const files = ['-keyout', key, '-out', cert, '-days', '2'];
  const kind = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  execFileSync('openssl', ['req', '-x509', ...kind, ...files, ...subject], { stdio: 'pipe' });
  return { key: readFileSync(key, 'utf8'), cert: readFileSync(cert, 'utf8') };
}

/** Name of the certificate an answer came under. */
function askSecurely(t: Test, door: ApiDoor, ca: string): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const headers = { authorization: `Bearer ${door.tokens.get('viewer')}` };
  const url = `${door.server.address}/api/v1/node`;
  const sent = httpsRequest(url, { ca, headers, agent: false }, (response) => {
    t.equal(response.statusCode, 200);
    resolve(String((response.socket as TLSSocket).getPeerCertificate().subject.CN));
    response.resume();
  });
  sent.on('error', reject);
  sent.end();
  return promise;
}

t.test('TLS, and new certificates without a restart', async (t) => {
  const plain = await ApiDoor.open(t);
  const first = selfSigned(plain.folder, 'first');
  const second = selfSigned(plain.folder, 'second');
  const door = await ApiDoor.open(t, { admin: { tls: first }, secure: true });
  t.match(door.server.address, /^https:/);
  t.equal(await askSecurely(t, door, first.cert), 'first');
  t.throws(() => door.server.setTls({ ...first, key: 'nonsense' }));
  t.equal(await askSecurely(t, door, first.cert), 'first', 'what was good stays');
  door.server.setTls(second);
  t.equal(await askSecurely(t, door, second.cert), 'second');
  await t.rejects(askSecurely(t, door, first.cert));
  t.equal(roles.length, door.tokens.size);
});

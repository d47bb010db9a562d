/**
 * Unique secrets sent through everything that takes one: none of them, nor a hash of one, is in the
 * log at its most talkative, in metrics, `$SYS`, traces, answers and errors of the API, what commands
 * print, or files the node writes (class 26 of docs/reference/bug-classes.md).
 */
import { createHash, randomBytes } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import type { ConnectionOptions } from 'node:tls';
import t, { type Test } from 'tap';
import { WebSocket } from 'ws';
import { ScramClient } from '../access/authn/scram-client.ts';
import { makeToken } from '../access/authn/token-workshop.ts';
import { runCli } from '../cli/run.ts';
import { auth } from '../conformance/packets.ts';
import { property } from '../conformance/reader.ts';
import { Certificates } from '../listeners/certificates.ts';
import { HttpService, json, silence } from '../support/http-service.ts';
import { RedisServer, redisAdmin } from '../support/redis-server.ts';
import {
  ADMIN_TOKEN,
  codeOf,
  FarNode,
  heard,
  type LoginFields,
  login,
  NearNode,
  passwordLines,
  type RunningNode,
  Site,
  sendLogin,
  until,
} from './access-kit.ts';
import { redisUser } from './backend-kit.ts';

/** Secrets by what they are, and everything in which one might be. */
class Canaries {
  readonly #secrets = new Map<string, readonly string[]>();
  readonly #seen: { readonly where: string; readonly text: string }[] = [];

  /** A secret nobody else has; letters and digits, as it goes into URLs and headers too. */
  make(what: string): string {
    const secret = `canary${randomBytes(12).toString('hex')}`;
    this.add(what, secret);
    return secret;
  }

  /** As it is, and in the forms in which it might be written. */
  add(what: string, secret: string | Buffer): void {
    const bytes = Buffer.from(secret as string);
    const forms = [
      bytes.toString('latin1'),
      bytes.toString('base64').replace(/=+$/, ''),
      bytes.toString('base64url'),
      bytes.toString('hex'),
      encodeURIComponent(bytes.toString('latin1')),
      JSON.stringify(bytes.toString('latin1')).slice(1, -1),
    ];
    this.#secrets.set(what, [...new Set(forms)]);
  }

  saw(where: string, text: string): void {
    this.#seen.push({ where, text });
  }

  get places(): number {
    return this.#seen.length;
  }

  /** `what in where`, for each that was found. */
  found(): string[] {
    const found: string[] = [];
    for (const [what, forms] of this.#secrets) {
      for (const { where, text } of this.#seen) {
        const form = forms.find((one) => text.includes(one));
        if (form !== undefined) found.push(`${what} in ${where}`);
      }
    }
    return found;
  }
}

/** The parts of `$scrypt$…$SALT$KEY` and of its like that are secret. */
function addHashes(canaries: Canaries, what: string, lines: string): void {
  for (const line of lines.trim().split('\n')) {
    for (const part of line.split(/[$:,]/).slice(-2)) {
      if (part.length >= 16) canaries.add(`${what}: ${part.slice(0, 4)}…`, part);
    }
  }
}

/** Every GET of the document, and answers to calls that are wrong. */
async function askEverything(node: RunningNode, canaries: Canaries, secret: string): Promise<void> {
  const document = await node.api('GET', '/openapi.json');
  for (const [path, operations] of Object.entries(document.json.paths as object)) {
    const concrete = path
      .replace('/api/v1', '')
      .replace('{clientId}', 'mine')
      .replace(/\{[^}]+\}/, 'x');
    for (const method of Object.keys(operations)) {
      if (method !== 'get' || concrete === '/trace') continue;
      const { text } = await node.api('GET', `${concrete}?limit=1000`);
      canaries.saw(`GET ${path}`, text);
      canaries.saw(`GET ${path} bare`, (await node.api('GET', concrete)).text);
    }
  }
  const wrong: readonly (readonly [string, string, string])[] = [
    ['POST', '/tokens', `{"name":"x","role":"${secret}"}`],
    ['POST', '/tokens', `{"name":"x","${secret}":"viewer"`],
    ['POST', '/publish', `{"topic":"a","payload":"${secret}","qos":7}`],
    ['POST', '/publish', `{"topic":"#","payload":"${secret}"}`],
    ['POST', '/publish', `{"topic":"a","payload":"${secret}","encoding":"base64"}`],
  ];
  for (const [method, path, body] of wrong) {
    const response = await fetch(new URL(`/api/v1${path}`, node.admin), {
      method,
      body,
      headers: { authorization: `Bearer ${ADMIN_TOKEN}`, 'content-type': 'application/json' },
    });
    const text = await response.text();
    if (response.status !== 400) throw new Error(`${path} ${body}: ${response.status}`);
    canaries.saw(`${method} ${path}, refused`, text);
  }
  for (const authorization of [`Bearer ${secret}`, `Basic ${secret}`, secret]) {
    for (const path of ['/api/v1/clients', '/metrics', `/api/v1/${secret.slice(0, 3)}`]) {
      const response = await fetch(new URL(path, node.admin), { headers: { authorization } });
      canaries.saw(`${path} with a wrong token`, await response.text());
    }
  }
  for (const path of ['/health/live', '/health/ready', '/health/full', '/metrics']) {
    const response = await fetch(new URL(path, node.admin), { headers: { connection: 'close' } });
    canaries.saw(path, await response.text());
  }
}

/** What an open trace says, until it is told to stop. */
function trace(node: RunningNode, query: string): { readonly stop: () => string } {
  let text = '';
  const asked = request(
    new URL(`/api/v1/trace?${query}`, node.admin),
    { headers: { authorization: `Bearer ${ADMIN_TOKEN}` } },
    (response) => response.on('data', (chunk: Buffer) => (text += chunk.toString())),
  );
  asked.on('error', () => {});
  asked.end();
  return {
    stop: () => {
      asked.destroy();
      return text;
    },
  };
}

async function scram(node: RunningNode, user: string, password: string): Promise<void> {
  const side = new ScramClient(user, password);
  const method = ['authenticationMethod', 'SCRAM-SHA-256'] as const;
  const client = await sendLogin(node, {
    at: 'plain',
    properties: [method, ['authenticationData', side.first()]],
  });
  const first = await client.next();
  const answer = side.final(String(property(first!, 'authenticationData')));
  client.send(auth(0x18, [method, ['authenticationData', answer]]));
  await client.next();
  client.destroy();
}

t.test('class 26: no secret is said anywhere', async (t) => {
  const canaries = new Canaries();
  const make = (what: string): string => canaries.make(what);
  const password = make('password');
  const mistyped = make('wrong password');
  const scramPassword = make('SCRAM password');
  const secret = make('secret of tokens');
  const header = make('key of the HTTP service');
  const urlPassword = make('password in a URL');
  const query = make('key in a URL');
  const redisPassword = make('password of Redis');
  const redisUserPassword = make('password of a user in Redis');
  const payload = make('payload');
  const apiToken = make('API token that is none');
  const cookie = make('cookie of a page');
  const psk = randomBytes(32);
  canaries.add('pre-shared key', psk.toString('hex'));
  canaries.add('pre-shared key as bytes', psk);
  canaries.add('admin token', ADMIN_TOKEN);
  canaries.add('hash of the admin token', createHash('sha256').update(ADMIN_TOKEN).digest());

  const files = new Certificates();
  files.authority('ca');
  files.issue('server', 'ca', 'IP:127.0.0.1');
  files.issue('device', 'ca', 'DNS:device.example');
  for (const name of ['server', 'device', 'ca']) {
    const body = files.pem(`${name}.key`).split('\n').slice(1, -2);
    for (const [index, line] of body.entries()) canaries.add(`${name}.key:${index + 2}`, line);
  }
  const redis = await RedisServer.start(t, ['--requirepass', redisPassword]);
  const admin = await redisAdmin(t, `redis://:${redisPassword}@127.0.0.1:${redis.port}`);
  const stored = redisUser(redisUserPassword);
  await admin('HSET', 'mqtt_user:rita', ...stored);
  canaries.add('digest of a user in Redis', stored[1]!);
  const service = await HttpService.start(t, (asked, response) => {
    const isRight = asked.body.includes(password);
    json({ result: isRight ? 'allow' : 'deny', reason: asked.body })(asked, response);
  });

  const site = new Site(t);
  for (const name of ['ca.pem', 'server.pem', 'server.key']) site.write(name, files.pem(name));
  const passwords = await passwordLines({ ann: password, mine: password });
  const scramLines = await passwordLines({ sue: scramPassword }, 'scram-sha-256', 4096);
  addHashes(canaries, 'hash of a password', passwords);
  addHashes(canaries, 'keys of SCRAM', scramLines);
  site.write('passwords', passwords);
  site.write('scram', scramLines);
  site.write('psk', `meter:${psk.toString('hex')}\n`);
  site.write('secret', secret);
  site.write('headers', `X-Api-Key: ${header}\n`);
  site.write('redis-password', redisPassword);
  site.rules([{ allow: ['publish', 'subscribe'], topics: ['#', '$SYS/#'] }]);
  const chain = ['certificate', 'psk', 'scram', 'jwt', 'password', 'redis', 'http'];
  const config = {
    listeners: [
      { url: 'mqtt://127.0.0.1:0', name: 'plain' },
      { url: 'ws://127.0.0.1:0/mqtt', name: 'pages' },
      {
        url: 'mqtts://127.0.0.1:0',
        name: 'secure',
        tls: {
          ...{ certFile: 'server.pem', keyFile: 'server.key', caFile: 'ca.pem' },
          ...{ clientCertificate: 'optional', psk: true },
        },
      },
    ],
    sysIntervalS: 1,
    log: { level: 'debug' },
    bans: { login: { failuresMax: 200 } },
    authentication: {
      chain,
      password: { file: 'passwords' },
      scram: { file: 'scram' },
      psk: { file: 'psk' },
      jwt: { algorithms: ['HS256'], secretFile: 'secret' },
      redis: {
        url: `redis://127.0.0.1:${redis.port}`,
        passwordFile: 'redis-password',
        timeoutMs: 300,
      },
      http: {
        url: `http://node:${urlPassword}@127.0.0.1:${service.port}/login?key=${query}`,
        headersFile: 'headers',
        timeoutMs: 300,
        cacheS: 0,
      },
    },
    authorization: { rulesFile: 'acl.yaml' },
  };
  site.configure(config);
  const stderr = site.path('stderr');
  const node = await FarNode.start(t, site, {
    data: 'data',
    wrap: ['/bin/sh', '-c', 'to=$1; shift; exec "$@" 2>"$to"', 'sh', stderr],
  });

  const traced = trace(node, 'client=mine');
  const sys = await login(node, { at: 'plain', username: 'ann', password, clientId: 'sys' });
  await sys.subscribed('$SYS/#');
  canaries.saw('$SYS', (await heard(sys)).join('\n'));

  // Every way in, with what is right and with what is not.
  const inTwoHours = Math.floor(Date.now() / 1000) + 7200;
  const tokens = {
    good: makeToken({ alg: 'HS256' }, { sub: 'tom', exp: inTwoHours }, secret),
    expired: makeToken({ alg: 'HS256' }, { sub: 'tom', exp: 1000 }, secret),
    forged: makeToken({ alg: 'HS256' }, { sub: 'tom', exp: inTwoHours }, 'another'.repeat(8)),
  };
  for (const [what, token] of Object.entries(tokens)) {
    canaries.add(`${what} token`, token);
    canaries.add(`signature of the ${what} token`, token.split('.')[2]!);
  }
  const plain = (username: string, shown: string, more: LoginFields = {}): LoginFields => ({
    at: 'plain',
    clientId: 'mine',
    username,
    password: shown,
    ...more,
  });
  const will = { topic: 'will', payload, retain: true };
  const codes = [
    await codeOf(node, plain('ann', password, { will })),
    await codeOf(node, plain('rita', redisUserPassword)),
    await codeOf(node, plain('x', tokens.good)),
    await codeOf(node, plain('harry', password, { version: 4 })),
  ];
  t.strictSame(codes, [0, 0, 0, 0], 'those who may are in');
  const refused = [
    await codeOf(node, plain('ann', mistyped)),
    await codeOf(node, plain('ann', mistyped, { version: 4 })),
    await codeOf(node, plain('rita', mistyped)),
    await codeOf(node, plain('harry', mistyped)),
    await codeOf(node, plain('x', tokens.expired)),
    await codeOf(node, plain('x', tokens.forged)),
    await codeOf(node, plain('x', `${tokens.good}x`)),
    await codeOf(node, { at: 'plain', password: mistyped }),
  ];
  t.ok(
    refused.every((code) => code !== 0),
    `and the others not: ${refused}`,
  );
  await scram(node, 'sue', scramPassword);
  await scram(node, 'sue', mistyped);
  const tls: ConnectionOptions = { ca: files.pem('ca.pem') };
  const cert = { cert: files.pem('device.pem'), key: files.pem('device.key') };
  t.equal(await codeOf(node, { at: 'secure', tls: { ...tls, ...cert } }), 0);
  const byKey = (key: Buffer): ConnectionOptions =>
    ({
      pskCallback: () => ({ identity: 'meter', psk: key }),
      ...{ ciphers: 'PSK', maxVersion: 'TLSv1.2', checkServerIdentity: () => undefined },
    }) as ConnectionOptions;
  t.equal(await codeOf(node, { at: 'secure', tls: byKey(psk) }), 0);
  await t.rejects(codeOf(node, { at: 'secure', tls: byKey(randomBytes(32)) }));
  await new Promise<void>((resolve) => {
    const url = node.address('pages').replace('/mqtt', `/mqtt?token=${apiToken}`);
    const headers = { cookie, authorization: `Bearer ${apiToken}` };
    const page = new WebSocket(url, 'mqtt', { headers });
    page.on('open', () => page.send(Buffer.from([0xff, 0xff])));
    page.on('error', () => resolve());
    page.on('close', () => resolve());
  });
  const mine = await login(node, plain('mine', password));
  await mine.subscribed('said/#', { qos: 1 });
  await mine.publish('said/retained', payload, { qos: 1, retain: true });
  await heard(mine);
  t.ok(
    service.asked.some(({ body, headers }) => body.includes(password) && headers['x-api-key']),
    'the canaries are in use',
  );
  t.ok(service.asked.some(({ url, headers }) => url.includes(query) && headers.authorization));

  // Backends that fail, and say what they were told.
  service.answer = (asked, response) => {
    response.writeHead(500, { 'content-type': 'text/plain' });
    response.end(`cannot do ${asked.body} with ${JSON.stringify(asked.headers)}`);
  };
  await codeOf(node, plain('harry', password));
  service.answer = silence;
  await codeOf(node, plain('harry', password));
  await service.stop();
  await codeOf(node, plain('harry', password));
  await admin('CONFIG', 'SET', 'requirepass', 'another');
  await admin('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
  await codeOf(node, plain('rita', redisUserPassword));
  await redis.stop();
  await codeOf(node, plain('rita', redisUserPassword));

  // What the operator does, well and wrongly.
  const { json: made } = await node.api('POST', '/tokens', {
    body: { name: 'ops', role: 'viewer' },
  });
  canaries.add('token of the API', made.token);
  canaries.add('hash of a token of the API', createHash('sha256').update(made.token).digest());
  const ban = { kind: 'client', value: 'x', reason: 'no', expiresInS: 60 };
  await node.api('POST', '/bans', { body: ban });
  await askEverything(node, canaries, apiToken);
  const broken: Readonly<Record<string, string>> = {
    passwords: `ann:${password}\n${passwords.slice(0, -9)}\n`,
    scram: scramLines.replace('scram', 'spam'),
    psk: `meter:${psk.toString('hex')}z\n`,
    headers: `${header}\n`,
    'redis-password': '',
    'server.key': files.pem('server.key').replace('KEY', 'QUAY'),
    'data/api-tokens.json': `[{"token":"${ADMIN_TOKEN}"`,
  };
  for (const [name, content] of Object.entries(broken)) {
    const before = readFileSync(site.path(name));
    site.write(name, content);
    const { text } = await node.api('POST', '/config/reload');
    canaries.saw(`a reload with a broken ${name}`, text);
    canaries.saw('certificates', (await node.api('POST', '/certificates/reload')).text);
    site.write(name, before);
  }
  const bad = (urls: { readonly redis: string; readonly http: string }): object => ({
    ...config,
    authentication: {
      ...config.authentication,
      redis: { url: urls.redis, timeoutMs: 300 },
      http: { url: urls.http, timeoutMs: `redis://:${redisPassword}@x` },
    },
  });
  const inUrl = `x:${urlPassword}@127.0.0.1`;
  for (const urls of [
    { redis: `redis://${inUrl}:bad/`, http: `gopher://${inUrl}/?key=${query}` },
    { redis: `redis:/${inUrl}`, http: `http:${inUrl}` },
    { redis: inUrl, http: `http:// ${inUrl}` },
  ]) {
    site.configure(bad(urls));
    const { status, text } = await node.api('POST', '/config/reload');
    t.equal(status, 422, urls.redis.replace(urlPassword, '…'));
    canaries.saw('a reload with broken URLs', text);
  }
  site.write('causeway.yaml', `authentication: {http: {url: 'http://${inUrl}', url: [}}\n`);
  canaries.saw('a reload without YAML', (await node.api('POST', '/config/reload')).text);
  site.configure(bad({ redis: `redis://${inUrl}:bad/`, http: `gopher://${inUrl}/?key=${query}` }));
  for (const command of ['config', 'start']) {
    const { stdout, stderr, code } = await runCli([command, '--config', site.config]);
    t.not(code, 0, command);
    canaries.saw(`causeway ${command}, broken`, stdout + stderr);
  }
  site.configure(config);
  for (const command of ['check', 'config']) {
    const { stdout, stderr } = await runCli([command, site.config]);
    canaries.saw(`causeway ${command}`, stdout + stderr);
  }
  const env = { CAUSEWAY_API_TOKEN: apiToken };
  const ctl = await runCli(['ctl', 'clients', '--url', node.admin], { env });
  canaries.saw('causeway ctl', ctl.stdout + ctl.stderr);

  await until(() => traced.stop().includes('"connect"'), 'the trace says something');
  canaries.saw('trace', traced.stop());
  await sys.ping();
  canaries.saw('$SYS later', (await heard(sys)).join('\n'));
  await node.stop();
  t.ok(node.entries.length > 50 && node.entries.length < 2000, `${node.entries.length} entries`);
  t.ok(
    node.entries.some(({ level, msg }) => level === 'debug' && msg === 'login refused'),
    'the log was at its most talkative',
  );
  canaries.saw('log', node.entries.map((entry) => JSON.stringify(entry)).join('\n'));
  canaries.saw('noise', node.broker.noise);
  canaries.saw('stderr', readFileSync(stderr, 'utf8'));
  canaries.saw('bans.json', readFileSync(site.path('data/bans.json'), 'utf8'));
  t.strictSame(canaries.found(), []);
  await onDisk(t, site, canaries, [payload]);
  canaries.saw('a leak', `x ${Buffer.from(`${password}`).toString('base64')} y`);
  t.strictSame(canaries.found(), ['password in a leak'], 'and one would be found');
});

/** Sessions and messages are kept, credentials are not; payloads are, of course. */
async function onDisk(
  t: Test,
  site: Site,
  canaries: Canaries,
  kept: readonly string[],
): Promise<void> {
  const folder = site.path('data');
  const all = readdirSync(folder)
    .filter((name) => name !== 'api-tokens.json')
    .map((name) => readFileSync(join(folder, name), 'latin1'))
    .join('\n');
  t.ok(
    kept.every((text) => all.includes(text)),
    'the store is what is looked at',
  );
  canaries.saw(
    'the store',
    kept.reduce((text, one) => text.replaceAll(one, ''), all),
  );
  t.strictSame(canaries.found(), []);
}

t.test('class 26: a token in the place of a user name is not remembered as one', async (t) => {
  const canaries = new Canaries();
  const secret = canaries.make('secret');
  const site = new Site(t);
  site.write('secret', secret);
  site.write('passwords', await passwordLines({ ann: 'right' }));
  site.configure({
    authentication: {
      chain: ['jwt', 'password'],
      jwt: { algorithms: ['HS256'], secretFile: 'secret', source: 'username' },
      password: { file: 'passwords' },
    },
    bans: { login: { failuresMax: 4 } },
    log: { level: 'debug' },
  });
  const node = await NearNode.start(t, site, { data: 'data' });
  const exp = Math.floor(Date.now() / 1000) + 600;
  const good = makeToken({ alg: 'HS256' }, { sub: 'tom', exp }, secret);
  const old = makeToken({ alg: 'HS256' }, { sub: 'tom', exp: 1 }, secret);
  canaries.add('token', good);
  canaries.add('old token', old);
  const mine = await login(node, { clientId: 'mine', username: good });
  await mine.publish('a', 'x', { qos: 1, retain: true });
  for (let i = 0; i < 6; i++) await codeOf(node, { username: old, password: 'x' });
  t.equal(await codeOf(node, { username: 'ann', password: 'right' }), 0x9f, 'blocked by now');
  await askEverything(node, canaries, canaries.make('API token'));
  await node.stop();
  canaries.saw('log', node.text);
  canaries.saw('bans.json', readFileSync(site.path('data/bans.json'), 'utf8'));
  t.strictSame(canaries.found(), []);
  t.ok(canaries.places > 30);
});

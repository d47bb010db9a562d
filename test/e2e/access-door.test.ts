/**
 * Bytes that are no MQTT, pages in browsers, and the operator's API of a running node (classes 15 and
 * 27 to 31 of docs/reference/bug-classes.md): who may connect from where, what a token may do, and
 * what names of clients do to those who list them.
 */
import { createRequire } from 'node:module';
import net from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { WebSocket } from 'ws';
import { jwk, keyPair, makeToken } from '../access/authn/token-workshop.ts';
import { runCli } from '../cli/run.ts';
import { connect } from '../conformance/packets.ts';
import { frame, Opcode } from '../listeners/web-socket-frames.ts';
import { HttpService, json } from '../support/http-service.ts';
import { ADMIN_TOKEN, codeOf, login, NearNode, passwordLines, Site } from './access-kit.ts';

/** Text that means something to a browser, a terminal, a shell or JavaScript. */
const loaded = [
  '<script>alert(1)</script>',
  '"><img src=x onerror=alert(1)>',
  '\u001b]0;owned\u0007\u001b[31m',
  '{{constructor.constructor("x")()}}',
  '__proto__',
  'constructor',
  'hasOwnProperty',
  'toString',
  '../../etc/passwd',
  '%2e%2e%2f',
  '$(touch x)',
  '\u202etxt.exe',
  'line\nbreak',
];

async function everybody(t: Test, more: object = {}): Promise<NearNode> {
  const site = new Site(t);
  const service = await HttpService.start(t, json({ result: 'allow' }));
  site.configure({ authentication: { chain: ['http'], http: { url: service.url } }, ...more });
  return NearNode.start(t, site);
}

/** Status line of a request written by hand: `fetch` decides about Host and Origin itself. */
async function raw(port: number, lines: readonly string[], body = ''): Promise<string> {
  const socket = net.connect({ host: '127.0.0.1', port });
  socket.on('error', () => {});
  socket.write(`${lines.join('\r\n')}\r\n\r\n${body}`);
  let answer = '';
  for await (const chunk of socket) answer += String(chunk);
  return answer;
}

t.test('class 15: bytes that are no MQTT end their sender alone, let in or not', async (t) => {
  const node = await everybody(t, {
    listeners: [
      { url: 'mqtt://127.0.0.1:0', name: 'plain' },
      { url: 'ws://127.0.0.1:0/mqtt', name: 'pages' },
    ],
  });
  const other = await login(node, { at: 'plain', username: 'other', password: 'x' });
  const bad: readonly (readonly [string, Buffer])[] = [
    ...[0x00, 0x20, 0x90, 0xb0, 0xd0, 0xf1].map(
      (first) => [`type ${first}`, Buffer.from([first, 2, 0, 0])] as const,
    ),
    ['a length of five bytes', Buffer.from([0x30, 0xff, 0xff, 0xff, 0xff, 1])],
    ['SUBSCRIBE of nothing', Buffer.from([0x82, 2, 0, 1])],
    ['SUBSCRIBE cut off', Buffer.from([0x82, 6, 0, 1, 0, 0xff, 0xff, 0x61])],
    ['an empty topic', Buffer.from([0x30, 3, 0, 0, 0])],
    ['a topic beyond its packet', Buffer.from([0x30, 3, 0xff, 0xff, 0x61])],
    ['QoS 3', Buffer.from([0x36, 7, 0, 1, 0x61, 0, 1, 0, 0])],
    ['PUBREL with other flags', Buffer.from([0x60, 2, 0, 1])],
    ['a second CONNECT', connect({ version: 5, clientId: 'x' })],
    ['properties beyond their packet', Buffer.from([0x30, 5, 0, 1, 0x61, 0xff, 0x7f])],
  ];
  for (const [what, bytes] of bad) {
    const inside = await login(node, { at: 'plain', username: 'u', password: 'x' });
    inside.send(bytes);
    await inside.closedAfter(['DISCONNECT']);
    if (what !== 'a second CONNECT') {
      const socket = net.connect({ host: '127.0.0.1', port: node.port('plain') });
      socket.on('error', () => {});
      socket.end(bytes);
      await new Promise((resolve) => socket.once('close', resolve));
    }
    const page = new WebSocket(`ws://127.0.0.1:${node.port('pages')}/mqtt`, 'mqtt');
    page.on('error', () => {});
    page.on('open', () => page.send(bytes.subarray(0, -1)));
    page.on('open', () => page.close());
    await new Promise((resolve) => page.once('close', resolve));
    await other.ping();
    t.pass(what);
  }
  t.equal(await node.metric('causeway_internal_errors_total'), 0);
});

t.test(
  'class 27: a WebSocket library without known holes, and nothing it could unpack',
  async (t) => {
    const found = createRequire(import.meta.url)('ws/package.json') as { version: string };
    const [major = 0, minor = 0] = found.version.split('.').map(Number);
    t.ok(major > 8 || (major === 8 && minor >= 23), `ws ${found.version}`);
    const node = await everybody(t, { listeners: ['ws://127.0.0.1:0/mqtt'] });
    const port = node.port();
    const offered = [
      'GET /mqtt HTTP/1.1',
      `host: 127.0.0.1:${port}`,
      'connection: Upgrade',
      'upgrade: websocket',
      'sec-websocket-version: 13',
      'sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==',
      'sec-websocket-protocol: mqtt',
      'sec-websocket-extensions: permessage-deflate; client_max_window_bits',
    ];
    const socket = net.connect({ host: '127.0.0.1', port });
    socket.on('error', () => {});
    socket.write(`${offered.join('\r\n')}\r\n\r\n`);
    const answer = await new Promise<string>((resolve) => {
      socket.once('data', (bytes: Buffer) => resolve(bytes.toString('latin1')));
    });
    t.match(answer, /^HTTP\/1.1 101 /);
    t.notMatch(answer, /permessage-deflate/i, 'nothing is compressed, so nothing is unpacked');
    // One message in fragments without end, none of which holds anything.
    const first = frame(Opcode.BINARY, Buffer.alloc(0), { isFinal: false });
    const more = frame(Opcode.CONTINUATION, Buffer.alloc(0), { isFinal: false });
    const many = Buffer.concat(Array.from({ length: 50_000 }, () => more));
    const closed = new Promise((resolve) => socket.once('close', resolve));
    const beforeBytes = process.memoryUsage().heapUsed;
    socket.write(first);
    for (let round = 0; round < 10; round++) socket.write(many);
    await Promise.race([closed, sleep(3000)]);
    const grown = process.memoryUsage().heapUsed - beforeBytes;
    t.ok(grown < 64 * 1024 * 1024, `${(grown / 1024 / 1024).toFixed(1)} MiB for fragments`);
    socket.destroy();
    t.equal(await codeOf(node).catch(() => null), null, 'a client without WebSocket is none');
  },
);

t.test('class 28: a page of somebody else does not connect', async (t) => {
  const node = await everybody(t, {
    listeners: [
      { url: 'ws://127.0.0.1:0/mqtt', name: 'usual' },
      {
        url: 'ws://127.0.0.1:0/mqtt',
        name: 'listed',
        websocket: { allowedOrigins: ['https://app.example.org'] },
      },
    ],
  });
  const opens = (at: string, origin?: string): Promise<boolean> =>
    new Promise((resolve) => {
      const url = `ws://127.0.0.1:${node.port(at)}/mqtt`;
      const socket = new WebSocket(url, 'mqtt', origin === undefined ? {} : { origin });
      socket.on('open', () => {
        socket.terminate();
        resolve(true);
      });
      socket.on('error', () => resolve(false));
    });
  const cases: readonly (readonly [string, string | undefined, boolean])[] = [
    ['usual', undefined, true],
    ['usual', 'http://localhost:3000', true],
    ['usual', 'https://evil.example', false],
    ['usual', 'https://localhost.evil.example', false],
    ['usual', 'null', false],
    ['listed', 'https://app.example.org', true],
    ['listed', 'https://app.example.org.evil.example', false],
    ['listed', 'http://app.example.org', false],
    ['listed', 'http://localhost:3000', false],
    ['listed', 'null', false],
  ];
  for (const [at, origin, expected] of cases) {
    t.equal(await opens(at, origin), expected, `${at}: ${origin}`);
  }
});

t.test('class 29: what clients are called is data to whoever lists them', async (t) => {
  const node = await everybody(t);
  for (const name of loaded) {
    // MQTT forbids no control character but U+0000.
    const client = await login(node, { clientId: name, username: name, password: 'x' });
    await client.subscribed(`t/${name.replace(/[/+#]/g, '')}`);
    await client.publish(`r/${name.replace(/[/+#]/g, '')}`, name, { qos: 1, retain: true });
  }
  for (const path of ['/clients', '/sessions', '/subscriptions', '/retained', '/audit']) {
    const response = await fetch(new URL(`/api/v1${path}?limit=1000`, node.admin), {
      headers: { authorization: `Bearer ${ADMIN_TOKEN}`, connection: 'close' },
    });
    t.match(response.headers.get('content-type'), /^application\/json/, path);
    t.equal(response.headers.get('x-content-type-options'), 'nosniff', path);
    await response.text();
  }
  const names = (await node.api('GET', '/clients')).json.items.map(
    ({ clientId }: { clientId: string }) => clientId,
  );
  t.strictSame(names.sort(), [...loaded].sort(), 'all there, as they are');
  for (const name of loaded) {
    const { json } = await node.api('GET', `/clients/${encodeURIComponent(name)}`);
    t.equal(json.identity, name);
  }
  const metrics = await node.metricsText();
  for (const name of loaded.filter((one) => one.length > 12)) t.notOk(metrics.includes(name), name);
  const env = { CAUSEWAY_API_TOKEN: ADMIN_TOKEN, CAUSEWAY_API_URL: node.admin };
  const { stdout, code, stderr } = await runCli(['ctl', 'clients', '--url', node.admin], { env });
  t.equal(code, 0, stderr);
  t.notMatch(stdout, /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/u);
  t.equal(stdout.trimEnd().split('\n').length, loaded.length + 1, 'one line each, and the head');
});

t.test('class 29: no door without a token, and none that tells who is there', async (t) => {
  const site = new Site(t);
  site.write('passwords', await passwordLines({ ann: 'right' }));
  site.configure({ authentication: { chain: ['password'], password: { file: 'passwords' } } });
  const node = await NearNode.start(t, site);
  const url = new URL(node.admin);
  const ask = (...headers: string[]): Promise<string> =>
    raw(Number(url.port), ['GET /api/v1/clients HTTP/1.1', ...headers, 'connection: close']);
  const host = `host: ${url.host}`;
  t.match(await ask(host), /^HTTP\/1.1 401 /, 'no token');
  t.match(await ask(host, `authorization: Bearer ${ADMIN_TOKEN}`), /^HTTP\/1.1 200 /);
  t.match(await ask(host, `cookie: token=${ADMIN_TOKEN}`), /^HTTP\/1.1 401 /, 'a cookie');
  t.match(
    await raw(Number(url.port), [
      `GET /api/v1/clients?token=${ADMIN_TOKEN}&access_token=${ADMIN_TOKEN} HTTP/1.1`,
      host,
      'connection: close',
    ]),
    /^HTTP\/1.1 40[01] /,
    'a parameter',
  );
  for (const login of ['admin:public', 'admin:admin', 'root:', `admin:${ADMIN_TOKEN}`]) {
    const basic = Buffer.from(login).toString('base64');
    t.match(await ask(host, `authorization: Basic ${basic}`), /^HTTP\/1.1 401 /, login);
  }
  // A name that a page had resolve to this machine (DNS rebinding).
  t.match(
    await ask('host: evil.example', `authorization: Bearer ${ADMIN_TOKEN}`),
    /^HTTP\/1.1 421 /,
  );
  // A page cannot have a browser ask for it: nothing is allowed across origins.
  const preflight = await raw(Number(url.port), [
    'OPTIONS /api/v1/publish HTTP/1.1',
    host,
    'origin: https://evil.example',
    'access-control-request-method: POST',
    'access-control-request-headers: authorization',
    'connection: close',
  ]);
  t.notMatch(preflight, /access-control-allow-origin/i);
  // Logins at the broker: unknown users and wrong passwords are one and the same.
  const timed = async (username: string): Promise<[number | null, number]> => {
    const beganMs = performance.now();
    const code = await codeOf(node, { username, password: 'wrong' });
    return [code, performance.now() - beganMs];
  };
  const times: Record<string, number[]> = { ann: [], nobody: [] };
  for (let round = 0; round < 8; round++) {
    for (const user of ['ann', 'nobody']) {
      const [code, tookMs] = await timed(user);
      t.equal(code, 0x86, user);
      times[user]!.push(tookMs);
    }
  }
  // One hash each: the one that is never compared costs the same. Only gross differences show here.
  const least = (user: string): number => Math.min(...times[user]!);
  t.ok(least('nobody') > least('ann') / 4, `${least('ann')} ms, ${least('nobody')} ms`);
});

t.test('class 30: a role may what it may, wherever it comes from', async (t) => {
  const node = await everybody(t);
  const made = async (name: string, role: string): Promise<string> => {
    const { status, json, text } = await node.api('POST', '/tokens', { body: { name, role } });
    t.equal(status, 201, text);
    return json.token;
  };
  const [viewer, operator] = [await made('v', 'viewer'), await made('o', 'operator')];
  const victim = await login(node, { clientId: 'victim', username: 'u', password: 'x' });
  const ban = { kind: 'client', value: 'victim', reason: '', expiresInS: 60 };
  const calls: readonly (readonly [string, string, unknown, number, number])[] = [
    ['GET', '/clients', undefined, 200, 200],
    ['DELETE', '/clients/victim', undefined, 403, 204],
    ['DELETE', '/sessions/victim', undefined, 403, 404],
    ['POST', '/publish', { topic: 'a', payload: 'x' }, 403, 204],
    ['GET', '/retained', undefined, 403, 200],
    ['POST', '/bans', ban, 403, 201],
    ['GET', '/config', undefined, 403, 403],
    ['POST', '/config/reload', undefined, 403, 403],
    ['POST', '/certificates/reload', undefined, 403, 403],
    ['GET', '/tokens', undefined, 403, 403],
    ['POST', '/tokens', { name: 'mine', role: 'admin' }, 403, 403],
    ['DELETE', '/tokens/v', undefined, 403, 403],
    ['GET', '/audit', undefined, 403, 403],
  ];
  for (const [method, path, body, asViewer] of calls) {
    t.equal((await node.api(method, path, { body, token: viewer })).status, asViewer, path);
  }
  await victim.ping();
  for (const [method, path, body, , asOperator] of calls) {
    t.equal((await node.api(method, path, { body, token: operator })).status, asOperator, path);
  }
  // Where it says it comes from makes no difference.
  const { host, port } = new URL(node.admin);
  for (const header of [
    'x-forwarded-for: 127.0.0.1',
    'forwarded: for=127.0.0.1',
    'x-real-ip: 127.0.0.1',
    'x-http-method-override: GET',
  ]) {
    const answer = await raw(Number(port), [
      'GET /api/v1/config HTTP/1.1',
      `host: ${host}`,
      `authorization: Bearer ${viewer}`,
      header,
      'connection: close',
    ]);
    t.match(answer, /^HTTP\/1.1 403 /, header);
  }
  await node.api('DELETE', '/tokens/v');
  t.equal((await node.api('GET', '/clients', { token: viewer })).status, 401, 'gone at once');
});

t.test('class 31: names that JavaScript knows are names', async (t) => {
  const keys = keyPair('ec');
  const service = await HttpService.start(t, json({ keys: [jwk(keys, { kid: '__proto__' })] }));
  const names = ['__proto__', 'constructor', 'prototype', 'hasOwnProperty', 'toString', 'valueOf'];
  const site = new Site(t);
  const users = Object.fromEntries(names.map((name) => [`u-${name}`, 'p']));
  const lines = (await passwordLines(users)).replaceAll('u-', '');
  site.write('passwords', lines);
  site.write(
    'acl.yaml',
    names
      .map((name) => `  - {allow: [publish, subscribe], users: [${name}], topics: ['${name}/#']}\n`)
      .join('')
      .replace(/^/, 'rules:\n'),
  );
  site.configure({
    authentication: {
      chain: ['jwt', 'password'],
      password: { file: 'passwords' },
      jwt: { algorithms: ['ES256'], jwksUrl: `${service.url}/keys`, userClaim: 'constructor' },
    },
    authorization: { rulesFile: 'acl.yaml' },
    quotas: names.map((name) => ({ name, of: 'publishMessagesPerS', max: 1000, users: [name] })),
  });
  const node = await NearNode.start(t, site);
  for (const name of names) {
    t.equal(await codeOf(node, { username: name, password: 'x' }), 0x86, `${name} has a password`);
    const client = await login(node, {
      clientId: name,
      username: name,
      password: 'p',
      properties: [['userProperty', [name, name]]],
    });
    t.strictSame((await client.subscribe([`${name}/#`, 'other'])).reasonCodes, [0, 0x87]);
    const properties = [['userProperty', [name, name]]] as const;
    client.sendPublish(`${name}/x`, 'x', { qos: 1, packetId: 9, properties });
    const got = await client.waitFor('PUBLISH');
    t.match(got.properties, [['userProperty', [name, name]]], 'passed on as it is');
    t.equal((await node.api('GET', `/sessions/${name}`)).json.identity, name);
    const ban = { kind: 'user', value: name, reason: name, expiresInS: 60 };
    t.equal((await node.api('POST', '/bans', { body: ban })).status, 201);
    await client.waitFor('DISCONNECT', { reasonCode: 0x98 });
    t.equal((await node.api('GET', `/sessions/x${name}`)).status, 404);
  }
  const claims = '{"constructor":"toString","__proto__":{"sub":"root"},"exp":9999999999}';
  const token = makeToken({ alg: 'ES256', kid: '__proto__' }, JSON.parse(claims), keys.privateKey);
  t.equal(await codeOf(node, { username: 'x', password: token }), 0x8a, 'who is banned by now');
  for (const body of [
    '{"__proto__":{"role":"admin"},"name":"x","role":"viewer"}',
    '{"constructor":1}',
  ]) {
    const response = await fetch(new URL('/api/v1/tokens', node.admin), {
      method: 'POST',
      headers: { authorization: `Bearer ${ADMIN_TOKEN}`, 'content-type': 'application/json' },
      body,
    });
    t.equal(response.status, 400, await response.text());
  }
  t.equal(({} as { role?: string }).role, undefined, 'nothing is on the prototype of all objects');
  t.equal(await node.metric('causeway_internal_errors_total'), 0);
  for (const key of ['__proto__', 'constructor']) {
    site.write('causeway.yaml', `${key}: {store: memory}\nlisteners: [mqtt://127.0.0.1:0]\n`);
    t.notOk(await node.reload(), `an option called ${key} is none`);
  }
});

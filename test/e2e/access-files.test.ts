/**
 * Files that are broken, missing or somebody else's (classes 2 and 26 of
 * docs/reference/bug-classes.md): none of them opens anything, neither at start nor at a reload, and
 * each is said with its place; what the node writes itself is its owner's alone.
 */
import { once } from 'node:events';
import { chmodSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import net from 'node:net';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { Certificates } from '../listeners/certificates.ts';
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
  until,
} from './access-kit.ts';

const BAD = 0x86;
const NOT_AUTHORIZED = 0x87;

/** How a file can be broken, and what has to be said about it. */
interface Broken {
  readonly what: string;
  /** Within the site. */
  readonly file: string;
  /** Null: the file is gone; a folder in its place. */
  readonly content: string | null | 'folder';
  /** Where and what, as far as the file has places. */
  readonly said: RegExp;
}

const hash = (await passwordLines({ x: 'y' })).slice(2).trim();

const breaks: readonly Broken[] = [
  {
    what: 'a user without a hash',
    file: 'passwords',
    content: `ann:${hash}\nben\n`,
    said: /passwords:2:\d+/,
  },
  {
    what: 'a password as it is',
    file: 'passwords',
    content: 'ann:secret\n',
    said: /passwords:1:\d+/,
  },
  {
    what: 'a user twice',
    file: 'passwords',
    content: `a:${hash}\na:${hash}\n`,
    said: /passwords:2:\d+/,
  },
  {
    what: 'half a hash',
    file: 'passwords',
    content: `a:${hash.slice(0, -30)}`,
    said: /passwords:1:\d+/,
  },
  { what: 'nobody', file: 'passwords', content: '', said: /passwords/ },
  { what: 'no password file', file: 'passwords', content: null, said: /passwords.*ENOENT/ },
  { what: 'a folder of passwords', file: 'passwords', content: 'folder', said: /passwords/ },
  {
    what: 'no YAML',
    file: 'acl.yaml',
    content: 'rules: [{allow: publish',
    said: /acl\.yaml:1:\d+/,
  },
  {
    what: 'an unknown word',
    file: 'acl.yaml',
    content: 'rules:\n  - allow: publish\n    topics: ["a"]\n    user: [ann]\n',
    said: /acl\.yaml:4:\d+/,
  },
  {
    what: 'neither allow nor deny',
    file: 'acl.yaml',
    content: 'rules:\n  - topics: ["#"]\n',
    said: /acl\.yaml:2:\d+/,
  },
  {
    what: 'a topic that is none',
    file: 'acl.yaml',
    content: 'rules:\n  - allow: publish\n    topics: ["a/#/b"]\n',
    said: /acl\.yaml:3:\d+/,
  },
  {
    what: 'a line of mosquitto’s that it would pass over',
    file: 'acl.yaml',
    content: 'rules:\n  - allow: all\n    topics: ["#"]\n',
    said: /acl\.yaml:2:\d+/,
  },
  {
    what: 'no rule file',
    file: 'acl.yaml',
    content: null,
    said: /acl\.yaml.*(ENOENT|cannot be read)/,
  },
  { what: 'a folder of rules', file: 'acl.yaml', content: 'folder', said: /acl\.yaml/ },
  { what: 'a key that is none', file: 'psk', content: 'meter:xyz\n', said: /psk:1:\d+/ },
  { what: 'no keys', file: 'psk', content: null, said: /psk/ },
  { what: 'no SCRAM hash', file: 'scram', content: `ann:${hash}\n`, said: /scram/ },
  { what: 'an empty secret', file: 'secret', content: '', said: /secret/ },
  { what: 'no secret', file: 'secret', content: null, said: /secret/ },
  { what: 'no header', file: 'headers', content: 'X-Key secret\n', said: /headers.*line 1/s },
  { what: 'no authority', file: 'ca.pem', content: 'no PEM', said: /ca\.pem/ },
];

/** Everything that can be read from files, in use. */
async function whole(t: Test): Promise<Site> {
  const site = new Site(t);
  const files = new Certificates();
  files.authority('ca');
  files.issue('server', 'ca', 'IP:127.0.0.1');
  for (const name of ['ca.pem', 'server.pem', 'server.key']) site.write(name, files.pem(name));
  site.write('passwords', await passwordLines({ ann: 'right', ben: 'right' }));
  site.write('scram', await passwordLines({ sue: 'right' }, 'scram-sha-256', 4096));
  site.write('psk', `meter:${'ab'.repeat(16)}\n`);
  site.write('secret', 's'.repeat(40));
  site.write('headers', 'X-Key: k\n');
  site.rules([
    { allow: ['publish', 'subscribe'], topics: ['open/#'] },
    { allow: ['publish', 'subscribe'], topics: ['#'], users: ['ben'] },
  ]);
  site.configure({
    listeners: [
      { url: 'mqtt://127.0.0.1:0', name: 'plain' },
      {
        url: 'mqtts://127.0.0.1:0',
        name: 'secure',
        tls: {
          ...{ certFile: 'server.pem', keyFile: 'server.key', caFile: 'ca.pem' },
          ...{ clientCertificate: 'optional', psk: true },
        },
      },
    ],
    authentication: {
      chain: ['psk', 'scram', 'jwt', 'password', 'http'],
      password: { file: 'passwords' },
      scram: { file: 'scram' },
      psk: { file: 'psk' },
      jwt: { algorithms: ['HS256'], secretFile: 'secret' },
      http: { url: 'http://127.0.0.1:9', headersFile: 'headers', timeoutMs: 100 },
    },
    authorization: { rulesFile: 'acl.yaml' },
  });
  return site;
}

/** Breaks it; the returned function mends it. */
function breakFile(site: Site, { file, content }: Broken): () => void {
  const path = site.path(file);
  const before = readFileSync(path);
  rmSync(path);
  if (content === 'folder') mkdirSync(path);
  else if (content !== null) site.write(file, content);
  return () => {
    rmSync(path, { recursive: true, force: true });
    site.write(file, before);
  };
}

/** What must hold whatever is broken. */
async function isClosed(t: Test, node: RunningNode, what: string): Promise<void> {
  const by = (username: string, password: string): LoginFields => ({
    ...{ at: 'plain', username, password },
  });
  const codes = [
    await codeOf(node, { at: 'plain' }),
    await codeOf(node, by('ann', 'wrong')),
    await codeOf(node, by('ann', '')),
    await codeOf(node, by('root', 'right')),
  ];
  t.ok(
    codes.every((code) => code !== null && code >= 0x80),
    `${what}: nobody comes in who could not before, ${codes}`,
  );
  const ann = await login(node, by('ann', 'right'));
  t.strictSame((await ann.subscribe(['open/#', '#', 'x'])).reasonCodes, [0, 0x87, 0x87], what);
  ann.destroy();
}

async function dialPort(port: number): Promise<void> {
  const socket = net.connect({ host: '127.0.0.1', port });
  await once(socket, 'connect');
  socket.destroy();
}

t.test('class 2: a broken file keeps the node from starting', async (t) => {
  const site = await whole(t);
  for (const broken of breaks) {
    const mend = breakFile(site, broken);
    const node = new NearNode();
    const error = await node.open(t, site).then(
      () => null,
      (reason: Error) => reason,
    );
    t.match(error?.message ?? 'it started', broken.said, broken.what);
    const opened = node.said('listening').map(({ address }) => Number(new URL(address!).port));
    // Certificates are read listener by listener: one may have been open for a moment.
    t.ok(broken.file === 'ca.pem' || opened.length === 0, 'and nothing ever listened');
    for (const port of opened) await t.rejects(dialPort(port), 'and nothing listens now');
    mend();
  }
  const node = await NearNode.start(t, site);
  await isClosed(t, node, 'mended');
});

t.test('class 2: everything that is wrong is said at once, by a process that ends', async (t) => {
  const site = await whole(t);
  for (const name of ['passwords', 'acl.yaml', 'psk', 'scram', 'secret']) {
    breakFile(site, breaks.find(({ file }) => file === name)!);
  }
  const failed = await FarNode.start(t, site).then(
    () => '',
    (error: Error) => error.message,
  );
  for (const place of [/passwords:2:\d+/, /acl\.yaml:1:\d+/, /psk:1:\d+/, /scram/, /secret/]) {
    t.match(failed, place);
  }
  t.match(failed, /cannot start/);
  t.notMatch(failed, /"listening"/);
});

t.test('class 2: a broken file at a reload changes nothing, and is said', async (t) => {
  const site = await whole(t);
  const node = await NearNode.start(t, site);
  const ben = await login(node, { at: 'plain', username: 'ben', password: 'right' });
  await ben.subscribed('#', { qos: 1 });
  for (const broken of breaks) {
    const mend = breakFile(site, broken);
    const from = node.entries.length;
    const { status, json } = await node.api('POST', '/config/reload');
    t.equal(status, 422, broken.what);
    t.match(JSON.stringify(json.errors), broken.said, 'the answer says where');
    const logged = JSON.stringify(node.said('config', from));
    t.match(logged, broken.said, 'and the log');
    await isClosed(t, node, broken.what);
    await ben.publish('anything', broken.what, { qos: 1 });
    t.strictSame(await heard(ben), [`anything ${broken.what}`], 'who is here stays');
    mend();
  }
  const { status } = await node.api('POST', '/config/reload');
  t.equal(status, 200, 'mended');
  await isClosed(t, node, 'mended');
  await ben.ping();
});

t.test('class 2: one broken file holds back the good ones beside it', async (t) => {
  const site = await whole(t);
  const node = await NearNode.start(t, site);
  const ann = await login(node, { at: 'plain', username: 'ann', password: 'right' });
  // Another user list and other rules, both good, and one file that is not.
  site.write('passwords', await passwordLines({ ben: 'right', eve: 'right' }));
  site.rules([{ allow: ['publish', 'subscribe'], topics: ['#'] }]);
  for (const name of ['psk', 'scram', 'secret', 'headers']) {
    const mend = breakFile(site, breaks.find(({ file }) => file === name)!);
    t.notOk(await node.reload(), name);
    t.not(await codeOf(node, { at: 'plain', username: 'eve', password: 'right' }), 0, 'not yet');
    t.equal(await codeOf(node, { at: 'plain', username: 'ann', password: 'right' }), 0, 'still');
    await ann.ping();
    t.strictSame((await ann.subscribe('x')).reasonCodes, [NOT_AUTHORIZED]);
    mend();
  }
  t.ok(await node.reload());
  await ann.expectError(NOT_AUTHORIZED);
  t.equal(await codeOf(node, { at: 'plain', username: 'eve', password: 'right' }), 0);
});

t.test('class 2: an empty rule file is no permission, at start and at a reload', async (t) => {
  for (const text of ['', '\n', '# nothing\n', 'rules: []\n', 'rules:\n']) {
    const site = await whole(t);
    site.write('acl.yaml', text);
    const node = new NearNode();
    const error = await node.open(t, site).then(
      () => null,
      (reason: Error) => reason,
    );
    if (error === null) {
      const ben = await login(node, { at: 'plain', username: 'ben', password: 'right' });
      t.strictSame((await ben.subscribe(['#', 'a', 'open/x'])).reasonCodes, [0x87, 0x87, 0x87]);
      const packetId = ben.sendPublish('open/x', 'x', { qos: 1 });
      await ben.waitFor('PUBACK', { packetId, reasonCode: NOT_AUTHORIZED });
      ben.destroy();
      await node.stop();
    } else {
      t.match(error.message, /acl\.yaml/, `${JSON.stringify(text)} is an error`);
    }
  }
});

t.test('class 2: no options of TLS open a door nobody asked for', async (t) => {
  const site = await whole(t);
  for (const config of [
    {
      listeners: [
        { url: 'mqtts://0.0.0.0:0', tls: { certFile: 'server.pem', keyFile: 'server.key' } },
      ],
    },
    { listeners: ['mqtt://0.0.0.0:0'] },
    {
      listeners: [{ url: 'mqtt://0.0.0.0:0', authentication: { anonymous: true } }],
      authentication: { chain: ['password'], password: { file: 'passwords' } },
    },
  ]) {
    site.configure(config);
    await t.rejects(new NearNode().open(t, site), /without authentication is refused/);
  }
});

t.test('class 2: out of open files, nothing falls back to anything', async (t) => {
  const site = new Site(t);
  site.write('passwords', await passwordLines({ ann: 'right' }));
  site.rules([{ allow: ['publish', 'subscribe'], topics: ['open/#'] }]);
  site.configure({
    listeners: [{ url: 'mqtt://127.0.0.1:0', name: 'plain' }],
    authentication: { chain: ['password'], password: { file: 'passwords' } },
    authorization: { rulesFile: 'acl.yaml' },
  });
  const wrap = ['/bin/sh', '-c', 'ulimit -n 64; exec "$@"', 'sh'];
  const node = await FarNode.start(t, site, { wrap });
  const ann = await login(node, { username: 'ann', password: 'right' });
  const port = node.port('plain');
  const idle = Array.from({ length: 150 }, () => {
    const socket = net.connect({ host: '127.0.0.1', port });
    socket.on('error', () => {});
    return socket;
  });
  await until(() => readdirSync(`/proc/${node.broker.pid}/fd`).length >= 60, 'no more files');
  t.notOk(await node.reload(), 'what cannot be read is not taken for empty');
  t.match(JSON.stringify(node.said('config')), /EMFILE/);
  await ann.ping();
  t.strictSame((await ann.subscribe('x')).reasonCodes, [NOT_AUTHORIZED]);
  for (const socket of idle) socket.destroy();
  await until(
    async () => (await codeOf(node, { username: 'ann', password: 'right' }).catch(() => 1)) === 0,
    'there is room again',
  );
  t.equal(await codeOf(node, { username: 'ann', password: 'wrong' }), BAD);
  t.equal(await codeOf(node), NOT_AUTHORIZED);
  t.ok(await node.reload());
});

t.test(
  'classes 2 and 26: what the node writes is its owner’s, and believed only whole',
  async (t) => {
    const site = await whole(t);
    const node = await NearNode.start(t, site, { data: 'data' });
    const ban = { kind: 'user', value: 'mallory', reason: 'no', expiresInS: 600 };
    t.equal((await node.api('POST', '/bans', { body: ban })).status, 201);
    const made = await node.api('POST', '/tokens', { body: { name: 'ops', role: 'operator' } });
    t.equal(made.status, 201);
    const { token } = made.json as { token: string };
    await node.stop();
    const data = site.path('data');
    t.equal(statSync(data).mode & 0o777, 0o700, 'the folder');
    const files = ['bans.json', 'api-tokens.json'];
    for (const name of files) {
      t.equal(statSync(join(data, name)).mode & 0o777, 0o600, name);
      const text = readFileSync(join(data, name), 'utf8');
      t.notOk(text.includes(token) || text.includes(ADMIN_TOKEN), `no token in ${name}`);
    }
    for (const name of files) {
      const path = join(data, name);
      const before = readFileSync(path, 'utf8');
      for (const damaged of [
        before.slice(0, -5),
        '',
        '{}',
        '[]',
        'null',
        before.replace('"', "'"),
      ]) {
        site.write(`data/${name}`, damaged);
        const next = new NearNode();
        await t.rejects(
          next.open(t, site, { data: 'data' }),
          new RegExp(name),
          `${name} ${damaged}`,
        );
        t.strictSame(
          next.said('listening').filter(({ listener }) => listener === 'admin'),
          [],
        );
      }
      site.write(`data/${name}`, before);
    }
    chmodSync(join(data, 'api-tokens.json'), 0o666);
    await t.rejects(new NearNode().open(t, site, { data: 'data' }), /others may write/);
    chmodSync(join(data, 'api-tokens.json'), 0o600);
    const again = await NearNode.start(t, site, { data: 'data' });
    t.equal((await again.api('GET', '/bans', { token })).json.items[0].value, 'mallory');
    t.equal(await codeOf(again, { at: 'plain', username: 'mallory', password: 'x' }), 0x8a);
    // At a reload: what was good stays, and the answer says what is not.
    site.write('data/api-tokens.json', '[');
    const { status, text } = await again.api('POST', '/config/reload');
    t.equal(status, 422);
    t.match(text, /api-tokens/, 'said in the answer');
    t.equal((await again.api('GET', '/bans', { token })).status, 200);
  },
);

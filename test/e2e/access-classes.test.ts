/**
 * The bug classes of other brokers (docs/reference/bug-classes.md) against a running node over real
 * sockets: what may be published, subscribed to and heard, under whatever name. Rights that are taken
 * back, and broken files, have files of their own (`access-revoke`, `access-files`).
 */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { connectAsync } from 'mqtt';
import t, { type Test } from 'tap';
import { mosquitto } from '../../scripts/provide.ts';
import type { Client } from '../conformance/client.ts';
import { PINGREQ, publish, subscribe } from '../conformance/packets.ts';
import { HttpService, json } from '../support/http-service.ts';
import {
  codeOf,
  FarNode,
  heard,
  type LoginFields,
  login,
  NearNode,
  passwordLines,
  persistent,
  Site,
  sendLogin,
  until,
} from './access-kit.ts';

const run = promisify(execFile);
const versions = [3, 4, 5] as const;
const NOT_AUTHORIZED = 0x87;
const MIB = 1024 * 1024;

/** Everybody is who they say they are: what is asked is what they then may do. */
async function credulous(t: Test): Promise<HttpService> {
  return HttpService.start(t, json({ result: 'allow' }));
}

/** A node where everybody is let in, with these rules. */
async function ruled(t: Test, rules: readonly object[], more: object = {}): Promise<NearNode> {
  const site = new Site(t);
  const service = await credulous(t);
  site.rules(rules);
  site.configure({
    authentication: { chain: ['http'], http: { url: service.url } },
    authorization: { rulesFile: 'acl.yaml' },
    ...more,
  });
  return NearNode.start(t, site);
}

/** Whether a QoS 1 publish is accepted; the versions before 5 are not told, so ask who listens. */
async function mayPublish(client: Client, topic: string): Promise<boolean> {
  const packetId = client.sendPublish(topic, 'x', { qos: 1 });
  return (await client.waitFor('PUBACK', { packetId })).reasonCode < 0x80;
}

t.test('class 3: nothing counts that comes before the answer', async (t) => {
  let release: (() => void)[] = [];
  let verdict = 'deny';
  const service = await HttpService.start(t, (asked, response) => {
    const answer = (): void => json({ result: verdict })(asked, response);
    if (asked.body.includes('watcher')) json({ result: 'allow' })(asked, response);
    else release.push(answer);
  });
  const site = new Site(t);
  site.configure({ authentication: { chain: ['http'], http: { url: service.url, cacheS: 0 } } });
  const node = await NearNode.start(t, site);
  const watcher = await login(node, { username: 'watcher', password: 'x' });
  await watcher.subscribed(['early/#', 'will/#'], { qos: 1 });
  for (const version of versions) {
    for (verdict of ['deny', 'allow']) {
      release = [];
      const topic = `early/${version}`;
      const early = await sendLogin(node, {
        version,
        clientId: 'early',
        username: 'u',
        password: 'p',
        will: { topic: 'will/early', retain: true },
        following: [
          publish({ version, topic, payload: verdict, qos: 1, packetId: 7, retain: true }),
          subscribe({ version, packetId: 8, subscriptions: [{ filter: 'early/#', qos: 1 }] }),
          PINGREQ,
        ],
      });
      await until(() => release.length === 1, 'the service is asked');
      await early.expectSilence(60);
      t.strictSame(await heard(watcher), [], 'nothing is heard');
      t.equal((await node.api('GET', '/sessions/early')).status, 404, 'nothing is there');
      release[0]!();
      if (verdict === 'deny') {
        const code = version === 5 ? 0x86 : 4;
        await early.expect('CONNACK', { reasonCode: code });
        await early.expectClose();
        t.strictSame(await heard(watcher), [], `${version}: and nothing after a refusal, no will`);
        t.equal((await node.api('GET', `/retained/message?topic=${topic}`)).status, 404);
        t.equal((await node.api('GET', '/sessions/early')).status, 404);
      } else {
        await early.expect('CONNACK', { reasonCode: 0 });
        await early.expect('PUBACK', { packetId: 7 });
        await early.waitFor('SUBACK', { packetId: 8 });
        await early.waitFor('PINGRESP');
        t.strictSame(await heard(watcher), [`${topic} allow`], `${version}: all of it then`);
        early.send(Buffer.from([0xe0, 0]));
        await early.closedAfter(['PUBLISH']);
      }
    }
  }
  // Gone before the answer: the late yes is for nobody.
  verdict = 'allow';
  release = [];
  const gone = await sendLogin(node, {
    ...persistent,
    clientId: 'gone',
    username: 'u',
    password: 'p',
  });
  await until(() => release.length === 1, 'the service is asked');
  gone.destroy();
  await until(async () => (await node.metric('causeway_connections')) <= 1, 'it is closed');
  release[0]!();
  await watcher.ping();
  t.equal((await node.api('GET', '/sessions/gone')).status, 404);
});

/** Names that would mean something if anybody looked at them as a pattern. */
const oddNames = [
  '#',
  '+',
  'a/b',
  'a/#',
  '+/+',
  '.*',
  '[a-z]+',
  '$share/g/x',
  '$SYS',
  '%c',
  '%u',
  '%{x}',
  '..',
  '-',
  '*',
  '?',
  'a',
  '__proto__',
  "a' OR '1'='1",
  '\u202eabc',
];

t.test('class 4: a name is no pattern', async (t) => {
  const node = await ruled(t, [
    { allow: ['publish', 'subscribe'], topics: ['by-client/%c/#', 'by-user/%u/#'] },
    { allow: ['publish', 'subscribe'], topics: ['all'] },
    { deny: 'publish', topics: ['not-own/%c/x'] },
    { allow: 'publish', topics: ['not-own/#'] },
    { allow: ['publish', 'subscribe'], topics: ['#'], users: ['root'] },
  ]);
  const victim = await login(node, { clientId: 'victim', username: 'victim', password: 'x' });
  await victim.subscribed(['by-client/victim/#', 'by-user/victim/#'], { qos: 1 });
  const root = await login(node, { username: 'root', password: 'x' });
  const plain = (name: string): boolean => !/[/+#]/.test(name) && name !== '';
  for (const name of oddNames) {
    for (const kind of ['by-client', 'by-user']) {
      const clientId = kind === 'by-client' ? name : 'odd';
      const username = kind === 'by-user' ? name : 'odd';
      const odd = await login(node, { clientId, username, password: 'x' });
      t.ok(await mayPublish(odd, 'all'), `${name} is let in like anybody`);
      t.equal(await mayPublish(odd, `${kind}/victim/x`), false, `${name} publishes for others`);
      if (plain(name)) t.ok(await mayPublish(odd, `${kind}/${name}/x`), `${name} for itself`);
      if (name === 'a/b') t.notOk(await mayPublish(odd, `${kind}/a/b/x`), 'a name of two levels');
      if (kind === 'by-client') {
        // A deny that cannot say what it means denies all that it could have meant.
        const topic = /[+#]/.test(name) ? 'not-own/any/x' : `not-own/${name}/x`;
        t.notOk(await mayPublish(odd, topic), `${name} is denied its own`);
        t.equal(await mayPublish(odd, 'not-own/other/x'), plain(name), `${name} and others`);
      }
      const filters = [`${kind}/#`, `${kind}/+/x`, `${kind}/victim/x`, '#', '+/+/x', `${kind}/a/#`];
      const wanted = filters.map((filter) => (filter === `${kind}/${name}/#` ? 1 : NOT_AUTHORIZED));
      const suback = await odd.subscribe(filters, { qos: 1 });
      t.strictSame(suback.reasonCodes, wanted, `${name} subscribes to others`);
      odd.destroy();
    }
  }
  t.strictSame(await heard(victim), [], 'the victim heard nothing');
  await root.publish('by-client/victim/x', 'yes', { qos: 1 });
  t.strictSame(await heard(victim), ['by-client/victim/x yes'], 'and would have');
});

t.test('class 6: what is denied below an allowed wildcard is never delivered', async (t) => {
  const site = new Site(t);
  const service = await credulous(t);
  const open = { allow: ['publish', 'subscribe'], topics: ['#'] };
  const hidden = { deny: 'receive', topics: ['plant/secret/#'], users: ['reader'] };
  site.rules([hidden, open]);
  site.configure({
    authentication: { chain: ['http'], http: { url: service.url } },
    authorization: { rulesFile: 'acl.yaml' },
  });
  const first = await NearNode.start(t, site, { data: 'data' });
  const writer = await login(first, { username: 'writer', password: 'x' });
  const say = async (to: Client, what: string, retain = false): Promise<void> => {
    await to.publish('plant/secret/x', `secret ${what}`, { qos: 1, retain });
    await to.publish('plant/open', `open ${what}`, { qos: 1, retain });
  };
  await say(writer, 'retained', true);
  const fields = { ...persistent, clientId: 'reader', username: 'reader', password: 'x' };
  const reader = await login(first, fields);
  await reader.subscribed(['plant/#', '$share/g/plant/secret/+'], { qos: 1 });
  await until(async () => (await heard(reader)).length === 1, 'the retained one');
  await say(writer, 'live');
  const live = await reader.message({ topic: 'plant/open', payload: 'open live' }, {});
  t.equal(live.topic, 'plant/open');
  // In flight, then queued, then over a kill.
  await say(writer, 'in flight');
  await reader.expect('PUBLISH', { payload: 'open in flight' });
  reader.destroy();
  await until(async () => (await first.api('GET', '/clients/reader')).status === 404, 'away');
  await say(writer, 'queued');
  const again = await login(first, { ...fields });
  t.strictSame(await heard(again), ['plant/open open in flight', 'plant/open open queued']);
  again.destroy();
  await until(async () => (await first.api('GET', '/clients/reader')).status === 404, 'away');
  await say(writer, 'before the end');
  await first.stop();

  const second = await NearNode.start(t, site, { data: 'data' });
  const after = await login(second, { ...fields });
  t.ok(after.connack.sessionPresent);
  await after.message({ payload: 'open before the end' });
  await after.subscribed('plant/+/x', { qos: 1 });
  t.strictSame(await heard(after), [], 'nor what is retained there, over the restart');
  const other = await login(second, { username: 'other', password: 'x' });
  await other.subscribed('plant/secret/+', { qos: 1 });
  t.strictSame(await heard(other), ['plant/secret/x secret retained'], 'which is there for others');
});

t.test('class 8: each filter of a SUBSCRIBE has its own answer', async (t) => {
  const node = await ruled(t, [
    { allow: ['publish', 'subscribe'], topics: ['open/#'] },
    { allow: 'publish', topics: ['#'] },
  ]);
  const filters = ['open/1', 'closed/1', '$share/g/closed/2', '$share/g/open/2', 'open/3', '#'];
  for (const version of versions) {
    const client = await login(node, { version, username: 'u', password: 'x' });
    const denied = version === 5 ? NOT_AUTHORIZED : 0x80;
    // MQTT 3.1 has no word for a failure: what is not granted is told as 3.1.1 does.
    const { reasonCodes } = await client.subscribe(filters, { qos: 1 });
    t.strictSame(reasonCodes, [1, denied, denied, 1, 1, denied], `${version}`);
    const held = await node.api('GET', `/sessions/${client.clientId}/subscriptions`);
    t.equal(held.json.items.length, 3, 'no more than was granted');
    for (const topic of ['closed/1', 'closed/2', 'open/1', 'open/3']) {
      await client.publish(topic, 'x', { qos: 1 });
    }
    t.strictSame((await heard(client)).sort(), ['open/1 x', 'open/3 x']);
    client.destroy();
  }
  const foreign = await connectAsync(node.address(), {
    protocolVersion: 5,
    username: 'u',
    password: 'x',
  });
  const granted = await foreign
    .subscribeAsync(['open/1', 'closed/1', 'open/2'])
    .catch((error: Error) => error);
  t.match(String(granted), /Not authorized|Unspecified error/i, 'MQTT.js is told');
  await foreign.endAsync();
  const { stdout } = await run(mosquitto('mosquitto_sub'), [
    ...['-h', '127.0.0.1', '-p', `${node.port()}`, '-V', '5', '-u', 'u', '-P', 'x'],
    ...['-t', 'closed/1', '-t', 'open/1', '-W', '1', '-d'],
  ]).catch((error: { stdout: string }) => error);
  t.match(stdout, /Subscribed \(mid: \d+\): 135, 0/, 'so is mosquitto_sub');
});

t.test('class 9: a shared subscription is asked by what it shares', async (t) => {
  const node = await ruled(t, [
    { deny: ['subscribe', 'receive'], topics: ['closed/#'], users: ['u'] },
    { deny: 'receive', topics: ['open/but/not/this'], users: ['u'] },
    { allow: ['publish', 'subscribe'], topics: ['#'] },
  ]);
  const client = await login(node, { username: 'u', password: 'x' });
  const malformed = [
    '$share//open',
    '$share/g',
    '$share/g/',
    '$share/+/open',
    '$share/#',
    '$share',
  ];
  const answers = await client.subscribe(
    [
      ...['$share/g/closed/1', '$share/g/closed/#', '$share/closed/open/1', '$share/g/open/#'],
      ...['$share/g/$SYS/x', '$share/g/$share/h/closed/1'],
    ],
    { qos: 1 },
  );
  t.strictSame(answers.reasonCodes.slice(0, 4), [NOT_AUTHORIZED, NOT_AUTHORIZED, 1, 1]);
  t.ok(
    answers.reasonCodes.slice(5).every((code) => code >= 0x80),
    'no group within a group',
  );
  for (const filter of malformed) {
    const one = await login(node, { username: 'u', password: 'x' });
    const packetId = one.nextPacketId();
    one.send(subscribe({ version: 5, packetId, subscriptions: [{ filter }] }));
    const got = await one.next();
    const code = got?.type === 'SUBACK' ? got.reasonCodes[0]! : (got?.reasonCode ?? 0x80);
    t.ok(code >= 0x80, `${filter}: ${code}`);
    one.destroy();
  }
  const writer = await login(node, { username: 'w', password: 'x' });
  for (const topic of ['closed/1', 'closed/2', 'open/but/not/this', 'open/2']) {
    await writer.publish(topic, 'x', { qos: 1 });
  }
  t.strictSame(await heard(client), ['open/2 x']);
});

t.test('class 10: what is the broker’s own is nobody’s to write', async (t) => {
  const site = new Site(t);
  site.write('passwords', (await passwordLines({ root: 'p' })).replace('\n', ':superuser\n'));
  site.rules([{ allow: ['publish', 'subscribe'], topics: ['#', '$SYS/#', '$x/#'] }]);
  site.configure({
    authentication: { chain: ['password'], password: { file: 'passwords' } },
    authorization: { rulesFile: 'acl.yaml' },
    sysIntervalS: 1,
  });
  const node = await NearNode.start(t, site);
  const root: LoginFields = { username: 'root', password: 'p' };
  const watcher = await login(node, root);
  await watcher.subscribed('#', { qos: 1 });
  await watcher.subscribed('$SYS/broker/version', { qos: 1 });
  const [version] = await heard(watcher);
  const internal = [
    '$SYS/broker/version',
    '$SYS/x',
    '$CONTROL/dynamic-security/v1',
    '$share/g/x',
    '$queue/x',
    '$MQTT/x',
    '$causeway/x',
    '$x',
    '$',
    '$/x',
  ];
  for (const topic of internal) {
    const client = await login(node, root);
    t.equal(await mayPublish(client, topic), false, `publish ${topic}`);
    client.destroy();
    const will = { topic, retain: true };
    t.equal(await codeOf(node, { ...root, will }), NOT_AUTHORIZED, `will ${topic}`);
    const { status } = await node.api('POST', '/publish', {
      body: { topic, payload: 'x', qos: 1, retain: true },
    });
    t.equal(status, 400, `API ${topic}`);
    for (const version of [3, 4] as const) {
      const old = await login(node, { ...root, version });
      old.sendPublish(topic, 'old', { qos: 0, retain: true });
      old.destroy();
    }
  }
  for (const filter of ['$CONTROL/#', '$MQTT/#', '$causeway/#', '$x/#', '$+/x', '$queue/x']) {
    const { reasonCodes } = await watcher.subscribe(filter);
    t.ok(reasonCodes[0]! >= 0x80, `subscribe ${filter}`);
  }
  t.strictSame(
    (await heard(watcher)).filter((line) => !line.startsWith('$SYS/broker/')),
    [],
    'nobody heard of it',
  );
  const reader = await login(node, root);
  await reader.subscribed('$SYS/broker/version');
  t.strictSame(await heard(reader), [version], 'and what the broker says is what it said');
});

t.test('class 14: who is not let in yet costs little', async (t) => {
  // Nobody gets an answer: all are as far as they can be without one.
  const service = await HttpService.start(t, () => {});
  const site = new Site(t);
  site.configure({
    authentication: {
      chain: ['http'],
      timeoutMs: 1500,
      http: { url: service.url, timeoutMs: 1000, concurrencyMax: 8, waitingMax: 50 },
    },
  });
  const node = await FarNode.start(t, site);
  const beforeBytes = node.broker.rssBytes();
  const payload = Buffer.alloc(64 * 1024, 'x');
  const many = 250;
  const clients = await Promise.all(
    Array.from({ length: many }, (_, index) =>
      sendLogin(node, {
        clientId: `heavy-${index}`,
        username: `user-${index}`,
        // As large as CONNECT may be.
        password: `${index} `.padEnd(60 * 1024, 'x'),
        following: Array.from({ length: 16 }, () =>
          publish({ version: 5, topic: 'heavy', payload }),
        ),
      }),
    ),
  );
  let highestBytes = 0;
  const answers = clients.map((client) => client.next(10_000));
  const all = Promise.all(answers);
  let isOver = false;
  void all.then(() => {
    isOver = true;
  });
  await until(() => {
    highestBytes = Math.max(highestBytes, node.broker.rssBytes());
    return isOver;
  }, 'all have their answer');
  const codes = (await all).map((answer) => answer?.reasonCode);
  // 250 times 1 MiB was sent after the CONNECTs; what is held is bounded by what one socket may.
  const grownMib = (highestBytes - beforeBytes) / MIB;
  t.comment(`${grownMib.toFixed(1)} MiB more`);
  t.ok(grownMib < 130, `${grownMib.toFixed(1)} MiB`);
  t.ok(
    codes.every((code) => code === 0x88 || code === 0x89),
    'unavailable or busy, never in',
  );
  t.equal(await node.metric('causeway_clients_connected'), 0);
  for (const client of clients) client.destroy();
});

t.test('class 16: what goes wrong for one is nothing to the others', async (t) => {
  const lies: readonly string[] = [
    '{"result":"allow","client_attrs":{"__proto__":{"x":1}}}',
    `{"result":"allow","acl":${'['.repeat(20_000)}`,
    `{"result":"allow","acl":${'['.repeat(20_000)}${']'.repeat(20_000)}}`,
    '{"result":{"toString":null}}',
    '{"result":"allow","expire_at":"tomorrow"}',
    '{"result":"allow","tenant":{}}',
    '\u0000',
    'null',
    '[]',
    '{"username":"x"}',
  ];
  let lie: string | null = null;
  const service = await HttpService.start(t, (asked, response) => {
    if (lie === null) {
      json({ result: 'allow' })(asked, response);
      return;
    }
    response.writeHead(200, { 'content-type': 'application/json' });
    response.end(lie);
  });
  const site = new Site(t);
  site.configure({ authentication: { chain: ['http'], http: { url: service.url, cacheS: 0 } } });
  const node = await NearNode.start(t, site);
  const other = await login(node, { username: 'good', password: 'x' });
  await other.subscribed('t', { qos: 1 });
  for (lie of lies) {
    const code = await codeOf(node, { username: 'x', password: 'y' });
    if (!lie.includes('__proto__')) t.equal(code, 0x88, lie.slice(0, 60));
    await other.publish('t', 'still here', { qos: 1 });
    t.strictSame(await heard(other), ['t still here']);
  }
  lie = null;
  t.equal(await codeOf(node, { username: 'x', password: 'y' }), 0);
  t.equal(await node.metric('causeway_internal_errors_total'), 0);
});

t.test('class 25: text that is none is not passed on, nor believed', async (t) => {
  const node = await ruled(t, [{ allow: ['publish', 'subscribe'], topics: ['#'] }]);
  const watcher = await login(node, { username: 'w', password: 'x' });
  await watcher.subscribed('#', { qos: 1 });
  const wrong = [
    Buffer.from([0x61, 0, 0x62]),
    Buffer.from([0xed, 0xa0, 0x80]),
    Buffer.from([0xc0, 0xaf]),
    Buffer.from([0xff]),
    Buffer.from([0xf8, 0x88, 0x80, 0x80, 0x80]),
  ];
  for (const bytes of wrong) {
    for (const version of [4, 5] as const) {
      const named = { version, username: bytes, password: 'x' };
      t.not(await codeOf(node, named), 0, 'as a user name');
      t.not(await codeOf(node, { version, username: 'u', password: 'x', clientId: bytes }), 0);
      const client = await login(node, { version, username: 'u', password: 'x' });
      client.sendPublish(bytes, 'x', { qos: 1 });
      await client.closedAfter(['DISCONNECT']);
    }
  }
  t.strictSame(await heard(watcher), []);
});

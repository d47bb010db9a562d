// Each endpoint over HTTP against a real broker core: what it shows is what clients did, and what it
// does is what clients see.
import t from 'tap';
import { limitTable } from '../../src/core/limits.ts';
import { Stats } from '../../src/core/stats.ts';
import { ApiDoor } from './api-door.ts';

t.test('node, stats, listeners', async (t) => {
  const door = await ApiDoor.open(t);
  door.world.connected(5, 'one');
  const node = (await door.get('/node', 'viewer')).json();
  t.match(node, { version: '1.2.3-test', nodeVersion: process.version, ready: true });
  t.equal(node.checks.length, 3);
  const stats = (await door.get('/stats')).json();
  t.equal(stats.clientsConnected, 1);
  t.equal(stats.packetsReceived.connect, 1);
  t.equal(stats.refused.banned, 0);
  t.equal(stats.dropped.queue_full, 0);
  t.strictSame(Object.keys(stats), Object.keys(new Stats()), 'nothing is left out');
  const listeners = (await door.get('/listeners')).json();
  t.strictSame(
    listeners.items.map(({ name }: { name: string }) => name),
    door.sources.listenerList.map(({ info }) => info.name),
  );
});

t.test('limits and quotas with their use', async (t) => {
  const door = await ApiDoor.open(t);
  door.world.connected(5, 'one');
  const subject = 'tenant "a"/b';
  door.quotas.uses.push({
    name: 'rate',
    of: 'publishMessagesPerS',
    per: 'tenant',
    subject,
    used: 1.5,
    max: 10,
    action: 'slow',
    reached: 3,
  });
  const items = await door.all('/limits?limit=7', 'viewer');
  t.equal(items.length, Object.keys(limitTable).length + 1);
  const named = (name: string) => items.find((item) => item.name === name);
  t.match(named('sessionsMax'), { kind: 'limit', used: 1, max: limitTable.sessionsMax.default });
  t.match(named('lingerMs'), { used: null, unit: 'ms' });
  t.match(named('rate'), { kind: 'quota', subject, used: 1.5, reached: 3 });
});

t.test('clients: list, show, disconnect', async (t) => {
  const door = await ApiDoor.open(t);
  for (const id of ['a/1', 'a/2', 'b/1']) door.world.connected(5, id, { username: 'u' });
  const ids = async (query: string): Promise<string[]> =>
    (await door.all(`/clients${query}`)).map(({ clientId }) => clientId).sort();
  t.strictSame(await ids(''), ['a/1', 'a/2', 'b/1']);
  t.strictSame(await ids('?limit=1'), ['a/1', 'a/2', 'b/1'], 'page by page');
  t.strictSame(await ids('?clientId=a/*'), ['a/1', 'a/2']);
  t.strictSame(await ids('?clientId=*/1'), ['a/1', 'b/1']);
  t.strictSame(await ids('?clientId=a%2F1'), ['a/1']);
  t.strictSame(await ids('?clientId=a'), [], 'exact without a star');
  t.strictSame(await ids('?clientId=.*'), [], 'no regular expression');
  t.strictSame(await ids('?listener=fake&clientId=b/1'), ['b/1']);
  t.strictSame(await ids('?listener=other'), []);
  t.strictSame(await ids('?user=u'), [], 'nobody has proven it');
  const client = (await door.get('/clients/a%2F1')).json();
  t.match(client, { clientId: 'a/1', protocolVersion: 5, listener: 'fake', identity: null });
  t.ok(Math.abs(client.connectedAtMs - door.world.time.wallMs()) < 1000);
  t.equal((await door.get('/clients/nobody')).status, 404);

  const other = door.world.connected(5, 'c');
  t.equal((await door.ask('DELETE', '/clients/c', { as: 'operator' })).status, 204);
  door.world.settle();
  t.strictSame(other.receive(), [{ type: 'disconnect', reasonCode: 0x98 }]);
  t.equal((await door.ask('DELETE', '/clients/c', { as: 'operator' })).status, 404);
});

t.test('sessions: list, show, delete with queue and subscriptions', async (t) => {
  const door = await ApiDoor.open(t);
  const { world } = door;
  const away = world.connected(5, 'away', { clean: false, expiryS: 1000 });
  away.subscribe(['plant/+/t', '$share/g/work/#'], 1);
  world.settle();
  away.disconnect();
  const here = world.connected(5, 'here', { clean: false, expiryS: 1000 });
  here.subscribe('x', 2);
  const publisher = world.connected(5, 'publisher', { will: { topic: 'gone', delayIntervalS: 5 } });
  for (const text of ['one', 'three']) publisher.publish('plant/1/t', text, { qos: 1, id: 7 });
  world.settle();

  t.strictSame(
    (await door.all('/sessions?connected=false')).map(({ clientId }) => clientId),
    ['away'],
  );
  t.equal((await door.all('/sessions?connected=true')).length, 2);
  t.equal((await door.ask('GET', '/sessions?connected=maybe', { as: 'viewer' })).status, 400);
  t.match((await door.get('/sessions/away')).json(), {
    connected: false,
    durable: true,
    expiryIntervalS: 1000,
    subscriptions: 2,
    queuedMessages: 2,
    inflightMessages: 0,
    will: null,
  });
  t.match((await door.get('/sessions/publisher')).json(), {
    connected: true,
    disconnectedAtMs: 0,
    will: { topic: 'gone', delayS: 5 },
  });
  t.strictSame(
    (await door.all('/sessions/away/subscriptions?limit=1')).map(({ filter, qos }) => [
      filter,
      qos,
    ]),
    [
      ['plant/+/t', 1],
      ['$share/g/work/#', 1],
    ],
  );
  const queue = (await door.get('/sessions/away/queue', 'viewer')).json();
  t.strictSame(
    queue.items.map(({ seq, topic, qos, sent }: Record<string, unknown>) => [
      seq,
      topic,
      qos,
      sent,
    ]),
    [
      [1, 'plant/1/t', 1, false],
      [2, 'plant/1/t', 1, false],
    ],
  );
  t.notMatch(JSON.stringify(queue), /one|three|payload/, 'no payload below operator, nor above');
  t.equal((await door.get('/sessions/away/queue?limit=1')).json().items.length, 1);
  t.equal((await door.get('/sessions/nobody/queue')).status, 404);
  t.equal((await door.get('/sessions/nobody/subscriptions')).status, 404);
  t.equal((await door.get('/sessions/nobody')).status, 404);

  const drop = (path: string) => door.ask('DELETE', path, { as: 'operator' });
  t.equal((await drop('/sessions/away/subscriptions?filter=plant/%2B/t')).status, 204);
  t.equal((await drop('/sessions/away/subscriptions?filter=plant/%2B/t')).status, 404);
  t.equal((await drop('/sessions/away/subscriptions?filter=a%23')).status, 400);
  t.equal((await drop('/sessions/away/subscriptions')).status, 400, 'never all by accident');
  publisher.publish('plant/1/t', 'four', { qos: 1, id: 8 });
  t.equal((await door.get('/sessions/away')).json().queuedMessages, 2, 'unsubscribed');

  t.equal((await drop('/sessions/away')).status, 204);
  t.equal((await drop('/sessions/away')).status, 404);
  t.equal(world.stats.queuedMessages, 0, 'the queue is gone');
  here.receive();
  t.equal((await drop('/sessions/here')).status, 204);
  world.settle();
  t.strictSame(here.receive(), [{ type: 'disconnect', reasonCode: 0x98 }]);
  t.equal(world.stats.closed.get('session_ended'), 1, 'the reason says which');
  t.equal((await door.get('/sessions/here')).status, 404, 'also one that would outlive its client');
});

t.test('subscriptions of all, and who receives a topic', async (t) => {
  const door = await ApiDoor.open(t);
  const { world } = door;
  const filters: readonly (readonly [string, readonly string[]])[] = [
    ['a', ['t/#', 't/+', 'other']],
    ['b', ['t/1', '$share/g/t/+']],
    ['c', ['$share/g/t/+', '$SYS/#']],
  ];
  for (const [id, list] of filters) world.connected(5, id).subscribe(list, 1);
  world.settle();
  const pairs = async (query: string): Promise<string[]> =>
    (await door.all(`/subscriptions${query}`))
      .map(({ clientId, filter }) => `${clientId} ${filter}`)
      .sort();
  const everything = filters
    .flatMap(([id, list]) => list.map((filter) => `${id} ${filter}`))
    .sort();
  t.strictSame(await pairs(''), everything);
  t.strictSame(await pairs('?limit=2'), everything, 'page by page');
  t.strictSame(await pairs('?clientId=b'), ['b $share/g/t/+', 'b t/1']);
  t.strictSame(await pairs('?filter=$share/*'), ['b $share/g/t/+', 'c $share/g/t/+']);
  t.strictSame(await pairs('?filter=t/%2B'), ['a t/+'], 'a filter is text, not a pattern');
  const matching = ['a t/#', 'a t/+', 'b $share/g/t/+', 'b t/1', 'c $share/g/t/+'];
  t.strictSame(await pairs('?matches=t/1'), matching);
  t.strictSame(await pairs('?matches=t/1&limit=1'), matching);
  t.strictSame(await pairs('?matches=t/1&clientId=b'), ['b $share/g/t/+', 'b t/1']);
  t.strictSame(await pairs('?matches=$SYS/x'), ['c $SYS/#']);
  t.equal((await door.get('/subscriptions?matches=a/%2B')).status, 400);

  const routes = await door.all('/routes?topic=t/1');
  const flat = (items: { filter: string; subscribers: { clientId: string }[] }[]): string[] =>
    items
      .flatMap(({ filter, subscribers }) =>
        subscribers.map(({ clientId }) => `${clientId} ${filter}`),
      )
      .sort();
  t.strictSame(flat(routes), matching);
  t.strictSame(flat(await door.all('/routes?topic=t/1&limit=1')), matching, 'in pages');
  t.strictSame(await door.all('/routes?topic=nobody'), []);
  t.equal((await door.get('/routes')).status, 400);
  t.equal((await door.get('/routes?topic=%23')).status, 400);
});

t.test('publish and retained', async (t) => {
  const door = await ApiDoor.open(t);
  const { world } = door;
  const publish = (body: object) => door.ask('POST', '/publish', { as: 'operator', body });
  const subscriber = world.connected(5, 's');
  subscriber.subscribe('#', 2);
  world.settle();
  subscriber.receive();
  const sent = await publish({ topic: 'a/b', payload: 'grüße', qos: 1, messageExpiryS: 60 });
  t.equal(sent.status, 204);
  world.settle();
  t.match(subscriber.receive(), [
    { publish: { topic: 'a/b', payload: 'grüße', qos: 1, expiryS: 60, retain: false } },
  ]);
  const bytes = Buffer.from([0, 255, 1]);
  const base64 = { payload: bytes.toString('base64'), encoding: 'base64', retain: true };
  t.equal((await publish({ topic: 'r/bin', ...base64 })).status, 204);
  t.equal((await publish({ topic: 'r/text', payload: '{"x":1}', retain: true })).status, 204);
  world.connected(5, 'device').publish('r/device', 'x', { retain: true });

  const list = await door.all('/retained?filter=r/%2B&limit=1', 'operator');
  t.strictSame(list.map(({ topic, publisherId }) => [topic, publisherId]).sort(), [
    ['r/bin', null],
    ['r/device', 'device'],
    ['r/text', null],
  ]);
  t.equal((await door.all('/retained')).length, 3, 'all without a filter');
  t.notMatch(JSON.stringify(list), 'payload');
  const get = async (topic: string) => (await door.get(`/retained/message?topic=${topic}`)).json();
  t.match(await get('r/text'), { payload: '{"x":1}', encoding: 'utf8', truncated: false });
  t.match(await get('r/bin'), { ...base64, payloadBytes: 3, retain: undefined });
  t.equal((await door.get('/retained/message?topic=r')).status, 404);
  t.equal((await door.get('/retained/message')).status, 400);
  t.equal((await door.get('/retained?filter=$share/g/x')).status, 400);

  const big = Buffer.alloc(1_000_000, 'x').toString();
  t.equal((await publish({ topic: 'r/big', payload: big, retain: true })).status, 204);
  t.match(await get('r/big'), { payload: big, truncated: false });

  const drop = (query: string) => door.ask('DELETE', `/retained${query}`, { as: 'operator' });
  t.strictSame((await drop('?topic=r/big')).json(), { deleted: 1, complete: true });
  t.strictSame((await drop('?topic=r/big')).json(), { deleted: 0, complete: true });
  t.strictSame((await drop('?filter=r/%23')).json(), { deleted: 3, complete: true });
  t.equal(world.stats.retainedMessages, 0);
  for (const query of [
    '',
    '?topic=a&filter=b',
    '?topic=$SYS/x',
    '?filter=$SYS/%23',
    '?filter=a%23',
  ]) {
    t.equal((await drop(query)).status, 400, `DELETE /retained${query}`);
  }

  const refused: readonly [object, string][] = [
    [{ topic: 'a/#', payload: '' }, 'topic'],
    [{ topic: '$SYS/x', payload: '' }, 'topic'],
    [{ topic: '$x', payload: '' }, 'topic'],
    [{ topic: '', payload: '' }, 'topic'],
    [{ topic: 'a\u0000', payload: '' }, 'topic'],
    [{ topic: '\ud800', payload: '' }, 'topic'],
    [{ topic: 'a', payload: 'é', encoding: 'base64' }, 'payload'],
    [{ topic: 'a', payload: 'YQ', encoding: 'base64' }, 'payload'],
    [{ topic: 'a', payload: '', qos: 3 }, 'qos'],
    [{ topic: 'a', payload: '', qos: '1' }, 'qos'],
    [{ topic: 'a', payload: '', messageExpiryS: -1 }, 'messageExpiryS'],
    [{ payload: '' }, 'topic'],
    [{ topic: 'a' }, 'payload'],
    [{ topic: 'a', payload: '', payloads: 1 }, 'payloads'],
  ];
  world.settle();
  subscriber.receive();
  for (const [body, field] of refused) {
    const answer = await publish(body);
    t.equal(answer.status, 400, JSON.stringify(body));
    t.match(answer.json().errors, [{ field }]);
  }
  const levels = await publish({ topic: '/'.repeat(300), payload: '' });
  t.match([levels.status, levels.json().detail], [400, /topicLevelsMax/]);
  const large = await publish({ topic: 'a', payload: 'x'.repeat(1_048_576) });
  t.match([large.status, large.json().detail], [400, /packetBytesMax/]);
  t.equal((await publish({ topic: 'a', payload: 'x'.repeat(4 * 1024 * 1024) })).status, 413);
  world.settle();
  t.equal(subscriber.receive().length, 0, 'none of them was published');
});

t.test('bans', async (t) => {
  const door = await ApiDoor.open(t);
  const add = (body: object) => door.ask('POST', '/bans', { as: 'operator', body });
  const made = await add({ kind: 'client', value: 'a/b', reason: 'why', expiresInS: 60 });
  t.equal(made.status, 201);
  t.match(made.json(), { kind: 'client', value: 'a/b', by: 'the-operator', expiresAtMs: 61_000 });
  t.equal((await add({ kind: 'address', value: '192.0.2.1' })).json().expiresAtMs, 0);
  t.equal((await add({ kind: 'user', value: 'u', expiresInS: null })).json().reason, '');
  door.bans.bans.set('auto', {
    ...made.json(),
    id: 'auto',
    user: null,
    origin: 'login',
    by: '',
    ...{ step: 3, secret: 'not shown' },
  });
  const list = await door.all('/bans?limit=1', 'viewer');
  t.equal(list.length, 4);
  t.notMatch(JSON.stringify(list), /step|secret/);
  t.match(
    list.find(({ id }) => id === 'auto'),
    { user: null, origin: 'login' },
  );
  for (const body of [
    { kind: 'planet', value: 'x' },
    { kind: 'client', value: '' },
    { kind: 'client' },
    { kind: 'client', value: 'x', expiresInS: 0 },
    { kind: 'client', value: 'x', expiresInS: 1.5 },
    { kind: 'client', value: 'x', by: 'somebody else' },
  ]) {
    t.equal((await add(body)).status, 400, JSON.stringify(body));
  }
  t.equal((await add({ kind: 'address', value: 'x' })).status, 422, 'as the port says');
  t.equal((await add({ kind: 'user', value: 'one too many' })).status, 409);
  const lift = (id: string) => door.ask('DELETE', `/bans/${id}`, { as: 'operator' });
  t.equal((await lift('auto')).status, 204);
  t.equal((await lift('auto')).status, 404);
  t.equal(door.bans.bans.size, 3);
});

t.test('rules are asked, with everything that is known', async (t) => {
  const door = await ApiDoor.open(t);
  const test = (body: object) => door.ask('POST', '/acl/test', { as: 'operator', body });
  const asked = { clientId: 'c', action: 'publish', topic: 'a/b' };
  t.strictSame((await test(asked)).json(), door.acl.answer);
  t.strictSame(door.acl.questions[0], {
    ...asked,
    user: null,
    qos: 0,
    retain: false,
    address: '',
    listener: '',
    tenant: '',
    claims: new Map(),
    certificate: null,
  });
  door.acl.answer = { allowed: false, rule: null, file: null, line: null, reason: 'none matched' };
  const full = {
    user: 'u',
    clientId: 'c',
    action: 'subscribe',
    topic: 'a/+/#',
    qos: 2,
    retain: true,
    address: '192.0.2.1',
    listener: 'l',
    tenant: 'x',
    claims: { group: ['a', 'b'], constructor: 'x' },
    certificate: { subjectCommonName: 'cn' },
  };
  t.strictSame((await test(full)).json(), door.acl.answer);
  t.strictSame(door.acl.questions[1], { ...full, claims: new Map(Object.entries(full.claims)) });
  for (const body of [
    { ...asked, action: 'eat' },
    { ...asked, topic: 'a/+' },
    { ...full, topic: 'a/#/b' },
    { ...asked, claims: { a: 1 } },
    { ...asked, certificate: { commonName: 'x' } },
    { clientId: 'c', action: 'publish' },
  ]) {
    t.equal((await test(body)).status, 400, JSON.stringify(body));
  }
  t.equal(door.acl.questions.length, 2);
});

t.test('configuration and certificates', async (t) => {
  const door = await ApiDoor.open(t);
  t.strictSame(await door.all('/config?limit=2'), door.config.options);
  const post = (path: string) => door.ask('POST', path, { as: 'admin' });
  const { applied, needsRestart, loaded } = door.config.report;
  t.match(loaded, { rules: 1000, quotas: 4 });
  t.strictSame((await post('/config/reload')).json(), { applied, needsRestart, loaded });
  door.config.report = { applied: [], needsRestart: [], problems: [] };
  t.strictSame((await post('/config/reload')).json(), { applied: [], needsRestart: [] });
  const problems = [{ field: 'node.yaml:3', message: 'unknown option' }];
  door.config.report = { applied: [], needsRestart: [], problems };
  const refused = await post('/config/reload');
  t.equal(refused.status, 422);
  t.strictSame(refused.json().errors, problems);
  t.strictSame((await post('/certificates/reload')).json(), {
    reloaded: ['mqtts://127.0.0.1:8883'],
  });
  door.config.certificates = { reloaded: [], problems };
  t.equal((await post('/certificates/reload')).status, 422);
});

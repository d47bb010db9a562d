// Metrics, health and $SYS of a running node: clients do what is counted, and the numbers move.
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { metricTable } from '../../src/admin/metric-table.ts';
import { Client } from '../../src/client/client.ts';
import type { ClientOptions } from '../../src/client/options.ts';
import { type RefuseReason, refuseReasons } from '../../src/core/refuse-reason.ts';
import { startBroker, type TestBroker } from '../client/broker.ts';
import { publishBytes } from '../client/fake-server.ts';
import { readText, type Scrape } from './prometheus-text.ts';

let broker: TestBroker;
let folder = '';

t.before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'causeway-admin-'));
  const file = join(folder, 'node.yaml');
  writeFileSync(
    file,
    `listeners:
  - mqtt://127.0.0.1:0
  - {url: 'mqtt://127.0.0.1:0', name: small, limits: {connectionsMax: 1}}
sysIntervalS: 1
limits:
  packetBytesMax: 65536
  connectBytesMax: 1024
  connectTimeoutMs: 300
  clientIdBytesMax: 64
  queueMessagesMax: 5
  receiveMaximum: 4
  topicAliasMax: 2
  retainedMessagesMax: 100
  userPropertiesMax: 4
  outboxBytesMax: 16KiB
  outboxStallMs: 1000
  lingerMs: 50
`,
  );
  broker = await startBroker([], ['--admin', 'http://127.0.0.1:0', '--config', file], 2);
});

t.teardown(async () => {
  await broker.stop();
  rmSync(folder, { recursive: true, force: true });
});

async function scrape(): Promise<Scrape> {
  const response = await fetch(`${broker.admin}/metrics`);
  return readText(await response.text());
}

async function value(series: string): Promise<number> {
  return (await scrape()).values.get(series) ?? Number.NaN;
}

/** Series that have risen in one of the tests. */
const proven = new Set<string>();

/** Does something and waits until each series has risen. */
async function moves(
  t: Test,
  series: readonly string[],
  act: () => Promise<unknown>,
): Promise<void> {
  const before = await scrape();
  await act();
  const deadline = performance.now() + 5000;
  let still = [...series];
  while (still.length > 0 && performance.now() < deadline) {
    const { values } = await scrape();
    still = still.filter((one) => !((values.get(one) ?? 0) > (before.values.get(one) ?? 0)));
    if (still.length > 0) await sleep(20);
  }
  t.strictSame(still, [], `moves ${series.join(' ')}`);
  for (const one of series) proven.add(one);
}

async function connect(options: Partial<ClientOptions> = {}): Promise<Client> {
  const client = new Client({ url: broker.url, ...options });
  await client.connect();
  return client;
}

function newName(): string {
  return `admin-${randomBytes(6).toString('hex')}`;
}

/** A socket that says these bytes and waits for the end. */
async function raw(bytes: Buffer, hasEnd = true): Promise<net.Socket> {
  const socket = net.connect(Number(new URL(broker.url).port), '127.0.0.1');
  socket.on('error', () => {});
  socket.resume();
  await once(socket, 'connect');
  socket.write(bytes);
  if (hasEnd) await once(socket, 'close');
  return socket;
}

/** CONNECT of version 5, or what pretends to be one. */
function connectBytes(
  clientId: string,
  keepAliveS = 1,
  { version = 5, flags = 2, properties = '', rest = '' } = {},
): Buffer {
  const id = Buffer.from(clientId);
  const more = Buffer.from(properties, 'hex');
  const head = Buffer.from([0, 4, 0x4d, 0x51, 0x54, 0x54, version, flags, 0, keepAliveS]);
  const end = Buffer.from([0, id.length]);
  const parts = [head, Buffer.from([more.length]), more, end, id, Buffer.from(rest, 'hex')];
  const body = Buffer.concat(parts);
  return Buffer.concat([Buffer.from([0x10, body.length]), body]);
}

const closed = (reason: string): string => `causeway_connections_closed_total{reason="${reason}"}`;
const refused = (reason: string): string => `causeway_connects_refused_total{reason="${reason}"}`;
const dropped = (reason: string): string => `causeway_messages_dropped_total{reason="${reason}"}`;
const received = (type: string): string => `causeway_packets_received_total{type="${type}"}`;
const sent = (type: string): string => `causeway_packets_sent_total{type="${type}"}`;

t.test('health of a node that is well', async (t) => {
  for (const path of ['live', 'ready', 'full']) {
    const response = await fetch(`${broker.admin}/health/${path}`);
    const body = (await response.json()) as { status: string };
    t.strictSame([response.status, body.status], [200, 'ok'], `${path} ${JSON.stringify(body)}`);
  }
});

t.test('a client comes, talks at every QoS, and goes', async (t) => {
  const topic = newName();
  let client: Client | null = null;
  let got = 0;
  const all = Promise.withResolvers<void>();
  const onMessage = (): void => {
    got += 1;
    if (got === 3) all.resolve();
  };
  const gauges = [
    'causeway_connections',
    'causeway_clients_connected',
    'causeway_sockets',
    'causeway_sessions',
  ];
  await moves(
    t,
    [
      ...gauges,
      'causeway_sockets_accepted_total',
      'causeway_connects_accepted_total',
      'causeway_sessions_created_total',
      `causeway_listener_connections{listener="mqtt://127.0.0.1:0",transport="tcp"}`,
      `causeway_listener_accepted_total{listener="mqtt://127.0.0.1:0",transport="tcp"}`,
      received('connect'),
      sent('connack'),
    ],
    async () => {
      client = await connect({ keepAliveS: 1, onMessage });
    },
  );
  const open = client! as Client;
  await moves(t, ['causeway_subscriptions', received('subscribe'), sent('suback')], () =>
    open.subscribe([{ filter: topic, qos: 2 }]),
  );
  await moves(t, ['causeway_shared_subscriptions', 'causeway_subscriptions'], () =>
    open.subscribe(`$share/g/${topic}/shared`),
  );
  const both = ['0', '1', '2'].flatMap((qos) => [
    `causeway_messages_received_total{qos="${qos}"}`,
    `causeway_messages_sent_total{qos="${qos}"}`,
  ]);
  const acks = ['puback', 'pubrec', 'pubrel', 'pubcomp'].flatMap((type) => [
    received(type),
    sent(type),
  ]);
  const bytes = ['received', 'sent'].flatMap((way) => [
    `causeway_${way}_bytes_total`,
    `causeway_messages_${way}_bytes_total`,
  ]);
  const packets = [received('publish'), sent('publish')];
  const routes = ['causeway_route_cache_hits_total', 'causeway_route_cache_misses_total'];
  await moves(t, [...both, ...acks, ...bytes, ...packets, ...routes], async () => {
    for (const qos of [0, 1, 2] as const) await open.publish(topic, 'payload', { qos });
    await all.promise;
  });
  await moves(t, ['causeway_messages_unrouted_total'], () => open.publish(`${topic}/none`));
  await moves(t, ['causeway_retained_messages', 'causeway_retained_bytes'], () =>
    open.publish(`${topic}/kept`, 'x', { retain: true }),
  );
  await moves(t, [received('unsubscribe'), sent('unsuback')], () => open.unsubscribe(topic));
  await moves(t, [received('pingreq'), sent('pingresp')], () => sleep(1000));
  await moves(t, [received('disconnect'), closed('client_disconnect')], () => open.disconnect());
  const { values } = await scrape();
  t.equal(values.get('causeway_connections'), 0);
  t.equal(values.get('causeway_clients_connected'), 0);
  t.equal(values.get('causeway_subscriptions'), 0);
  const highest = ['causeway_connections_highest', 'causeway_clients_connected_highest'];
  await moves(t, highest, async () => {
    const many = [await connect(), await connect(), await connect()];
    for (const one of many) await one.disconnect();
  });
});

t.test('sessions that wait, resume, are taken over and expire', async (t) => {
  const clientId = newName();
  const properties = { sessionExpiryIntervalS: 60 };
  const first = await connect({ clientId, properties });
  await first.subscribe([{ filter: `${clientId}/#`, qos: 1 }]);
  await first.disconnect();
  const publisher = await connect();
  await moves(t, ['causeway_queued_messages', 'causeway_queued_bytes'], () =>
    publisher.publish(`${clientId}/a`, 'x', { qos: 1 }),
  );
  await moves(t, [dropped('queue_full')], async () => {
    for (let i = 0; i < 6; i++) await publisher.publish(`${clientId}/a`, 'x', { qos: 1 });
  });
  const hold = Promise.withResolvers<void>();
  const again = { clientId, properties, cleanStart: false, onMessage: () => hold.promise };
  let second: Client | null = null;
  await moves(t, ['causeway_sessions_resumed_total', 'causeway_inflight_messages'], async () => {
    second = await connect(again);
  });
  await moves(
    t,
    ['causeway_sessions_taken_over_total', closed('session_taken_over'), sent('disconnect')],
    async () => {
      const third = await connect({ clientId, properties, cleanStart: false });
      await (second! as Client).closed;
      await third.disconnect({ sessionExpiryIntervalS: 0 });
    },
  );
  hold.resolve();
  const brief = newName();
  const short = await connect({ clientId: brief, properties: { sessionExpiryIntervalS: 1 } });
  await short.subscribe([{ filter: brief, qos: 1 }]);
  await short.disconnect();
  await publisher.publish(brief, 'x', { qos: 1 });
  await moves(t, ['causeway_sessions_expired_total', dropped('session_expired')], () =>
    sleep(1000),
  );
  await publisher.disconnect();
});

t.test('messages that do not arrive, each with its reason', async (t) => {
  const topic = newName();
  const publisher = await connect();
  await moves(t, [dropped('reserved_topic')], () => publisher.publish('$SYS/mine', 'x'));
  const clientId = newName();
  const properties = { sessionExpiryIntervalS: 60, maximumPacketSize: 100 };
  const small = await connect({ clientId, properties });
  await small.subscribe([{ filter: topic, qos: 1 }]);
  await moves(t, [dropped('packet_too_large')], () =>
    publisher.publish(topic, Buffer.alloc(200), { qos: 1 }),
  );
  await small.disconnect();
  await publisher.publish(topic, 'x', { qos: 1, properties: { messageExpiryS: 1 } });
  await sleep(1100);
  await moves(t, [dropped('expired')], async () => {
    const back = await connect({ clientId, properties, cleanStart: false });
    await back.disconnect({ sessionExpiryIntervalS: 0 });
  });
  await moves(t, [dropped('retained_full')], async () => {
    for (let i = 0; i < 101; i++) await publisher.publish(`${topic}/${i}`, 'x', { retain: true });
  });
  for (let i = 0; i < 101; i++) await publisher.publish(`${topic}/${i}`, '', { retain: true });
  const slow = await raw(connectBytes(newName(), 0), false);
  t.teardown(() => slow.destroy());
  slow.pause();
  const filter = Buffer.from(topic);
  const head = Buffer.from([0x82, filter.length + 6, 0, 1, 0, 0, filter.length]);
  slow.write(Buffer.concat([head, filter, Buffer.from([0])]));
  await sleep(50);
  const full = [
    dropped('outbox_full'),
    'causeway_outbox_bytes',
    'causeway_publishers_paused_total',
  ];
  await moves(t, full, async () => {
    for (let i = 0; i < 400; i++) await publisher.publish(topic, Buffer.alloc(30_000));
  });
  await moves(t, [closed('outbox_stalled')], () => sleep(1000));
  await publisher.disconnect();
});

t.test('connections that end, each with its reason', async (t) => {
  const bad = (hex: string): Buffer =>
    Buffer.concat([connectBytes(newName()), Buffer.from(hex, 'hex')]);
  const cases: [reason: string, act: () => Promise<unknown>][] = [
    ['malformed_packet', () => raw(bad('0000'))],
    ['protocol_error', () => raw(bad('2003000000'))],
    ['packet_too_large', () => raw(bad('30ffff7f'))],
    ['topic_alias_invalid', () => raw(bad('3008000161032300ff78'))],
    ['topic_name_invalid', () => raw(bad('300500012b0078'))],
    ['not_connect', () => raw(Buffer.from('c000', 'hex'))],
    ['connect_timeout', () => raw(Buffer.from([0x10]))],
    ['connect_refused', () => raw(connectBytes('x'.repeat(65)))],
    ['keep_alive_timeout', () => raw(connectBytes(newName()))],
    [
      'receive_maximum',
      () => {
        const open = [1, 2, 3, 4, 5].map((packetId) =>
          publishBytes('a', 'x', { qos: 2, packetId }),
        );
        return raw(Buffer.concat([connectBytes(newName()), ...open]));
      },
    ],
    ['quota_exceeded', () => raw(bad(`30230001611e${'2600016b0000'.repeat(5)}78`))],
    ['socket_closed', async () => (await raw(connectBytes(newName()), false)).end()],
    [
      'socket_error',
      async () => {
        const socket = await raw(connectBytes(newName()), false);
        await once(socket, 'data');
        socket.resetAndDestroy();
      },
    ],
    ['client_disconnect_with_will', async () => (await connect()).disconnect({ reasonCode: 0x04 })],
  ];
  for (const [reason, act] of cases) {
    await moves(t, [closed(reason)], act);
  }
  t.equal(await value('causeway_internal_errors_total'), 0, 'none of it was an error of ours');
});

t.test('refusals', async (t) => {
  const cases: readonly [string, Buffer][] = [
    ['client_id_invalid', connectBytes('x'.repeat(65))],
    ['malformed', connectBytes('x', 1, { flags: 3 })],
    ['protocol_version', connectBytes('x', 1, { version: 7 })],
    ['authentication_method', connectBytes('x', 1, { properties: '15000178' })],
    // No properties, topic, no payload.
    ['will_not_authorized', connectBytes('x', 1, { flags: 6, rest: '00000224780000' })],
  ];
  for (const [reason, bytes] of cases) await moves(t, [refused(reason)], () => raw(bytes));
  const labels = '{listener="small",transport="tcp"}';
  await moves(
    t,
    ['causeway_sockets_refused_total', `causeway_listener_refused_total${labels}`],
    async () => {
      const first = await connect({ url: broker.urls[1]! });
      const second = new Client({ url: broker.urls[1]! });
      await t.rejects(second.connect(), { code: 'connection_lost' }, 'one is the most');
      await second.destroy();
      await first.disconnect();
    },
  );
  await moves(t, ['causeway_wills_published_total'], async () => {
    const will = { topic: newName(), payload: Buffer.from('x') };
    await (await connect({ will })).destroy();
  });
});

t.test('$SYS as a client sees it', async (t) => {
  const seen = new Map<string, string>();
  const client = await connect({
    onMessage: ({ topic, payload }) => void seen.set(topic, payload.toString()),
  });
  await client.subscribe('$SYS/broker/#');
  await sleep(1500);
  t.match(seen.get('$SYS/broker/version'), /^causeway version \d/);
  t.match(seen.get('$SYS/broker/uptime'), /^\d+ seconds$/);
  t.equal(seen.get('$SYS/broker/clients/connected'), '1');
  t.ok(Number(seen.get('$SYS/broker/load/messages/received/1min')) > 0);
  t.ok(Number(seen.get('$SYS/broker/publish/messages/dropped')) > 0);
  await client.disconnect();
});

const provenRefusals: readonly RefuseReason[] = [
  'client_id_invalid',
  'malformed',
  'protocol_version',
  'authentication_method',
  'will_not_authorized',
];

/** Series that clients of this node cannot move, and why; metrics.test.ts moves their counters. */
const elsewhere: ReadonlyMap<string, string> = new Map([
  ['causeway_internal_errors_total', 'needs a defect'],
  ['causeway_acks_elided_total', 'needs a store on disk'],
  ['causeway_parked_acks', 'needs a store on disk'],
  [received('auth'), 'needs an authenticator'],
  [sent('auth'), 'needs an authenticator'],
  [closed('server_shutting_down'), 'nobody can ask any more; the last test sees it as a client'],
  [closed('admin_disconnect'), 'needs an operator'],
  [closed('not_authorized'), 'needs access rules'],
  [closed('rights_revoked'), 'needs access rules'],
  [closed('credentials_expired'), 'needs an authenticator'],
  [closed('banned'), 'needs a ban'],
  [closed('session_ended'), 'needs an operator'],
  [closed('message_rate'), 'needs a quota'],
  [closed('queue_overflow'), 'needs another queueOverflow'],
  [closed('store_failed'), 'needs a disk that fails'],
  [closed('internal_error'), 'needs a defect'],
  [dropped('not_authorized_publish'), 'needs access rules'],
  [dropped('not_authorized_receive'), 'needs access rules'],
  [dropped('will_not_authorized'), 'needs access rules'],
  [dropped('retained_source'), 'needs access rules'],
  ...['publish_quota', 'delivery_quota', 'queue_quota', 'retained_quota'].map(
    (reason): [string, string] => [dropped(reason), 'needs a quota'],
  ),
  ['causeway_subscriptions_revoked_total', 'needs access rules'],
  ...refuseReasons
    .filter((reason) => !provenRefusals.includes(reason))
    .map((reason): [string, string] => [refused(reason), 'needs access, quotas or a full broker']),
  [dropped('store_failed'), 'needs a disk that fails'],
  [dropped('link_budget'), 'needs another region: test/core/link.test.ts'],
  [dropped('bridge_budget'), 'needs a bridge: test/core/bridge-budget.test.ts'],
  [dropped('no_member'), 'needs a group whose members all refuse'],
  [closed('draining'), 'test/core/drain.test.ts: the node would be empty'],
  ['causeway_clients_moved_total', 'the same'],
  [closed('node_fenced'), 'needs a datacenter that goes on without it'],
  ['causeway_peers', 'needs other nodes'],
  ['causeway_group_queues', 'the same: test/e2e/cluster-groups.test.ts'],
  ['causeway_group_queued_messages_total', 'the same'],
  ['causeway_group_moved_messages_total', 'the same'],
]);

t.test('every series of the broker was moved here, or there is a reason', async (t) => {
  const { values } = await scrape();
  const sendable = /_sent_total\{type="(connect|subscribe|unsubscribe|pingreq)"/;
  const receivable = /_received_total\{type="(connack|suback|unsuback|pingresp)"/;
  const own = [...values.keys()].filter(
    (series) =>
      // Those of other rooms are moved by the tests of those rooms.
      metricTable.some(({ name }) => series === name || series.startsWith(`${name}{`)) &&
      !/^causeway_(build|listener|api)_/.test(series) &&
      // What the other side sends only.
      !sendable.test(series) &&
      !receivable.test(series),
  );
  const unmoved = own.filter((series) => !proven.has(series) && !elsewhere.has(series));
  t.strictSame(unmoved, []);
  t.strictSame(
    [...elsewhere.keys()].filter((series) => proven.has(series)),
    [],
    'none is in both',
  );
});

t.test('a node that stops is not ready', async (t) => {
  const other = await startBroker(['mqtt://127.0.0.1:0'], ['--admin', 'http://127.0.0.1:0']);
  t.teardown(() => other.stop());
  const client = new Client({ url: other.url });
  await client.connect();
  const stopping = other.stop();
  const error = await client.closed;
  t.match(error, { code: 'closed_by_server', reasonCode: 0x8b });
  await stopping;
  await t.rejects(fetch(`${other.admin}/health/live`), 'and then gone');
});

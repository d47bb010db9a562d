// Bridges to a real mosquitto: both directions, prefixes, every QoS, retained messages, kills, no loops.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { parse, stringify } from 'yaml';
import { Client } from '../../src/client/client.ts';
import type { ReceivedMessage } from '../../src/client/message.ts';
import type { Subscription } from '../../src/client/subscriptions.ts';
import { ADMIN_TOKEN, passwordLines } from '../e2e/access-kit.ts';
import { Broker } from '../e2e/broker.ts';
import { until } from '../e2e/cluster-kit.ts';
import { Certificates } from '../listeners/certificates.ts';
import { TcpProxy } from '../support/tcp-proxy.ts';
import { MosquittoServer } from './mosquitto-server.ts';

t.setTimeout(240_000);

const QUIET_MS = 400;

/** A client that keeps what it gets. */
class Reader {
  readonly client: Client;
  readonly messages: ReceivedMessage[] = [];

  constructor(port: number, clientId: string, isDurable: boolean) {
    this.client = new Client({
      url: `mqtt://127.0.0.1:${port}`,
      clientId,
      cleanStart: !isDurable,
      ...(isDurable ? { properties: { sessionExpiryIntervalS: 3600 } } : {}),
      reconnect: { minMs: 50, maxMs: 200, always: true },
      resubscribe: false,
      onMessage: (message) => void this.messages.push(message),
    });
  }

  shown(): string[] {
    return this.messages.map(
      ({ topic, payload, qos, retain }) => `${topic} ${payload} ${qos}${retain ? ' r' : ''}`,
    );
  }

  async quiet(): Promise<string[]> {
    for (let before = -1; before !== this.messages.length; ) {
      before = this.messages.length;
      await new Promise((resolve) => setTimeout(resolve, QUIET_MS));
    }
    const shown = this.shown();
    this.messages.length = 0;
    return shown;
  }
}

interface Stage {
  readonly far: MosquittoServer;
  readonly config: string;
  broker: Broker;
  start(): Promise<Broker>;
  reader(
    port: number,
    filters: readonly (string | Subscription)[],
    isDurable?: boolean,
  ): Promise<Reader>;
  up(name?: string): Promise<unknown>;
  metric(name: string, bridge?: string): Promise<number>;
}

async function open(
  t: Test,
  far: MosquittoServer,
  bridges: (port: number) => readonly object[],
): Promise<Stage> {
  const folder = mkdtempSync(join(tmpdir(), 'causeway-bridge-'));
  const clients: Client[] = [];
  const config = join(folder, 'causeway.yaml');
  writeFileSync(
    config,
    stringify({
      listeners: ['mqtt://127.0.0.1:0'],
      sysIntervalS: 0,
      // The bridge proves nothing, and no rule allows anybody anything but this.
      authentication: { chain: ['password'], anonymous: true, password: { file: 'passwords' } },
      authorization: { rulesFile: 'rules' },
      bridges: bridges(far.port),
    }),
  );
  writeFileSync(join(folder, 'passwords'), await passwordLines({ somebody: 'a-password' }));
  writeFileSync(join(folder, 'rules'), 'topic readwrite #\ntopic read $SYS/#\n');
  const stage: Stage = {
    far,
    config,
    broker: null as unknown as Broker,
    start: async () => {
      stage.broker = await Broker.start({
        config,
        data: join(folder, 'data'),
        hasAdmin: true,
        env: { CAUSEWAY_ADMIN_TOKEN: ADMIN_TOKEN },
      });
      return stage.broker;
    },
    reader: async (port, filters, isDurable = false) => {
      const reader = new Reader(port, `r${clients.length}`, isDurable);
      clients.push(reader.client);
      await reader.client.connect();
      if (filters.length > 0) await reader.client.subscribe(filters);
      return reader;
    },
    up: (name = 'far') =>
      until('the bridge is up', async () => (await stage.metric('up', name)) === 1, 30_000),
    metric: (name, bridge = 'far') =>
      stage.broker.metric(`causeway_bridge_${name}{bridge="${bridge}"}`),
  };
  t.teardown(async () => {
    for (const client of clients) await client.destroy();
    await stage.broker?.kill();
    await far.remove();
    rmSync(folder, { recursive: true, force: true });
  });
  await stage.start();
  return stage;
}

const all = (filter: string): Subscription => ({ filter, qos: 2, retainAsPublished: true });

for (const protocolVersion of ['3.1.1', '5']) {
  t.test(`MQTT ${protocolVersion}`, async (t) => {
    const far = await MosquittoServer.start();
    const before = new Client({ url: `mqtt://127.0.0.1:${far.port}` });
    await before.connect();
    await before.publish('cloud/down/state', 'was there', { qos: 1, retain: true });
    await before.disconnect();
    const stage = await open(t, far, (port) => [
      {
        name: 'far',
        url: `mqtt://127.0.0.1:${port}`,
        protocolVersion,
        topics: [
          { filter: 'up/#', localPrefix: 'site/', remotePrefix: 'cloud/', qos: 2 },
          {
            filter: 'down/#',
            direction: 'in',
            localPrefix: 'site/',
            remotePrefix: 'cloud/',
            qos: 2,
          },
          { filter: 'capped/#', qos: 0, retain: 'clear' },
          { filter: 'shared/#', direction: 'both', qos: 2 },
        ],
      },
    ]);
    const { broker } = stage;
    await stage.up();
    const here = await stage.reader(broker.port(), [all('site/down/#'), all('shared/#')]);
    const there = await stage.reader(far.port, [
      all('cloud/up/#'),
      all('capped/#'),
      all('shared/#'),
    ]);
    t.strictSame(await here.quiet(), ['site/down/state was there 1 r'], 'what was retained there');

    for (const qos of [0, 1, 2] as const) {
      await here.client.publish('site/up/a', `up ${qos}`, { qos });
      await there.client.publish('cloud/down/a', `down ${qos}`, { qos });
    }
    t.strictSame(
      await there.quiet(),
      [0, 1, 2].map((qos) => `cloud/up/a up ${qos} ${qos}`),
    );
    t.strictSame(
      await here.quiet(),
      [0, 1, 2].map((qos) => `site/down/a down ${qos} ${qos}`),
    );

    await here.client.publish('site/up/kept', 'k', { qos: 1, retain: true });
    await here.client.publish('capped/x', 'c', { qos: 2, retain: true });
    const kept = await there.quiet();
    t.strictSame(kept, ['cloud/up/kept k 1 r', 'capped/x c 0']);

    await here.client.publish('shared/1', 'from here', { qos: 1 });
    await there.client.publish('shared/2', 'from there', { qos: 1 });
    t.strictSame(await here.quiet(), ['shared/1 from here 1', 'shared/2 from there 1']);
    t.strictSame(await there.quiet(), ['shared/1 from here 1', 'shared/2 from there 1']);
    t.equal(await stage.metric('echoes_total'), 0, 'the other broker sends nothing back');

    const stranger = new Client({
      url: `mqtt://127.0.0.1:${broker.port()}`,
      clientId: '$bridge/far',
    });
    await t.rejects(stranger.connect(), /0x87|[Nn]ot authorized/);
    t.strictSame(broker.errors, []);
  });
}

t.test('both brokers are killed while messages are published: nothing is lost', async (t) => {
  const far = await MosquittoServer.start();
  const stage = await open(t, far, (port) => [
    {
      name: 'far',
      url: `mqtt://127.0.0.1:${port}`,
      topics: [
        { filter: 'out/#', qos: 2 },
        { filter: 'in/#', direction: 'in', qos: 1 },
      ],
    },
  ]);
  await stage.up();
  // With QoS 1: a mosquitto that was killed gives identifiers of QoS 2 again that its clients still have.
  const there = await stage.reader(far.port, [{ filter: 'out/#', qos: 1 }], true);
  const here = await stage.reader(stage.broker.port(), [all('in/#')], true);
  await far.save();

  const count = 600;
  const publish = async (client: Client, topic: string, qosMax: 1 | 2): Promise<void> => {
    for (let i = 0; i < count; i += 20) {
      const some = Array.from({ length: 20 }, (_, at) => i + at);
      await Promise.all(
        some.map((at) => client.publish(`${topic}/${at}`, 'm', { qos: at % 2 === 0 ? 1 : qosMax })),
      );
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  };
  const outward = publish(here.client, 'out', 2);
  await new Promise((resolve) => setTimeout(resolve, 200));
  await far.kill();
  await outward;
  t.ok((await stage.broker.metric('causeway_bridge_queued_messages{bridge="far"}')) > 0);
  // What waits is on disk: the node that begins again sends it.
  await stage.broker.kill();
  await far.restart();
  await stage.start();
  await stage.up();
  const missing = (reader: Reader, topic: string): number[] => {
    const topics = new Set(reader.messages.map((message) => message.topic));
    return Array.from({ length: count }, (_, at) => at).filter(
      (at) => !topics.has(`${topic}/${at}`),
    );
  };
  await until('all are there', async () => missing(there, 'out').length === 0, 30_000).catch(
    () => {},
  );
  t.strictSame(missing(there, 'out'), []);

  // The node has another port now.
  const again = await stage.reader(stage.broker.port(), [all('in/#')]);
  const inward = publish(there.client, 'in', 1);
  await new Promise((resolve) => setTimeout(resolve, 200));
  await far.kill();
  await new Promise((resolve) => setTimeout(resolve, 300));
  await far.restart();
  await inward;
  await until('all are here', async () => missing(again, 'in').length === 0, 30_000).catch(
    () => {},
  );
  t.strictSame(missing(again, 'in'), []);
  t.equal(await stage.metric('gaps_total'), 0);
  t.equal(await stage.metric('refused_out_total'), 0);
  t.strictSame(stage.broker.errors, []);
});

t.test('budgets: what is too old or too much goes, also over kill -9', async (t) => {
  const far = await MosquittoServer.start();
  const budgetAgeS = 3;
  const stage = await open(t, far, (port) => [
    {
      name: 'far',
      url: `mqtt://127.0.0.1:${port}`,
      topics: [{ filter: 'age/#', qos: 2 }],
      budgetAgeS,
    },
    {
      name: 'bytes',
      url: `mqtt://127.0.0.1:${port}`,
      topics: [{ filter: 'bytes/#', qos: 1 }],
      budgetBytes: 65_536,
    },
  ]);
  await stage.up();
  await stage.up('bytes');
  await far.kill();
  const isDown = async (name: string): Promise<boolean> => (await stage.metric('up', name)) === 0;
  await until('both are down', async () => (await isDown('far')) && (await isDown('bytes')));
  const before = await stage.reader(stage.broker.port(), []);
  const oldMs = performance.now();
  for (let i = 0; i < 10; i++) {
    const qos = i % 2 === 0 ? 1 : 2;
    await before.client.publish(`age/old/${i}`, 'm', { qos, retain: true });
  }
  await stage.broker.kill();
  await stage.start();
  const leftMs = oldMs + budgetAgeS * 1000 + 500 - performance.now();
  await new Promise((resolve) => setTimeout(resolve, Math.max(0, leftMs)));
  const here = await stage.reader(stage.broker.port(), []);
  for (let i = 0; i < 100; i++) {
    await here.client.publish(`bytes/${i}`, Buffer.alloc(2000), { qos: 1, retain: true });
  }
  const over = await stage.metric('over_budget_total', 'bytes');
  t.ok(over >= 65 && over <= 72, `${over} of 100 are too much`);
  t.ok((await stage.metric('queued_bytes', 'bytes')) <= 65_536 + 2100);
  await far.restart();
  await stage.up();
  await stage.up('bytes');
  await until('all have gone', async () => {
    const queued = (name: string): Promise<number> => stage.metric('queued_messages', name);
    return (await queued('far')) + (await queued('bytes')) === 0;
  });
  // Published while they were down it might be too old as well, on a slow machine.
  await here.client.publish('age/young', 'm', { qos: 2, retain: true });
  const there = await stage.reader(far.port, [all('#')]);
  const shown = (await there.quiet()).map((text) => text.split(' ')[0]!).sort();
  const last = Array.from({ length: 100 - over }, (_, i) => `bytes/${over + i}`);
  t.strictSame(shown, ['age/young', ...last].sort());
  t.equal(await stage.metric('over_budget_total'), 10);
  t.equal(
    await stage.broker.metric('causeway_messages_dropped_total{reason="bridge_budget"}'),
    over + 10,
  );
  t.strictSame(stage.broker.errors, []);
});

t.test('MQTT 3.1.1: of QoS 2 no more is under way than a mosquitto takes', async (t) => {
  // As it comes. What is more it acknowledges, and forgets.
  const far = await MosquittoServer.start([], ['max_inflight_messages 20']);
  const stage = await open(t, far, (port) => [
    {
      name: 'far',
      url: `mqtt://127.0.0.1:${port}`,
      protocolVersion: '3.1.1',
      inFlightMax: 5000,
      topics: [{ filter: 'out/#', qos: 2 }],
    },
  ]);
  await stage.up();
  const there = await stage.reader(far.port, [all('out/#')]);
  const here = await stage.reader(stage.broker.port(), []);
  const texts = Array.from({ length: 600 }, (_, i) => `${i}`);
  const published = texts.map((text, i) => {
    const qos = i % 3 === 0 ? 1 : 2;
    return here.client.publish('out/a', text, { qos });
  });
  await Promise.all(published);
  const isThere = (): boolean => there.messages.length >= texts.length;
  await until('all are there', isThere, 20_000).catch(() => {});
  // One QoS may overtake the other.
  const came = [1, 2].flatMap((qos) =>
    there.messages.filter((message) => message.qos === qos).map(({ payload }) => `${payload}`),
  );
  const sent = [1, 2].flatMap((qos) => texts.filter((_, i) => (i % 3 === 0 ? 1 : 2) === qos));
  t.strictSame(came, sent, 'each once, in order');
  t.strictSame(stage.broker.errors, []);
});

for (const { heading, url, expected } of [
  { heading: 'inFlightMax', url: [], expected: 700 },
  { heading: 'what the other broker says', url: ['max_inflight_messages 50'], expected: 50 },
]) {
  t.test(`the window is ${heading}, and what is in it comes again in order`, async (t) => {
    const far = await MosquittoServer.start([], url);
    const wire = await TcpProxy.start(far.port);
    t.teardown(() => wire.close());
    const stage = await open(t, far, () => [
      {
        name: 'far',
        url: `mqtt://127.0.0.1:${wire.port}`,
        inFlightMax: 700,
        topics: [{ filter: 'out/#', qos: 1 }],
      },
    ]);
    await stage.up();
    const there = await stage.reader(far.port, [{ filter: 'out/#', qos: 1 }]);
    const here = await stage.reader(stage.broker.port(), []);
    const texts = Array.from({ length: 1500 }, (_, i) => `${i}`);
    wire.pause('toClient');
    await Promise.all(texts.map((text) => here.client.publish('out/a', text, { qos: 1 })));
    await until('the window is full', () => there.messages.length >= expected, 20_000);
    t.equal((await there.quiet()).length, expected);
    wire.cut();
    wire.resume();
    const last = (): boolean => `${there.messages.at(-1)?.payload}` === texts.at(-1);
    await until('the last has come', last, 30_000);
    const came = there.messages.map(({ payload }) => `${payload}`);
    t.strictSame(came, texts, 'what was under way, and then the rest');
    t.strictSame(stage.broker.errors, []);
  });
}

t.test('what is under way is bounded by bytes, too', async (t) => {
  const far = await MosquittoServer.start([], ['max_inflight_messages 0']);
  const wire = await TcpProxy.start(far.port);
  t.teardown(() => wire.close());
  const stage = await open(t, far, () => [
    {
      name: 'far',
      url: `mqtt://127.0.0.1:${wire.port}`,
      topics: [{ filter: 'out/#', qos: 1 }],
    },
  ]);
  await stage.up();
  const there = await stage.reader(far.port, [{ filter: 'out/#', qos: 1 }]);
  const here = await stage.reader(stage.broker.port(), []);
  const payload = Buffer.alloc(128 * 1024);
  wire.pause('toClient');
  for (let i = 0; i < 400; i++) await here.client.publish(`out/${i}`, payload, { qos: 1 });
  const under = (await there.quiet()).length;
  // 16 MiB, and what one read of the bridge brings.
  t.ok(under >= 100 && under <= 140, `${under} of 400 are under way`);
  wire.resume();
  await until('all have come', () => there.messages.length === 400 - under, 30_000);
  t.strictSame(stage.broker.errors, []);
});

for (const protocolVersion of ['3.1.1', '5']) {
  t.test(`notifications, and one topic under two names, MQTT ${protocolVersion}`, async (t) => {
    const far = await MosquittoServer.start();
    const bridges = [
      {
        name: 'far',
        url: `mqtt://127.0.0.1:${far.port}`,
        protocolVersion,
        notifications: 'both',
        topics: [{ filter: '', localPrefix: 'here/temp', remotePrefix: 'there/t' }],
      },
    ];
    const stage = await open(t, far, () => bridges);
    const state = '$SYS/broker/connection/causeway-far/state';
    const says = async (reader: Reader, payload: string): Promise<void> => {
      const last = (): boolean => `${reader.messages.at(-1)?.payload}` === payload;
      await until(`it is ${payload}`, last, 20_000).catch(() => {});
      t.strictSame(`${reader.messages.at(-1)?.payload}`, payload);
    };
    await stage.up();
    const here = await stage.reader(stage.broker.port(), [all(state)]);
    await says(here, '1');
    t.equal(here.messages[0]?.retain, true);
    await far.kill();
    await says(here, '0');
    await far.restart();
    await says(here, '1');
    const there = await stage.reader(far.port, [all(state), all('there/#')]);
    await says(there, '1');
    await here.client.publish('here/temp', '21', { qos: 1 });
    await here.client.publish('here/temperature', '22', { qos: 1 });
    t.strictSame((await there.quiet()).slice(1), ['there/t 21 1']);
    await stage.broker.kill();
    await says(there, '0');
    await stage.start();
    await says(there, '1');
    const config = parse(readFileSync(stage.config, 'utf8')) as object;
    const again = await stage.reader(stage.broker.port(), [all(state)]);
    await says(again, '1');
    writeFileSync(stage.config, stringify({ ...config, bridges: [] }));
    stage.broker.signal('SIGHUP');
    await says(there, '0');
    await says(again, '0');
    t.strictSame(stage.broker.errors, []);
  });
}

t.test('TLS, two bridges at once, echoes without the bit, and a reload', async (t) => {
  const pki = new Certificates();
  pki.authority('ca');
  pki.authority('stranger');
  pki.issue('server', 'ca', 'IP:127.0.0.1');
  const secret = await MosquittoServer.start([
    `certfile ${pki.path('server.pem')}`,
    `keyfile ${pki.path('server.key')}`,
  ]);
  t.teardown(() => secret.remove());
  const far = await MosquittoServer.start();
  const bridges = (caFile: string): object[] => [
    {
      name: 'far',
      url: `mqtt://127.0.0.1:${far.port}`,
      protocolVersion: '3.1.1',
      tryPrivate: false,
      topics: [{ filter: 'shared/#', direction: 'both', qos: 1 }],
    },
    {
      name: 'secret',
      url: `mqtts://127.0.0.1:${secret.port}`,
      tls: { caFile: pki.path(caFile) },
      topics: [{ filter: 'shared/#', remotePrefix: 'copy/', qos: 1 }],
    },
  ];
  const stage = await open(t, far, () => bridges('stranger.pem'));
  await stage.up();
  t.equal(await stage.metric('up', 'secret'), 0, 'an authority that is not trusted');
  const here = await stage.reader(stage.broker.port(), [all('shared/#')]);
  const there = await stage.reader(far.port, [all('shared/#')]);
  for (const text of ['1', '2', '2']) await here.client.publish('shared/a', text, { qos: 1 });
  await there.client.publish('shared/a', '3', { qos: 1 });
  const expected = ['1', '2', '2', '3'].map((text) => `shared/a ${text} 1`);
  t.strictSame(await here.quiet(), expected);
  t.strictSame(await there.quiet(), expected);
  t.equal(await stage.metric('echoes_total'), 3);

  const reload = async (next: readonly object[]): Promise<void> => {
    const config = parse(readFileSync(stage.config, 'utf8')) as object;
    writeFileSync(stage.config, stringify({ ...config, bridges: next }));
    stage.broker.entries.length = 0;
    stage.broker.signal('SIGHUP');
    await stage.broker.entry('reloaded');
  };
  await reload(bridges('ca.pem'));
  await stage.up('secret');
  t.equal(await stage.metric('connects_total'), 1, 'what is the same stays up');
  t.equal((await stage.metric('sent_total', 'secret')) > 0, true, 'what waited has gone');
  await reload(bridges('ca.pem').slice(0, 1));
  await until('its session is gone', async () => {
    const admin = stage.broker.addresses.get('http')!;
    const headers = { authorization: `Bearer ${ADMIN_TOKEN}`, connection: 'close' };
    const url = new URL(`/api/v1/sessions/${encodeURIComponent('$bridge/secret')}`, admin);
    return (await fetch(url, { headers })).status === 404;
  });
  t.strictSame(stage.broker.errors, []);
});

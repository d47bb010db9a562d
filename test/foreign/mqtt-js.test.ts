/** MQTT.js, the client of most Node programs and web pages, over TCP, TLS, WebSocket and WSS. */
import mqtt, { type IClientOptions, type IPublishPacket, type MqttClient } from 'mqtt';
import t, { type Test } from 'tap';
import { openVenue, type Transport } from './venue.ts';

const venue = await openVenue();
t.teardown(() => venue.close());

const WITHIN_MS = 10_000;
const LARGE_BYTES = 900 * 1024;
let count = 0;
/** Test files and cases share no topic and no client. */
const unique = (name: string): string => `${name}-${++count}`;

interface Received {
  readonly topic: string;
  readonly payload: Buffer;
  readonly packet: IPublishPacket;
}

/** A client that collects what it receives. */
class Judge {
  readonly client: MqttClient;
  readonly received: Received[] = [];

  constructor(client: MqttClient) {
    this.client = client;
    client.on('message', (topic, payload, packet) => {
      this.received.push({ topic, payload, packet });
    });
    client.on('error', () => {});
  }

  async take(howMany: number): Promise<Received[]> {
    const deadline = Date.now() + WITHIN_MS;
    while (this.received.length < howMany && Date.now() < deadline) {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    return this.received.splice(0);
  }
}

type Case = (t: Test, open: (options?: IClientOptions) => Promise<Judge>, v5: boolean) => unknown;

const cases: Record<string, Case> = {
  'QoS 0, 1 and 2, both ways and in order': async (t, open) => {
    const topic = unique('qos');
    const reader = await open();
    const writer = await open();
    for (const qos of [0, 1, 2] as const) {
      const [granted] = await reader.client.subscribeAsync(`${topic}/${qos}`, { qos });
      t.equal(granted?.qos, qos);
      const numbers = Array.from({ length: 20 }, (_, index) => String(index));
      const sent = numbers.map((text) =>
        writer.client.publishAsync(`${topic}/${qos}`, text, { qos }),
      );
      await Promise.all(sent);
      const got = await reader.take(20);
      t.strictSame(
        got.map(({ payload }) => payload.toString()),
        numbers,
      );
      t.ok(got.every(({ packet }) => packet.qos === qos && !packet.retain));
    }
  },

  'retained, replaced and removed': async (t, open) => {
    const topic = unique('kept');
    const writer = await open();
    await writer.client.publishAsync(topic, 'old', { qos: 1, retain: true });
    await writer.client.publishAsync(topic, 'new', { qos: 1, retain: true });
    const reader = await open();
    await reader.client.subscribeAsync(`${topic}/#`, { qos: 1 });
    const [first] = await reader.take(1);
    t.equal(first?.payload.toString(), 'new');
    t.equal(first?.packet.retain, true);
    await writer.client.publishAsync(topic, '', { qos: 1, retain: true });
    const late = await open();
    await late.client.subscribeAsync([topic, `${topic}/other`], { qos: 1 });
    await writer.client.publishAsync(`${topic}/other`, 'fence', { qos: 1 });
    const got = await late.take(1);
    t.strictSame(
      got.map(({ payload }) => payload.toString()),
      ['fence'],
    );
  },

  'will of a client that vanishes, none of one that says goodbye': async (t, open) => {
    const topic = unique('will');
    const reader = await open();
    await reader.client.subscribeAsync(`${topic}/#`, { qos: 2 });
    const will = (name: string): IClientOptions => ({
      will: {
        topic: `${topic}/${name}`,
        payload: Buffer.from(`${name} is gone`),
        qos: 2,
        retain: false,
      },
    });
    const polite = await open(will('polite'));
    await polite.client.endAsync();
    const vanishing = await open(will('vanishing'));
    vanishing.client.stream.destroy();
    vanishing.client.end(true);
    const got = await reader.take(1);
    t.strictSame(
      got.map(({ payload }) => payload.toString()),
      ['vanishing is gone'],
    );
  },

  'a session is resumed with what came meanwhile': async (t, open, v5) => {
    const topic = unique('resume');
    const own: IClientOptions = {
      clientId: unique('sleeper'),
      clean: false,
      ...(v5 ? { properties: { sessionExpiryInterval: 600 } } : {}),
    };
    const before = await open(own);
    await before.client.subscribeAsync(topic, { qos: 2 });
    await before.client.endAsync();
    const writer = await open();
    for (const qos of [1, 2] as const) {
      for (const text of ['a', 'b']) await writer.client.publishAsync(topic, text + qos, { qos });
    }
    const after = await open(own);
    const got = await after.take(4);
    t.strictSame(
      got.map(({ payload }) => payload.toString()),
      ['a1', 'b1', 'a2', 'b2'],
    );
  },

  '900 KB in one message': async (t, open) => {
    const topic = unique('large');
    const reader = await open();
    await reader.client.subscribeAsync(topic, { qos: 1 });
    const payload = Buffer.alloc(LARGE_BYTES, 'abcdefg');
    const writer = await open();
    await writer.client.publishAsync(topic, payload, { qos: 1 });
    const [got] = await reader.take(1);
    t.equal(got?.payload.equals(payload), true);
  },

  'wildcards and unsubscribe': async (t, open) => {
    const topic = unique('wild');
    const reader = await open();
    await reader.client.subscribeAsync([`${topic}/+/x`, `${topic}/deep/#`], { qos: 1 });
    for (const end of ['a/x', 'a/y', 'deep', 'deep/b/c']) {
      await reader.client.publishAsync(`${topic}/${end}`, end, { qos: 1 });
    }
    const got = await reader.take(3);
    t.strictSame(
      got.map(({ payload }) => payload.toString()),
      ['a/x', 'deep', 'deep/b/c'],
    );
    await reader.client.unsubscribeAsync(`${topic}/deep/#`);
    await reader.client.publishAsync(`${topic}/deep`, 'unheard', { qos: 1 });
    await reader.client.publishAsync(`${topic}/b/x`, 'heard', { qos: 1 });
    const [next] = await reader.take(1);
    t.equal(next?.payload.toString(), 'heard');
  },
};

const casesOfV5: Record<string, Case> = {
  'properties arrive as they were sent': async (t, open) => {
    const topic = unique('props');
    const reader = await open();
    await reader.client.subscribeAsync(topic, {
      qos: 1,
      properties: { subscriptionIdentifier: 77 },
    });
    const writer = await open();
    await writer.client.publishAsync(topic, '{"a":1}', {
      qos: 1,
      properties: {
        payloadFormatIndicator: true,
        messageExpiryInterval: 60,
        contentType: 'application/json',
        responseTopic: 'answers/here',
        correlationData: Buffer.from([0, 1, 2, 255]),
        userProperties: { b: ['2', '3'], a: '1' },
      },
    });
    const [got] = await reader.take(1);
    const properties = got?.packet.properties;
    t.match(properties, {
      payloadFormatIndicator: true,
      contentType: 'application/json',
      responseTopic: 'answers/here',
      subscriptionIdentifier: 77,
    });
    t.strictSame(properties?.correlationData, Buffer.from([0, 1, 2, 255]));
    t.strictSame({ ...properties?.userProperties }, { b: ['2', '3'], a: '1' });
    const expiry = properties?.messageExpiryInterval ?? 0;
    t.ok(expiry > 50 && expiry <= 60, `expires in ${expiry} s`);
  },

  'request and response': async (t, open) => {
    const topic = unique('service');
    const server = await open();
    server.client.on('message', (_, payload, { properties }) => {
      const { responseTopic = '', correlationData = Buffer.alloc(0) } = properties ?? {};
      server.client.publish(responseTopic, `${payload} answered`, {
        qos: 1,
        properties: { correlationData },
      });
    });
    await server.client.subscribeAsync(topic, { qos: 1 });
    const asker = await open();
    await asker.client.subscribeAsync(`${topic}/answer`, { qos: 1 });
    await asker.client.publishAsync(topic, 'question', {
      qos: 1,
      properties: { responseTopic: `${topic}/answer`, correlationData: Buffer.from('c7') },
    });
    const [got] = await asker.take(1);
    t.equal(got?.payload.toString(), 'question answered');
    t.equal(got?.packet.properties?.correlationData?.toString(), 'c7');
  },

  'topic aliases both ways': async (t, open) => {
    const topic = unique('alias');
    const reader = await open({ properties: { topicAliasMaximum: 5 } });
    await reader.client.subscribeAsync(`${topic}/#`, { qos: 1 });
    const writer = await open({ autoAssignTopicAlias: true, autoUseTopicAlias: true });
    for (let i = 0; i < 6; i++) {
      await writer.client.publishAsync(`${topic}/${i % 2}`, String(i), { qos: 1 });
    }
    const got = await reader.take(6);
    t.strictSame(
      got.map(({ topic: name, payload }) => `${name}=${payload}`),
      [0, 1, 2, 3, 4, 5].map((i) => `${topic}/${i % 2}=${i}`),
    );
  },

  'a shared subscription splits the messages': async (t, open) => {
    const topic = unique('shared');
    const members = [await open(), await open()];
    for (const { client } of members) await client.subscribeAsync(`$share/g/${topic}`, { qos: 1 });
    const writer = await open();
    for (let i = 0; i < 10; i++) await writer.client.publishAsync(topic, String(i), { qos: 1 });
    const deadline = Date.now() + WITHIN_MS;
    const total = (): number => members.reduce((sum, { received }) => sum + received.length, 0);
    while (total() < 10 && Date.now() < deadline) {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    t.strictSame(
      members.map(({ received }) => received.length),
      [5, 5],
    );
  },
};

const transports: readonly Transport[] = ['mqtt', 'mqtts', 'ws', 'wss'];
for (const transport of transports) {
  for (const protocolVersion of [4, 5] as const) {
    const v5 = protocolVersion === 5;
    t.test(`${transport}, MQTT ${v5 ? '5' : '3.1.1'}`, async (t) => {
      for (const [title, run] of Object.entries(v5 ? { ...cases, ...casesOfV5 } : cases)) {
        await t.test(title, { timeout: 60_000 }, async (t) => {
          const opened: Judge[] = [];
          t.teardown(() => Promise.all(opened.map(({ client }) => client.endAsync(true))));
          const open = async (options: IClientOptions = {}): Promise<Judge> => {
            const client = mqtt.connect(venue.url(transport), {
              protocolVersion,
              clientId: unique('js'),
              reconnectPeriod: 0,
              connectTimeout: WITHIN_MS,
              ca: [venue.ca],
              ...options,
            });
            const judge = new Judge(client);
            opened.push(judge);
            await new Promise((resolve, reject) => {
              client.once('connect', resolve);
              client.once('error', reject);
              client.once('close', () => reject(new Error('closed before CONNACK')));
            });
            return judge;
          };
          await run(t, open, v5);
        });
      }
    });
  }
}

t.test('a client with a certificate it cannot check is turned away by itself', async (t) => {
  const client = mqtt.connect(venue.url('mqtts'), { reconnectPeriod: 0, clientId: unique('js') });
  const error = await new Promise((resolve) => client.once('error', resolve));
  t.match(error, { code: /SELF_SIGNED|UNABLE_TO_VERIFY/ });
  await client.endAsync(true);
});

t.test('nothing of this made the broker complain', async (t) => {
  t.strictSame(venue.broker.errors, []);
  t.equal(venue.broker.exit, null);
});

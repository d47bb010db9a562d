/**
 * `causeway import aedes` against the real thing: brokers of aedes with aedes-persistence-redis on a
 * real Redis, clients that make sessions, queues and half-finished QoS 2 handshakes there, and a node of
 * ours over the imported data, where the same clients go on.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import mqtt, { type MqttClient } from 'mqtt';
import t, { type Test } from 'tap';
import { command } from '../../src/cli/commands/import.ts';
import type { SessionRecord } from '../../src/core/ports.ts';
import { systemScheduler } from '../../src/listeners/scheduler.ts';
import { EmbeddedStore } from '../../src/store/embedded/embedded-store.ts';
import { RawClient } from '../app/raw-client.ts';
import { runCli } from '../cli/run.ts';
import { Broker } from '../e2e/broker.ts';
import { RedisServer, redisAdmin } from '../support/redis-server.ts';

const WITHIN_MS = 10_000;
const TEST_MS = 40_000;
const QUIET_MS = 150;
const ODD_ID = 'meter:7/ä%{x}';
const nodeFile = fileURLToPath(new URL('aedes-node.ts', import.meta.url));

/** aedes in a process of its own, so that it can be killed. */
class AedesNode {
  readonly port: number;
  readonly #child: ChildProcess;

  private constructor(port: number, child: ChildProcess) {
    this.port = port;
    this.#child = child;
  }

  static async start(t: Test, redisUrl: string, persistence: string): Promise<AedesNode> {
    const command = ['-u', 'NODE_OPTIONS', process.execPath, nodeFile, redisUrl, persistence];
    const child = spawn('/usr/bin/env', command, { stdio: ['ignore', 'pipe', 'inherit'] });
    t.teardown(() => child.kill('SIGKILL'));
    const port = await new Promise<number>((resolve, reject) => {
      child.once('exit', (code) => reject(new Error(`aedes ended with ${code}`)));
      child.stdout!.on('data', (chunk: Buffer) => {
        const said = /listening (\d+)/.exec(chunk.toString());
        if (said !== null) resolve(Number(said[1]));
      });
    });
    return new AedesNode(port, child);
  }

  async end(signal: NodeJS.Signals): Promise<void> {
    const gone = new Promise((resolve) => this.#child.once('exit', resolve));
    this.#child.kill(signal);
    await gone;
  }
}

interface Heard {
  readonly topic: string;
  readonly text: string;
  readonly qos: number;
  readonly retain: boolean;
}

/** One client of MQTT.js, and whether its session was there. */
class Client {
  readonly client: MqttClient;
  readonly heard: Heard[] = [];
  /** As they came: a client hands on a QoS 2 message when its PUBREL comes, behind later ones. */
  readonly arrived: string[] = [];
  isPresent = false;

  private constructor(client: MqttClient) {
    this.client = client;
    client.on('message', (topic, payload, { qos, retain }) => {
      this.heard.push({ topic, text: payload.toString(), qos, retain });
    });
    client.on('packetreceive', (packet) => {
      if (packet.cmd === 'publish') this.arrived.push(packet.payload.toString());
    });
    client.on('error', () => {});
  }

  static async open(port: number, clientId: string, clean = false, will = ''): Promise<Client> {
    const client = mqtt.connect(`mqtt://127.0.0.1:${port}`, {
      clientId,
      clean,
      protocolVersion: 4,
      reconnectPeriod: 0,
      ...(will === ''
        ? {}
        : { will: { topic: will, payload: Buffer.from('gone'), qos: 1, retain: false } }),
    });
    const opened = new Client(client);
    await new Promise<void>((resolve, reject) => {
      client.once('connect', ({ sessionPresent }) => {
        opened.isPresent = sessionPresent;
        resolve();
      });
      client.once('error', reject);
    });
    return opened;
  }

  /** Waits for so many, and then whether more come. */
  async texts(count: number): Promise<string[]> {
    const endMs = performance.now() + WITHIN_MS;
    while (this.heard.length < count && performance.now() < endMs) await sleep(10);
    await sleep(QUIET_MS);
    return this.heard.map(({ text }) => text);
  }

  async end(): Promise<void> {
    await this.client.endAsync();
  }
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** MQTT 3.1.1 by hand, for handshakes that stop in the middle. */
async function rawOpen(port: number, id: string, clean = false): Promise<[RawClient, boolean]> {
  const raw = await RawClient.dial(port);
  const rest = [0, 4, ...Buffer.from('MQTT'), 4, clean ? 2 : 0, 0, 60, 0, id.length];
  raw.socket.write(Buffer.from([0x10, rest.length + id.length, ...rest, ...Buffer.from(id)]));
  const connack = await raw.packet(0x20);
  if (connack[3] !== 0) throw new Error(`refused: ${connack.toString('hex')}`);
  return [raw, connack[2] === 1];
}

async function rawSubscribe(raw: RawClient, filter: string, qos: number): Promise<void> {
  const body = [0, 1, 0, filter.length, ...Buffer.from(filter), qos];
  raw.socket.write(Buffer.from([0x82, body.length, ...body]));
  await raw.packet(0x90);
}

function rawPublish(raw: RawClient, first: number, id: number, topic: string, text: string): void {
  const body = [0, topic.length, ...Buffer.from(topic), id >> 8, id & 255, ...Buffer.from(text)];
  raw.socket.write(Buffer.from([first, body.length, ...body]));
}

const idBytes = (id: number): [number, number] => [id >> 8, id & 255];

/** Packet id and payload of a PUBLISH whose topic is this long. */
function readPublish(packet: Buffer): { readonly id: number; readonly text: string } {
  const at = 4 + packet.readUInt16BE(2);
  return { id: packet.readUInt16BE(at), text: packet.subarray(at + 2).toString() };
}

async function dropRaw(raw: RawClient): Promise<void> {
  raw.socket.destroy();
  await sleep(50);
}

/** What a node will find in the directory. */
async function recordsOf(directory: string): Promise<SessionRecord[]> {
  const log = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };
  const store = new EmbeddedStore({ directory, scheduler: systemScheduler, log });
  const records: SessionRecord[] = [];
  await store.start(
    { entryDurable: () => {}, entryFailed: () => {}, committed: () => {} },
    { session: ({ record }) => records.push(record), retained: () => {} },
  );
  await store.stop();
  return records;
}

function counts(stdout: string): Record<string, number[]> {
  const rows = stdout.matchAll(/^([a-z]+) +(\d+) +(\d+) +(\d+)$/gm);
  return Object.fromEntries([...rows].map(([, name, ...numbers]) => [name, numbers.map(Number)]));
}

const numbers = (from: number, to: number): string[] =>
  Array.from({ length: to - from + 1 }, (_, index) => String(from + index));

for (const [database, persistence] of [
  'aedes-persistence-redis',
  'aedes-persistence-redis-12',
].entries()) {
  t.test(
    `everything ${persistence} has stored goes on with us`,
    { timeout: TEST_MS },
    async (t) => {
      const folder = mkdtempSync(join(tmpdir(), 'causeway-aedes-'));
      t.teardown(() => rmSync(folder, { recursive: true, force: true }));
      const redis = await RedisServer.start(t, ['--enable-debug-command', 'local']);
      const from = `${redis.url}/${database}`;
      const aedes = await AedesNode.start(t, from, persistence);
      const other = await AedesNode.start(t, from, persistence);

      // Sessions, one of them with two filters that match the same topic.
      const sessions: readonly (readonly [string, Record<string, { qos: 0 | 1 | 2 }>])[] = [
        ['both', { 'a/#': { qos: 1 }, 'a/+': { qos: 2 }, b: { qos: 1 } }],
        [ODD_ID, { 'b/#': { qos: 1 }, none: { qos: 0 } }],
        ['idle', { 'idle/#': { qos: 2 } }],
        ['heir', { 'wills/+': { qos: 1 } }],
      ];
      for (const [id, filters] of sessions) {
        const client = await Client.open(aedes.port, id);
        t.equal(client.isPresent, false);
        // One at a time: aedes 1.2.0 over Redis never answers a SUBSCRIBE of several filters.
        for (const [filter, options] of Object.entries(filters)) {
          await client.client.subscribeAsync(filter, options);
        }
        await client.end();
      }
      const clean = await Client.open(aedes.port, 'clean', true);
      await clean.client.subscribeAsync('a/#', { qos: 1 });

      // A subscriber that stops in the middle of three handshakes.
      const [half] = await rawOpen(aedes.port, 'half');
      await rawSubscribe(half, 'h', 2);
      const publisher = await Client.open(other.port, 'publisher', true);
      await publisher.client.publishAsync('h', 'released', { qos: 2 });
      const released = readPublish(await half.packet(0x34));
      half.socket.write(Buffer.from([0x50, 2, ...idBytes(released.id)]));
      await half.packet(0x62);
      await publisher.client.publishAsync('h', 'sent', { qos: 2 });
      const sent = readPublish(await half.packet(0x34));
      await dropRaw(half);
      await publisher.client.publishAsync('h', 'waits', { qos: 1 });

      // A publisher that stops between PUBREC and PUBREL: its message has been handed on.
      const [sender] = await rawOpen(aedes.port, 'sender');
      rawPublish(sender, 0x34, 77, 'idle/1', 'once');
      await sender.packet(0x50);
      await dropRaw(sender);

      // Queues, in order; retained messages, one of them removed again.
      for (const text of numbers(1, 30)) {
        const qos = Number(text) % 2 === 0 ? 2 : 1;
        await publisher.client.publishAsync(Number(text) % 3 === 0 ? 'b' : 'a/x', text, { qos });
      }
      await publisher.client.publishAsync('none', 'QoS 0 subscription', { qos: 1 });
      await publisher.client.publishAsync('kept/1', 'one', { qos: 1, retain: true });
      await publisher.client.publishAsync('kept/ü', 'two', { qos: 0, retain: true });
      await publisher.client.publishAsync('kept/3', 'three', { qos: 1, retain: true });
      await publisher.client.publishAsync('kept/3', '', { qos: 1, retain: true });
      t.equal((await clean.texts(20)).length, 20, 'a clean session had what it wanted at once');
      await clean.end();

      // A will of a client that is there when its broker dies.
      const mourned = await Client.open(other.port, 'mourned', false, 'wills/mourned');
      await mourned.client.subscribeAsync('mourned', { qos: 1 });
      await publisher.end();
      await other.end('SIGKILL');
      await aedes.end('SIGTERM');

      const admin = await redisAdmin(t, from);
      const digest = await admin('DEBUG', 'DIGEST');
      const data = join(folder, 'data');
      const dry = await runCli(['import', 'aedes', '--from', from, '--data', data, '--dry-run']);
      t.equal(dry.code, 0, dry.stderr);
      t.match(dry.stdout, 'Nothing was written');
      const done = await runCli(['import', 'aedes', '--from', from, '--data', data]);
      t.equal(done.code, 0, done.stderr);
      const {
        sessions: made,
        subscriptions,
        inbound,
        wills,
        retained,
        queued,
      } = counts(done.stdout);
      t.strictSame(made, [7, 0, 7], done.stdout);
      t.strictSame(subscriptions, [9, 0, 9]);
      t.strictSame(inbound, [1, 0, 1]);
      t.strictSame(wills, [1, 0, 1]);
      t.strictSame(retained, [2, 0, 2]);
      // 30 of `both`, 10 of the odd one, 3 of `half`, 1 of `idle`; what is left out is listed twice.
      t.equal(queued![2], 44, done.stderr);
      t.equal(queued![0], queued![1]! + 44);
      t.strictSame(counts(dry.stdout), counts(done.stdout), 'the dry run said the same');
      t.equal(await admin('DEBUG', 'DIGEST'), digest, 'nothing has changed at the source');

      const again = await runCli(['import', 'aedes', '--from', from, '--data', data]);
      t.equal(again.code, 2);
      t.match(again.stderr, 'already holds 7 sessions');

      const broker = await Broker.start({ data });
      t.teardown(() => broker.stop());
      const port = broker.port();

      const both = await Client.open(port, 'both');
      t.equal(both.isPresent, true);
      t.strictSame((await both.texts(30)).sort(), numbers(1, 30).sort(), 'each once');
      t.strictSame(both.arrived, numbers(1, 30), 'in order');
      t.ok(both.heard.every(({ retain }) => !retain));
      const even = both.heard.filter(
        ({ text, topic }) => Number(text) % 2 === 0 && topic === 'a/x',
      );
      t.ok(even.every(({ qos }) => qos === 2));
      t.ok(both.heard.every(({ topic, qos }) => topic !== 'b' || qos === 1));
      const odd = await Client.open(port, ODD_ID);
      t.equal(odd.isPresent, true);
      t.strictSame(
        await odd.texts(10),
        numbers(1, 30).filter((text) => Number(text) % 3 === 0),
      );
      const heir = await Client.open(port, 'heir');
      t.strictSame(await heir.texts(1), ['gone'], 'the will of a client that went with its broker');

      // Subscriptions are alive, and the queue is behind them.
      const live = await Client.open(port, 'live', true);
      await live.client.publishAsync('a/y', 'live', { qos: 1 });
      t.strictSame((await both.texts(31)).at(-1), 'live');
      t.equal((await Client.open(port, 'clean', false)).isPresent, false);
      await live.client.subscribeAsync('kept/#', { qos: 1 });
      t.strictSame((await live.texts(2)).sort(), ['one', 'two']);
      t.ok(live.heard.every(({ retain }) => retain));

      // The half-finished handshakes go on under the ids they had.
      const [resumed, isPresent] = await rawOpen(port, 'half');
      t.equal(isPresent, true);
      const pubrel = await resumed.packet(0x62);
      t.equal(pubrel.readUInt16BE(2), released.id, 'PUBREL, and not the message again');
      resumed.socket.write(Buffer.from([0x70, 2, ...idBytes(released.id)]));
      const repeated = readPublish(await resumed.packet(0x34));
      t.strictSame(repeated, sent, 'sent again under its id');
      t.equal(readPublish(await resumed.packet(0x32)).text, 'waits');
      resumed.socket.destroy();

      const [back, isSender] = await rawOpen(port, 'sender');
      t.equal(isSender, true);
      rawPublish(back, 0x3c, 77, 'idle/1', 'once');
      await back.packet(0x50);
      back.socket.write(Buffer.from([0x62, 2, ...idBytes(77)]));
      await back.packet(0x70);
      const idle = await Client.open(port, 'idle');
      t.strictSame(await idle.texts(1), ['once'], 'repeated after the move, delivered once');

      for (const client of [both, odd, heir, live, idle]) await client.end();
      mourned.client.end(true);
      back.socket.destroy();
    },
  );
}

t.test(
  'what cannot be carried is named, and whose sessions they are can be said',
  { timeout: TEST_MS },
  async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'causeway-aedes-'));
    t.teardown(() => rmSync(folder, { recursive: true, force: true }));
    const redis = await RedisServer.start(t);
    const admin = await redisAdmin(t, redis.url);
    const aedes = await AedesNode.start(t, redis.url, 'aedes-persistence-redis');
    for (const id of ['alice', 'bob']) {
      const client = await Client.open(aedes.port, id);
      await client.client.subscribeAsync('x', { qos: 1 });
      await client.end();
    }
    const publisher = await Client.open(aedes.port, 'p', true);
    await publisher.client.publishAsync('x', 'whole', { qos: 1 });
    await publisher.client.publishAsync('x', 'damaged', { qos: 1 });
    await publisher.client.publishAsync('x', 'expired', { qos: 1 });
    await publisher.end();
    await aedes.end('SIGTERM');
    const queue = (await admin('LRANGE', 'outgoing:bob', '0', '-1')) as string[];
    t.equal(queue.length, 3);
    await admin('SET', queue[1]!, 'no msgpack at all');
    await admin('DEL', queue[2]!);
    await admin('HSET', 'client:bob', 'a#', '1');
    await admin('HSET', 'retained', 'broken', 'x');

    const data = join(folder, 'data');
    const owners = join(folder, 'owners');
    writeFileSync(owners, 'alice\tAlice in the directory\n');
    const flags = ['--identity', 'client-id', '--identities', owners, '--session-expiry', '30d'];
    const done = await runCli(['import', 'aedes', '--from', redis.url, '--data', data, ...flags]);
    t.equal(done.code, 3, `${done.stdout}${done.stderr}`);
    t.strictSame(counts(done.stdout), {
      sessions: [2, 0, 2],
      subscriptions: [3, 1, 2],
      queued: [6, 4, 2],
      inbound: [0, 0, 0],
      wills: [0, 0, 0],
      retained: [1, 1, 0],
    });
    t.match(done.stderr, /bob, a#: subscriptions: not carried: it is no valid filter/);
    t.match(done.stderr, /queued: not carried: it is no msgpack/);
    t.match(done.stderr, /queued: nothing to carry: its packet is no longer there/);
    t.match(done.stderr, /broken: retained: not carried/);

    const records = await recordsOf(data);
    t.strictSame(
      records.map(({ clientId, identity, expiryIntervalS }) => [
        clientId,
        identity,
        expiryIntervalS,
      ]),
      [
        ['alice', 'Alice in the directory', 30 * 86_400],
        ['bob', 'bob', 30 * 86_400],
      ],
    );
    const shown = await Broker.start({ data });
    t.teardown(() => shown.stop());
    const token = await runCli(['ctl', '--help']);
    t.equal(token.code, 0);
    const stranger = await Client.open(shown.port(), 'bob').then(
      async (client) => {
        const { isPresent } = client;
        await client.end();
        return isPresent;
      },
      () => false,
    );
    t.equal(stranger, false, 'somebody without a name does not get the session of one who has one');
  },
);

t.test('a Redis that is not there, and flags that are wrong', async (t) => {
  const url = 'redis://u:geheim@127.0.0.1:1';
  const gone = await runCli(['import', 'aedes', '--from', url, '--dry-run']);
  t.equal(gone.code, 2);
  t.match(gone.stderr, 'redis://127.0.0.1:1 cannot be read: ECONNREFUSED');
  t.notMatch(gone.stderr, 'geheim');
  for (const [args, why] of [
    [['aedes', '--data', 'x'], /needs --from/],
    [['aedes', '--from', 'redis://127.0.0.1'], /needs --data/],
    [['aedes', '--from', 'http://127.0.0.1', '--dry-run'], /scheme that is not known/],
    [['--from', 'redis://h', '--dry-run', '--identity', 'me', 'aedes'], /none or client-id/],
    [['aedes', '--from', 'redis://h', '--dry-run', '--base', 'x'], /unknown flag --base/],
    [['mosquitto', 'x', '--from', 'redis://h'], /unknown flag --from/],
    [['emqx', '--from', 'redis://h'], /what can be imported/],
  ] as const) {
    await t.rejects(command.run(args), { name: 'UsageError', message: why });
  }
});

// deploy/haproxy as it is: two nodes over a real Redis behind a real HAProxy. A node is killed, another
// one drained, and what clients notice is counted.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { Client as OwnClient } from '../../src/client/client.ts';
import { connectClient, Client as RawClient } from '../conformance/client.ts';
import { Broker } from '../e2e/broker.ts';
import { sleep, until } from '../e2e/cluster-kit.ts';
import { Haproxy } from '../support/haproxy.ts';
import { DURABLE, freePort, RedisServer } from '../support/redis-server.ts';

t.setTimeout(180_000);

const TOKEN = 'a-token-of-thirty-two-characters';
const DEVICES = 20;
const headers = { authorization: `Bearer ${TOKEN}`, 'content-type': 'application/json' };

const example = (name: string): string =>
  readFileSync(new URL(`../../deploy/haproxy/${name}`, import.meta.url), 'utf8');

/** With what is particular to this machine; each text is there, or the example has changed. */
function adapted(text: string, changes: readonly (readonly [from: string, to: string])[]): string {
  let result = text;
  for (const [from, to] of changes) {
    if (!result.includes(from)) throw new Error(`the example has no ${from}`);
    result = result.replaceAll(from, to);
  }
  return result;
}

interface Node {
  readonly broker: Broker;
  readonly port: number;
  readonly admin: string;
}

class Site {
  readonly #folder: string;
  readonly #redisUrl: string;

  constructor(folder: string, redisUrl: string) {
    this.#folder = folder;
    this.#redisUrl = redisUrl;
  }

  /** With its data of before, and at the port it had. */
  async node(t: Test, name: string, port = 0, adminPort = 0): Promise<Node> {
    const config = join(this.#folder, `${name}.yaml`);
    const changes: [string, string][] = [
      ['0.0.0.0:1883', `127.0.0.1:${port}`],
      ['192.0.2.10', '127.0.0.1'],
      ['redis://redis.internal:6379', this.#redisUrl],
    ];
    writeFileSync(config, adapted(example('causeway.yaml'), changes));
    const broker = await Broker.start({
      config,
      data: join(this.#folder, name),
      hasAdmin: true,
      adminPort,
      // A short lease, so that a death does not take long.
      flags: ['--node-id', name, '--set', 'cluster.leaseMs=1500', '--set', 'sysIntervalS=0'],
      env: { CAUSEWAY_ADMIN_TOKEN: TOKEN },
    });
    t.teardown(() => broker.kill());
    return { broker, port: broker.port(), admin: broker.addresses.get('http')!.origin };
  }
}

/** A device: a durable session, subscribed to its own topic, and a publisher to that topic. */
class Device {
  readonly got: Map<string, number> = new Map();
  readonly acked: string[] = [];
  disconnects = 0;
  failedAttempts = 0;
  /** Longest time without a connection. */
  awayMs = 0;
  readonly #client: OwnClient;
  readonly #topic: string;
  #goneMs = 0;
  #next = 0;

  constructor(port: number, name: string) {
    this.#topic = `devices/${name}`;
    this.#client = new OwnClient({
      url: `mqtt://127.0.0.1:${port}`,
      clientId: name,
      cleanStart: false,
      properties: { sessionExpiryIntervalS: 300 },
      reconnect: { minMs: 50, maxMs: 400, always: true },
      connectTimeoutMs: 5000,
      onMessage: ({ payload }) => {
        const text = payload.toString();
        this.got.set(text, (this.got.get(text) ?? 0) + 1);
      },
      onConnected: () => {
        if (this.#goneMs === 0) return;
        this.awayMs = Math.max(this.awayMs, performance.now() - this.#goneMs);
        this.#goneMs = 0;
      },
      onDisconnected: () => {
        if (this.#goneMs !== 0) {
          this.failedAttempts++;
          return;
        }
        this.disconnects++;
        this.#goneMs = performance.now();
      },
    });
  }

  async start(): Promise<void> {
    await this.#client.connect();
    await this.#client.subscribe([{ filter: this.#topic, qos: 1 }]);
  }

  get isConnected(): boolean {
    return this.#client.isConnected;
  }

  /** One message, which the client repeats until it is acknowledged. */
  publish(): void {
    const text = String(this.#next++);
    this.#client.publish(this.#topic, text, { qos: 1 }).then(
      () => this.acked.push(text),
      () => {},
    );
  }

  get pending(): number {
    return this.#client.pendingMessages;
  }

  get lost(): number {
    return this.acked.filter((text) => !this.got.has(text)).length;
  }

  forget(): void {
    this.disconnects = 0;
    this.failedAttempts = 0;
    this.awayMs = 0;
  }

  stop(): Promise<void> {
    return this.#client.destroy();
  }
}

interface Shown {
  readonly clientId: string;
  readonly remoteAddress: string;
}

async function clientsAt({ admin }: Node): Promise<Shown[]> {
  const answer = await fetch(`${admin}/api/v1/clients?limit=1000`, { headers });
  return ((await answer.json()) as { items: Shown[] }).items;
}

t.test('a node is killed, comes back, and the other one is drained', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'causeway-deploy-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const redis = await RedisServer.launch(DURABLE);
  t.teardown(() => redis.remove());
  const site = new Site(folder, redis.url);
  const [one, two] = await Promise.all([site.node(t, 'one'), site.node(t, 'two')]);
  const port = await freePort();
  const admin = (node: Node): number => Number(new URL(node.admin).port);
  const configuration = adapted(example('haproxy.cfg'), [
    // As many descriptors as a test may have.
    ['maxconn 100000', 'maxconn 200'],
    ['bind :1883', `bind 127.0.0.1:${port}`],
    ['node-1.internal:1883 check port 8080', `127.0.0.1:${one.port} check port ${admin(one)}`],
    ['node-2.internal:1883 check port 8080', `127.0.0.1:${two.port} check port ${admin(two)}`],
  ]);
  const haproxy = await Haproxy.start(t, configuration, port);

  // Who the client is goes through.
  const socket = connect({ port, host: '127.0.0.1', localAddress: '127.0.0.9' });
  const raw = await connectClient(new RawClient(socket, 5, 'from-nine'), {
    clientId: 'from-nine',
    version: 5,
  });
  const known = (await Promise.all([one, two].map(clientsAt))).flat();
  t.match(known, [{ clientId: 'from-nine', remoteAddress: '127.0.0.9' }]);
  await raw.disconnect();

  const devices = Array.from({ length: DEVICES }, (_, i) => new Device(port, `d${i}`));
  t.teardown(() => Promise.all(devices.map((device) => device.stop())));
  await Promise.all(devices.map((device) => device.start()));
  const atOne = new Set((await clientsAt(one)).map(({ clientId }) => clientId));
  t.ok(atOne.size >= DEVICES / 4 && atOne.size <= (DEVICES * 3) / 4, `${atOne.size} are at one`);
  const publishing = setInterval(() => {
    for (const device of devices) device.publish();
  }, 50);
  t.teardown(() => clearInterval(publishing));
  const count = (of: (device: Device) => number): number =>
    devices.reduce((sum, device) => sum + of(device), 0);
  /** Everybody is connected there, and knows it. */
  const settled = async (what: string, node: Node): Promise<void> => {
    const isThere = async (): Promise<boolean> => (await clientsAt(node)).length === DEVICES;
    await until(what, isThere, 30_000);
    await until(what, () => devices.every(({ isConnected }) => isConnected), 30_000);
    await sleep(500);
  };
  const tell = (what: string): void => {
    const away = Math.max(...devices.map(({ awayMs }) => awayMs));
    t.comment(
      `${what}: ${count(({ disconnects }) => disconnects)} disconnects, ` +
        `${count(({ failedAttempts }) => failedAttempts)} failed attempts, ` +
        `longest away ${Math.round(away)} ms, ${count(({ acked }) => acked.length)} acked so far`,
    );
  };

  await sleep(500);
  await one.broker.kill();
  await settled('all are at the node that is left', two);
  tell('kill -9');
  for (const [i, device] of devices.entries()) {
    const wanted = atOne.has(`d${i}`) ? 1 : 0;
    t.equal(device.disconnects, wanted, `d${i} notices ${wanted === 1 ? 'it once' : 'nothing'}`);
  }
  t.equal((await clientsAt(two)).length, DEVICES);
  t.ok(devices.every(({ awayMs }) => awayMs < 10_000));

  // Back at its ports; HAProxy sees it by its health.
  for (const device of devices) device.forget();
  const again = await site.node(t, 'one', one.port, admin(one));
  await until('haproxy counts it in again', () =>
    /Server nodes\/node-1 is UP/.test(haproxy.output),
  );
  t.equal(
    count(({ disconnects }) => disconnects),
    0,
    'nobody notices that it is back',
  );

  const drained = await fetch(`${two.admin}/api/v1/drain`, {
    method: 'POST',
    headers,
    body: JSON.stringify({ clientsPerS: 10 }),
  });
  t.equal(drained.status, 200);
  await until('nobody is left', async () => (await clientsAt(two)).length === 0, 30_000);
  await settled('all are at the node that is not drained', again);
  tell('drain');
  t.equal((await clientsAt(again)).length, DEVICES);
  t.ok(
    devices.every(({ disconnects }) => disconnects === 1),
    'each moves once',
  );
  t.match(haproxy.output, /Server nodes\/node-2 is DOWN/);

  clearInterval(publishing);
  await until('all is acknowledged', () => count(({ pending }) => pending) === 0, 30_000);
  await until('all has come', () => count(({ lost }) => lost) === 0, 15_000);
  const acked = count((device) => device.acked.length);
  const copies = count(({ got }) => [...got.values()].reduce((sum, times) => sum + times, 0));
  t.comment(`${acked} acked, ${count(({ got }) => got.size)} came, ${copies} copies`);
  t.ok(acked > DEVICES * 20, `${acked} messages were acked`);
  t.equal(
    count(({ lost }) => lost),
    0,
    'no acked message is lost',
  );
});

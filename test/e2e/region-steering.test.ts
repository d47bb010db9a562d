// Steering over real sockets: nodes over a real Redis that send clients to each other and to another
// region, and a region that is drained as one.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { Client } from '../../src/client/client.ts';
import type { ClientError } from '../../src/client/client-error.ts';
import { runCli } from '../cli/run.ts';
import { Broker } from './broker.ts';
import { sleep, TestCluster, until } from './cluster-kit.ts';

t.setTimeout(180_000);

const TOKEN = 'a-token-of-thirty-two-characters';
const env = { CAUSEWAY_ADMIN_TOKEN: TOKEN, CAUSEWAY_API_TOKEN: TOKEN };

async function connect(port: number, clientId: string, version: 4 | 5 = 5): Promise<Client> {
  const client = new Client({ url: `mqtt://127.0.0.1:${port}`, clientId, version });
  await client.connect();
  return client;
}

/** How the server refuses. */
async function refusal(port: number, clientId: string, version: 4 | 5 = 5): Promise<ClientError> {
  let client: Client;
  try {
    client = await connect(port, clientId, version);
  } catch (error) {
    return error as ClientError;
  }
  await client.destroy();
  throw new Error(`${clientId} was taken`);
}

t.test('addresses that belong to another region, and a reload', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'causeway-steering-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const file = join(folder, 'a.yaml');
  const write = (...lines: readonly string[]): void => {
    writeFileSync(file, ['listeners: [mqtt://127.0.0.1:0]', ...lines, ''].join('\n'));
  };
  const nearest = 'nearest: [{ reference: us.example:8883, addresses: 127.0.0.0/8 }]';
  write('steering:', '  legacy: refuse', `  ${nearest}`);
  const broker = await Broker.start({ config: file, hasAdmin: true });
  t.teardown(() => broker.kill());
  const port = broker.port();
  const told = await refusal(port, 'device');
  t.match(told, { code: 'refused', reasonCode: 0x9c, serverReference: 'us.example:8883' });
  await (await connect(port, 'device')).disconnect();
  t.match(await refusal(port, 'old', 4), { code: 'refused', reasonCode: 0x88 });
  const base = broker.addresses.get('http')!.origin;
  t.equal((await fetch(`${base}/health/full`)).status, 200, 'the node is well for its own check');
  const metrics = await (await fetch(`${base}/metrics`)).text();
  t.match(metrics, 'causeway_clients_steered_total{policy="nearest"} 2\n');
  t.match(metrics, 'causeway_clients_steered_total{policy="returned"} 1\n');
  t.match(metrics, 'causeway_connects_refused_total{reason="another_server"} 2\n');

  write();
  broker.signal('SIGHUP');
  await broker.entry('reloaded');
  await (await connect(port, 'another')).disconnect();
});

t.test('a datacenter of two', async (t) => {
  const cluster = await TestCluster.start(t, {
    names: ['a', 'b'],
    hasAdmin: true,
    env,
    flags: [
      ...['--set', 'steering.leastLoaded.reference=here.example:1883'],
      ...['--set', 'steering.leastLoaded.clientsMin=8'],
      ...['--set', 'steering.leastLoaded.slackPercent=0'],
    ],
  });
  const base = (name: string): string => cluster.node(name).addresses.get('http')!.origin;

  t.test('the node with the fewest clients', async (t) => {
    const port = cluster.node('a').port();
    // They hear of each other within a second.
    await sleep(2500);
    const clients: Client[] = [];
    const told: ClientError[] = [];
    for (let i = 0; i < 14; i++) {
      const one = await connect(port, `c${i}`).catch((error: ClientError) => error);
      if (one instanceof Client) clients.push(one);
      else told.push(one);
    }
    t.ok(clients.length >= 8, 'few clients are all taken');
    t.ok(told.length >= 2, `${told.length} were sent on`);
    t.match(told[0], { reasonCode: 0x9c, serverReference: 'here.example:1883' });
    await (await connect(cluster.node('b').port(), 'c13')).disconnect();
    await Promise.all(clients.map((client) => client.disconnect()));
    t.strictSame(cluster.errors(), []);
  });

  t.test('a region is drained as one, and whoever starts meanwhile is drained too', async (t) => {
    const ready = async (name: string): Promise<number> =>
      (await fetch(`${base(name)}/health/ready`)).status;
    const ctl = (name: string, ...words: readonly string[]) =>
      runCli(['ctl', '--url', base(name), ...words], { env });
    const gone: ClientError[] = [];
    for (const name of ['a', 'b']) {
      for (let i = 0; i < 6; i++) {
        const client = await connect(cluster.node(name).port(), `${name}${i}`);
        void client.closed.then((error) => gone.push(error!));
      }
    }
    await sleep(2500);
    const drain = ['drain', '--region', '--to', 'us.example:8883', '--rate', '20', '--wait'];
    const drained = await ctl('a', ...drain);
    t.match([drained.code, drained.stderr], [0, '']);
    t.match(drained.stdout, /^12 moved, 0 left\nnobody is left\n$/m);
    await until('all are told', () => gone.length === 12);
    t.ok(gone.every(({ reasonCode }) => reasonCode === 0x9c));
    t.ok(gone.every(({ serverReference }) => serverReference === 'us.example:8883'));
    t.strictSame(await Promise.all(['a', 'b'].map(ready)), [503, 503]);
    // What the other node counts comes with its next word to this one.
    const table =
      /^draining +true$[\s\S]*^NODE +DRAINING +MOVED +LEFT\nb +true +6 +0\na +true +6 +0\n$/m;
    await until('each counts its six', async () =>
      table.test((await ctl('b', 'drain', '--region', '--show')).stdout),
    );
    t.match((await ctl('b', 'drain', '--show')).stdout, /^by +environment$/m);

    await cluster.startNode('c');
    t.equal(await ready('c'), 503, 'it has heard before it took anybody');
    for (const name of ['a', 'b', 'c']) {
      const told = await refusal(cluster.node(name).port(), 'late');
      t.match(told, { reasonCode: 0x9c, serverReference: 'us.example:8883' }, name);
    }

    t.equal((await ctl('b', 'drain', '--region', '--stop')).code, 0);
    await until('all are ready', async () => {
      const answers = await Promise.all(['a', 'b', 'c'].map(ready));
      return answers.every((status) => status === 200);
    });
    for (const name of ['a', 'b', 'c']) {
      await (await connect(cluster.node(name).port(), 'late')).disconnect();
    }
    const again = await ctl('c', 'drain', '--region', '--stop');
    t.match([again.code, again.stderr], [4, /the datacenter is not being drained/]);
    t.strictSame(cluster.errors(), []);
  });

  t.test(
    'an order outlives a Redis that lost its data, and a node that is alone has none',
    async (t) => {
      const headers = { authorization: `Bearer ${TOKEN}`, 'content-type': 'application/json' };
      const ask = (name: string, method: string, body?: object): Promise<Response> =>
        fetch(`${base(name)}/api/v1/cluster/drain`, {
          method,
          headers,
          ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        });
      const isDraining = async (name: string): Promise<boolean> =>
        ((await (await ask(name, 'GET')).json()) as { draining: boolean }).draining;
      await cluster.redis.stop();
      await sleep(2500);
      const begun = (await (await ask('a', 'POST', {})).json()) as { isTold: boolean };
      t.equal(begun.isTold, false, 'this node drains, the other one cannot know');
      t.strictSame([await isDraining('a'), await isDraining('b')], [true, false]);
      await cluster.redis.resume();
      await until('b has heard', () => isDraining('b'));
      t.pass('it knows now');

      const alone = await Broker.start({ hasAdmin: true, env });
      t.teardown(() => alone.kill());
      const origin = alone.addresses.get('http')!.origin;
      const answer = await fetch(`${origin}/api/v1/cluster/drain`, { headers });
      t.equal(answer.status, 404);
    },
  );
});

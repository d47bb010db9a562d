// The HTTP door: what it answers, how it refuses, and that /health/full walks the whole way.
import { request } from 'node:http';
import t, { type Test } from 'tap';
import { type AdminOptions, createAdminServer } from '../../src/admin/admin-server.ts';
import type { ProbeOptions } from '../../src/admin/probe.ts';
import type { Readiness } from '../../src/admin/readiness.ts';
import { PacketType } from '../../src/wire/packet-type.ts';
import { FakeServer, type Peer, publishBytes } from '../client/fake-server.ts';
import { FakeSources, type Mutable } from './fake-sources.ts';

interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: string;
  readonly json: () => Record<string, unknown>;
}

const ready: Readiness = {
  isDraining: false,
  isStoreOpen: true,
  isStoreWritable: true,
  listenersUp: 2,
  listenersConfigured: 2,
};

interface Door {
  readonly readiness: Mutable<Readiness>;
  readonly sources: FakeSources;
  readonly logged: object[];
  ask(
    path: string,
    options?: { method?: string; headers?: Record<string, string> },
  ): Promise<Answer>;
}

async function openDoor(
  t: Test,
  probe: ProbeOptions = { target: () => null },
  change: Partial<AdminOptions> = {},
): Promise<Door> {
  const readiness: Mutable<Readiness> = { ...ready };
  const sources = new FakeSources();
  const logged: object[] = [];
  const log = (fields: object): void => void logged.push(fields);
  const door = createAdminServer({
    host: '127.0.0.1',
    port: 0,
    version: sources.version,
    stats: sources.stats,
    store: sources.store,
    listeners: sources.listeners,
    log: { debug: log, info: log, warn: log, error: log },
    readiness: () => readiness,
    probe,
    ...change,
  });
  await door.start();
  t.teardown(() => door.stop());
  const base = new URL(door.address!);
  const ask: Door['ask'] = (path, { method = 'GET', headers = {} } = {}) => {
    const { promise, resolve, reject } = Promise.withResolvers<Answer>();
    const url = new URL(path, base);
    const sent = request(url, { method, headers, agent: false }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('end', () => {
        const body = Buffer.concat(chunks).toString();
        const json = (): Record<string, unknown> => JSON.parse(body);
        resolve({ status: response.statusCode!, headers: response.headers, body, json });
      });
    });
    sent.on('error', reject);
    sent.end();
    return promise;
  };
  return { readiness, sources, logged, ask };
}

t.test('live, and what every answer carries', async (t) => {
  const { ask } = await openDoor(t);
  const answer = await ask('/health/live');
  t.equal(answer.status, 200);
  t.strictSame(answer.json(), { status: 'ok' });
  t.equal(answer.headers['cache-control'], 'no-store');
  t.equal(answer.headers['x-content-type-options'], 'nosniff');
  const foreign = await ask('/metrics', { headers: { origin: 'https://evil.example' } });
  t.equal(foreign.headers['access-control-allow-origin'], undefined, 'no CORS');
});

t.test('metrics', async (t) => {
  const { ask, sources } = await openDoor(t);
  sources.stats.internalErrors = 42;
  const { status, headers, body } = await ask('/metrics');
  t.equal(status, 200);
  t.match(headers['content-type'], /^text\/plain; version=0\.0\.4/);
  t.match(body, /^causeway_internal_errors_total 42$/m);
  const many = await Promise.all(Array.from({ length: 20 }, () => ask('/metrics')));
  t.ok(many.every((one) => one.body.includes('causeway_internal_errors_total 42\n')));
});

t.test('ready says each check and the reason of what fails', async (t) => {
  const { ask, readiness } = await openDoor(t);
  const well = await ask('/health/ready');
  t.equal(well.status, 200);
  t.strictSame(well.json(), {
    status: 'ok',
    checks: [
      { name: 'store', ok: true },
      { name: 'listeners', ok: true },
      { name: 'draining', ok: true },
    ],
  });
  const cases: [Partial<Readiness>, string, string][] = [
    [{ isStoreOpen: false }, 'store', 'the store is not open'],
    [{ isStoreWritable: false }, 'store', 'the store refuses durable messages; the log says why'],
    [{ listenersUp: 1 }, 'listeners', '1 of 2 listeners accept connections'],
    [
      { listenersUp: 0, listenersConfigured: 0 },
      'listeners',
      '0 of 0 listeners accept connections',
    ],
    [{ isDraining: true }, 'draining', 'the node is stopping'],
  ];
  for (const [change, name, reason] of cases) {
    Object.assign(readiness, ready, change);
    const bad = await ask('/health/ready');
    t.equal(bad.status, 503);
    t.match(bad.headers['content-type'], /^application\/problem\+json/);
    const { checks, ...problem } = bad.json();
    t.strictSame(problem, {
      type: 'about:blank',
      title: 'Service Unavailable',
      status: 503,
      detail: `${name}: ${reason}`,
    });
    t.strictSame(
      (checks as { ok: boolean }[]).filter(({ ok }) => !ok),
      [{ name, ok: false, reason }],
    );
  }
});

t.test('anything else is a problem', async (t) => {
  const { ask, logged } = await openDoor(t);
  for (const [path, method, status] of [
    ['/', 'GET', 404],
    ['/metrics/', 'GET', 404],
    ['/health/../../etc/passwd', 'GET', 404],
    ['/metrics', 'POST', 405],
    ['/metrics?x=1', 'DELETE', 405],
    ['/health/full', 'PUT', 405],
    ['/nothing', 'POST', 404],
    ['/%zz', 'GET', 400],
  ] as const) {
    const answer = await ask(path, { method });
    t.equal(answer.status, status, `${method} ${path}`);
    t.match(answer.headers['content-type'], /^application\/problem\+json/);
    t.match(answer.json(), { type: 'about:blank', status });
    if (status === 405) t.equal(answer.headers.allow, 'GET');
  }
  t.strictSame(logged, []);
});

t.test('an error inside is logged and not shown', async (t) => {
  const { ask, logged } = await openDoor(t, undefined, {
    readiness: () => {
      throw new Error('secret detail');
    },
  });
  const answer = await ask('/health/ready');
  t.equal(answer.status, 500);
  t.notMatch(answer.body, /secret|admin-server/);
  t.match(logged, [{ err: { message: 'secret detail' }, path: '/health/ready' }]);
});

t.test('a page cannot reach this machine under a name of its own', async (t) => {
  const { ask } = await openDoor(t);
  t.equal((await ask('/metrics', { headers: { host: 'rebound.example:8080' } })).status, 421);
  for (const host of ['localhost:1', '127.0.0.1', '[::1]:8080', 'LOCALHOST']) {
    t.equal((await ask('/metrics', { headers: { host } })).status, 200, host);
  }
});

t.test('an address in use is an error of start', async (t) => {
  const server = await FakeServer.start();
  t.teardown(() => server.stop());
  const taken = Number(new URL(server.url).port);
  await t.rejects(openDoor(t, undefined, { port: taken }), { code: 'EADDRINUSE' });
});

/** Plays the broker for one probe. */
async function serveProbe(peer: Peer): Promise<void> {
  await peer.accept();
  const { subscribe } = await peer.grant([1]);
  const sent = await peer.expect('PUBLISH');
  if (sent.topic !== subscribe?.subscriptions[0]?.filter) throw new Error('another topic');
  peer.ack(PacketType.PUBACK, sent.packetId!);
  peer.send(publishBytes(sent.topic!, 'from somebody else'));
  peer.send(publishBytes(sent.topic!, sent.payload!));
}

t.test('full: as a device, its answer kept for a moment', async (t) => {
  const server = await FakeServer.start();
  t.teardown(() => server.stop());
  const { ask } = await openDoor(t, { target: () => ({ url: server.url }) });
  const asked = Promise.all([ask('/health/full'), ask('/health/full'), ask('/health/full')]);
  await serveProbe(await server.peer());
  for (const answer of await asked) {
    t.equal(answer.status, 200);
    const { status, url, steps } = answer.json() as {
      status: string;
      url: string;
      steps: { name: string; ms: number }[];
    };
    t.strictSame([status, url], ['ok', server.url]);
    t.strictSame(
      steps.map(({ name }) => name),
      ['connect', 'subscribe', 'publish', 'receive'],
    );
    for (const { ms } of steps) t.ok(ms >= 0 && ms < 5000);
  }
  t.equal((await ask('/health/full')).status, 200);
  t.equal(server.connections, 1, 'one probe for all who ask');
  await new Promise((resolve) => setTimeout(resolve, 1050));
  const later = ask('/health/full');
  await serveProbe(await server.peer());
  t.equal((await later).status, 200);
  t.equal(server.connections, 2, 'and another one a second later');
});

t.test('full: each step that fails is named', async (t) => {
  const server = await FakeServer.start();
  t.teardown(() => server.stop());
  const cases: [step: string, detail: RegExp, play: (peer: Peer) => Promise<unknown>][] = [
    ['connect', /not authorized/, (peer) => peer.accept({ reasonCode: 0x87 })],
    [
      'subscribe',
      /quota exceeded/,
      async (peer) => {
        await peer.accept();
        await peer.grant([0x97]);
      },
    ],
    [
      'publish',
      /topic name invalid/,
      async (peer) => {
        await peer.accept();
        await peer.grant();
        peer.ack(PacketType.PUBACK, (await peer.expect('PUBLISH')).packetId!, 0x90);
      },
    ],
    [
      'receive',
      /not done within 1500 ms/,
      async (peer) => {
        await peer.accept();
        await peer.grant();
        peer.ack(PacketType.PUBACK, (await peer.expect('PUBLISH')).packetId!);
      },
    ],
    [
      'receive',
      /closed/,
      async (peer) => {
        await peer.accept();
        await peer.grant();
        peer.ack(PacketType.PUBACK, (await peer.expect('PUBLISH')).packetId!);
        setTimeout(() => peer.cut(), 20);
      },
    ],
    ['connect', /no answer|not done within/, async () => {}],
  ];
  for (const [step, detail, play] of cases) {
    const { ask } = await openDoor(t, { target: () => ({ url: server.url }), timeoutMs: 1500 });
    const asked = ask('/health/full');
    await play(await server.peer());
    const answer = await asked;
    t.equal(answer.status, 503, step);
    t.match(answer.json(), { status: 503, detail, failed: { name: step } });
  }
  const { ask } = await openDoor(t);
  t.match((await ask('/health/full')).json(), {
    status: 503,
    detail: 'connect: no listener can be reached from here',
  });
});

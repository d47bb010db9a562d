/**
 * A real HTTP service that says who clients are and what they may, and is slow, away, lying, and back
 * again, under a running node: nobody is let in wrongly, who is connected notices nothing, and no
 * restart is needed.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import {
  type Answer,
  type Asked,
  HttpService,
  json,
  silence,
  status,
  text,
} from '../support/http-service.ts';
import { codeOf, type LoginFields, login, NearNode, Site, until } from './access-kit.ts';
import { Flow } from './backend-kit.ts';

const BAD = 0x86;
const NOT_AUTHORIZED = 0x87;
const UNAVAILABLE = 0x88;
const BUSY = 0x89;

/** Passwords are `right`; who writes to `flow` or below `own/NAME` may. */
const honest: Answer = (asked, response) => {
  const body = JSON.parse(asked.body) as Record<string, string>;
  if (asked.url === '/login') {
    json({ result: body.password === 'right' ? 'allow' : 'deny' })(asked, response);
    return;
  }
  const isOwn = body.topic === 'flow' || body.topic?.startsWith(`own/${body.username}`);
  json({ result: isOwn ? 'allow' : 'deny' })(asked, response);
};

const user = (username: string, password = 'right'): LoginFields => ({ username, password });

const allow = { result: 'allow' };
const troubles: readonly (readonly [string, Answer])[] = [
  ['says nothing', silence],
  ['breaks the connection', ({ socket }: Asked) => socket.resetAndDestroy()],
  [
    'ends in the middle',
    (_asked, response) => {
      response.writeHead(200, { 'content-type': 'application/json', 'content-length': 1000 });
      response.write('{"result":"allow"');
      setTimeout(() => response.destroy(), 10);
    },
  ],
  ['is a proxy without a service', status(502)],
  ['fails, and says yes', json(allow, 500)],
  [
    'sends elsewhere',
    (_asked, response) => {
      response.writeHead(302, { location: '/yes' });
      response.end(JSON.stringify(allow));
    },
  ],
  ['is a portal', text('<html>welcome, please log in</html>', 'text/html')],
  ['says yes as text', text('allow', 'text/plain')],
  ['shouts', json({ result: 'ALLOW' })],
  ['says yes and no', json({ result: 'maybe', ok: true })],
  ['cuts its answer', text('{"result":"allow"', 'application/json')],
  ['says too much', text(`{"result":"allow","x":"${'x'.repeat(4_000_000)}"}`, 'application/json')],
  ['is not understood', json({ result: 'allow', is_superuser: 'yes' })],
  ['has no text', text(Buffer.from([0xff, 0xfe, 0x7b]), 'application/json')],
];

function configure(site: Site, service: HttpService, timeoutMs: number): void {
  const common = { timeoutMs, concurrencyMax: 8, waitingMax: 20 };
  site.configure({
    authentication: {
      chain: ['http'],
      timeoutMs: 1500,
      http: { url: `${service.url}/login`, cacheS: 0, ...common },
    },
    authorization: { http: { url: `${service.url}/rights`, cacheS: 1, ...common } },
  });
}

t.test('slow, away, lying, and back: nobody in wrongly, nobody out', async (t) => {
  const service = await HttpService.start(t, honest);
  const site = new Site(t);
  configure(site, service, 200);
  const node = await NearNode.start(t, site);
  const flow = await Flow.start(node, 'flow', user('from'), user('to'));
  const witness = await login(node, user('witness'));
  const isWell = async (what: string): Promise<void> => {
    await until(async () => (await codeOf(node, user('ann'))) === 0, `${what}: it is well again`);
    t.equal(await codeOf(node, user('ann', 'wrong')), BAD, `${what}: and tells right from wrong`);
    await until(async () => {
      const { reasonCodes } = await witness.subscribe('own/witness/back');
      return reasonCodes[0] === 0;
    }, `${what}: rights too`);
    t.strictSame((await witness.subscribe('own/others')).reasonCodes, [NOT_AUTHORIZED], what);
  };
  await isWell('at first');
  for (const [what, answer] of troubles) {
    service.answer = answer;
    for (const password of ['right', 'wrong']) {
      const code = await codeOf(node, user('ann', password));
      t.equal(code, UNAVAILABLE, `${what}: nobody comes in with a password that is ${password}`);
    }
    const mayPublish = async (): Promise<boolean> => {
      const packetId = witness.sendPublish(`own/witness/${what}`, 'x', { qos: 1 });
      return (await witness.waitFor('PUBACK', { packetId })).reasonCode < 0x80;
    };
    const asked = `${what}: what was never asked is not allowed`;
    // What is not understood is about logins: of rights it says yes, unless the machine is too busy to.
    if (what === 'is not understood') await until(mayPublish, 'rights are understood');
    else t.equal(await mayPublish(), false, asked);
    service.answer = honest;
    await isWell(what);
  }
  await service.stop();
  t.equal(await codeOf(node, user('ann')), UNAVAILABLE, 'away');
  await sleep(1200);
  t.ok(flow.count > 20, 'while verdicts grow old');
  await service.resume();
  await isWell('away');
  await flow.end();
  t.comment(`${flow.count} messages, the slowest took ${flow.slowestMs.toFixed(0)} ms`);
  t.ok(flow.count > 50, 'those who were connected went on');
  const { json: clients } = await node.api('GET', '/clients');
  t.equal(clients.items.length, 1, 'the witness is still there');
  t.equal(await node.metric('causeway_internal_errors_total'), 0);
});

t.test('two hundred logins at a service that says nothing', async (t) => {
  const service = await HttpService.start(t, honest);
  const site = new Site(t);
  // Long enough that all are there before the first has waited in vain.
  configure(site, service, 1000);
  const node = await NearNode.start(t, site);
  const flow = await Flow.start(node, 'flow', user('from'), user('to'));
  service.answer = silence;
  const beganMs = performance.now();
  const codes = await Promise.all(
    Array.from({ length: 200 }, (_, index) => codeOf(node, user(`user-${index}`))),
  );
  const tookMs = performance.now() - beganMs;
  t.ok(
    codes.every((code) => code === UNAVAILABLE || code === BUSY),
    [...new Set(codes)].join(' '),
  );
  t.ok(codes.includes(BUSY), 'those that would wait too long are told to come again');
  t.ok(tookMs < 5000, `${tookMs.toFixed(0)} ms`);
  t.ok(service.openMax <= 17, `${service.openMax} requests at one time, of both kinds`);
  service.answer = honest;
  await until(async () => (await codeOf(node, user('ann'))) === 0, 'it is well again');
  await flow.end();
  // One whose verdict had just grown old waited for the service, and then went on with the old one.
  t.ok(flow.slowestMs < 2500, `the slowest message took ${flow.slowestMs.toFixed(0)} ms`);
});

t.test('a session is resumed when it is known what it may read, and not before', async (t) => {
  const service = await HttpService.start(t, honest);
  const site = new Site(t);
  configure(site, service, 300);
  const fields = { ...user('ann'), clientId: 'reader', clean: false };
  const lasting: LoginFields = { properties: [['sessionExpiryInterval', 600]] };
  let node = await NearNode.start(t, site, { data: 'data' });
  const reader = await login(node, { ...fields, ...lasting });
  t.strictSame((await reader.subscribe('own/ann/x')).reasonCodes, [0]);
  reader.destroy();
  const publish = async (payload: string): Promise<void> => {
    const writer = await login(node, user('ann'));
    const packetId = writer.sendPublish('own/ann/x', payload, { qos: 1 });
    await writer.waitFor('PUBACK', { packetId });
    writer.destroy();
  };
  await publish('first');
  await node.stop();
  // A broker that has just started remembers no verdict.
  node = await NearNode.start(t, site, { data: 'data' });
  service.answer = (asked, response) => {
    (asked.url === '/login' ? honest : silence)(asked, response);
  };
  t.equal(await codeOf(node, { ...fields, ...lasting }), UNAVAILABLE, 'nobody knows');
  service.answer = (asked, response) => {
    const body = JSON.parse(asked.body) as Record<string, string>;
    if (asked.url !== '/login' && body.action === 'subscribe') {
      json({ result: 'deny' })(asked, response);
    } else {
      honest(asked, response);
    }
  };
  const denied = await login(node, { ...fields, ...lasting });
  t.equal(denied.connack.sessionPresent, true);
  await denied.expectNothing(300);
  await publish('second');
  await denied.expectNothing(200);
  denied.destroy();
});

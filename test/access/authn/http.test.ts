/**
 * The HTTP authenticator against a real HTTP server that answers well, slowly, with nonsense, half or
 * not at all: nobody is let in wrongly, and it recovers by itself. FIELD classes 1, 2, 11, 26, 31.
 */

import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { AccessError } from '../../../src/access/access-error.ts';
import { HttpAuthenticator } from '../../../src/access/authn/http-authenticator.ts';
import type { HttpServiceOptions } from '../../../src/access/backend/http-backend.ts';
import {
  type Answer,
  HttpService,
  json,
  silence,
  status,
  text,
} from '../../support/http-service.ts';
import {
  certificate,
  credentials,
  KeptLog,
  listener,
  MovedClock,
  outcome,
  sleep,
  until,
} from '../backend-kit.ts';

const CANARY = 'canary-7f3a-secret';

interface Stage {
  readonly service: HttpService;
  readonly http: HttpAuthenticator;
  readonly clock: MovedClock;
  readonly log: KeptLog;
  readonly login: (username: string, password: string) => Promise<string>;
}

async function stage(
  t: Test,
  answer: Answer,
  options: Partial<HttpServiceOptions> = {},
): Promise<Stage> {
  const service = await HttpService.start(t, answer);
  const clock = new MovedClock();
  const log = new KeptLog();
  const http = new HttpAuthenticator({
    service: {
      url: `${service.url}/auth`,
      method: 'POST',
      contentType: 'json',
      timeoutMs: 3000,
      concurrencyMax: 4,
      waitingMax: 100,
      cacheS: 0,
      cacheEntriesMax: 100,
      ...options,
    },
    clock,
    log,
  });
  await http.start();
  t.teardown(() => http.stop());
  const login = async (username: string, password: string): Promise<string> =>
    outcome(await http.authenticate(credentials(username, password)));
  return { service, http, clock, log, login };
}

t.test('what is sent: JSON, form and query, each encoded', async (t) => {
  const shown = {
    ...credentials('al"ice&x=1#', 'p\u00e4ss"&=%\n+', { clientId: 'a/b c', certificate }),
  };
  const fields = [
    'username=%u',
    'password=%P',
    'who=%c@%a',
    'cn=%{certificate.common_name}',
    'l=%l',
  ];
  const expected = {
    username: 'al"ice&x=1#',
    password: 'p\u00e4ss"&=%\n+',
    who: 'a/b c@192.0.2.1',
    cn: 'device-7',
    l: listener.name,
  };
  for (const [method, contentType] of [
    ['POST', 'json'],
    ['POST', 'form'],
    ['GET', 'form'],
  ] as const) {
    const { service, http } = await stage(t, status(200), { method, contentType, fields });
    t.equal(outcome(await http.authenticate(shown)), 'accepted');
    const [asked] = service.asked;
    const at = new URL(asked?.url ?? '', service.url);
    t.equal(asked?.method, method);
    t.equal(at.pathname, '/auth');
    const sent =
      contentType === 'json'
        ? JSON.parse(asked?.body ?? '')
        : Object.fromEntries(new URLSearchParams(method === 'GET' ? at.search : asked?.body));
    t.strictSame(sent, expected, `${method} ${contentType}`);
  }
});

t.test('answers that are understood', async (t) => {
  const { service, login } = await stage(t, status(200));
  const cases: [string, Answer, string][] = [
    ['200 without a body', status(200), 'accepted'],
    ['204', status(204), 'accepted'],
    ['text ok', text('ok', 'text/plain'), 'accepted'],
    ['result allow', json({ result: 'allow' }), 'accepted'],
    ['ok true', json({ ok: true }), 'accepted'],
    ['result deny', json({ result: 'deny' }), 'bad_credentials'],
    ['ok false', json({ ok: false, error: 'no' }), 'bad_credentials'],
    ['result ignore', json({ result: 'ignore' }), 'ignored'],
    ['401', status(401), 'bad_credentials'],
    ['403', text('<html>', 'text/html', 403), 'bad_credentials'],
  ];
  for (const [name, answer, expected] of cases) {
    service.answer = answer;
    t.equal(await login('alice', 'right'), expected, name);
  }
});

t.test('nonsense, errors and redirects let nobody in and do not open the circuit', async (t) => {
  const { service, login, http, log } = await stage(t, status(200));
  const big = Buffer.alloc(10 * 1024 * 1024, ' ');
  const lies: [string, Answer][] = [
    ['200 with HTML', text('<html>welcome</html>', 'text/html')],
    ['200 with JSON named text', text('{"result":"allow"}', 'text/plain')],
    ['200 with another text', text('ok ', 'text/plain')],
    ['200 with garbage', text(randomBytes(100), 'application/json')],
    ['half a JSON', text('{"result":"allow"', 'application/json')],
    ['result ALLOW with a space', json({ result: 'ALLOW ' })],
    ['result Allow', json({ result: 'Allow' })],
    ['result true', json({ result: true })],
    ['result a list', json({ result: ['allow'] })],
    ['result null beside ok', json({ result: null, ok: true })],
    ['no result', json({})],
    ['a list', json([{ result: 'allow' }])],
    ['a text', json('allow')],
    ['null', json(null)],
    ['result by prototype', text('{"__proto__":{"result":"allow"}}', 'application/json')],
    ['result by constructor', text('{"constructor":{"result":"allow"}}', 'application/json')],
    ['10 MB', text(big, 'application/json')],
    [
      '10 MB of spaces and a result',
      text(Buffer.concat([big, Buffer.from('{"result":"allow"}')]), 'application/json'),
    ],
    ['201', json({ result: 'allow' }, 201)],
    ['302', (_, response) => response.writeHead(302, { location: '/other' }).end()],
    ['307', (_, response) => response.writeHead(307, { location: '/other' }).end()],
    ['400', json({ result: 'allow' }, 400)],
    ['404', json({ result: 'allow' }, 404)],
    ['500', json({ result: 'allow' }, 500)],
    ['is_superuser as text', json({ result: 'allow', is_superuser: 'true' })],
    ['tenant as number', json({ result: 'allow', tenant: 7 })],
    ['expire_at as text', json({ result: 'allow', expire_at: 'never' })],
    ['client_attrs as list', json({ result: 'allow', client_attrs: ['a'] })],
    ['client_attrs with an object', json({ result: 'allow', client_attrs: { a: {} } })],
    ['acl as object', json({ result: 'allow', acl: {} })],
    [
      'acl with an unknown condition',
      json({
        result: 'allow',
        acl: [{ permission: 'allow', action: 'all', topic: '#', ipaddr: '10.0.0.1' }],
      }),
    ],
    [
      'acl with a broken filter',
      json({ result: 'allow', acl: [{ permission: 'allow', action: 'all', topic: 'a/#/b' }] }),
    ],
  ];
  for (const [name, answer] of lies) {
    service.answer = answer;
    t.equal(await login('alice', 'right'), 'authentication_unavailable', name);
  }
  t.equal(service.asked.length, lies.length, 'each was asked once, and no redirect followed');
  t.equal(http.counters.errors, lies.length);
  service.answer = status(200);
  t.equal(await login('alice', 'right'), 'accepted', 'one good answer is enough');
  t.equal(log.lines.filter(({ level }) => level === 'warn').length, 1, 'one line in ten seconds');
});

t.test('who the client is', async (t) => {
  const nowS = Math.floor(Date.now() / 1000);
  const { service, http, login } = await stage(
    t,
    json({
      result: 'allow',
      is_superuser: false,
      tenant: 'acme',
      expire_at: nowS + 60,
      client_attrs: { site: 'north', __proto__x: 'y' },
      acl: [
        {
          permission: 'allow',
          action: 'publish',
          topic: 'up/$' + '{clientid}/%c',
          qos: [0, '1'],
          retain: false,
        },
        { permission: 'deny', action: 'all', topic: '#' },
      ],
    }),
  );
  const answer = await http.authenticate(credentials('alice', 'right'));
  if (answer.kind !== 'accepted') throw new Error(`not accepted: ${outcome(answer)}`);
  const { who } = answer;
  t.equal(who.user, 'alice');
  t.equal(who.tenant, 'acme');
  t.equal(who.superuser, false);
  t.equal(who.expiresAtMs, (nowS + 60) * 1000);
  t.strictSame(
    [...(who.claims ?? [])],
    [
      ['site', 'north'],
      ['__proto__x', 'y'],
    ],
  );
  t.match(who.rules, [
    { allow: true, actions: ['publish'], topic: 'up/%c/%c', qos: [0, 1], retain: false },
    { allow: false, actions: ['publish', 'subscribe'], topic: '#', qos: null, retain: null },
  ]);
  service.answer = json({ result: 'allow', expire_at: nowS - 1 });
  t.equal(await login('alice', 'right'), 'bad_credentials', 'expired already');
  service.answer = text('{"result":"allow","client_attrs":{"__proto__":"z"}}', 'application/json');
  const odd = await http.authenticate(credentials('alice', 'right'));
  t.strictSame(odd.kind === 'accepted' && [...(odd.who.claims ?? [])], [['__proto__', 'z']]);
});

t.test('who does not show what is asked for is not for this one', async (t) => {
  const { http, service } = await stage(t, status(200));
  const ask = async (...args: Parameters<typeof credentials>): Promise<string> =>
    outcome(await http.authenticate(credentials(...args)));
  t.equal(await ask('alice', null), 'ignored', 'a user without a password (class 1)');
  t.equal(await ask(null, 'right'), 'ignored', 'a password without a user (class 1)');
  t.equal(await ask(null, null), 'ignored');
  t.equal(await ask('alice', ''), 'bad_credentials', 'an empty password');
  t.equal(await ask('', 'right'), 'bad_credentials', 'an empty user');
  t.equal(await ask('alice', Buffer.from([0xff, 0xfe])), 'bad_credentials', 'not UTF-8');
  t.equal(service.asked.length, 0, 'the service was never asked');

  const byCertificate = await stage(t, status(200), { fields: ['cn=%{certificate.common_name}'] });
  const without = await byCertificate.http.authenticate(credentials('mallory', 'x'));
  t.equal(outcome(without), 'ignored');
  const shown = credentials('mallory', 'x', { certificate });
  const answer = await byCertificate.http.authenticate(shown);
  t.equal(
    answer.kind === 'accepted' && answer.who.user,
    'device-7',
    'only what was asked is proven',
  );
});

t.test('slow, down, broken and back', async (t) => {
  const { service, login, log, clock } = await stage(t, status(200), { timeoutMs: 600 });
  t.equal(await login('alice', 'right'), 'accepted');

  service.answer = silence;
  const startMs = performance.now();
  t.equal(await login('alice', 'right'), 'authentication_unavailable', 'slow');
  t.ok(performance.now() - startMs < 5000, 'not for ever');

  service.answer = (_, response) => {
    response.writeHead(200, { 'content-type': 'application/json', 'content-length': 100 });
    response.write('{"result":"allow"}');
  };
  t.equal(await login('alice', 'right'), 'authentication_unavailable', 'the rest never comes');

  service.answer = ({ socket }, response) => {
    response.writeHead(200, { 'content-type': 'application/json', 'content-length': 100 });
    response.write('{"result":"allow"}');
    setTimeout(() => socket.resetAndDestroy(), 20);
  };
  t.equal(await login('alice', 'right'), 'authentication_unavailable', 'reset in the middle');

  service.answer = ({ socket }) => {
    socket.end('HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n');
  };
  t.equal(await login('alice', 'right'), 'authentication_unavailable', 'another protocol');
  service.answer = ({ socket }) => socket.end('SSH-2.0-hello\r\n');
  t.equal(await login('alice', 'right'), 'authentication_unavailable', 'not HTTP');

  await service.stop();
  for (let i = 0; i < 8; i += 1) {
    t.equal(await login('alice', 'right'), 'authentication_unavailable', 'down');
  }
  service.answer = status(200);
  await service.resume();
  const askedBefore = service.asked.length;
  t.equal(await login('alice', 'right'), 'authentication_unavailable', 'left alone for a while');
  t.equal(service.asked.length, askedBefore);
  clock.addedMs += 11_000;
  t.equal(await login('alice', 'right'), 'accepted', 'back, without a restart');
  const levels = log.lines.map(({ level }) => level);
  t.ok(levels.length <= 4, `few lines: ${levels.join()}`);
  t.equal(levels.at(-1), 'info', 'and it is said that it is back');
});

t.test('one request finds out whether it is back, not all', async (t) => {
  const { service, login, clock } = await stage(t, silence, { timeoutMs: 100, concurrencyMax: 8 });
  await Promise.all(Array.from({ length: 8 }, (_, i) => login(`user-${i}`, 'x')));
  const before = service.asked.length;
  clock.addedMs += 1500;
  const outcomes = await Promise.all(Array.from({ length: 50 }, (_, i) => login(`u-${i}`, 'x')));
  t.equal(service.asked.length - before, 1);
  t.ok(outcomes.every((one) => one === 'authentication_unavailable'));
});

t.test('the cache: bounded, only for what was accepted, without passwords', async (t) => {
  const right: Answer = (asked, response) => {
    const { password } = JSON.parse(asked.body);
    status(password === CANARY ? 200 : 403)(asked, response);
  };
  const { service, http, login, clock } = await stage(t, right, { cacheS: 10, cacheEntriesMax: 3 });
  t.equal(await login('alice', CANARY), 'accepted');
  t.equal(await login('alice', CANARY), 'accepted');
  t.equal(service.asked.length, 1, 'the second from the cache');
  t.equal(http.counters.cacheHits, 1);
  t.equal(await login('alice', 'wrong'), 'bad_credentials', 'another password is another question');
  t.equal(await login('alice', 'wrong'), 'bad_credentials');
  t.equal(service.asked.length, 3, 'refusals are not kept');

  await service.stop();
  t.equal(await login('alice', CANARY), 'accepted', 'still known');
  t.equal(await login('bob', CANARY), 'authentication_unavailable', 'never known');
  clock.addedMs += 10_001;
  t.equal(await login('alice', CANARY), 'authentication_unavailable', 'no longer known');
  clock.addedMs += 11_000;
  await service.resume();
  for (let i = 0; i < 10; i += 1) await login(`user-${i}`, CANARY);
  const asked = service.asked.length;
  t.equal(await login('user-9', CANARY), 'accepted');
  t.equal(service.asked.length, asked, 'the youngest are kept');
  t.equal(await login('user-6', CANARY), 'accepted');
  t.equal(service.asked.length, asked + 1, 'the others made room');
  (await http.prepare()).commit();
  await login('user-9', CANARY);
  t.equal(service.asked.length, asked + 2, 'a reload asks anew');
});

t.test('the same question is asked once at a time', async (t) => {
  const { service, login } = await stage(t, (asked, response) => {
    setTimeout(() => json({ result: 'allow' })(asked, response), 50);
  });
  const outcomes = await Promise.all(Array.from({ length: 40 }, () => login('alice', 'right')));
  t.ok(outcomes.every((one) => one === 'accepted'));
  t.equal(service.asked.length, 1);
});

t.test('a storm of logins: bounded requests, and another address is heard', async (t) => {
  const { service, http, log } = await stage(
    t,
    (asked, response) => {
      const isGood = asked.body.includes('"username":"good"');
      setTimeout(() => status(isGood ? 200 : 403)(asked, response), 4);
    },
    { concurrencyMax: 4, waitingMax: 100, timeoutMs: 5000 },
  );
  const tally = new Map<string, number>();
  let waitingMax = 0;
  const storm: Promise<void>[] = [];
  const goods: Promise<string>[] = [];
  const startMs = performance.now();
  for (let tick = 0; tick < 100; tick += 1) {
    for (let i = 0; i < 20; i += 1) {
      const n = tick * 20 + i;
      const shown = credentials(`user-${n % 500}`, `wrong-${n}`, {
        remoteAddress: `198.51.100.${n % 50}`,
      });
      const answer = Promise.resolve(http.authenticate(shown)).then((one) => {
        tally.set(outcome(one), (tally.get(outcome(one)) ?? 0) + 1);
      });
      storm.push(answer);
    }
    waitingMax = Math.max(waitingMax, http.waiting);
    if (tick % 10 === 5) {
      const good = credentials('good', 'right', { remoteAddress: '203.0.113.9' });
      goods.push(Promise.resolve(http.authenticate(good)).then(outcome));
    }
    await sleep(Math.max(0, startMs + tick * 10 - performance.now()));
  }
  await Promise.all(storm);
  t.ok(service.openMax <= 4, `at most 4 requests at one time: ${service.openMax}`);
  t.ok(service.socketsMax <= 4, `on at most 4 connections: ${service.socketsMax}`);
  t.ok(waitingMax <= 100, `at most 100 wait: ${waitingMax}`);
  t.notOk(tally.has('accepted'), 'nobody of the storm is let in');
  t.ok((tally.get('authentication_busy') ?? 0) > 0, 'some are told to come again');
  t.strictSame(new Set(await Promise.all(goods)), new Set(['accepted']), 'the good user always');
  t.equal(http.inFlight, 0);
  t.equal(http.waiting, 0);
  t.ok(log.lines.length <= 1);
});

t.test('no secret in logs, answers and counters', async (t) => {
  const echo: Answer = (asked, response) => {
    response.writeHead(500, `No ${CANARY}`, { 'content-type': 'text/plain', 'x-echo': CANARY });
    response.end(asked.body);
  };
  const folder = mkdtempSync(join(tmpdir(), 'causeway-http-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const headersFile = join(folder, 'headers');
  writeFileSync(headersFile, `# for the service\nX-Api-Key: ${CANARY}-key\n\n`);
  const service = await HttpService.start(t, echo);
  const log = new KeptLog();
  const url = service.url.replace('http://', `http://svc:${CANARY}-pw@`);
  const http = new HttpAuthenticator({
    service: {
      url: `${url}/auth?token=${CANARY}`,
      method: 'POST',
      contentType: 'form',
      headersFile,
      timeoutMs: 3000,
      concurrencyMax: 2,
      waitingMax: 2,
      cacheS: 5,
      cacheEntriesMax: 5,
    },
    clock: new MovedClock(),
    log,
  });
  await http.start();
  t.teardown(() => http.stop());
  log.lines.length = 0;
  chmodSync(headersFile, 0o640);
  (await http.prepare()).commit();
  const warning = log.lines.find(({ level }) => level === 'warn');
  t.match(warning?.fields, { file: headersFile, mode: '0640' }, 'others can read the secret');
  t.match(warning?.message, 'authentication.http.headersFile');
  chmodSync(headersFile, 0o600);
  log.lines.length = 0;
  (await http.prepare()).commit();
  t.strictSame(log.lines, [], 'nobody but us: nothing to say');
  const answers = [await http.authenticate(credentials('alice', CANARY))];
  const [asked] = service.asked;
  t.equal(asked?.headers['x-api-key'], `${CANARY}-key`, 'the header is sent');
  const basic = Buffer.from(`svc:${CANARY}-pw`).toString('base64');
  t.equal(asked?.headers.authorization, `Basic ${basic}`);
  t.equal(asked?.url, `/auth?token=${CANARY}`);
  await service.stop();
  answers.push(await http.authenticate(credentials('alice', CANARY)));
  t.strictSame(answers.map(outcome), ['authentication_unavailable', 'authentication_unavailable']);
  t.ok(log.lines.length > 0);
  const said = log.text + JSON.stringify(answers) + JSON.stringify(http.counters);
  t.notOk(said.includes('canary'), said);
  writeFileSync(headersFile, `X-Api-Key ${CANARY}\n`);
  const problem = await http.prepare().then(
    () => null,
    (error: Error) => error,
  );
  t.ok(problem instanceof AccessError, 'a broken headers file is refused');
  t.match(problem?.message, 'line 1');
  t.notOk(problem?.message.includes('canary'));
});

t.test('options that cannot be used are refused with what to do', async (t) => {
  const base: HttpServiceOptions = {
    url: 'http://127.0.0.1:1/auth',
    method: 'POST',
    contentType: 'json',
    timeoutMs: 100,
    concurrencyMax: 1,
    waitingMax: 1,
    cacheS: 0,
    cacheEntriesMax: 0,
  };
  const make = (options: Partial<HttpServiceOptions>): HttpAuthenticator =>
    new HttpAuthenticator({
      service: { ...base, ...options },
      clock: new MovedClock(),
      log: new KeptLog(),
    });
  const bad: [Partial<HttpServiceOptions>, string][] = [
    [{ url: 'ftp://x' }, 'authentication.http.url'],
    [{ url: 'nonsense' }, 'authentication.http.url'],
    [{ fields: ['username'] }, 'NAME=TEMPLATE'],
    [{ fields: ['a=%x'] }, 'unknown placeholder %x'],
    [{ fields: ['a=%{nothing}'] }, 'unknown placeholder'],
    [{ fields: ['a=%'] }, 'unknown placeholder'],
    [{ fields: ['a=%u', 'a=%c'] }, 'twice'],
  ];
  for (const [options, message] of bad) {
    t.throws(() => make(options), { name: 'AccessError', message: new RegExp(message) }, message);
  }
  await t.rejects(make({ caFile: '/nonexistent/ca.pem' }).start(), { name: 'AccessError' });
  const folder = mkdtempSync(join(tmpdir(), 'causeway-http-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const caFile = join(folder, 'ca.pem');
  writeFileSync(caFile, '');
  await t.rejects(make({ caFile }).start(), /no PEM certificate/, 'an empty list of authorities');
});

t.test('https: only with the right authority, also after a reload', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'causeway-http-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const make = (name: string): { key: string; cert: string } => {
    const [key, cert] = [join(folder, `${name}.key`), join(folder, `${name}.pem`)];
    const args = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
    const subject = ['-subj', `/CN=${name}`, '-addext', 'subjectAltName=IP:127.0.0.1'];
    execFileSync(
      'openssl',
      ['req', '-x509', ...args, '-keyout', key, '-out', cert, '-days', '2', ...subject],
      { stdio: 'ignore' },
    );
    return { key, cert };
  };
  const { readFileSync } = await import('node:fs');
  const [own, other] = [make('own'), make('other')];
  const service = await HttpService.start(t, status(200), {
    key: readFileSync(own.key),
    cert: readFileSync(own.cert),
  });
  const caFile = join(folder, 'ca.pem');
  writeFileSync(caFile, readFileSync(other.cert));
  const http = new HttpAuthenticator({
    service: {
      url: `${service.url}/auth`,
      method: 'POST',
      contentType: 'json',
      caFile,
      timeoutMs: 1000,
      concurrencyMax: 2,
      waitingMax: 2,
      cacheS: 0,
      cacheEntriesMax: 0,
    },
    clock: new MovedClock(),
    log: new KeptLog(),
  });
  await http.start();
  t.teardown(() => http.stop());
  const login = async (): Promise<string> =>
    outcome(await http.authenticate(credentials('alice', 'right')));
  for (let i = 0; i < 3; i += 1) {
    t.equal(await login(), 'authentication_unavailable', 'a stranger, each time (class 13)');
  }
  t.equal(service.asked.length, 0, 'no password was sent to it');
  writeFileSync(caFile, readFileSync(own.cert));
  (await http.prepare()).commit();
  t.equal(await login(), 'accepted');
  writeFileSync(caFile, 'nothing');
  await t.rejects(http.prepare(), { name: 'AccessError' });
  t.equal(await login(), 'accepted', 'a broken file keeps the old state');
});

t.test('after a stop nobody is let in', async (t) => {
  const { http, login, service } = await stage(t, status(200), { cacheS: 60 });
  t.equal(await login('alice', 'right'), 'accepted');
  await http.stop();
  t.equal(await login('alice', 'right'), 'authentication_unavailable');
  await until(() => service.sockets === 0, 'connections are closed');
});

/**
 * The HTTP rule source against a real HTTP server: what it asks, what it keeps and for how long, and
 * that nothing it was not told is allowed while the service is slow, away or talks nonsense.
 */
import t, { type Test } from 'tap';
import { HttpRuleSource } from '../../../src/access/acl/http-source.ts';
import type { Decider, SourceVerdict } from '../../../src/access/acl/source.ts';
import type { HttpServiceOptions } from '../../../src/access/backend/http-backend.ts';
import {
  type Answer,
  HttpService,
  json,
  silence,
  status,
  text,
} from '../../support/http-service.ts';
import { certificate, KeptLog, MovedClock, subject } from '../backend-kit.ts';

async function stage(
  t: Test,
  answer: Answer,
  options: Partial<HttpServiceOptions> = {},
  staleS = 300,
) {
  const service = await HttpService.start(t, answer);
  const clock = new MovedClock();
  const log = new KeptLog();
  const source = new HttpRuleSource({
    service: {
      url: `${service.url}/acl`,
      method: 'POST',
      contentType: 'json',
      timeoutMs: 3000,
      concurrencyMax: 4,
      waitingMax: 20,
      cacheS: 60,
      cacheEntriesMax: 100,
      ...options,
    },
    staleS,
    clock,
    log,
  });
  await source.start();
  t.teardown(() => source.stop());
  return { service, source, clock, log };
}

/** As the gate does it: what is known, else ask. */
function decide(decider: Decider, topic: string): SourceVerdict | Promise<SourceVerdict> {
  return decider.peek('publish', topic, 1, false) ?? decider.ask('publish', topic, 1, false);
}

/** Allows topics below `ok/`. */
const byTopic: Answer = (asked, response) => {
  const { topic } = JSON.parse(asked.body);
  json({ result: topic.startsWith('ok/') ? 'allow' : 'deny' })(asked, response);
};

t.test('what is asked', async (t) => {
  const claims = new Map<string, string | readonly string[]>([
    ['site', 'north'],
    ['roles', ['a', 'b']],
  ]);
  const fields = ['u=%u', 'cn=%{certificate.common_name}', 'site=%{claim.site}', 'no=%{claim.no}'];
  fields.push('r=%{claim.roles}', 'tenant=%{tenant}', 'what=%A %t', 'q=%q', 'retain=%r');
  const { service, source } = await stage(t, json({ result: 'allow' }), { fields });
  const decider = source.open(subject('al%ti"ce', { certificate, claims, tenant: 'acme' }));
  t.equal(await decider.ask('subscribe', 'a/+/#', 2, true), 'allow');
  t.strictSame(JSON.parse(service.asked[0]?.body ?? ''), {
    u: 'al%ti"ce',
    cn: 'device-7',
    site: 'north',
    no: null,
    r: 'a,b',
    tenant: 'acme',
    what: 'subscribe a/+/#',
    q: '2',
    retain: 'true',
  });
  const plain = await stage(t, json({ result: 'allow' }));
  await plain.source.open(subject(null)).ask('publish', 'a', 0, false);
  t.strictSame(JSON.parse(plain.service.asked[0]?.body ?? ''), {
    username: null,
    clientid: 'client-1',
    address: '192.0.2.1',
    action: 'publish',
    topic: 'a',
    qos: '0',
    retain: 'false',
  });
});

t.test('verdicts, and what is no verdict', async (t) => {
  const { service, source, log } = await stage(t, status(200), { cacheS: 0, timeoutMs: 1000 });
  const decider = source.open(subject('alice'));
  const cases: [Answer, SourceVerdict][] = [
    [status(204), 'allow'],
    [json({ result: 'allow' }), 'allow'],
    [json({ result: 'deny' }), 'deny'],
    [status(403), 'deny'],
    [json({ result: 'ignore' }), 'ignore'],
    [json({ result: 'ALLOW ' }), 'unavailable'],
    [text('<html>', 'text/html'), 'unavailable'],
    [text(Buffer.alloc(10 * 1024 * 1024), 'application/json'), 'unavailable'],
    [status(500), 'unavailable'],
    [silence, 'unavailable'],
  ];
  for (const [index, [answer, expected]] of cases.entries()) {
    service.answer = answer;
    t.equal(await decider.ask('publish', 'a', 0, false), expected, `case ${index}`);
  }
  t.equal(source.counters.allowed, 2);
  t.equal(source.counters.errors, 5);
  t.equal(source.counters.denied, 7, 'what is not known is denied');
  t.equal(decider.peek('publish', 'a', 0, false), undefined, 'nothing is kept with cacheS 0');
  t.equal(log.lines.length, 1);
});

t.test('verdicts are kept per client, action, topic, QoS and RETAIN', async (t) => {
  const { service, source, clock } = await stage(t, byTopic);
  const alice = source.open(subject('alice'));
  t.equal(alice.peek('publish', 'ok/1', 1, false), undefined);
  t.equal(await decide(alice, 'ok/1'), 'allow');
  t.equal(await decide(alice, 'no/1'), 'deny');
  t.equal(alice.peek('publish', 'ok/1', 1, false), 'allow');
  t.equal(alice.peek('publish', 'no/1', 1, false), 'deny');
  t.equal(alice.peek('subscribe', 'ok/1', 1, false), undefined);
  t.equal(alice.peek('publish', 'ok/1', 0, false), undefined);
  t.equal(alice.peek('publish', 'ok/1', 1, true), undefined);
  const again = source.open(subject('alice'));
  t.equal(again.peek('publish', 'ok/1', 1, false), 'allow', 'the same client after a reconnect');
  for (const other of [
    subject('bob'),
    subject('alice', { clientId: 'client-2' }),
    subject('alice', { remoteAddress: '192.0.2.2' }),
    subject(null),
  ]) {
    t.equal(source.open(other).peek('publish', 'ok/1', 1, false), undefined, 'another client');
  }
  t.equal(service.asked.length, 2);
  clock.addedMs += 60_001;
  t.equal(alice.peek('publish', 'ok/1', 1, false), undefined, 'not for ever');
});

t.test('the cache is bounded in entries and in bytes', async (t) => {
  const { source } = await stage(t, byTopic, { cacheEntriesMax: 50 });
  const decider = source.open(subject('alice'));
  const long = 'x'.repeat(60_000);
  const topics = Array.from({ length: 200 }, (_, i) => `ok/${i}/${i % 2 === 0 ? long : ''}`);
  for (const topic of topics) await decide(decider, topic);
  t.equal(source.cached, 50);
  t.equal(decider.peek('publish', topics[198] as string, 1, false), 'allow', 'a long topic');
  t.equal(decider.peek('publish', topics[0] as string, 1, false), undefined);
});

t.test('one question at a time for the same thing, few at one time in all', async (t) => {
  const { service, source } = await stage(t, (asked, response) => {
    setTimeout(() => byTopic(asked, response), 20);
  });
  const decider = source.open(subject('alice'));
  const same = await Promise.all(Array.from({ length: 30 }, () => decide(decider, 'ok/1')));
  t.strictSame(new Set(same), new Set(['allow']));
  t.equal(service.asked.length, 1);
  const many = Array.from({ length: 200 }, (_, i) => decide(decider, `ok/many/${i}`));
  t.ok(source.waiting <= 20);
  const verdicts = await Promise.all(many);
  t.ok(service.openMax <= 4);
  t.equal(verdicts.filter((one) => one === 'allow').length, 24, 'those with room');
  t.equal(verdicts.filter((one) => one === 'unavailable').length, 176, 'the others: no');
});

t.test('slow, down and back: what was said counts on, nothing new is allowed', async (t) => {
  const { service, source, clock } = await stage(t, byTopic, { timeoutMs: 600 });
  const decider = source.open(subject('alice'));
  t.equal(await decide(decider, 'ok/1'), 'allow');
  t.equal(await decide(decider, 'no/1'), 'deny');
  clock.addedMs += 60_001;
  service.answer = silence;
  t.equal(await decide(decider, 'ok/1'), 'allow', 'slow: as before');
  t.equal(await decide(decider, 'no/1'), 'deny');
  t.equal(await decide(decider, 'ok/2'), 'unavailable');
  await service.stop();
  for (let i = 0; i < 5; i += 1) t.equal(await decide(decider, `ok/new/${i}`), 'unavailable');
  t.equal(decider.peek('publish', 'ok/9', 1, false), 'unavailable', 'known without asking');
  t.equal(decider.peek('publish', 'ok/1', 1, false), 'allow', 'and so is what was said');
  const newcomer = source.open(subject('mallory'));
  t.equal(newcomer.peek('publish', 'ok/1', 1, false), 'unavailable');
  clock.addedMs += 300_001;
  t.equal(await decide(decider, 'ok/1'), 'unavailable', 'but not for ever');
  service.answer = byTopic;
  await service.resume();
  clock.addedMs += 11_000;
  t.equal(await decide(decider, 'ok/1'), 'allow', 'back, without a restart');
  t.equal(await decide(decider, 'ok/2'), 'allow');
});

t.test('a reload asks anew, and keeps what was said when nobody answers', async (t) => {
  const { service, source } = await stage(t, byTopic);
  const decider = source.open(subject('alice'));
  t.equal(await decide(decider, 'ok/1'), 'allow');
  service.answer = json({ result: 'deny' });
  t.equal(await decide(decider, 'ok/1'), 'allow', 'from the cache');
  (await source.prepare()).commit();
  t.equal(decider.peek('publish', 'ok/1', 1, false), undefined);
  t.equal(await decide(decider, 'ok/1'), 'deny', 'taken back');
  (await source.prepare()).commit();
  await service.stop();
  t.equal(await decide(decider, 'ok/1'), 'deny');
});

t.test('a peek is cheap', async (t) => {
  const { source } = await stage(t, byTopic);
  const decider = source.open(subject('alice'));
  await decide(decider, 'ok/device/7/temperature');
  const count = 100_000;
  const startMs = performance.now();
  for (let i = 0; i < count; i += 1) decider.peek('publish', 'ok/device/7/temperature', 1, false);
  const usEach = ((performance.now() - startMs) * 1000) / count;
  t.ok(usEach < 20, `${usEach.toFixed(2)} us`);
  t.comment(`${usEach.toFixed(2)} us for a peek`);
});

/** The small parts behind HTTP and Redis sources, with time in hand: cache, circuit breaker, keys. */
import t from 'tap';
import { Fingerprint } from '../../src/access/backend/fingerprint.ts';
import { KeyTemplate } from '../../src/access/backend/key-template.ts';
import { clientPlaceholders } from '../../src/access/backend/template.ts';
import { CircuitBreaker } from '../../src/access/circuit-breaker.ts';
import { TtlCache } from '../../src/access/ttl-cache.ts';

t.test('cache: time, staleness, bounds', async (t) => {
  let nowMs = 0;
  const cache = new TtlCache<string>({ entriesMax: 2, ttlMs: 10, staleMs: 5, nowMs: () => nowMs });
  cache.set('a', '1');
  nowMs = 9;
  t.equal(cache.get('a'), '1');
  nowMs = 10;
  t.equal(cache.get('a'), undefined);
  t.equal(cache.getStale('a'), '1');
  nowMs = 15;
  t.equal(cache.getStale('a'), undefined);
  t.equal(cache.size, 0);
  cache.set('a', '1');
  cache.set('b', '2');
  cache.get('a');
  cache.set('__proto__', '3');
  t.equal(cache.size, 2);
  t.equal(cache.get('b'), undefined, 'the least recently used has gone');
  t.equal(cache.get('a'), '1');
  t.equal(cache.get('__proto__'), '3');
  t.equal(cache.get('constructor'), undefined);
  cache.expire();
  t.equal(cache.get('a'), undefined);
  t.equal(cache.getStale('a'), '1');
  nowMs = 20;
  t.equal(cache.getStale('a'), undefined, 'and not longer stale than it may be');
  cache.set('c', '4', 3);
  nowMs = 23;
  t.equal(cache.getStale('c'), undefined, 'a value with an end of its own is never stale');
  cache.set('d', '5');
  cache.delete('d');
  t.equal(cache.get('d'), undefined);

  const off = new TtlCache<string>({ entriesMax: 2, ttlMs: 0, nowMs: () => nowMs });
  off.set('a', '1');
  t.equal(off.size, 0, 'off');
  const none = new TtlCache<string>({ entriesMax: 0, ttlMs: 10, nowMs: () => nowMs });
  none.set('a', '1');
  t.equal(none.size, 0);
});

t.test('circuit breaker: failures in a row, a probe, growing pauses', async (t) => {
  let nowMs = 0;
  const options = { failuresMax: 3, pauseMs: 100, pauseMsMax: 300, nowMs: () => nowMs };
  const breaker = new CircuitBreaker(options);
  const fail = (): void => {
    t.ok(breaker.enter());
    breaker.failed();
  };
  fail();
  fail();
  t.ok(breaker.enter());
  breaker.succeeded();
  fail();
  fail();
  t.equal(breaker.state, 'closed', 'not in a row');
  fail();
  t.equal(breaker.state, 'open');
  t.notOk(breaker.enter());
  breaker.failed();
  nowMs = 99;
  t.ok(breaker.refuses);
  nowMs = 100;
  t.notOk(breaker.refuses);
  t.ok(breaker.enter(), 'one may try');
  t.notOk(breaker.enter(), 'only one');
  breaker.undecided();
  t.ok(breaker.enter(), 'it did not get to try');
  breaker.failed();
  nowMs = 299;
  t.notOk(breaker.enter(), 'twice as long');
  nowMs = 300;
  fail();
  nowMs = 599;
  t.notOk(breaker.enter(), 'at most pauseMsMax');
  nowMs = 600;
  t.ok(breaker.enter());
  breaker.succeeded();
  t.equal(breaker.state, 'closed');
  t.ok(breaker.enter());
  t.ok(breaker.enter());
});

t.test('keys: no value makes the key of something else', async (t) => {
  const key = (template: string, user: string, prefix = '', isRoot = false): string | null =>
    new KeyTemplate(prefix, template, clientPlaceholders, isRoot).render((name) =>
      name === 'u' ? user : 'c1',
    );
  t.equal(key('mqtt_user:%u', 'a:b'), 'mqtt_user:a:b');
  t.equal(key('mqtt_user:%u', 'a b'), 'mqtt_user:a b');
  t.equal(key('%u', 'a', 'p:'), 'p:a');
  t.equal(key('%u', 'a:b', 'p:'), 'p:a:b');
  t.equal(key('%u', 'a:b'), null, 'nothing before it: any key');
  t.equal(key('%u', 'a:b', 'p:', true), null, 'others are made from it');
  t.equal(key('%u:%c', 'a:b'), null, 'something follows');
  t.equal(key('%u:%c', 'a'), 'a:c1');
  t.equal(key('100%%:%u', 'a'), '100%:a');
  for (const user of ['', '{a}', 'a}', 'a\n', 'a\u0000', 'a\u007f', 'x'.repeat(513)]) {
    t.equal(key('mqtt_user:%u', user), null, JSON.stringify(user.slice(0, 9)));
  }
  t.throws(() => key('mqtt_user', 'a'), TypeError);
  t.throws(() => key('mqtt_user:%c', 'a'), TypeError);
});

t.test('fingerprints: parts are not mixed up, processes differ', async (t) => {
  const fingerprint = new Fingerprint();
  t.equal(fingerprint.of('a', 'b'), fingerprint.of('a', Buffer.from('b')));
  t.not(fingerprint.of('a', 'b'), fingerprint.of('ab', ''));
  t.not(fingerprint.of('a', 'b'), fingerprint.of('a', 'b', ''));
  t.not(fingerprint.of('a'), new Fingerprint().of('a'));
});

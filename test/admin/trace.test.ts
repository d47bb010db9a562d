// Traces over HTTP on a real core: what is followed is seen, what is not costs nothing, and no reader
// can make a node hold more than it should.
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { filtersOverlap, TRACES_MAX, TraceHub } from '../../src/admin/api/trace-hub.ts';
import { filterMatches } from '../../src/core/inspection.ts';
import type { Observer } from '../../src/core/ports.ts';
import { ApiDoor } from './api-door.ts';

interface Line {
  readonly event: string;
  readonly [field: string]: unknown;
}

/** A trace that is read as it comes. */
class Reader {
  readonly lines: Line[] = [];
  readonly closed: Promise<void>;
  readonly stop: () => void;

  constructor(lines: Line[], closed: Promise<void>, stop: () => void) {
    this.lines = lines;
    this.closed = closed;
    this.stop = stop;
  }

  static async open(t: Test, door: ApiDoor, query: string): Promise<Reader> {
    const response = await door.open('GET', `/api/v1/trace?${query}`, { as: 'operator' });
    t.equal(response.statusCode, 200);
    t.equal(response.headers['content-type'], 'application/x-ndjson; charset=utf-8');
    const lines: Line[] = [];
    const { promise, resolve } = Promise.withResolvers<void>();
    const reader = new Reader(lines, promise, () => response.destroy());
    createInterface({ input: response }).on('line', (text) => {
      door.contract.check('GET', '/api/v1/trace', 200, 'application/x-ndjson', text);
      lines.push(JSON.parse(text) as Line);
    });
    response.on('close', resolve);
    response.on('error', () => {});
    t.teardown(() => response.destroy());
    await reader.until(({ event }) => event === 'started');
    return reader;
  }

  async until(test: (line: Line) => boolean): Promise<Line> {
    const deadline = performance.now() + 10_000;
    for (;;) {
      const found = this.lines.find(test);
      if (found !== undefined) return found;
      if (performance.now() > deadline) throw new Error(`not seen: ${JSON.stringify(this.lines)}`);
      await sleep(10);
    }
  }

  get events(): string[] {
    return this.lines.map(({ event }) => event).filter((event) => event !== 'heartbeat');
  }
}

t.test('one client, from CONNECT to the end', async (t) => {
  const door = await ApiDoor.open(t);
  const { world } = door;
  const trace = await Reader.open(t, door, 'client=a/b');
  const other = world.connected(5, 'other');
  other.subscribe('x/#');
  const client = world.connected(5, 'a/b', { username: 'u' });
  client.subscribe(['t/+', '$closed'], 1);
  client.publish('x/1', 'canary-payload', { qos: 1, retain: false });
  other.publish('t/1', 'canary-payload');
  other.publish('t2/1', 'unseen');
  client.publish('$SYS/x', 'y');
  client.unsubscribe('t/+');
  world.settle();
  client.disconnect();
  const bad = world.client(5, 'a/b');
  bad.connect({ authenticationMethod: 'x' });
  world.settle();
  await trace.until(({ event }) => event === 'refused');
  t.strictSame(trace.events, [
    'started',
    'connect',
    'subscribe',
    'subscribe',
    'publish',
    'deliver',
    'drop',
    'unsubscribe',
    'disconnect',
    'refused',
  ]);
  const line = (event: string): Line => trace.lines.find((one) => one.event === event)!;
  t.match(line('started'), { clientId: 'a/b', filter: null, durationS: 600 });
  t.match(line('connect'), { clientId: 'a/b', protocolVersion: 5, listener: 'fake' });
  t.match(line('subscribe'), { filter: 't/+', qos: 1, reasonCode: 1 });
  t.match(line('publish'), { topic: 'x/1', qos: 1, retain: false, bytes: 14 });
  t.match(line('deliver'), { topic: 't/1', qos: 0, bytes: 14 });
  t.match(line('drop'), { topic: '$SYS/x', reason: 'reserved_topic' });
  t.match(line('disconnect'), { reason: 'client_disconnect' });
  t.match(line('refused'), { reason: 'authentication_method' });
  t.ok(
    trace.lines.every(({ atMs }) => Math.abs(Number(atMs) - Date.now()) < 60_000),
    'each has its time',
  );
  t.notMatch(JSON.stringify(trace.lines), /canary-payload|unseen|"other"/);
});

t.test('one topic, whoever it is', async (t) => {
  const door = await ApiDoor.open(t);
  const { world } = door;
  const trace = await Reader.open(t, door, 'topic=plant/%2B/t');
  const subscriber = world.connected(5, 's');
  subscriber.subscribe(['plant/#', '$share/g/plant/1/+', 'office/#', 'plant/1/u']);
  const publisher = world.connected(5, 'p');
  for (const topic of ['plant/1/t', 'plant/1/u', 'plant/1', 'office', 'plant/2/t']) {
    publisher.publish(topic, 'x');
  }
  world.settle();
  await trace.until(({ topic, event }) => topic === 'plant/2/t' && event === 'deliver');
  const seen = trace.lines.slice(1).map(({ event, topic, filter }) => [event, topic ?? filter]);
  t.strictSame(seen, [
    ['subscribe', 'plant/#'],
    ['subscribe', '$share/g/plant/1/+'],
    ['publish', 'plant/1/t'],
    ['deliver', 'plant/1/t'],
    ['deliver', 'plant/1/t'],
    ['publish', 'plant/2/t'],
    ['deliver', 'plant/2/t'],
  ]);
  const both = await Reader.open(t, door, 'topic=plant/%23&client=p');
  publisher.publish('plant/9/t', 'x');
  publisher.publish('office/9/t', 'x');
  world.settle();
  await both.until(({ event }) => event === 'publish');
  await trace.until(({ topic, event }) => topic === 'plant/9/t' && event === 'deliver');
  t.strictSame(both.events, ['started', 'publish'], 'what fits both');
});

t.test('the core is observed only while somebody looks', async (t) => {
  const observed: boolean[] = [];
  const door = await ApiDoor.open(t, {
    api: { observe: (observer) => void observed.push(observer !== null) },
  });
  t.strictSame(observed, []);
  const one = await Reader.open(t, door, 'client=a');
  const two = await Reader.open(t, door, 'client=b');
  t.strictSame(observed, [true, true]);
  one.stop();
  await sleep(100);
  t.strictSame(observed, [true, true], 'somebody still looks');
  two.stop();
  while (observed.at(-1) === true) await sleep(10);
  t.equal(observed.at(-1), false);
  const text = (await door.send('GET', '/metrics')).body;
  t.match(text, /^causeway_api_traces 0$/m);
});

t.test('a trace ends: by its time, with its token, with the node', async (t) => {
  const door = await ApiDoor.open(t, { api: { heartbeatMs: 50 } });
  const short = await Reader.open(t, door, 'client=a&durationS=1');
  const long = await Reader.open(t, door, 'client=a');
  await long.until(({ event }) => event === 'heartbeat');
  await short.closed;
  t.match(short.lines.at(-1), { event: 'ended', reason: 'duration' });

  const body = { name: 'temporary', role: 'operator' };
  const { token } = (await door.ask('POST', '/tokens', { as: 'admin', body })).json();
  door.tokens.set('operator', token);
  const revoked = await Reader.open(t, door, 'client=a');
  await door.ask('DELETE', '/tokens/temporary', { as: 'admin' });
  await revoked.closed;
  t.match(revoked.lines.at(-1), { event: 'ended', reason: 'token_revoked' });

  const expiring = { name: 'expiring', role: 'operator', expiresInS: 1 };
  const made = (await door.ask('POST', '/tokens', { as: 'admin', body: expiring })).json();
  door.tokens.set('operator', made.token);
  const expired = await Reader.open(t, door, 'client=a');
  await expired.closed;
  t.match(expired.lines.at(-1), { reason: 'token_revoked' }, 'class 7: also when it expires');

  const stopped = door.server.stop();
  await long.closed;
  await stopped;
});

t.test('what may be asked for', async (t) => {
  const door = await ApiDoor.open(t);
  for (const query of [
    '',
    '?client=',
    '?topic=a%23',
    '?topic=$share/g/a',
    '?client=a&durationS=0',
    '?client=a&durationS=3601',
    '?client=a&payload=true',
  ]) {
    const { status } = await door.ask('GET', `/trace${query}`, { as: 'operator' });
    t.equal(status, 400, query);
  }
  const open = await Promise.all(
    Array.from({ length: TRACES_MAX }, () => Reader.open(t, door, 'client=a')),
  );
  t.equal((await door.ask('GET', '/trace?client=a', { as: 'operator' })).status, 429);
  open[0]!.stop();
  await sleep(100);
  await Reader.open(t, door, 'client=a');
});

t.test('more than a reader takes is left out and counted', async (t) => {
  let observer: Observer | null = null;
  const hub = new TraceHub({
    observe: (given) => {
      observer = given;
    },
    wallMs: () => 0,
    isGood: () => true,
  });
  const options = { clientId: null, filter: '#', caller: 'c', durationS: 60 };
  const stream = hub.open(options)!;
  const seen = observer! as Observer;
  const started = performance.now();
  for (let i = 0; i < 100_000; i++) seen.delivered('c', `t/${i % 7}`, 0, 1);
  t.ok(performance.now() - started < 10_000, 'what is left out costs little');
  // Nobody reads: what is buffered has a bound whatever comes.
  for (let round = 0; round < 20; round++) {
    for (let i = 0; i < 2000; i++) seen.published('c', 'x'.repeat(1000), 0, false, 1);
    await sleep(60);
  }
  t.ok(stream.readableLength < 2 * 1024 * 1024, `${stream.readableLength} bytes wait`);
  const missed = (): number => hub.missed;
  t.ok(missed() >= 99_000, `${missed()} counted`);
  let text = '';
  stream.on('data', (chunk: Buffer) => {
    text += chunk.toString();
  });
  await sleep(150);
  hub.stop();
  await new Promise((resolve) => stream.on('end', resolve));
  const lines = text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Line);
  const counts = lines.filter(({ event }) => event === 'missed').map(({ count }) => Number(count));
  const shown = lines.filter(({ event }) => ['deliver', 'publish'].includes(event)).length;
  const sum = counts.reduce((total, count) => total + count, 0);
  t.equal(shown + sum, 140_000, 'each is shown or counted');
  t.equal(missed(), sum);
  t.match(lines.at(-1), { event: 'ended', reason: 'shutting_down' });
  t.equal(observer, null);
});

t.test('filters and topics', async (t) => {
  const matching: readonly [string, string, boolean][] = [
    ['a', 'a', true],
    ['a', 'ab', false],
    ['ab', 'a', false],
    ['a/b', 'a', false],
    ['a', 'a/b', false],
    ['a/#', 'a', true],
    ['a/#', 'a/b/c', true],
    ['a/#', 'ab', false],
    ['#', 'a/b', true],
    ['#', '$SYS/a', false],
    ['+/a', '$SYS/a', false],
    ['$SYS/#', '$SYS/a', true],
    ['+', 'a', true],
    ['+', 'a/b', false],
    ['+/+', '/', true],
    ['/+', '/', true],
    ['+', '/', false],
    ['a/+', 'a/', true],
    ['a/+', 'a', false],
    ['a/+/c', 'a/b/c', true],
    ['a/+/c', 'a//c', true],
    ['a/+/#', 'a/b', true],
    ['a/+/#', 'a', false],
    ['a//#', 'a/', true],
    ['+/b', 'a/bc', false],
  ];
  for (const [filter, topic, expected] of matching) {
    t.equal(filterMatches(filter, topic), expected, `${filter} and ${topic}`);
  }
  const overlapping: readonly [string, string, boolean][] = [
    ['a/+', '+/b', true],
    ['a/+', 'b/+', false],
    ['a/#', 'a', true],
    ['a/#', 'b', false],
    ['a/b', 'a', false],
    ['#', '$SYS/a', false],
    ['+/a', '$SYS/a', false],
    ['$SYS/#', '$SYS/+/b', true],
    ['+/+/c', 'a/b/+', true],
    ['#', '#', true],
  ];
  for (const [left, right, expected] of overlapping) {
    t.equal(filtersOverlap(left, right), expected, `${left} and ${right}`);
    t.equal(filtersOverlap(right, left), expected, `${right} and ${left}`);
  }
});

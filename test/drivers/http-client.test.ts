/**
 * The HTTP driver on its own: connections are kept and bounded, one that the server closed is replaced
 * without harm, no proxy is used, and what is retired finishes first.
 */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import t, { type Test } from 'tap';
import { FairSlots } from '../../src/drivers/fair-slots.ts';
import { HttpClient, type HttpRequest } from '../../src/drivers/http/http-client.ts';
import { FairLine } from '../../src/util/fair-line.ts';
import { type Answer, HttpService, silence, status, text } from '../support/http-service.ts';

const plain: HttpRequest = { method: 'POST', path: '/', headers: {}, body: 'x', party: '' };

async function stage(t: Test, answer: Answer, concurrencyMax = 2) {
  const service = await HttpService.start(t, answer);
  const client = new HttpClient({
    url: new URL(service.url),
    ca: null,
    timeoutMs: 1000,
    concurrencyMax,
    waitingMax: 10,
  });
  t.teardown(() => client.close());
  return { service, client };
}

t.test('a connection is used again, and replaced when the server has closed it', async (t) => {
  const { service, client } = await stage(t, text('hello', 'Text/Plain; charset=utf-8'));
  for (let i = 0; i < 5; i += 1) {
    const answer = await client.ask(plain);
    t.equal(answer.status, 200);
    t.equal(answer.contentType, 'text/plain');
    t.equal(answer.body.toString(), 'hello');
  }
  t.equal(service.socketsMax, 1);
  // Closed without the client having a chance to see it before it sends.
  for (let i = 0; i < 20; i += 1) {
    const closing = client.ask(plain);
    t.equal((await closing).status, 200);
    service.breakConnections();
    t.equal((await client.ask(plain)).status, 200, 'asked again on a new connection');
  }
  service.answer = ({ socket }) => socket.resetAndDestroy();
  const askedBefore = service.asked.length;
  await t.rejects(client.ask(plain), { code: 'broken' });
  t.ok(service.asked.length - askedBefore <= 2, 'at most one repetition');
});

t.test('every way to fail has its code', async (t) => {
  const { service, client } = await stage(t, silence);
  await t.rejects(client.ask(plain), { code: 'timeout' });
  service.answer = text(Buffer.alloc(65 * 1024), 'text/plain');
  await t.rejects(client.ask(plain), { code: 'too_large' });
  service.answer = ({ socket }) => socket.end('nonsense\r\n\r\n');
  await t.rejects(client.ask(plain), { code: 'malformed' });
  service.answer = ({ socket }) => {
    socket.write('HTTP/1.1 200 OK\r\n');
    socket.write(`x: ${'y'.repeat(70_000)}\r\n\r\n`);
  };
  await t.rejects(client.ask(plain), { code: 'malformed' }, 'headers without end');
  await service.stop();
  await t.rejects(client.ask(plain), { code: 'connect' });
  client.close();
  await t.rejects(client.ask(plain), { code: 'closed' });
  t.equal(client.inFlight, 0);
});

t.test('a retired client finishes what it has', async (t) => {
  const { client } = await stage(t, (asked, response) => {
    setTimeout(() => status(204)(asked, response), 30);
  });
  const running = Array.from({ length: 5 }, () => client.ask(plain));
  client.retire();
  await t.rejects(client.ask(plain), { code: 'closed' });
  const answers = await Promise.all(running);
  t.ok(answers.every((answer) => answer.status === 204));
});

t.test('no proxy, whatever the environment says', async (t) => {
  const proxy = await HttpService.start(t, status(200));
  const service = await HttpService.start(t, status(204));
  // The environment is read when a process starts; the global agent shows that it was.
  const script = `
    import { get } from 'node:http';
    import { HttpClient } from '${new URL('../../src/drivers/http/http-client.ts', import.meta.url)}';
    const url = new URL('${service.url}');
    const byDefault = await new Promise((done) => get(url, (answer) => done(answer.statusCode)));
    const client = new HttpClient(
      { url, ca: null, timeoutMs: 2000, concurrencyMax: 1, waitingMax: 1 });
    const answer = await client.ask({ method: 'GET', path: '/', headers: {}, body: null, party: '' });
    console.log(byDefault, answer.status);
    process.exit();
  `;
  const env = { ...process.env, NODE_OPTIONS: '', NODE_USE_ENV_PROXY: '1', HTTP_PROXY: proxy.url };
  const args = ['--input-type=module', '--eval', script];
  const { stdout } = await promisify(execFile)(process.execPath, args, { env });
  t.equal(stdout.trim(), '200 204', 'the default goes to the proxy, ours does not');
});

t.test('a fair line: parties take turns, the longest gives way', async (t) => {
  const line = new FairLine<string>(4);
  for (const item of ['a1', 'a2', 'a3']) t.equal(line.push('a', item), null);
  t.equal(line.push('b', 'b1'), null);
  t.equal(line.length, 4);
  t.equal(line.push('c', 'c1'), 'a1', 'the oldest of the longest has to go');
  t.equal(line.push('a', 'a4'), 'a2', 'also for one of its own');
  t.equal(line.push('d', 'd1'), 'a3');
  t.equal(line.push('e', 'e1'), 'e1', 'one each: the newcomer has to go');
  t.strictSame([line.shift(), line.shift(), line.shift()], ['a4', 'b1', 'c1']);
  line.push('d', 'd2');
  line.push('f', 'f1');
  t.ok(line.remove('f', 'f1'));
  t.notOk(line.remove('f', 'f1'));
  t.strictSame([line.shift(), line.shift(), line.shift()], ['d1', 'd2', undefined]);
  t.equal(line.length, 0);
  t.equal(new FairLine<string>(0).push('a', 'a1'), 'a1');
});

t.test('slots: bounded, and whoever waits too long gives up', async (t) => {
  const slots = new FairSlots({ slotsMax: 1, waitingMax: 2 });
  await slots.enter('a', 10);
  await t.rejects(slots.enter('a', 10), { name: 'NoSlotError' });
  t.equal(slots.waiting, 0, 'and leaves the line');
  const next = slots.enter('b', 1000);
  slots.leave();
  await next;
  t.equal(slots.taken, 1);
  const refused = slots.enter('c', 1000);
  slots.clear();
  await t.rejects(refused, { name: 'NoSlotError' });
  slots.leave();
  t.equal(slots.taken, 0);
});

/**
 * `causeway promote` as a user runs it: from a real node alone to a datacenter of two, with clients that
 * were in the middle of everything; and killed in the middle itself.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import {
  fill,
  folderFor,
  leftIn,
  type PlannedSession,
  planned,
  Reader,
} from '../app/promote-kit.ts';
import { Client, connectClient, openSocket } from '../conformance/client.ts';
import { ack, type ConnectFields } from '../conformance/packets.ts';
import type { ReadPacket } from '../conformance/reader.ts';
import { Broker } from '../e2e/broker.ts';
import { DURABLE, RedisServer, redisAdmin } from '../support/redis-server.ts';
import { runCli } from './run.ts';

t.setTimeout(180_000);
t.jobs = 2;

const main = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));

async function durable(
  t: Test,
  broker: Broker,
  clientId: string,
  more: Partial<ConnectFields> = {},
): Promise<Client> {
  const { version = 5 } = more;
  const socket = await openSocket('127.0.0.1', broker.port());
  const client = new Client(socket, version, clientId);
  t.teardown(() => client.destroy());
  const properties = [['sessionExpiryInterval', 3600] as const, ...(more.properties ?? [])];
  const own = version === 5 ? { properties } : {};
  return connectClient(client, { clean: false, ...more, ...own, version, clientId });
}

async function messages(client: Client, count: number, acknowledge = true): Promise<ReadPacket[]> {
  const got: ReadPacket[] = [];
  while (got.length < count) got.push(await client.message({}, { acknowledge }));
  return got;
}

const texts = (got: readonly ReadPacket[]): string[] => got.map((one) => one.payload.toString());

t.test('from one node to two', async (t) => {
  const directory = join(folderFor(t), 'data');
  const alone = await Broker.start({ data: directory });
  t.teardown(() => alone.kill());

  const flight = await durable(t, alone, 'flight');
  await flight.subscribed('q/#', { qos: 2 });
  const absent = await durable(t, alone, 'absent');
  await absent.subscribed('away/#', { qos: 1, properties: [['subscriptionIdentifier', 7]] });
  await absent.disconnect();
  const watch = await durable(t, alone, 'watch');
  await watch.subscribed('wills/#', { qos: 1 });
  await watch.disconnect();
  for (const clientId of ['group-1', 'group-2']) {
    const member = await durable(t, alone, clientId);
    await member.subscribed('$share/g/s/#', { qos: 1 });
    await member.disconnect();
  }
  const willed = await durable(t, alone, 'willed', {
    will: {
      topic: 'wills/one',
      payload: 'the will',
      qos: 1,
      properties: [['willDelayInterval', 2]],
    },
  });
  const old = await durable(t, alone, 'old', { version: 4 });
  await old.subscribed('four/#', { qos: 2 });
  const choosy = await durable(t, alone, 'choosy');
  await choosy.subscribed([
    { filter: 'o/#', qos: 1, noLocal: true, retainAsPublished: true, retainHandling: 2 },
  ]);

  const sender = await durable(t, alone, 'sender');
  for (let index = 1; index <= 20; index++) await sender.publish('q/a', `${index}`, { qos: 1 });
  // Acked, but for two in the middle.
  const first = await messages(flight, 20, false);
  for (const one of first.filter((_, index) => index !== 4 && index !== 11)) {
    flight.send(ack('PUBACK', one.packetId));
  }
  await sender.publish('q/b', 'released', { qos: 2 });
  await sender.publish('q/b', 'received', { qos: 2 });
  const [released, received] = (await messages(flight, 2, false)) as [ReadPacket, ReadPacket];
  flight.send(ack('PUBREC', released.packetId));
  await flight.expect('PUBREL', { packetId: released.packetId });
  await flight.ping();
  flight.destroy();
  await sender.publish('q/c', 'later', { qos: 2 });
  for (let index = 1; index <= 5; index++) await sender.publish('away/x', `${index}`, { qos: 1 });
  for (let index = 1; index <= 6; index++) await sender.publish('s/x', `${index}`, { qos: 1 });
  await sender.publish('r/x', 'kept', { qos: 1, retain: true });
  for (let index = 1; index <= 3; index++) await sender.publish('four/x', `${index}`, { qos: 2 });
  const fours = await messages(old, 3, false);
  old.send(ack('PUBREC', fours[0]!.packetId));
  await old.expect('PUBREL', { packetId: fours[0]!.packetId });
  await old.ping();
  old.destroy();
  await choosy.publish('o/own', 'not to itself', { qos: 1 });
  await choosy.disconnect();
  await sender.publish('o/x', 'lasts', { qos: 1, properties: [['messageExpiryInterval', 3600]] });
  // Its PUBREL is missing.
  sender.sendPublish('q/d', 'once', { qos: 2, packetId: 7 });
  await sender.waitFor('PUBREC', { packetId: 7 });
  sender.destroy();

  const redis = await RedisServer.start(t, DURABLE);
  const args = ['promote', '--data', directory, '--redis', redis.url];
  const early = await runCli(args);
  t.equal(early.code, 2);
  t.match(early.stderr, /is in use by another process; stop it/);
  // Its will is due after the kill, whether or not the node has noticed.
  await willed.drop();
  // Killed: what was connected then was not said good-bye to.
  await alone.kill();

  const dry = await runCli([...args, '--dry-run']);
  t.equal(dry.code, 0, dry.stderr);
  t.match(dry.stdout, /sessions +9 +0 +9\n[\s\S]*Nothing was written/);
  const done = await runCli(args);
  t.equal(done.code, 0, done.stderr);
  const table = `found not moved  in Redis
sessions               9         0         9
subscriptions          7         0         7
queued                21         0        21
inbound                1         0         1
wills                  1         0         1
`;
  t.match(done.stdout, table);
  t.match(done.stdout, /1 retained messages stay in .*9 sessions were removed from /s);

  const start = (name: string, data: string): Promise<Broker> => {
    const quiet = ['--set', 'sysIntervalS=0'];
    return Broker.start({ data, flags: ['--redis', redis.url, '--node-id', name, ...quiet] });
  };
  const a = await start('a', directory);
  t.teardown(() => a.kill());
  const b = await start('b', join(folderFor(t), 'b'));
  t.teardown(() => b.kill());

  const again = await durable(t, b, 'flight');
  t.ok(again.connack.sessionPresent);
  const ids = [first[4]!, first[11]!].map((one) => one.packetId);
  await again.message({ payload: '5', packetId: ids[0]!, dup: true });
  await again.message({ payload: '12', packetId: ids[1]!, dup: true });
  await again.expect('PUBREL', { packetId: released.packetId });
  again.send(ack('PUBCOMP', released.packetId));
  await again.message({ payload: 'received', packetId: received.packetId, dup: true });
  t.strictSame(texts(await messages(again, 2)), ['later', 'once']);

  const back = await durable(t, a, 'sender');
  t.ok(back.connack.sessionPresent);
  back.sendPublish('q/d', 'once', { qos: 2, packetId: 7, dup: true });
  await back.waitFor('PUBREC', { packetId: 7 });
  back.send(ack('PUBREL', 7));
  await back.waitFor('PUBCOMP', { packetId: 7 });
  await back.publish('q/d', 'after', { qos: 1 });
  await again.message({ payload: 'after' });
  await again.expectNothing();

  const four = await durable(t, a, 'old', { version: 4 });
  t.ok(four.connack.sessionPresent);
  await four.expect('PUBREL', { packetId: fours[0]!.packetId });
  four.send(ack('PUBCOMP', fours[0]!.packetId));
  for (const { packetId, payload } of fours.slice(1)) {
    await four.message({ packetId, payload: payload.toString(), dup: true });
  }
  await four.expectNothing();
  const options = await durable(t, b, 'choosy');
  const lasting = await options.message({ payload: 'lasts' });
  const left = lasting.properties.find(([name]) => name === 'messageExpiryInterval')?.[1];
  t.ok(typeof left === 'number' && left > 3000 && left <= 3600, `${left} s are left`);
  await options.publish('o/own', 'not to itself', { qos: 1 });
  await back.publish('o/x', 'as published', { qos: 1, retain: true });
  await options.message({ payload: 'as published', retain: true });

  // Somebody who is away is not forgotten by nodes that never saw it.
  await back.publish('away/x', 'new', { qos: 1 });
  const here = await durable(t, b, 'absent');
  const kept = await messages(here, 6);
  t.strictSame(texts(kept), ['1', '2', '3', '4', '5', 'new']);
  t.ok(
    kept.every((one) => one.properties.some((each) => each[1] === 7)),
    'subscription ids too',
  );
  await (await durable(t, a, 'watch')).message({ topic: 'wills/one', payload: 'the will' });
  const shared: string[] = [];
  for (const clientId of ['group-1', 'group-2']) {
    const member = await durable(t, b, clientId);
    t.ok(member.connack.sessionPresent);
    for (;;) {
      await member.ping();
      const next = await member.next(150);
      if (next === null) break;
      shared.push(next.payload.toString());
      await member.acknowledge(next);
    }
  }
  t.strictSame(shared.sort(), ['1', '2', '3', '4', '5', '6']);
  await here.subscribed('r/#', { qos: 1 });
  await here.message({ topic: 'r/x', payload: 'kept', retain: true });
  t.strictSame([...a.errors, ...b.errors], []);

  const other = join(folderFor(t), 'other');
  await fill(other, [planned('absent', [{}])]);
  const running = await runCli(args.with(2, other));
  t.match(running, { code: 2, stderr: /nodes of the datacenter are running \(a, b\)/ });
  t.strictSame(await a.stop(), { code: 0, signal: null });
  t.strictSame(await b.stop(), { code: 0, signal: null });
  const taken = await runCli([...args.with(2, other), '--json']);
  t.match(taken, { code: 3, stderr: /^absent: not moved: the datacenter has a session of that/ });
  const one = { sessions: 1, subscriptions: 1, queued: 1, inbound: 0, wills: 0 };
  const none = { sessions: 0, subscriptions: 0, queued: 0, inbound: 0, wills: 0 };
  t.strictSame(JSON.parse(taken.stdout), {
    directory: other,
    isDryRun: false,
    isEqual: true,
    isComplete: false,
    found: one,
    notMoved: one,
    inRedis: none,
    removed: 0,
    retainedThatStay: 0,
    why: [
      {
        why: 'the datacenter has a session of that client id already',
        count: 1,
        clientIds: ['absent'],
      },
    ],
  });
  t.strictSame((await leftIn(other)).clientIds, ['absent']);
});

t.test('killed in the middle, and run again: nothing lost, nothing twice', async (t) => {
  const { url } = await RedisServer.start(t, DURABLE);
  const prefix = 'moved:';
  const admin = await redisAdmin(t, url);
  const directory = join(folderFor(t), 'data');
  const sessions: PlannedSession[] = [];
  for (let index = 0; index < 600; index++) {
    const count = index % 300 === 50 ? 1500 : index % 7;
    const entries = Array.from({ length: count }, (_, at) => ({
      seq: at * (1 + (index % 3)) + 1,
      text: `${'m'.repeat(80)} ${index} ${at}`,
      isReleased: at % 5 === 1,
    }));
    sessions.push(planned(`c${index}`, entries, { inboundIds: index % 4 === 0 ? [3, 5] : [] }));
  }
  await fill(directory, sessions);
  const args = ['promote', '--data', directory, '--redis', url, '--key-prefix', prefix];
  const all = sessions.length;
  const look = async (): Promise<{ moved: number; marks: number; keys: number }> => {
    const keys = (await admin('KEYS', `${prefix}*`)) as string[];
    const ends = (tail: string): number => keys.filter((key) => key.endsWith(tail)).length;
    return { moved: ends('}:m'), marks: ends('}:p'), keys: keys.length };
  };
  type Seen = Awaited<ReturnType<typeof look>>;
  /** Whether it was cut short, by kill -9 as soon as Redis looks like that. */
  const killedWhen = async (isTime: (seen: Seen) => boolean): Promise<boolean> => {
    const words = ['-u', 'NODE_OPTIONS', process.execPath, main, ...args];
    const child = spawn('/usr/bin/env', words, { stdio: 'ignore' });
    t.teardown(() => child.kill('SIGKILL'));
    const ended = once(child, 'exit');
    while (child.exitCode === null && !isTime(await look())) await sleep(1);
    child.kill('SIGKILL');
    return (await ended)[1] === 'SIGKILL';
  };

  const early = [
    await killedWhen(({ keys }) => keys > 0),
    await killedWhen(({ moved }) => moved > 0),
    await killedWhen(({ moved }) => moved > 256),
  ];
  t.ok(early.includes(true), `${early}: cut short`);
  if ((await look()).moved < all) {
    t.equal((await leftIn(directory)).clientIds.length, all, 'nothing is removed yet');
  }
  const kept = await runCli([...args, '--keep']);
  t.equal(kept.code, 0, kept.stderr);
  t.match(kept.stdout, new RegExp(`sessions +${all} +0 +${all}\n`));
  // While it removes them, or is about to, or forgets what it had to remember.
  await killedWhen(({ marks }) => marks < all);
  const done = await runCli(args);
  t.equal(done.code, 0, done.stderr);
  t.match(done.stdout, /sessions +(\d+) +0 +\1\n/);
  t.strictSame((await leftIn(directory)).clientIds, []);
  t.notOk(((await admin('KEYS', `${prefix}s:*:p?*`)) as string[]).length > 0, 'nothing is staged');

  const reader = await Reader.start(t, url, prefix);
  t.equal((await reader.images()).length, all);
  let wrong = 0;
  for (const { clientId, entries, inboundIds } of sessions) {
    const { record, number } = await reader.open(clientId);
    const queue = await reader.queue(number);
    const isSame =
      record.present &&
      record.inboundIds.join() === inboundIds.join() &&
      queue.length === entries.length &&
      queue.every(({ seq, text, isReleased }, at) => {
        const entry = entries[at]!;
        return seq === entry.seq && text === entry.text && isReleased === entry.isReleased;
      });
    if (!isSame) wrong++;
  }
  t.equal(wrong, 0);
});

t.test('a Redis that cannot be used is named, and nothing is touched', async (t) => {
  const directory = join(folderFor(t), 'data');
  await fill(directory, [planned('one', [{}])]);
  const redis = await RedisServer.start(t, ['--maxmemory', '100mb']);
  const admin = await redisAdmin(t, redis.url);
  const args = ['promote', '--data', directory, '--redis', redis.url];
  t.match(await runCli(args), {
    code: 2,
    stderr: /keeps nothing on its disk \(appendonly is no, wanted: yes\).*--keep/,
  });
  await admin('CONFIG', 'SET', 'maxmemory-policy', 'allkeys-lru');
  t.match(await runCli(args), {
    code: 2,
    stderr:
      /drops keys when its memory is full.*\(maxmemory-policy is allkeys-lru, wanted: noeviction\)/,
  });
  await admin('CONFIG', 'SET', 'maxmemory-policy', 'noeviction');
  await admin('SET', 'causeway:n:{cluster}:m', 'of somebody else');
  t.match(await runCli([...args, '--keep']), {
    code: 2,
    stderr: /Redis does not take it \(WRONGTYPE/,
  });
  t.strictSame(await admin('KEYS', '*:q'), []);
  await admin('DEL', 'causeway:n:{cluster}:m');
  await admin('CONFIG', 'SET', 'maxmemory', '1');
  t.match(await runCli([...args, '--keep']), { code: 2, stderr: /Redis does not take it \(OOM/ });
  await admin('CONFIG', 'SET', 'maxmemory', '100mb');
  t.strictSame(await admin('KEYS', '*:m'), []);
  const kept = await runCli([...args, '--keep']);
  t.match(kept, {
    code: 0,
    stdout: /sessions +1 +0 +1\n[\s\S]*never start a node alone on it again/,
  });
  await redis.stop();
  t.match(await runCli(args), { code: 2, stderr: /Redis cannot be reached: .*ECONNREFUSED/ });
  t.strictSame((await leftIn(directory)).clientIds, ['one']);
});

t.test('the command line', async (t) => {
  const cases: readonly (readonly [readonly string[], number, RegExp])[] = [
    [['--data', 'x'], 1, /promote needs --redis URL/],
    [['--redis', 'http://x'], 1, /cluster\.redis\.url|expected redis:/],
    [['--redis', 'redis://127.0.0.1:1', '--key-prefix', '{x}'], 1, /without braces/],
    [['--redis', 'redis://127.0.0.1:1', '--set', 'store=memory'], 1, /has nothing to move/],
  ];
  const outcomes = await Promise.all(cases.map(([args]) => runCli(['promote', ...args])));
  for (const [index, [args, code, stderr]] of cases.entries()) {
    t.match(outcomes[index], { code, stderr }, args.join(' '));
  }
});

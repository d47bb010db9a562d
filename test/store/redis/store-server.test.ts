/**
 * The shared store over a real redis-server that is killed and started again while messages are queued,
 * and over several connections that settle and append at once: the conservation that found the dead
 * queues of the measurements (appended = settled + left).
 */
import t from 'tap';
import { openRedis } from '../../../src/drivers/redis/redis-link.ts';
import { systemScheduler } from '../../../src/listeners/scheduler.ts';
import type { RedisStoreLimits } from '../../../src/store/redis/redis-store.ts';
import { textMessage, textOf } from '../../contract/store-recorder.ts';
import { RedisServer } from '../../support/redis-server.ts';
import { RedisNode } from './redis-node.ts';

async function join(
  t: Tap,
  url: string,
  name: string,
  limits: Partial<RedisStoreLimits> = {},
): Promise<RedisNode> {
  const port = openRedis({
    urls: [url],
    scheduler: systemScheduler,
    backoffMinMs: 10,
    backoffMaxMs: 50,
  });
  const node = new RedisNode({ port, incarnation: name, limits });
  t.teardown(async () => {
    await node.store.stop();
    port.close();
  });
  await node.store.start(node.events);
  await until(() => port.isUp);
  return node;
}

type Tap = Parameters<typeof RedisServer.start>[0];

async function until(isSo: () => boolean): Promise<void> {
  for (let i = 0; i < 2000; i++) {
    if (isSo()) return;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  throw new Error('what was waited for did not come');
}

function read(node: RedisNode, number: number): Promise<readonly [number, string][]> {
  return new Promise((resolve, reject) => {
    node.store.read(number, 1, 1_000_000, 1e9, (entries, error) => {
      if (error !== null) reject(error);
      else resolve(entries.map((entry) => [entry.seq, textOf(entry.message)]));
    });
  });
}

t.test('killed and started again with its data', async (t) => {
  const server = await RedisServer.start(t, ['--appendonly', 'yes', '--appendfsync', 'always']);
  const owner = await join(t, server.url, 'owner');
  const writers = [await join(t, server.url, 'a'), await join(t, server.url, 'b')];
  const opened = await owner.take(1, 'c');
  for (const writer of writers) writer.store.bind(5, 'c', opened.sid, opened.epoch);
  const total = 3000;
  let sent = 0;
  const feeding = (async () => {
    while (sent < total) {
      for (let i = 0; i < 10; i++, sent++) {
        for (const writer of writers) {
          writer.enqueue(5, textMessage(`${writer.incarnation}${sent}`));
        }
      }
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  })();
  await until(() => writers[0]!.told.length > 500);
  await server.stop('SIGKILL');
  await new Promise((resolve) => setTimeout(resolve, 50));
  await server.resume();
  await feeding;
  await until(() => writers.every(({ told }) => told.length === total));
  const found = await read(owner, 1);
  for (const { incarnation } of writers) {
    const own = found.map(([, text]) => text).filter((text) => text.startsWith(incarnation));
    t.same(
      own,
      Array.from({ length: total }, (_, i) => `${incarnation}${i}`),
      incarnation,
    );
  }
  const at = new Map(found.map(([seq, text]) => [text, seq]));
  for (const { told } of writers) {
    const wrong = told.filter(
      ({ append, seq }) => seq !== 0 && seq !== at.get(textOf(append.message)),
    );
    t.same(wrong, [], 'every position that was told');
  }
});

t.test('appends of two nodes while the owner settles what it reads', async (t) => {
  const server = await RedisServer.start(t);
  const owner = await join(t, server.url, 'owner');
  const writers = [await join(t, server.url, 'a'), await join(t, server.url, 'b')];
  const opened = await owner.take(1, 'c');
  for (const writer of writers) writer.store.bind(5, 'c', opened.sid, opened.epoch);
  const total = 4000;
  let sent = 0;
  const feeding = (async () => {
    while (sent < total) {
      for (let i = 0; i < 20; i++, sent++) {
        for (const writer of writers) writer.enqueue(5, textMessage(`${sent}`));
      }
      await new Promise(setImmediate);
    }
  })();
  let from = 1;
  let settled = 0;
  const left: number[] = [];
  while (from <= 2 * total) {
    await new Promise<void>((resolve) => {
      owner.store.read(1, from, 100, 1e6, (entries) => {
        for (const entry of entries) {
          if (entry.seq !== from) t.fail(`${entry.seq} in place of ${from}`);
          from = entry.seq + 1;
          if (entry.seq % 500 === 0) {
            left.push(entry.seq);
            continue;
          }
          owner.store.settle(1, entry);
          settled++;
        }
        resolve();
      });
    });
  }
  await feeding;
  await until(() => owner.store.settleLag === 0);
  t.equal(settled + left.length, 2 * total);
  t.same(
    (await read(owner, 1)).map(([seq]) => seq),
    left,
  );
  const { settleCalls } = owner.store.counters;
  t.ok(settleCalls * 4 < settled, `${settled} settled in ${settleCalls} calls`);
});

/**
 * What a call to Redis costs this process: CPU per RPUSH of 100 bytes, 128 under way, by node-redis with
 * its automatic pipelining, by its pipelines, and by the link that the cluster uses (the same command in
 * a function, EVALSHA). Variants take turns; the table has medians and ratios to the link.
 *
 *   node bench/micro/redis.ts [rounds] [calls]
 */
import { createClient } from '@redis/client';
import { openRedis, type RedisLink } from '../../src/drivers/redis/redis-link.ts';
import type { RedisFunction } from '../../src/drivers/redis/redis-port.ts';
import { systemScheduler } from '../../src/listeners/scheduler.ts';
import { RedisServer } from '../../test/support/redis-server.ts';

const UNDER_WAY = 128;
const VALUE = 'x'.repeat(100);
const BYTES = Buffer.from(VALUE);
const PUSH: RedisFunction = {
  name: 'push_1',
  lua: "return redis.call('rpush', KEYS[1], ARGV[1])",
};

const rounds = Number(process.argv[2] ?? 5);
const calls = Number(process.argv[3] ?? 100_000);

const server = await RedisServer.launch();
try {
  const client = createClient({ url: server.url, RESP: 2, disableClientInfo: true });
  await client.connect();
  const link = openRedis({ scheduler: systemScheduler, urls: [server.url], functions: [PUSH] });
  await link.ready(5000);
  const variants: Record<string, () => Promise<void>> = {
    'link (EVALSHA)': () => byLink(link),
    'node-redis, automatic': async () => {
      for (let sent = 0; sent < calls; sent += UNDER_WAY) {
        const batch: Promise<unknown>[] = [];
        for (let index = 0; index < UNDER_WAY; index += 1) batch.push(client.rPush('list', VALUE));
        await Promise.all(batch);
      }
    },
    'node-redis, execAsPipeline': async () => {
      for (let sent = 0; sent < calls; sent += UNDER_WAY) {
        const multi = client.multi();
        for (let index = 0; index < UNDER_WAY; index += 1) multi.rPush('list', VALUE);
        await multi.execAsPipeline();
      }
    },
    'node-redis, EVALSHA automatic': async () => {
      const sha = `${await client.sendCommand(['SCRIPT', 'LOAD', PUSH.lua])}`;
      const args = { keys: ['list'], arguments: [VALUE] };
      for (let sent = 0; sent < calls; sent += UNDER_WAY) {
        const batch: Promise<unknown>[] = [];
        for (let index = 0; index < UNDER_WAY; index += 1) batch.push(client.evalSha(sha, args));
        await Promise.all(batch);
      }
    },
  };
  const costs = new Map<string, number[]>();
  for (let round = -1; round < rounds; round += 1) {
    for (const [name, run] of Object.entries(variants)) {
      await client.sendCommand(['DEL', 'list']);
      const before = process.cpuUsage();
      await run();
      const { user, system } = process.cpuUsage(before);
      // The first round warms up.
      if (round >= 0) costs.set(name, [...(costs.get(name) ?? []), (user + system) / calls]);
    }
  }
  const middle = (list: readonly number[]): number =>
    [...list].sort((a, b) => a - b)[list.length >> 1] as number;
  const base = middle(costs.get('link (EVALSHA)') as number[]);
  console.log('| variant | CPU µs a call, median (range) | × link |\n| --- | ---: | ---: |');
  for (const [name, list] of costs) {
    const range = `${Math.min(...list).toFixed(2)}–${Math.max(...list).toFixed(2)}`;
    const cost = middle(list);
    console.log(`| ${name} | ${cost.toFixed(2)} (${range}) | ${(cost / base).toFixed(1)} |`);
  }
  link.close();
  client.destroy();
} finally {
  await server.remove();
}

function byLink(link: RedisLink): Promise<void> {
  return new Promise((resolve, reject) => {
    let sent = 0;
    let answered = 0;
    const keys = ['list'];
    const args = [BYTES];
    const more = (): void => {
      for (let index = 0; index < UNDER_WAY && sent < calls; index += 1) {
        sent += 1;
        link.call(PUSH, keys, args, done);
      }
    };
    const done = (failure: Error | null): void => {
      answered += 1;
      if (failure !== null) reject(failure);
      else if (answered === calls) resolve();
      else if (answered === sent) more();
    };
    more();
  });
}

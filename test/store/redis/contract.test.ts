/** The shared store keeps to what every store keeps to: over a model of Redis, and over a real one. */
import { randomBytes } from 'node:crypto';
import t from 'tap';
import { openRedis } from '../../../src/drivers/redis/redis-link.ts';
import { systemScheduler } from '../../../src/listeners/scheduler.ts';
import { storeContract } from '../../contract/store.ts';
import { SeededRandom } from '../../core/manual-time.ts';
import { ModelRedis } from '../../sim/model-redis.ts';
import { sharedRedis } from '../../support/redis-server.ts';
import { RedisHome } from './redis-node.ts';

const how = { isDurable: true, givesPositions: true };

t.test('over a model of Redis', async (t) => {
  storeContract(
    t,
    (t) => {
      const random = new SeededRandom(1);
      const later = (delayMs: number, task: () => void): void => {
        if (delayMs < 1) setImmediate(task);
        else setTimeout(task, delayMs).unref();
      };
      const server = new ModelRedis(
        { nowMs: () => Date.now(), after: later, chance: () => random.next() },
        { delayMs: [0, 0], shards: 3, reconnectMs: 1 },
      );
      return new RedisHome(
        t,
        () => {
          const port = server.connect('node', later);
          return { port, close: () => port.close() };
        },
        'cw:',
      );
    },
    how,
  );
});

t.test('over a real Redis', async (t) => {
  const { url, prefix } = await sharedRedis(t);
  storeContract(
    t,
    (t) =>
      new RedisHome(
        t,
        () => {
          const port = openRedis({
            urls: [url],
            scheduler: systemScheduler,
            probeKey: `${prefix}probe`,
          });
          return { port, close: () => port.close() };
        },
        `${prefix}${randomBytes(4).toString('hex')}:`,
      ),
    how,
  );
});

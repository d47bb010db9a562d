/**
 * One command to a Redis server on loopback over a connection of our own, for tests and for those who
 * set up servers: texts instead of Buffers, an error reply throws.
 */
import { type PipeEvents, RedisPipe } from '../../src/drivers/redis/redis-pipe.ts';
import { parseRedisUrl } from '../../src/drivers/redis/redis-url.ts';
import { RespError, type RespReply } from '../../src/drivers/redis/resp-reader.ts';
import { systemScheduler } from '../../src/listeners/scheduler.ts';

export type Told = null | number | string | readonly Told[];

/** `server` is a port of 127.0.0.1 or a redis:// URL. */
export async function askRedis(
  server: number | string,
  ...args: readonly (string | number)[]
): Promise<Told> {
  const url = typeof server === 'number' ? `redis://127.0.0.1:${server}` : server;
  const address = parseRedisUrl(url);
  const { promise, resolve, reject } = Promise.withResolvers<Told>();
  const events: PipeEvents = {
    pipeOpen: (pipe) => {
      pipe.query(args, (reply) => {
        if (reply instanceof RespError) reject(new Error(reply.text));
        else resolve(told(reply));
        pipe.close('CLOSED', 'done');
      });
    },
    pipeClosed: (_pipe, code, why) => reject(new Error(`${code}: ${why}`)),
    pipeRead: () => {},
    pipeFlush: () => {},
    pipeBatch: () => {},
    pipeMessage: () => {},
  };
  new RedisPipe(
    address,
    {
      endOfTurn: systemScheduler.endOfTurn,
      username: address.username,
      password: address.password,
      database: address.database,
      connectionName: '',
      tls: { ca: null, cert: null, key: null, servername: null },
      connectTimeoutMs: 5000,
      heartbeatMs: 60_000,
      heartbeatTimeoutMs: 60_000,
    },
    events,
  );
  return await promise;
}

function told(reply: RespReply): Told {
  if (Buffer.isBuffer(reply)) return reply.toString();
  if (Array.isArray(reply)) return reply.map((item) => told(item));
  return reply as null | number | string;
}

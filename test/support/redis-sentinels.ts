/**
 * A master, its replica and three Sentinels that watch them, on loopback. Needs redis-server alone: a
 * Sentinel is one. For failovers: kill the master, or ask for one.
 */
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import { askRedis, type Told } from './redis-ask.ts';
import { freePort, RedisServer } from './redis-server.ts';

const WAIT_MS_MAX = 20_000;
export const MASTER_NAME = 'causeway-test';

export class RedisSentinels {
  /** Data servers: at first the master, then its replicas. */
  readonly servers: RedisServer[];
  readonly sentinels: RedisServer[];

  private constructor(servers: RedisServer[], sentinels: RedisServer[]) {
    this.servers = servers;
    this.sentinels = sentinels;
  }

  static async start(t: Test, args: readonly string[] = []): Promise<RedisSentinels> {
    const all = await RedisSentinels.launch(args);
    t.teardown(() => all.remove());
    return all;
  }

  /** `args` go to the data servers. */
  static async launch(args: readonly string[] = []): Promise<RedisSentinels> {
    // Replicas begin at once, and get what changes without a file in between.
    const data = [...args, '--repl-diskless-sync', 'yes', '--repl-diskless-sync-delay', '0'];
    const all = new RedisSentinels([], []);
    try {
      const master = await RedisServer.launch(data);
      all.servers.push(master);
      all.servers.push(
        await RedisServer.launch([...data, '--replicaof', '127.0.0.1', `${master.port}`]),
      );
      for (let index = 0; index < 3; index += 1) {
        const folder = mkdtempSync(join(tmpdir(), 'causeway-sentinel-'));
        const file = join(folder, 'sentinel.conf');
        writeFileSync(
          file,
          [
            `sentinel monitor ${MASTER_NAME} 127.0.0.1 ${master.port} 2`,
            `sentinel down-after-milliseconds ${MASTER_NAME} 600`,
            `sentinel failover-timeout ${MASTER_NAME} 3000`,
            '',
          ].join('\n'),
        );
        const sentinel = new RedisServer(await freePort(), folder, [], [file, '--sentinel']);
        all.sentinels.push(sentinel);
        await sentinel.resume();
      }
      await all.#settled();
      return all;
    } catch (error) {
      await all.remove();
      throw error;
    }
  }

  get url(): string {
    const hosts = this.sentinels.map((one) => `127.0.0.1:${one.port}`).join(',');
    return `redis-sentinel://${hosts}/${MASTER_NAME}`;
  }

  /** The data server that the Sentinels take for the master. */
  async master(): Promise<RedisServer> {
    const reply = await this.#ask('get-master-addr-by-name');
    const port = Number((reply as Told[])[1]);
    return this.servers.find((one) => one.port === port) as RedisServer;
  }

  /** Makes the replica the master without any fault; false: not possible just now. */
  async failover(): Promise<boolean> {
    return await this.#ask('failover').then(
      () => true,
      (error: Error) => {
        if (/INPROG|NOGOODSLAVE/.test(error.message)) return false;
        throw error;
      },
    );
  }

  /** Of the first Sentinel that is there. */
  async #ask(word: string): Promise<Told> {
    let problem: unknown;
    for (const { port } of this.sentinels) {
      try {
        return await askRedis(port, 'SENTINEL', word, MASTER_NAME);
      } catch (error) {
        if (!`${error}`.includes('ECONNREFUSED')) throw error;
        problem = error;
      }
    }
    throw problem;
  }

  async remove(): Promise<void> {
    await Promise.all([...this.sentinels, ...this.servers].map((one) => one.remove()));
  }

  /** Until each Sentinel knows the others and the replica, which is in step. */
  async #settled(): Promise<void> {
    const endMs = performance.now() + WAIT_MS_MAX;
    for (const { port } of this.sentinels) {
      for (;;) {
        const reply = (await askRedis(port, 'SENTINEL', 'master', MASTER_NAME)) as Told[];
        const at = (name: string): number => Number(reply[reply.indexOf(name) + 1]);
        const info = `${await askRedis((this.servers[1] as RedisServer).port, 'INFO', 'replication')}`;
        const isInStep = info.includes('master_link_status:up');
        if (at('num-other-sentinels') === 2 && at('num-slaves') === 1 && isInStep) break;
        if (performance.now() > endMs) throw new Error('the Sentinels did not find each other');
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    }
  }
}

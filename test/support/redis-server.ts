/**
 * A real Redis for a test: one of its own on a free port, in a temporary folder, ended with the test;
 * or, where a test does not stop and start it, the one REDIS_URL names, with keys under a prefix that
 * nobody else has. Without either it fails and says how to get one.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createClient } from '@redis/client';
import type { Test } from 'tap';
import { redisServer } from '../../scripts/provide.ts';

const START_MS_MAX = 10_000;

export class RedisServer {
  readonly port: number;
  readonly folder: string;
  readonly #args: readonly string[];
  #child: ChildProcess | null = null;

  private constructor(port: number, folder: string, args: readonly string[]) {
    this.port = port;
    this.folder = folder;
    this.#args = args;
  }

  /** Runs until the test ends. `args` go to redis-server, for example `--requirepass`. */
  static async start(t: Test, args: readonly string[] = []): Promise<RedisServer> {
    const folder = mkdtempSync(join(tmpdir(), 'causeway-redis-'));
    const server = new RedisServer(await freePort(), folder, args);
    t.teardown(async () => {
      await server.stop();
      rmSync(folder, { recursive: true, force: true });
    });
    await server.resume();
    return server;
  }

  get url(): string {
    return `redis://127.0.0.1:${this.port}`;
  }

  /** Starts it on the same port; its data is what was saved, which is nothing. */
  async resume(): Promise<void> {
    const own = ['--port', `${this.port}`, '--bind', '127.0.0.1', '--dir', this.folder];
    const plain = ['--save', '', '--appendonly', 'no', '--daemonize', 'no'];
    const child = spawn(redisServer(), [...own, ...plain, ...this.#args], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#child = child;
    let output = '';
    await new Promise<void>((resolve, reject) => {
      const fail = (why: string): void => reject(new Error(`redis-server ${why}\n${output}`));
      const timer = setTimeout(() => fail('did not start in time'), START_MS_MAX);
      child.on('error', (error) => fail(error.message));
      child.once('exit', (code) => {
        clearTimeout(timer);
        fail(`ended with ${code}`);
      });
      const hear = (chunk: Buffer): void => {
        output = (output + chunk.toString()).slice(-10_000);
        if (!output.includes('Ready to accept connections')) return;
        clearTimeout(timer);
        resolve();
      };
      child.stdout?.on('data', hear);
      child.stderr?.on('data', hear);
    });
  }

  signal(name: NodeJS.Signals): void {
    this.#child?.kill(name);
  }

  /** By SIGTERM, or as told; resolves when it is gone. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    const child = this.#child;
    this.#child = null;
    if (child === null || child.exitCode !== null || child.signalCode !== null) return;
    const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()));
    child.kill('SIGCONT');
    child.kill(signal);
    await gone;
  }
}

/** A client to fill and change what is stored; closed when the test ends. */
export async function redisAdmin(
  t: Test,
  url: string,
): Promise<(...args: string[]) => Promise<unknown>> {
  const client = createClient({ url, RESP: 2, disableClientInfo: true });
  client.on('error', () => {});
  await client.connect();
  t.teardown(() => client.destroy());
  return (...args) => client.sendCommand(args);
}

export interface SharedRedis {
  readonly url: string;
  readonly prefix: string;
  readonly admin: (...args: string[]) => Promise<unknown>;
}

/** For tests that only read and write keys, all of them under `prefix`. */
export async function sharedRedis(t: Test): Promise<SharedRedis> {
  const given = process.env.REDIS_URL;
  const url = given ?? (await RedisServer.start(t)).url;
  const prefix = `causeway-test-${randomBytes(6).toString('hex')}:`;
  const admin = await redisAdmin(t, url);
  t.teardown(async () => {
    const keys = (await admin('KEYS', `${prefix}*`)) as string[];
    if (keys.length > 0) await admin('DEL', ...keys);
  });
  return { url, prefix, admin };
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}

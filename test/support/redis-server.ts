/**
 * A real Redis for a test: one of its own on a free port, in a temporary folder, ended with the test;
 * or, where a test does not stop and start it, the one REDIS_URL names, with keys under a prefix that
 * nobody else has. Without either it fails and says how to get one.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes, randomInt } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createClient } from '@redis/client';
import type { Test } from 'tap';
import { redisServer } from '../../scripts/provide.ts';

const START_MS_MAX = 10_000;

/** What was answered is there again after kill -9. */
export const DURABLE: readonly string[] = ['--appendonly', 'yes', '--appendfsync', 'always'];

/** A program that ends early takes its servers along. */
const running = new Set<RedisServer>();
process.once('exit', () => {
  for (const server of running) server.abandon();
});

export class RedisServer {
  readonly port: number;
  readonly folder: string;
  readonly #args: readonly string[];
  readonly #file: readonly string[];
  #child: ChildProcess | null = null;

  constructor(port: number, folder: string, args: readonly string[], file: readonly string[] = []) {
    this.port = port;
    this.folder = folder;
    this.#args = args;
    this.#file = file;
  }

  /** Runs until the test ends. `args` go to redis-server, for example `--requirepass`. */
  static async start(t: Test, args: readonly string[] = []): Promise<RedisServer> {
    const server = await RedisServer.launch(args);
    t.teardown(() => server.remove());
    return server;
  }

  /**
   * Runs until `remove`, on a port that stays its own over stop and resume; so does its folder, and
   * with `DURABLE` among `args` what is in it.
   */
  static async launch(args: readonly string[] = []): Promise<RedisServer> {
    for (let attempt = 1; ; attempt += 1) {
      const folder = mkdtempSync(join(tmpdir(), 'causeway-redis-'));
      const server = new RedisServer(await freePort(), folder, args);
      try {
        await server.resume();
        return server;
      } catch (error) {
        await server.remove();
        // Between finding the port free and taking it somebody else may have.
        if (attempt === 3 || !/in use/i.test(`${error}`)) throw error;
      }
    }
  }

  get url(): string {
    return `redis://127.0.0.1:${this.port}`;
  }

  /** Starts it on the same port; its data is what was saved, which is nothing. */
  async resume(): Promise<void> {
    const own = ['--port', `${this.port}`, '--bind', '127.0.0.1', '--dir', this.folder];
    const plain = ['--save', '', '--appendonly', 'no', '--daemonize', 'no'];
    const child = spawn(redisServer(), [...this.#file, ...own, ...plain, ...this.#args], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#child = child;
    running.add(this);
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
        // A Sentinel is ready when it watches.
        if (!/Ready to accept connections|\+monitor master/.test(output)) return;
        clearTimeout(timer);
        resolve();
      };
      child.stdout?.on('data', hear);
      child.stderr?.on('data', hear);
    });
  }

  /** Ends it, and takes its folder away. */
  async remove(): Promise<void> {
    await this.stop();
    rmSync(this.folder, { recursive: true, force: true });
    running.delete(this);
  }

  /** Without waiting: for the end of this process. */
  abandon(): void {
    this.#child?.kill('SIGKILL');
    rmSync(this.folder, { recursive: true, force: true, maxRetries: 3 });
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

/** Below those that systems give to whoever asks for any port, so that it stays free until it is taken. */
const PORTS: readonly [number, number] = [12_000, 32_000];
const PORTS_TRIED_MAX = 50;

/** A port that nobody listens on at the moment. */
export async function freePort(): Promise<number> {
  for (let attempt = 0; attempt < PORTS_TRIED_MAX; attempt += 1) {
    const port = randomInt(...PORTS);
    const server = createServer();
    const isFree = await new Promise<boolean>((resolve) => {
      server.once('error', () => resolve(false));
      server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
    });
    if (isFree) return port;
  }
  throw new Error(`no port between ${PORTS.join(' and ')} is free`);
}

// The Redis of one run: on a free port, in a folder of its own, pinned beside the load, ended with it.

import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { redisServer } from '../../scripts/provide.ts';

const READY_WITHIN_MS = 10_000;
const OUTPUT_KEPT = 4000;

export class RedisProcess {
  readonly url: string;
  readonly pid: number;
  readonly #child: ChildProcess;
  readonly #folder: string;
  readonly #exit: Promise<void>;
  readonly #takeAlong: () => void;
  #output = '';

  private constructor(port: number, folder: string, command: readonly string[]) {
    const [executable, ...parameters] = command;
    this.url = `redis://127.0.0.1:${port}`;
    this.#folder = folder;
    this.#child = spawn(executable!, parameters, { stdio: ['ignore', 'pipe', 'ignore'] });
    this.pid = this.#child.pid ?? 0;
    this.#exit = new Promise((resolve) => {
      this.#child.once('error', () => resolve());
      this.#child.once('exit', () => resolve());
    });
    this.#takeAlong = () => {
      this.#child.kill('SIGKILL');
      rmSync(folder, { recursive: true, force: true });
    };
    process.once('exit', this.#takeAlong);
  }

  static async start(flags: readonly string[], core: number | undefined): Promise<RedisProcess> {
    const port = await freePort();
    const folder = mkdtempSync(join(tmpdir(), 'causeway-bench-redis-'));
    const pinned = core === undefined ? [] : ['taskset', '-c', String(core)];
    const own = ['--port', String(port), '--bind', '127.0.0.1', '--dir', folder];
    const redis = new RedisProcess(port, folder, [...pinned, redisServer(), ...own, ...flags]);
    try {
      await redis.#ready();
      return redis;
    } catch (error) {
      await redis.stop();
      throw error;
    }
  }

  async stop(): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.#exit;
    process.removeListener('exit', this.#takeAlong);
    rmSync(this.#folder, { recursive: true, force: true });
  }

  #ready(): Promise<void> {
    return new Promise((resolve, reject) => {
      const fail = (why: string): void => {
        reject(new Error(`redis-server ${why}: ${this.#output.trim().split('\n').at(-1)}`));
      };
      const timer = setTimeout(() => fail('was not ready in time'), READY_WITHIN_MS);
      void this.#exit.then(() => {
        clearTimeout(timer);
        fail('ended');
      });
      this.#child.stdout?.setEncoding('utf8').on('data', (text: string) => {
        this.#output = (this.#output + text).slice(-OUTPUT_KEPT);
        if (!this.#output.includes('Ready to accept connections')) return;
        clearTimeout(timer);
        resolve();
      });
    });
  }
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });
}

/**
 * A real mosquitto broker for tests of bridges: on a port of its own, killed and started again with what it
 * has saved. Knows nothing of src/.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { mosquittoServer } from '../../scripts/provide.ts';

const START_MS = 15_000;

export async function freePort(): Promise<number> {
  const probe = createServer();
  await new Promise<void>((resolve) => probe.listen(0, '127.0.0.1', resolve));
  const { port } = probe.address() as { port: number };
  await new Promise((resolve) => probe.close(resolve));
  return port;
}

export class MosquittoServer {
  readonly port: number;
  readonly folder: string;
  readonly #file: string;
  #child: ChildProcess | null = null;

  private constructor(port: number, folder: string) {
    this.port = port;
    this.folder = folder;
    this.#file = join(folder, 'mosquitto.conf');
  }

  /** `listener`: more lines of its only listener. */
  static async start(
    listener: readonly string[] = [],
    more: readonly string[] = [],
  ): Promise<MosquittoServer> {
    const folder = mkdtempSync(join(tmpdir(), 'causeway-mosquitto-'));
    const server = new MosquittoServer(await freePort(), folder);
    const lines = [
      `user ${userInfo().username}`,
      'allow_anonymous true',
      'persistence true',
      `persistence_location ${folder}/`,
      'max_queued_messages 100000',
      'max_inflight_messages 1000',
      'log_type none',
      ...more,
      `listener ${server.port} 127.0.0.1`,
      ...listener,
    ];
    writeFileSync(server.#file, `${lines.join('\n')}\n`);
    await server.restart();
    return server;
  }

  /** After `kill`. */
  async restart(): Promise<void> {
    this.#child = spawn(mosquittoServer(), ['-c', this.#file], { stdio: 'ignore' });
    const deadline = performance.now() + START_MS;
    while (!(await answers(this.port))) {
      if (performance.now() > deadline || this.#child.exitCode !== null) {
        throw new Error('mosquitto does not start');
      }
      await new Promise((resolve) => setTimeout(resolve, 30));
    }
  }

  /** Writes sessions and subscriptions to disk: a kill loses what is later. */
  async save(): Promise<void> {
    this.#child?.kill('SIGUSR1');
    const file = join(this.folder, 'mosquitto.db');
    const deadline = performance.now() + START_MS;
    while (!existsSync(file)) {
      if (performance.now() > deadline) throw new Error('mosquitto does not save');
      await new Promise((resolve) => setTimeout(resolve, 30));
    }
  }

  async kill(): Promise<void> {
    const child = this.#child;
    if (child === null || child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await ended;
  }

  async remove(): Promise<void> {
    await this.kill();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('error', () => resolve(false));
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
  });
}

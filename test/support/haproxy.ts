/**
 * HAProxy for tests: a process of its own with a configuration of the test's, ended with the test. The
 * program is that of the machine, or what scripts/provide.ts has got.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import { haproxy } from '../../scripts/provide.ts';

const START_MS_MAX = 15_000;

export class Haproxy {
  /** What it has said. */
  output = '';
  readonly #child: ChildProcess;

  private constructor(file: string) {
    this.#child = spawn(haproxy(), ['-db', '-f', file], { stdio: ['ignore', 'pipe', 'pipe'] });
    const hear = (chunk: Buffer): void => {
      this.output = (this.output + chunk.toString()).slice(-20_000);
    };
    this.#child.stdout?.on('data', hear);
    this.#child.stderr?.on('data', hear);
    this.#child.once('error', (error) => hear(Buffer.from(error.message)));
  }

  /** It takes connections at `port`, where the configuration has it listen. */
  static async start(t: Test, configuration: string, port: number): Promise<Haproxy> {
    const folder = mkdtempSync(join(tmpdir(), 'causeway-haproxy-'));
    const file = join(folder, 'haproxy.cfg');
    writeFileSync(file, configuration);
    const started = new Haproxy(file);
    t.teardown(async () => {
      await started.stop();
      rmSync(folder, { recursive: true, force: true });
    });
    const endMs = performance.now() + START_MS_MAX;
    while (!(await takesConnections(port))) {
      if (started.#isGone || performance.now() > endMs) {
        throw new Error(`haproxy does not listen\n${started.output}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    return started;
  }

  get #isGone(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  async stop(): Promise<void> {
    if (this.#isGone || this.#child.pid === undefined) return;
    const gone = new Promise<void>((resolve) => this.#child.once('exit', () => resolve()));
    this.#child.kill('SIGKILL');
    await gone;
  }
}

function takesConnections(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}

// One running broker of one run: started on its core with a fresh folder, watched, stopped. Tells
// how it ended when it ended by itself, so that no crash is ever averaged into a result.

import type { ChildProcess } from 'node:child_process';
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connectFrame } from '../macro/load/frames.ts';
import type { Collector, Peer, Profile } from './peer.ts';
import { projectDirectory } from './tools.ts';

const READY_WITHIN_MS = 30_000;
const PROBE_EVERY_MS = 10;
const STOP_WITHIN_MS = 10_000;
const STDERR_KEPT = 4000;
const FILES_MAX = 20_000;

export interface StartOptions {
  /** CPU the broker is pinned to, or undefined to let it roam. */
  readonly core: number | undefined;
  readonly durable: boolean;
  readonly profile: Profile;
  readonly mqttVersion: 4 | 5;
  /** Writes what the broker reads into the folder of the run; answers the configuration. */
  readonly configure?: (place: Place) => string;
  /** What the client shows that asks whether the broker is up. */
  readonly login?: { readonly username: string; readonly password: string } | undefined;
}

/** Where one run of a broker is to be found. All ports are free and on loopback. */
export interface Place {
  readonly directory: string;
  readonly port: number;
  readonly adminPort: number;
  readonly tlsPort: number;
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      const port = typeof address === 'object' && address !== null ? address.port : 0;
      server.close(() => {
        resolve(port);
      });
    });
  });
}

/** One CONNECT; true when the broker answers it with success. */
function probe(port: number, { mqttVersion, login }: StartOptions): Promise<boolean> {
  const packet = connectFrame(mqttVersion, 'probe', true, 60, login);
  return new Promise((resolve) => {
    const socket = connect({ port, host: '127.0.0.1' });
    const finish = (good: boolean): void => {
      socket.destroy();
      resolve(good);
    };
    socket.setTimeout(1000, () => finish(false));
    socket.once('error', () => finish(false));
    socket.once('close', () => finish(false));
    socket.once('connect', () => socket.write(packet));
    socket.once('data', (data) => finish(data[0] === 0x20 && data[3] === 0));
  });
}

export class BrokerProcess {
  readonly name: string;
  readonly port: number;
  readonly adminPort: number;
  readonly tlsPort: number;
  readonly pid: number;
  readonly collector: Collector;
  readonly directory: string;
  /** Time from spawn to the first successful CONNACK. */
  startedAfterMs = 0;
  readonly #child: ChildProcess;
  #stderr = '';
  #ended: string | undefined;
  #stopping = false;
  readonly #beganMs: number = performance.now();
  readonly #exit: Promise<void>;
  readonly #takeAlong: () => void;

  constructor(peer: Peer, place: Place, options: StartOptions) {
    const { port, adminPort, tlsPort, directory } = place;
    const launch = peer.launch({
      port,
      adminPort,
      directory,
      configuration: options.configure?.(place),
      durable: options.durable,
      profile: options.profile,
      mqttVersion: options.mqttVersion,
    });
    const pinned = options.core === undefined ? [] : ['taskset', '-c', String(options.core)];
    const limited = ['sh', '-c', `ulimit -n ${FILES_MAX} 2>/dev/null; exec "$@"`, 'sh'];
    const [executable, ...parameters] = [...pinned, ...limited, ...launch.command];
    this.name = peer.name;
    this.port = port;
    this.adminPort = adminPort;
    this.tlsPort = tlsPort;
    this.directory = directory;
    this.collector = launch.collector;
    this.#child = spawn(executable!, parameters, {
      cwd: projectDirectory,
      stdio: ['ignore', 'ignore', 'pipe'],
      env: { ...process.env, NODE_OPTIONS: '', ...launch.environment },
    });
    this.pid = this.#child.pid ?? 0;
    this.#child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#stderr = (this.#stderr + text).slice(-STDERR_KEPT);
    });
    this.#takeAlong = () => {
      this.#child.kill('SIGKILL');
      rmSync(directory, { recursive: true, force: true });
    };
    process.once('exit', this.#takeAlong);
    this.#exit = new Promise((resolve) => {
      this.#child.once('error', (error) => {
        this.#ended = `could not be started: ${error.message}`;
        resolve();
      });
      this.#child.once('exit', (code, signal) => {
        if (!this.#stopping) {
          const last = this.#stderr.trim().split('\n').slice(-3).join(' | ');
          this.#ended = `ended by itself with ${signal ?? code}${last === '' ? '' : `: ${last}`}`;
        }
        resolve();
      });
    });
  }

  /** How the broker ended without being asked to, or undefined while it lives. */
  get crash(): string | undefined {
    return this.#ended;
  }

  /** What it wrote to stderr last. */
  get stderr(): string {
    return this.#stderr;
  }

  async ready(options: StartOptions): Promise<void> {
    while (this.#ended === undefined) {
      if (await probe(this.port, options)) {
        this.startedAfterMs = performance.now() - this.#beganMs;
        return;
      }
      if (performance.now() - this.#beganMs > READY_WITHIN_MS) {
        throw new Error(`${this.name} did not answer within ${READY_WITHIN_MS} ms`);
      }
      await sleep(PROBE_EVERY_MS);
    }
    throw new Error(`${this.name} ${this.#ended}`);
  }

  /** Ends it without a word; its folder goes with `stop`. */
  async kill(): Promise<void> {
    this.#stopping = true;
    this.#child.kill('SIGKILL');
    await this.#exit;
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    this.#child.kill('SIGTERM');
    const killer = setTimeout(() => this.#child.kill('SIGKILL'), STOP_WITHIN_MS);
    await this.#exit;
    clearTimeout(killer);
    process.removeListener('exit', this.#takeAlong);
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/** Starts a broker and waits until it answers a CONNECT. */
export async function startBroker(peer: Peer, options: StartOptions): Promise<BrokerProcess> {
  const [port, adminPort, tlsPort] = await Promise.all([freePort(), freePort(), freePort()]);
  const directory = mkdtempSync(join(tmpdir(), `causeway-bench-${peer.name}-`));
  const broker = new BrokerProcess(peer, { port, adminPort, tlsPort, directory }, options);
  try {
    await broker.ready(options);
    return broker;
  } catch (error) {
    await broker.stop();
    throw error;
  }
}

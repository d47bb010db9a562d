/**
 * The broker a chaos run kills: Causeway from source or any executable, or mosquitto for comparison.
 * Each start is a new process on the same data folder. Used by run-chaos.ts.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { Broker } from '../e2e/broker.ts';

/** One life of it. */
export interface Life {
  /** Port to connect to, once it listens; rejects when it ended before. */
  readonly ready: Promise<number>;
  readonly exited: Promise<unknown>;
  /** What it complained about. */
  readonly complaints: () => readonly string[];
  readonly kill: () => void;
  /** Resident memory, for the report. */
  readonly rssBytes: () => number;
}

export interface Subject {
  readonly name: string;
  readonly start: () => Life;
  /** Planted fault: forgets everything. Only while it does not run. */
  readonly wipe: () => void;
}

export interface CausewayOptions {
  /** Program and first arguments instead of `node src/cli/main.ts`. */
  readonly program?: readonly string[];
  /** SIGTERM makes every end an orderly one, which has to end with 0. */
  readonly signal?: 'SIGKILL' | 'SIGTERM';
}

export function causeway(folder: string, options: CausewayOptions = {}): Subject {
  const { program, signal = 'SIGKILL' } = options;
  const data = join(folder, 'data');
  const start = (): Life => {
    const broker = new Broker({
      data,
      flags: ['--set', 'sysIntervalS=0'],
      ...(program === undefined ? {} : { program }),
    });
    return {
      ready: broker.ready.then(() => broker.port()),
      exited: broker.exited,
      complaints: () => {
        const errors = broker.errors.map((entry) => JSON.stringify(entry));
        if (broker.noise !== '') errors.push(broker.noise);
        // Before it has taken charge of the signal, the signal ends it.
        const isStarted = broker.entries.some(({ msg }) => msg === 'ready');
        if (signal === 'SIGTERM' && isStarted && broker.exit !== null && broker.exit.code !== 0) {
          errors.push(`ended with ${broker.exit.signal ?? broker.exit.code}`);
        }
        return errors;
      },
      kill: () => broker.signal(signal),
      rssBytes: () => broker.rssBytes(),
    };
  };
  const wipe = (): void => rmSync(data, { recursive: true, force: true });
  return { name: 'causeway', start, wipe };
}

/** With Debian's way to persist (every half hour and at the end), or after every change. */
export async function mosquitto(folder: string, savesAlways: boolean): Promise<Subject> {
  const port = await freePort();
  const data = join(folder, 'mosquitto');
  mkdirSync(data, { recursive: true });
  const config = join(folder, 'mosquitto.conf');
  const lines = [
    `listener ${port} 127.0.0.1`,
    'allow_anonymous true',
    'persistence true',
    `persistence_location ${data}/`,
    ...(savesAlways ? ['autosave_on_changes true', 'autosave_interval 1'] : []),
    'max_queued_messages 0',
    'set_tcp_nodelay true',
    'user root',
    'log_type error',
  ];
  writeFileSync(config, `${lines.join('\n')}\n`);
  const start = (): Life => {
    const child = spawn('mosquitto', ['-c', config], { stdio: ['ignore', 'ignore', 'pipe'] });
    let noise = '';
    child.stderr.on('data', (chunk: Buffer) => {
      if (!/Warning: Mosquitto should not be run as root/.test(chunk.toString())) {
        noise = (noise + chunk.toString()).slice(-2000);
      }
    });
    const exited = new Promise((resolve) => {
      child.once('exit', resolve);
      child.once('error', resolve);
    });
    return {
      ready: listens(port, child).then(() => port),
      exited,
      complaints: () => (noise === '' ? [] : [noise]),
      kill: () => child.kill('SIGKILL'),
      rssBytes: () => 0,
    };
  };
  const wipe = (): void => rmSync(join(data, 'mosquitto.db'), { force: true });
  return { name: savesAlways ? 'mosquitto, saving after every change' : 'mosquitto', start, wipe };
}

async function listens(port: number, child: ChildProcess): Promise<void> {
  const deadline = performance.now() + 10_000;
  while (child.exitCode === null && child.signalCode === null && performance.now() < deadline) {
    const isOpen = await new Promise<boolean>((resolve) => {
      const socket = connect(port, '127.0.0.1');
      socket.once('connect', () => resolve(true));
      socket.once('error', () => resolve(false));
      socket.once('close', () => socket.destroy());
      socket.once('connect', () => socket.end());
    });
    if (isOpen) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error('mosquitto does not listen');
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      const port = typeof address === 'object' && address !== null ? address.port : 0;
      server.close(() => resolve(port));
    });
  });
}

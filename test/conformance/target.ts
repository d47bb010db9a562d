/**
 * The server under test: MQTT_HOST and MQTT_PORT (with MQTT_WS_URL for WebSocket) if set, else
 * a Causeway of its own on free ports that ends with the tests.
 * Used by the harness only.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

export interface Target {
  readonly host: string;
  readonly port: number;
  /** Where MQTT over WebSocket listens, if the server was said to have it. */
  readonly webSocketUrl: URL | null;
  /** Name of a foreign server, empty for our own. */
  readonly peer: string;
  readonly stop: () => Promise<void>;
}

const START_MS = 20_000;
const STOP_MS = 5_000;
/** What is kept of the broker's log, to explain a start that failed. */
const SAID_LINES_MAX = 50;

export async function openTarget(): Promise<Target> {
  const host = process.env.MQTT_HOST ?? '';
  if (host === '') return startOwn();
  const url = process.env.MQTT_WS_URL ?? '';
  return {
    host,
    port: Number(process.env.MQTT_PORT ?? '1883'),
    webSocketUrl: url === '' ? null : new URL(url),
    peer: process.env.CONFORMANCE_PEER ?? '',
    stop: async () => {},
  };
}

async function startOwn(): Promise<Target> {
  const main = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));
  const args = ['--listen', 'mqtt://127.0.0.1:0', '--listen', 'ws://127.0.0.1:0/mqtt'];
  // No admin address: several test files run at once.
  const child = spawn(
    process.execPath,
    [main, 'start', ...args, '--ephemeral', '--admin', 'off', '--set', 'sysIntervalS=1'],
    {
      env: brokerEnvironment(),
      stdio: ['ignore', 'pipe', 'pipe'],
    },
  );
  const said: string[] = [];
  child.stderr.on('data', (chunk: Buffer) => said.push(chunk.toString()));
  const addresses = new Map<string, URL>();
  const ready = Promise.withResolvers<void>();
  createInterface({ input: child.stdout }).on('line', (line) => {
    said.push(line);
    if (said.length > SAID_LINES_MAX) said.shift();
    const address = listeningAddress(line);
    if (address === null) return;
    addresses.set(address.protocol, address);
    if (addresses.has('mqtt:') && addresses.has('ws:')) ready.resolve();
  });
  child.once('exit', (code) => ready.reject(new Error(`broker ended (${code})`)));
  const timer = setTimeout(() => ready.reject(new Error('broker does not listen')), START_MS);
  try {
    await ready.promise;
  } catch (error) {
    child.kill('SIGKILL');
    throw new Error(`${(error as Error).message}; it said:\n${said.slice(-20).join('\n')}`);
  } finally {
    clearTimeout(timer);
  }
  const address = addresses.get('mqtt:');
  if (address === undefined) throw new Error('no mqtt address');
  return {
    host: address.hostname,
    port: Number(address.port),
    webSocketUrl: addresses.get('ws:') ?? null,
    peer: '',
    stop: () => stop(child),
  };
}

/** Without tap's hooks, and without options of whoever runs the tests. */
function brokerEnvironment(): NodeJS.ProcessEnv {
  const entries = Object.entries(process.env).filter(([name]) => !name.startsWith('CAUSEWAY_'));
  return { ...Object.fromEntries(entries), NODE_OPTIONS: '' };
}

function listeningAddress(line: string): URL | null {
  if (!line.includes('"listening"')) return null;
  try {
    const entry = JSON.parse(line) as { msg?: string; address?: string };
    return entry.msg === 'listening' && entry.address !== undefined ? new URL(entry.address) : null;
  } catch {
    return null;
  }
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, 'exit');
  child.kill('SIGTERM');
  const timer = setTimeout(() => child.kill('SIGKILL'), STOP_MS);
  await ended;
  clearTimeout(timer);
}

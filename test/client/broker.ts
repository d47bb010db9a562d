// A broker for tests that need a real one: Causeway on free ports, or MQTT_TEST_URL when it is set.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

export interface TestBroker {
  /** Of the plain listener. */
  readonly url: string;
  /** Of every listener, in the order they were given. */
  readonly urls: readonly string[];
  /** `http://host:port`, when asked for with `--admin`. */
  readonly admin: string;
  readonly stop: () => Promise<void>;
}

const START_MS = 20_000;
const STOP_MS = 5_000;
const main = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));

/** Starts one with these flags; it is there when so many listeners are up. */
export async function startBroker(
  listeners: readonly string[] = ['mqtt://127.0.0.1:0'],
  flags: readonly string[] = [],
  count: number = listeners.length,
): Promise<TestBroker> {
  const given = process.env.MQTT_TEST_URL ?? '';
  if (given !== '') return { url: given, urls: [given], admin: '', stop: async () => {} };
  const hasAdmin = flags.includes('--admin');
  const door = hasAdmin ? [] : ['--admin', 'off'];
  const addresses = listeners.flatMap((url) => ['--listen', url]);
  const args = [...addresses, '--ephemeral', ...door, ...flags];
  const child = spawn(process.execPath, [main, 'start', ...args], {
    // tap's own NODE_OPTIONS would load its hooks into the broker
    env: { ...process.env, NODE_OPTIONS: '' },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const said: string[] = [];
  const urls: string[] = [];
  let admin = '';
  const ready = Promise.withResolvers<void>();
  child.stderr.on('data', (chunk: Buffer) => said.push(chunk.toString()));
  createInterface({ input: child.stdout }).on('line', (line) => {
    said.push(line);
    const entry = JSON.parse(line) as { msg?: string; address?: string };
    if (entry.msg !== 'listening' || entry.address === undefined) return;
    if (entry.address.startsWith('http')) admin = entry.address;
    else urls.push(entry.address);
    if (urls.length === count && (admin !== '' || !hasAdmin)) ready.resolve();
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
  return { url: urls[0]!, urls, admin, stop: () => stop(child) };
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, 'exit');
  child.kill('SIGTERM');
  const timer = setTimeout(() => child.kill('SIGKILL'), STOP_MS);
  await ended;
  clearTimeout(timer);
}

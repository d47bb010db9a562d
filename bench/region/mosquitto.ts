/** A mosquitto of a pair under load, for `link-pair.ts` and `bridge-pair.ts`. */
import { type ChildProcess, spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { mosquittoServer } from '../../scripts/provide.ts';
import { findExecutable } from '../peers/tools.ts';

const START_MS = 500;

export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** `isBounded`: 20 messages in flight, as mosquitto comes; else without a bound. Nothing is on disk. */
export async function startMosquitto(
  folder: string,
  port: number,
  isBounded: boolean,
  more: readonly string[] = [],
): Promise<ChildProcess> {
  const executable = findExecutable('mosquitto') ?? mosquittoServer();
  const own = ['allow_anonymous true', 'user root', 'log_dest none', 'max_queued_messages 0'];
  const inflight = isBounded ? [] : ['max_inflight_messages 0'];
  const all = [...own, ...inflight, 'set_tcp_nodelay true', 'sys_interval 0', ...more];
  const file = join(folder, `${port}.conf`);
  writeFileSync(file, `listener ${port} 127.0.0.1\n${all.join('\n')}\n`);
  const child = spawn(executable, ['-c', file], { stdio: 'ignore' });
  await new Promise((resolve) => setTimeout(resolve, START_MS));
  return child;
}

/** A `connection` block. */
export function mosquittoBridge(port: number, topic: string): readonly string[] {
  const address = `address 127.0.0.1:${port}`;
  const kept = ['cleansession false', 'restart_timeout 1', 'notifications false'];
  return ['connection link', address, `topic ${topic}`, ...kept];
}

export async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = new Promise((resolve) => child.once('exit', resolve));
  child.kill();
  await gone;
}

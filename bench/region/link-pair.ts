/**
 * Two brokers with one link between them, for `links.ts`: ours, or two mosquitto with a bridge. The one
 * that fetches dials the other through a proxy of ours, which can hold everything back for half a round
 * trip and cut the connection.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { passwordLines } from '../../test/e2e/access-kit.ts';
import { Broker } from '../../test/e2e/broker.ts';
import { TcpProxy } from '../../test/support/tcp-proxy.ts';
import { cpuSeconds } from '../macro/process-usage.ts';
import { findExecutable } from '../peers/tools.ts';

export interface PairKind {
  readonly name: string;
  start(): Promise<LinkPair>;
}

export interface LinkPair {
  /** Where is published; where is subscribed. */
  readonly fromPort: number;
  readonly toPort: number;
  readonly link: TcpProxy;
  /** User and system time so far, of either end. */
  cpu(): { readonly fromS: number; readonly toS: number };
  /** Why the run is worth nothing; '': no reason. */
  problem(): Promise<string>;
  stop(): Promise<void>;
}

const PASSWORD = 'a-secret-of-links';
const START_MS = 500;
const MAIN = new URL('../../src/cli/main.ts', import.meta.url).pathname;

/**
 * `executable`: or the `main.ts` of another checkout; null: of this one. `profiles`: a folder for CPU
 * profiles of both nodes, written when they stop; null: none.
 */
export function causewayPair(
  label: string,
  executable: string | null,
  profiles: string | null,
): PairKind {
  const start = async (): Promise<LinkPair> => {
    const folder = mkdtempSync(join(tmpdir(), 'causeway-bench-'));
    const link = await TcpProxy.start(1);
    const brokers: Broker[] = [];
    const stop = async (): Promise<void> => {
      await Promise.all(brokers.map((broker) => broker.stop()));
      await link.close();
      rmSync(folder, { recursive: true, force: true });
    };
    try {
      for (const name of ['us', 'eu']) {
        brokers.push(await region(folder, name, link, program(executable, profiles, name)));
        if (name === 'us') link.retarget(brokers[0]!.port());
      }
    } catch (error) {
      await stop();
      throw error;
    }
    const [us, eu] = brokers as [Broker, Broker];
    const problem = async (): Promise<string> => {
      const said = [...us.errors, ...eu.errors].map(({ msg }) => msg);
      const drops = `causeway_fetcher_dropped_total{region="eu"}`;
      const dropped = await us.metric(drops);
      if (dropped > 0) said.push(`${dropped} dropped over the budget`);
      return said.join(', ');
    };
    const cpu = (): { fromS: number; toS: number } => ({
      fromS: cpuSeconds(us.pid),
      toS: cpuSeconds(eu.pid),
    });
    return { fromPort: us.port(), toPort: eu.port(), link, cpu, problem, stop };
  };
  return { name: label, start };
}

function program(executable: string | null, profiles: string | null, name: string): string[] {
  if (executable?.endsWith('.ts') === false) return [executable];
  const flags = ['--cpu-prof', `--cpu-prof-dir=${join(profiles ?? '', name)}`];
  return [process.execPath, ...(profiles === null ? [] : flags), executable ?? MAIN];
}

async function region(
  folder: string,
  name: string,
  link: TcpProxy,
  words: readonly string[],
): Promise<Broker> {
  const own = join(folder, name);
  mkdirSync(own);
  const secret = { mode: 0o600 };
  writeFileSync(join(own, 'passwords'), await passwordLines({ 'link-eu': PASSWORD }), secret);
  writeFileSync(join(own, 'secret'), `${PASSWORD}\n`, secret);
  const fetched = {
    region: 'us',
    url: `mqtt://127.0.0.1:${link.port}`,
    username: 'link-eu',
    passwordFile: 'secret',
  };
  const config = join(own, 'causeway.yaml');
  const whole = {
    listeners: ['mqtt://127.0.0.1:0'],
    sysIntervalS: 0,
    authentication: {
      chain: ['password'],
      anonymous: true,
      password: { file: 'passwords' },
    },
    regions: {
      name,
      links: name === 'eu' ? [fetched] : [],
      accept: name === 'us' ? [{ region: 'eu', user: 'link-eu' }] : [],
    },
  };
  writeFileSync(config, stringify(whole));
  return await Broker.start({ config, data: join(own, 'data'), hasAdmin: true, program: words });
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** `isBounded`: 20 messages in flight, as mosquitto comes; else without a bound. */
export function mosquittoPair(isBounded: boolean): PairKind {
  const start = async (): Promise<LinkPair> => {
    const executable = findExecutable('mosquitto');
    if (executable === undefined) throw new Error('mosquitto is not installed');
    const folder = mkdtempSync(join(tmpdir(), 'causeway-bench-'));
    const [fromPort, toPort] = [await freePort(), await freePort()];
    const link = await TcpProxy.start(fromPort);
    const inflight = isBounded ? [] : ['max_inflight_messages 0'];
    const run = (port: number, more: readonly string[]): ChildProcess => {
      const own = ['allow_anonymous true', 'user root', 'log_dest none', 'max_queued_messages 0'];
      const all = [...own, ...inflight, 'set_tcp_nodelay true', 'sys_interval 0', ...more];
      const file = join(folder, `${port}.conf`);
      writeFileSync(file, `listener ${port} 127.0.0.1\n${all.join('\n')}\n`);
      return spawn(executable, ['-c', file], { stdio: 'ignore' });
    };
    const from = run(fromPort, []);
    await new Promise((resolve) => setTimeout(resolve, START_MS));
    const address = `address 127.0.0.1:${link.port}`;
    const topic = 'topic load/# in 1';
    const bridge = ['connection link', address, topic, 'cleansession false', 'restart_timeout 1'];
    const to = run(toPort, [...bridge, 'notifications false']);
    const both = [from, to];
    const cpu = (): { fromS: number; toS: number } => ({
      fromS: cpuSeconds(from.pid!),
      toS: cpuSeconds(to.pid!),
    });
    const problem = async (): Promise<string> =>
      both.every(({ exitCode }) => exitCode === null) ? '' : 'a broker has ended';
    const stop = async (): Promise<void> => {
      await Promise.all(both.map(ended));
      await link.close();
      rmSync(folder, { recursive: true, force: true });
    };
    return { fromPort, toPort, link, cpu, problem, stop };
  };
  return { name: isBounded ? 'mosquitto as it comes' : 'mosquitto, no bound in flight', start };
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = new Promise((resolve) => child.once('exit', resolve));
  child.kill();
  await gone;
}

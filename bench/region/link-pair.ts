/**
 * Two brokers with one link between them, for `links.ts`: ours, or two mosquitto with a bridge. The one
 * that fetches dials the other through a proxy of ours, which can hold everything back for half a round
 * trip and cut the connection.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { passwordLines } from '../../test/e2e/access-kit.ts';
import { Broker } from '../../test/e2e/broker.ts';
import { TcpProxy } from '../../test/support/tcp-proxy.ts';
import { cpuSeconds } from '../macro/process-usage.ts';
import { ended, freePort, mosquittoBridge, startMosquitto } from './mosquitto.ts';

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

export function program(
  executable: string | null,
  profiles: string | null,
  name: string,
): string[] {
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

/** `isBounded`: 20 messages in flight, as mosquitto comes; else without a bound. */
export function mosquittoPair(isBounded: boolean): PairKind {
  const start = async (): Promise<LinkPair> => {
    const folder = mkdtempSync(join(tmpdir(), 'causeway-bench-'));
    const [fromPort, toPort] = [await freePort(), await freePort()];
    const link = await TcpProxy.start(fromPort);
    const from = await startMosquitto(folder, fromPort, isBounded);
    const bridge = mosquittoBridge(link.port, 'load/# in 1');
    const to = await startMosquitto(folder, toPort, isBounded, bridge);
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

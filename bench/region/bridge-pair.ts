/**
 * A broker with a bridge and a mosquitto at its other end, for `links.ts --what bridges`: the one with the
 * bridge is ours, or a mosquitto too. It dials the other through a proxy of ours, whichever way messages go.
 */
import type { ChildProcess } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { Broker } from '../../test/e2e/broker.ts';
import { TcpProxy } from '../../test/support/tcp-proxy.ts';
import { cpuSeconds } from '../macro/process-usage.ts';
import { type LinkPair, type PairKind, program } from './link-pair.ts';
import { ended, freePort, mosquittoBridge, startMosquitto } from './mosquitto.ts';

/** As the broker with the bridge sees it. */
export type Direction = 'out' | 'in';

const FILTER = 'load/#';

/** The end with the bridge. */
interface Bridging {
  readonly port: number;
  readonly pid: number;
  problem(): Promise<string>;
  stop(): Promise<void>;
}

type Start = (folder: string, farPort: number) => Promise<Bridging>;

/** Messages of the bridge are on the disk of ours before they are acknowledged; mosquitto has none there. */
export function causewayBridgePair(
  direction: Direction,
  executable: string | null,
  profiles: string | null,
): PairKind {
  const start: Start = async (folder, farPort) => {
    const own = join(folder, 'causeway');
    mkdirSync(own);
    const config = join(own, 'causeway.yaml');
    const far = {
      name: 'far',
      url: `mqtt://127.0.0.1:${farPort}`,
      topics: [{ filter: FILTER, direction, qos: 1 }],
    };
    const whole = { listeners: ['mqtt://127.0.0.1:0'], sysIntervalS: 0, bridges: [far] };
    writeFileSync(config, stringify(whole));
    const words = program(executable, profiles, `bridge-${direction}`);
    const data = join(own, 'data');
    const broker = await Broker.start({ config, data, hasAdmin: true, program: words });
    const problem = async (): Promise<string> => {
      const said = broker.errors.map(({ msg }) => msg);
      for (const name of ['over_budget', 'refused_out', 'refused_in', 'gaps']) {
        const count = await broker.metric(`causeway_bridge_${name}_total{bridge="far"}`);
        if (count > 0) said.push(`${name}: ${count}`);
      }
      return said.join(', ');
    };
    const stop = async (): Promise<void> => void (await broker.stop());
    return { port: broker.port(), pid: broker.pid, problem, stop };
  };
  return pairOf(`causeway ${direction}`, direction, start);
}

export function mosquittoBridgePair(direction: Direction): PairKind {
  const start: Start = async (folder, farPort) => {
    const port = await freePort();
    const bridge = mosquittoBridge(farPort, `${FILTER} ${direction} 1`);
    const child: ChildProcess = await startMosquitto(folder, port, false, bridge);
    const problem = async (): Promise<string> => (child.exitCode === null ? '' : 'it has ended');
    return { port, pid: child.pid!, problem, stop: () => ended(child) };
  };
  return pairOf(`mosquitto ${direction}`, direction, start);
}

function pairOf(name: string, direction: Direction, start: Start): PairKind {
  const open = async (): Promise<LinkPair> => {
    const folder = mkdtempSync(join(tmpdir(), 'causeway-bench-'));
    const farPort = await freePort();
    const link = await TcpProxy.start(farPort);
    const far = await startMosquitto(folder, farPort, false);
    const remove = async (): Promise<void> => {
      await ended(far);
      await link.close();
      rmSync(folder, { recursive: true, force: true });
    };
    let near: Bridging;
    try {
      near = await start(folder, link.port);
    } catch (error) {
      await remove();
      throw error;
    }
    const cpu: LinkPair['cpu'] = () => {
      const [nearS, farS] = [cpuSeconds(near.pid), cpuSeconds(far.pid!)];
      return direction === 'out' ? { fromS: nearS, toS: farS } : { fromS: farS, toS: nearS };
    };
    const problem = async (): Promise<string> =>
      far.exitCode === null ? await near.problem() : 'the other broker has ended';
    const stop = async (): Promise<void> => {
      await near.stop();
      await remove();
    };
    const [fromPort, toPort] = direction === 'out' ? [near.port, farPort] : [farPort, near.port];
    return { fromPort, toPort, link, cpu, problem, stop };
  };
  return { name, start: open };
}

/**
 * `npm run demo -- [--nodes 2] [--cassandra 0..3] [--devices 30] [--pace 1] [--minutes 10]`: three regions on
 * this machine, what happens to them, and what devices notice. Ends by itself after some two minutes, or at
 * `--minutes`, or with Ctrl-C; 0: nothing that was acknowledged is missing.
 */
import { readFileSync } from 'node:fs';
import { freemem } from 'node:os';
import { parseArgs } from 'node:util';
import { provideRedis } from '../../scripts/provide.ts';
import { provideCassandra } from '../../scripts/provide-cassandra.ts';
import { Demo } from './demo.ts';

const { values } = parseArgs({
  options: {
    nodes: { type: 'string', default: '2' },
    cassandra: { type: 'string' },
    devices: { type: 'string', default: '30' },
    pace: { type: 'string', default: '1' },
    minutes: { type: 'string', default: '10' },
  },
});

const DATACENTERS = ['eu', 'us', 'ap'];
/** What six nodes, three Redis servers and a Cassandra take, with some room. */
const OTHERS_MIB = 1500;
const CASSANDRA_MIB = 1000;

function availableMiB(): number {
  try {
    const found = /^MemAvailable:\s+(\d+) kB$/m.exec(readFileSync('/proc/meminfo', 'utf8'));
    if (found !== null) return Math.floor(Number(found[1]) / 1024);
  } catch {
    // No Linux.
  }
  return Math.floor(freemem() / 2 ** 20);
}

function numberOf(name: 'nodes' | 'cassandra' | 'devices' | 'pace' | 'minutes'): number {
  const number = Number(values[name]);
  if (Number.isFinite(number) && number >= 0) return number;
  throw new Error(`--${name} needs a number, found ${values[name]}`);
}

function datacenters(): string[] {
  const mib = availableMiB();
  const room = Math.max(0, Math.min(3, Math.floor((mib - OTHERS_MIB) / CASSANDRA_MIB)));
  const wanted = values.cassandra === undefined ? room : numberOf('cassandra');
  if (wanted === 0) {
    const why = values.cassandra === undefined ? `${mib} MiB of memory are free` : 'as asked';
    console.log(`Without Cassandra (${why}): retained messages pass by links alone.`);
    return [];
  }
  const problem = provideCassandra();
  if (problem !== undefined) {
    console.log(`Without Cassandra: ${problem}`);
    return [];
  }
  const count = Math.min(3, wanted);
  console.log(`${mib} MiB of memory are free: Cassandra with ${count} of 3 datacenters.`);
  return DATACENTERS.slice(0, count);
}

const nodesPerRegion = Math.min(4, Math.max(1, numberOf('nodes')));
if (nodesPerRegion > 1) {
  const problem = provideRedis();
  if (problem !== undefined) throw new Error(problem);
}
const demo = new Demo({
  nodesPerRegion,
  datacenters: datacenters(),
  devices: Math.min(1000, Math.max(1, numberOf('devices'))),
  pace: Math.max(0.1, numberOf('pace')),
  say: (line) => console.log(line),
});

let isEnding = false;
async function leave(code: number, why: string): Promise<void> {
  // The second time at once: whatever is left ends with this process.
  if (isEnding) process.exit(code);
  isEnding = true;
  console.log(why);
  await demo.end().catch((error: unknown) => console.log(`${error}`));
  process.exit(code);
}
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.on(signal, () => void leave(130, 'Everything is being ended.'));
}
setTimeout(() => void leave(1, 'The time is over.'), numberOf('minutes') * 60_000).unref();

try {
  const isWhole = await demo.run();
  await leave(isWhole ? 0 : 1, isWhole ? 'Nothing is missing.' : 'SOMETHING IS MISSING.');
} catch (error) {
  if (!isEnding) await leave(1, `${(error as Error).stack}`);
}

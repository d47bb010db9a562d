/**
 * `npm run chaos:cluster -- [--faults 50] [--seed S] [--nodes 3] [--rate 30] [--kinds kill,stop,…]
 * [--fsync always|everysec] [--causeway-bin FILE]`: the ledger test for a datacenter, with a Redis of its
 * own that keeps what it has answered. Ends with 1 when the books do not balance.
 */
import { parseArgs } from 'node:util';
import { RedisServer } from '../support/redis-server.ts';
import {
  type ClusterFault,
  clusterFaults,
  describeClusterChaos,
  runClusterChaos,
} from './run-cluster-chaos.ts';

const { values } = parseArgs({
  options: {
    faults: { type: 'string', default: '50' },
    seed: { type: 'string' },
    nodes: { type: 'string', default: '3' },
    rate: { type: 'string', default: '30' },
    kinds: { type: 'string' },
    fsync: { type: 'string', default: 'always' },
    logs: { type: 'string' },
    'causeway-bin': { type: 'string' },
  },
});

const seed = Number(values.seed ?? Math.floor(Math.random() * 2 ** 31));
const asked = values.kinds?.split(',') ?? clusterFaults;
const kinds = clusterFaults.filter((kind) => asked.includes(kind));
const unknown = asked.filter((kind) => !clusterFaults.includes(kind as ClusterFault));
if (unknown.length > 0) throw new Error(`--kinds are of ${clusterFaults.join()}`);
const executable = values['causeway-bin'];

console.log(`chaos: seed ${seed}, ${values.faults} faults on ${values.nodes} nodes`);
const redis = await RedisServer.launch(['--appendonly', 'yes', '--appendfsync', values.fsync]);
let isClean = false;
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  // Nodes end with this process; Redis would stay.
  process.once(signal, () => void redis.remove().finally(() => process.exit(1)));
}
try {
  const report = await runClusterChaos({
    seed,
    faults: Number(values.faults),
    nodes: Number(values.nodes),
    ratePerS: Number(values.rate),
    kinds,
    redis,
    ...(values.logs === undefined ? {} : { logs: values.logs }),
    ...(executable === undefined ? {} : { program: [executable] }),
    log: (line) => console.log(`  ${line}`),
  });
  console.log(describeClusterChaos(report));
  isClean = report.isClean;
} finally {
  await redis.remove();
}
process.exit(isClean ? 0 : 1);

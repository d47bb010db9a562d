/**
 * The flags by which `start`, `check` and `config` are told a configuration, and loading it. Knows
 * the command line and `config`; starts nothing.
 */
import type { ParseArgsOptionsConfig } from 'node:util';
import { formatProblem } from '../config/layer.ts';
import { ConfigError, type LoadedConfig, loadConfig } from '../config/load.ts';
import { CONFIG_VARIABLE, type FlagValue } from '../config/word-layer.ts';
import { type Flags, UsageError } from './command.ts';

export const configFlags: ParseArgsOptionsConfig = {
  config: { type: 'string', short: 'c' },
  listen: { type: 'string', short: 'l', multiple: true },
  data: { type: 'string', short: 'd' },
  ephemeral: { type: 'boolean' },
  admin: { type: 'string' },
  redis: { type: 'string' },
  'node-id': { type: 'string' },
  peer: { type: 'string' },
  set: { type: 'string', multiple: true },
};

export const configFlagsUsage: string = `  -c, --config FILE   YAML file (default: none; also ${CONFIG_VARIABLE})
  -l, --listen URL    listen here instead of at the configured listeners; may be repeated:
                      mqtt://HOST:PORT, mqtts://, ws://HOST:PORT/PATH, wss://, unix:FILE
  -d, --data DIR      folder of the store (option data)
      --ephemeral     keep everything in memory only (option store: memory)
      --admin URL     http://HOST:PORT of metrics, health and API, or off (option admin.url)
      --redis URL     be a node of the datacenter of this Redis: redis://HOST:PORT, rediss://,
                      redis-sentinel://, redis-cluster:// (option cluster.redis.url)
      --node-id NAME  name of this node for people (option cluster.nodeId)
      --peer HOST:PORT
                      where other nodes connect (option cluster.peer.listen)
      --set NAME=VALUE
                      any option, such as limits.packetBytesMax=2MiB; may be repeated`;

export const configSourcesUsage = `Options come from, in rising precedence: defaults, the file, CAUSEWAY_… environment variables
(limits.packetBytesMax is CAUSEWAY_LIMITS_PACKET_BYTES_MAX), flags.`;

/** How a configuration is loaded again for a reload: same flags, same environment, file read anew. */
export interface ConfigRequest {
  readonly file: string | null;
  readonly load: () => LoadedConfig;
}

export function requestConfig(flags: Flags, file: string | undefined): ConfigRequest {
  const single = (name: string): string | undefined => flags.values.get(name)?.[0];
  const name = file ?? single('config') ?? (process.env[CONFIG_VARIABLE] || null);
  const values: FlagValue[] = (flags.values.get('set') ?? []).map((assignment) => {
    const match = /^([^=\s]+)=(.*)$/s.exec(assignment);
    if (match === null) throw new UsageError(`--set needs NAME=VALUE, found ${assignment}`);
    return { flag: `--set ${match[1]}`, path: match[1]!, value: match[2]! };
  });
  const listen = flags.values.get('listen');
  if (listen !== undefined) values.push({ flag: '--listen', path: 'listeners', value: listen });
  const data = single('data');
  if (data !== undefined) values.push({ flag: '--data', path: 'data', value: data });
  if (flags.values.has('ephemeral')) {
    values.push({ flag: '--ephemeral', path: 'store', value: 'memory' });
  }
  const points = single('contact-points');
  if (points !== undefined) {
    const value = points.split(',').map((point) => point.trim());
    values.push({ flag: '--contact-points', path: 'cassandra.contactPoints', value });
  }
  const admin = single('admin');
  if (admin !== undefined) values.push({ flag: '--admin', path: 'admin.url', value: admin });
  for (const [flag, path] of clusterFlags) {
    const value = single(flag);
    if (value !== undefined) values.push({ flag: `--${flag}`, path, value });
  }
  const load = (): LoadedConfig =>
    loadConfig({ file: name, environment: process.env, flags: values });
  return { file: name, load };
}

const clusterFlags: readonly (readonly [flag: string, path: string])[] = [
  ['redis', 'cluster.redis.url'],
  ['node-id', 'cluster.nodeId'],
  ['peer', 'cluster.peer.listen'],
];

/** Loads, or prints every problem and gives null. */
export function loadOrExplain(request: ConfigRequest): LoadedConfig | null {
  try {
    return request.load();
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    for (const problem of error.problems) process.stderr.write(`${formatProblem(problem)}\n`);
    return null;
  }
}

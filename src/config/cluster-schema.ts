/** The options of a node of a datacenter, for `schema.ts`: docs/adr/0010 to 0014 say what they do. */
import { z } from 'zod';
import { degradedModes } from '../core/limits.ts';
import { parseRedisTarget } from '../drivers/redis/redis-target.ts';
import { checkPrefix } from '../store/redis/keys.ts';
import type {
  ClusterConfig,
  ClusterRedisConfig,
  PeerConfig,
  PeerTlsConfig,
} from './cluster-config.ts';
import { choice, type LeafText, quantity, text } from './leaf.ts';

/** A node is what it is until it is started again. */
const fixed = (help: string): LeafText => ({ help, reloadable: false });
const file = (what: string, help: string): z.ZodType<string> =>
  text({ expected: `the name of ${what}` }, fixed(help));

const URL_FORMS =
  'redis://HOST:PORT/DB, rediss:// with TLS, redis-sentinel://HOST:PORT,HOST:PORT/NAME or redis-cluster://HOST:PORT,HOST:PORT (rediss-sentinel://, rediss-cluster://)';

/** Read with the code that will connect: what is wrong is known before the start. */
function refuseRedisUrl(url: string): string | null {
  if (!/^rediss?(?:-sentinel|-cluster)?:\/\//.test(url)) return `expected ${URL_FORMS}`;
  try {
    parseRedisTarget([url]);
    return null;
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    return `expected ${URL_FORMS}; this URL ${error.message.split(';', 1)[0]}`;
  }
}

function refusePrefix(prefix: string): string | null {
  try {
    checkPrefix(prefix);
    return null;
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    return 'expected a text without braces and control characters';
  }
}

/** `[::1]:7000`, `10.0.0.1:7000`, `node-1.example:7000`. */
function refuseHostPort(word: string): string | null {
  const match = /^(?:\[[0-9a-f:.%a-z]+\]|[^\s:[\]/]+):(\d{1,5})$/i.exec(word);
  return match !== null && Number(match[1]) <= 65_535 ? null : 'expected HOST:PORT';
}

const hostPort = (help: string): z.ZodType<string | undefined> =>
  text({ expected: 'HOST:PORT', refuse: refuseHostPort }, fixed(help)).optional();

const redis: z.ZodType<ClusterRedisConfig> = z.strictObject({
  url: text(
    { expected: 'a URL of Redis', refuse: refuseRedisUrl },
    fixed(`Redis of the datacenter: ${URL_FORMS}.`),
  ),
  username: text({ expected: 'a user name' }, fixed('ACL user of Redis.')).optional(),
  passwordFile: file(
    'a file with the password',
    'Password of the Redis user, instead of one in the URL.',
  ).optional(),
  caFile: file('a PEM file', 'Authorities of TLS; those of the system when absent.').optional(),
  certFile: file('a PEM file', 'Certificate this node shows to Redis.').optional(),
  keyFile: file('a PEM file', 'Its private key.').optional(),
  keyPrefix: text(
    { expected: 'a text', default: 'causeway:', refuse: refusePrefix },
    fixed('Before every key; datacenters that share a Redis differ in it.'),
  ),
  replicasMin: quantity(
    { unit: 'count', default: 0, min: 0, max: 10 },
    fixed(
      'Replicas that must have a write before it is acknowledged (WAIT); as many as may be promoted. 0: the primary alone.',
    ),
  ),
  rewriteMs: quantity(
    { unit: 'ms', default: 5000, min: 0, max: 60_000 },
    fixed('How long appends are kept to be written again when another server answers.'),
  ),
});

const peerTls: z.ZodType<PeerTlsConfig> = z.strictObject({
  certFile: file('a PEM file', 'Certificate of this node for other nodes.'),
  keyFile: file('a PEM file', 'Its private key.'),
  caFile: file(
    'a PEM file',
    'The authority that signs the nodes of this datacenter, and nobody else.',
  ),
});

const peer: z.ZodType<PeerConfig> = z.strictObject({
  listen: hostPort(
    'Where other nodes connect; the address this node reaches Redis from and a free port when absent.',
  ),
  advertise: hostPort('What other nodes dial, when it is not what is listened on.'),
  secretFile: file(
    'a file with the secret',
    'Secret that nodes prove to each other; one that the first node leaves in Redis when absent.',
  ).optional(),
  tls: peerTls.optional(),
  bufferBytesMax: quantity(
    { unit: 'bytes', default: 64 * 1024 * 1024, min: 1024 * 1024, max: 4 * 1024 ** 3 },
    fixed('Bytes on the way to one other node; above half of it QoS 0 is dropped for it.'),
  ),
  linkGraceMs: quantity(
    { unit: 'ms', default: 2000, min: 200, max: 60_000 },
    fixed('How long two nodes that both live may be without a link before one of them is evicted.'),
  ),
});

export const cluster: z.ZodType<ClusterConfig> = z.strictObject({
  redis,
  nodeId: text(
    {
      expected: 'a name of at most 64 characters',
      refuse: (name) =>
        name.length > 64 || /[\s\n]/.test(name) ? 'expected a name without spaces' : null,
    },
    fixed('Name of the node for people; host name and peer port when absent.'),
  ).optional(),
  peer: peer.prefault({} as PeerConfig),
  leaseMs: quantity(
    { unit: 'ms', default: 3000, min: 500, max: 60_000 },
    fixed('How long a node that is not heard of is waited for.'),
  ),
  degraded: choice(
    degradedModes,
    'park',
    fixed(
      'Without Redis and without any other node: park lets acknowledgements of durable messages wait; local acknowledges what this node has synced, and lets a node go on that is alone.',
    ),
  ),
  retainedTombstoneS: quantity(
    { unit: 's', default: 3600, min: 60, max: 30 * 86_400 },
    fixed('How long a cleared retained topic is remembered, for nodes that were away.'),
  ),
});

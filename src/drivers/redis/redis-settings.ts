/**
 * What the Redis servers are set to, held against what the promises need: read once at start, logged
 * line by line, shown in health. What a user may not read is said, not guessed.
 */
import type { RedisLink } from './redis-link.ts';
import { infoFields } from './redis-shard.ts';

export type SettingSeverity = 'ok' | 'warn' | 'refuse';

export interface RedisSetting {
  /** Without user and password. */
  readonly server: string;
  readonly setting: string;
  /** '?': it may not be read. */
  readonly value: string;
  readonly wanted: string;
  /** The promise of the README it serves; '': the node itself. */
  readonly promise: string;
  readonly severity: SettingSeverity;
  readonly sentence: string;
}

const CONFIG: readonly string[] = [
  'appendonly',
  'appendfsync',
  'maxmemory',
  'maxmemory-policy',
  'min-replicas-to-write',
];
const UNKNOWN = '?';
const VERSION_MIN: readonly [number, number] = [6, 2];

/** Of every server that is connected. `replicasMin`: how many replicas answers wait for. */
export async function readRedisSettings(
  link: RedisLink,
  replicasMin: number,
): Promise<RedisSetting[]> {
  const values = new Map<string, Map<string, string>>();
  const of = (server: string): Map<string, string> => {
    let known = values.get(server);
    if (known === undefined) values.set(server, (known = new Map()));
    return known;
  };
  for (const section of ['server', 'replication', 'memory', 'persistence']) {
    for (const { server, reply } of await link.ask(['INFO', section])) {
      const known = of(server);
      for (const [name, value] of infoFields(reply)) known.set(name, value);
    }
  }
  for (const name of CONFIG) {
    for (const { server, reply } of await link.ask(['CONFIG', 'GET', name])) {
      if (Array.isArray(reply) && reply.length === 2) of(server).set(name, `${reply[1]}`);
    }
  }
  return [...values].flatMap(([server, known]) => judgeSettings(server, known, replicasMin));
}

/** `known`: fields of INFO and CONFIG GET by name; what may not be read is absent. */
export function judgeSettings(
  server: string,
  known: ReadonlyMap<string, string>,
  replicasMin: number,
): RedisSetting[] {
  const found: RedisSetting[] = [];
  const say = (
    setting: string,
    value: string,
    wanted: string,
    promise: string,
    severity: SettingSeverity,
    sentence: string,
  ): void => {
    found.push({ server, setting, value, wanted, promise, severity, sentence });
  };
  const get = (...names: readonly string[]): string => {
    for (const name of names) {
      const value = known.get(name);
      if (value !== undefined) return value;
    }
    return UNKNOWN;
  };
  const isWaited = replicasMin > 0;

  const version = get('redis_version');
  const [major = 0, minor = 0] = version.split('.').map(Number);
  const isOld = major < VERSION_MIN[0] || (major === VERSION_MIN[0] && minor < VERSION_MIN[1]);
  if (version === UNKNOWN) {
    say('version', version, '6.2', '', 'warn', 'The version cannot be read: INFO is forbidden.');
  } else if (isOld) {
    say(
      'version',
      version,
      '6.2',
      '',
      'refuse',
      'Redis is older than 6.2, which is not supported.',
    );
  } else say('version', version, '6.2', '', 'ok', 'The version is supported.');

  const policy = get('maxmemory-policy', 'maxmemory_policy');
  const limit = get('maxmemory');
  if (policy === UNKNOWN || limit === UNKNOWN) {
    const sentence = 'Whether Redis drops keys when its memory is full cannot be read.';
    say('maxmemory-policy', policy, 'noeviction', 'P1', 'warn', sentence);
  } else if (policy === 'noeviction') {
    const sentence = 'Redis refuses writes when its memory is full, and drops nothing.';
    say('maxmemory-policy', policy, 'noeviction', 'P1', 'ok', sentence);
  } else if (limit === '0') {
    const sentence = 'Redis would drop keys as soon as maxmemory is set; set noeviction.';
    say('maxmemory-policy', policy, 'noeviction', 'P1', 'warn', sentence);
  } else {
    const sentence = 'Redis drops keys when its memory is full: sessions and queues would vanish.';
    say('maxmemory-policy', policy, 'noeviction', 'P1', 'refuse', sentence);
  }

  // INFO persistence says it too, for those who may not read the configuration.
  const aof = known.get('aof_enabled');
  const appendonly =
    known.get('appendonly') ?? (aof === undefined ? UNKNOWN : aof === '1' ? 'yes' : 'no');
  if (appendonly === 'yes') {
    say('appendonly', appendonly, 'yes', 'P1', 'ok', 'Redis writes what it does to a file.');
  } else if (appendonly === UNKNOWN) {
    const sentence = 'Whether Redis keeps what it has over a restart cannot be read.';
    say('appendonly', appendonly, 'yes', 'P1', 'warn', sentence);
  } else {
    const sentence = isWaited
      ? 'Redis has no file: if all its servers stop, sessions and queues are gone.'
      : 'Redis has no file: when it stops, sessions and queues are gone.';
    say('appendonly', appendonly, 'yes', 'P1', 'warn', sentence);
  }

  const fsync = get('appendfsync');
  if (appendonly !== 'no') {
    if (fsync === 'always') {
      const sentence = 'What was acked is on disk: it survives a kill of Redis.';
      say('appendfsync', fsync, 'always', 'P1', 'ok', sentence);
    } else if (fsync === UNKNOWN) {
      const sentence =
        'Whether Redis syncs before it answers cannot be read: CONFIG GET is forbidden.';
      say('appendfsync', fsync, 'always', 'P1', 'warn', sentence);
    } else if (isWaited) {
      const sentence =
        'Redis answers before it syncs; replicas have what was acked, while one lives.';
      say('appendfsync', fsync, 'always', 'P1', 'ok', sentence);
    } else {
      const sentence = 'Redis answers before it syncs: a kill of Redis may lose acked messages.';
      say('appendfsync', fsync, 'always', 'P1', 'warn', sentence);
    }
  }

  const replicas = get('connected_slaves');
  const count = Number(replicas);
  if (replicas === UNKNOWN) {
    const sentence = 'How many replicas there are cannot be read: INFO is forbidden.';
    say('replicas', replicas, `${replicasMin}`, 'P1', 'warn', sentence);
  } else if (count < replicasMin) {
    const sentence =
      'There are fewer replicas than answers wait for: durable messages are not acked.';
    say('replicas', replicas, `${replicasMin}`, 'P1', 'warn', sentence);
  } else if (count > replicasMin) {
    const sentence =
      'Not all replicas are waited for (cluster.redis.replicasMin): promoting another loses acked messages.';
    say('replicas', replicas, `${replicasMin}`, 'P1', 'warn', sentence);
  } else {
    const sentence = count === 0 ? 'There is no replica.' : 'Every replica is waited for.';
    say('replicas', replicas, `${replicasMin}`, 'P1', 'ok', sentence);
  }

  const writers = get('min-replicas-to-write', 'min-slaves-to-write');
  if (Number(writers) > count) {
    const sentence = 'Redis has fewer replicas than that: it refuses every write.';
    say('min-replicas-to-write', writers, `at most ${count}`, 'P1', 'warn', sentence);
  } else if (isWaited) {
    const wanted = `${replicasMin}`;
    if (writers === UNKNOWN) {
      const sentence = 'Whether a primary without replicas refuses writes cannot be read.';
      say('min-replicas-to-write', writers, wanted, 'P1', 'warn', sentence);
    } else if (Number(writers) < replicasMin) {
      const sentence =
        'A primary that is cut off goes on taking writes, which a failover discards.';
      say('min-replicas-to-write', writers, wanted, 'P1', 'warn', sentence);
    } else {
      const sentence = 'A primary without its replicas refuses writes.';
      say('min-replicas-to-write', writers, wanted, 'P1', 'ok', sentence);
    }
  }
  return found;
}

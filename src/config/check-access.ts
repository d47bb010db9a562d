/**
 * Reads the users, keys and rules a configuration names with the same code as a node does when it
 * starts. For `causeway check` and for commands that write configurations; asks no service.
 */
import { AccessError } from '../access/access-error.ts';
import { loadRules } from '../access/acl/load-rules.ts';
import { loadPasswordFile } from '../access/authn/password-file.ts';
import { loadPskFile } from '../access/authn/psk-file.ts';
import { ScramUsers } from '../access/authn/scram-users.ts';
import type { Clock, Log, Random } from '../core/ports.ts';
import { systemScheduler } from '../listeners/scheduler.ts';
import type { Config } from './config.ts';
import type { Problem } from './layer.ts';

export async function checkAccess(config: Config): Promise<Problem[]> {
  const problems: Problem[] = [];
  for (const load of loads(config)) {
    try {
      await load();
    } catch (error) {
      if (!(error instanceof AccessError)) throw error;
      problems.push(...error.problems);
    }
  }
  return problems;
}

function* loads({ authentication, authorization }: Config): Iterable<() => unknown> {
  const { password, scram, psk, jwt, http, redis } = authentication;
  const { rulesFile } = authorization;
  if (password !== undefined) yield () => loadPasswordFile(password.file, silent);
  if (scram !== undefined) yield () => new ScramUsers({ file: scram.file, log: silent }).start();
  if (psk !== undefined) yield () => loadPskFile(psk.file, silent);
  if (rulesFile !== undefined) yield () => loadRules(rulesFile, systemScheduler);
  if (jwt !== undefined) {
    yield async () => {
      const { JwtAuthenticator } = await import('../access/authn/jwt-authenticator.ts');
      const link = new JwtAuthenticator({ ...jwt, ...parts });
      // With a URL the keys are with somebody else.
      if (jwt.jwksUrl === undefined) await link.start();
    };
  }
  // Made, but not started: what cannot work as configured shows.
  if (http !== undefined) {
    yield async () => {
      const { HttpAuthenticator } = await import('../access/authn/http-authenticator.ts');
      new HttpAuthenticator({ service: http, ...parts });
    };
  }
  if (authorization.http !== undefined) {
    const service = authorization.http;
    yield async () => {
      const { HttpRuleSource } = await import('../access/acl/http-source.ts');
      new HttpRuleSource({ service, ...parts });
    };
  }
  if (redis !== undefined) {
    yield async () => {
      const { RedisAuthenticator } = await import('../access/authn/redis-authenticator.ts');
      const { HashQueue } = await import('../access/authn/hash-queue.ts');
      const none = { concurrency: 1, waitingMax: 0, waitingPerAddressMax: 0, waitMaxMs: 0 };
      const service = { ...redis, keyPrefix: redis.keyPrefix ?? '' };
      const queue = new HashQueue({ ...none, clock });
      new RedisAuthenticator({ service, queue, random, ...parts });
    };
  }
  if (authorization.redis !== undefined) {
    const service = { ...authorization.redis, keyPrefix: authorization.redis.keyPrefix ?? '' };
    yield async () => {
      const { RedisRuleSource } = await import('../access/acl/redis-source.ts');
      new RedisRuleSource({ service, random, ...parts });
    };
  }
}

const silent: Log = { debug() {}, info() {}, warn() {}, error() {} };
const clock: Clock = { monotonicMs: () => performance.now(), wallMs: () => Date.now() };
/** Nothing here is left to chance. */
const random: Random = { below: () => 0, hex: (bytes) => '00'.repeat(bytes) };
const parts = { clock, log: silent };

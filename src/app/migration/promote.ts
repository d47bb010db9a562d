/**
 * `causeway promote` without its command line: sessions of a data directory become those of a datacenter,
 * counted on both sides; only then the directory forgets them. Everything may be done again after a crash.
 */
import type { ClusterConfig } from '../../config/cluster-config.ts';
import type { Log } from '../../core/ports.ts';
import type { RedisSetting } from '../../drivers/redis/redis-settings.ts';
import { systemScheduler } from '../../listeners/scheduler.ts';
import { SharedRedis } from '../shared-redis.ts';
import { StartError } from '../start-error.ts';
import { EmbeddedSource } from './embedded-source.ts';
import { MembersWatch } from './members-watch.ts';
import { type MigrationHooks, type MigrationResult, migrate } from './migrate.ts';
import { MigrationError } from './migration.ts';
import { beginPromotion, endPromotion, readPromotionId } from './promotion-id.ts';
import { RedisTarget } from './redis-target.ts';

export interface PromoteOptions {
  readonly directory: string;
  readonly cluster: ClusterConfig;
  readonly log: Log;
  /** Counts, and asks Redis what is there; writes nothing. */
  readonly isDryRun: boolean;
  /** Leaves the sessions in the directory, too. */
  readonly isKept: boolean;
  readonly hooks: MigrationHooks;
}

export interface Promoted extends MigrationResult {
  /** Retained messages, which stay in the directory. */
  readonly retained: number;
  /** Sessions that are no longer in the directory. */
  readonly removed: number;
}

const REACH_MS = 9000;

/** Throws a MigrationError, StartError or StoreOpenError, whose messages say what to do. */
export async function promote(options: PromoteOptions): Promise<Promoted> {
  const { directory, cluster, log, isDryRun, isKept, hooks } = options;
  const { keyPrefix } = cluster.redis;
  let target: RedisTarget | null = null;
  const source = new EmbeddedSource({
    directory,
    scheduler: systemScheduler,
    log,
    refusals: (sessions) => target!.refusals(sessions),
  });
  await source.open();
  let redis: SharedRedis | null = null;
  try {
    redis = await openShared(cluster, log);
    const { link, settings } = redis;
    if (!isDryRun && !isKept) expectKept(settings, cluster.redis.replicasMin);
    const watch = new MembersWatch(link, keyPrefix, cluster.leaseMs);
    target = new RedisTarget({
      redis: link,
      keyPrefix,
      promotion: isDryRun
        ? ((await readPromotionId(directory)) ?? '')
        : await beginPromotion(directory),
      sessionOf: (clientId) => source.sessionOf(clientId),
      expectNobody: () => watch.expectNobody(),
    });
    const result = await migrate(source, isDryRun ? null : target, hooks);
    const { retainedMessages: retained } = source;
    if (isDryRun || isKept || !result.isEqual) return { ...result, retained, removed: 0 };
    const removed = await source.remove();
    await target.forgetMarks();
    if (!source.hasRest) await endPromotion(directory);
    return { ...result, retained, removed };
  } finally {
    redis?.close();
    await source.close();
  }
}

/** What is about to be removed here must outlive a restart of Redis. */
function expectKept(settings: readonly RedisSetting[], replicasMin: number): void {
  const forgets = settings.find(({ setting, value }) => setting === 'appendonly' && value === 'no');
  if (forgets === undefined || replicasMin > 0) return;
  throw new MigrationError(
    `${forgets.server} keeps nothing on its disk (appendonly is no, wanted: yes): the sessions would be ` +
      'gone when it stops; set it and run promote again, or leave them here, too (--keep)',
  );
}

async function openShared(cluster: ClusterConfig, log: Log): Promise<SharedRedis> {
  const redis = await SharedRedis.open(cluster, 'causeway-promote', log);
  let timer: NodeJS.Timeout | undefined;
  try {
    const late = new Promise<never>((_resolve, reject) => {
      const why = (): string => `Redis cannot be reached: ${redis.link.problem}`;
      timer = setTimeout(() => reject(new StartError('REDIS', why(), null)), REACH_MS);
    });
    await Promise.race([redis.reached(), late]);
    await redis.judge();
    return redis;
  } catch (error) {
    redis.close();
    throw error;
  } finally {
    clearTimeout(timer);
  }
}

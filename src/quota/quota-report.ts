/**
 * What is used of each quota, for the operator's door and the metrics. Bounded: the fullest few of each
 * quota, found among at most `LOOKED_AT_MAX`; metrics have no label but the quota's own name.
 */
import { ConnectQuota } from './connect-quota.ts';
import { CountQuota } from './count-quota.ts';
import type { AnyQuota, QuotaBook } from './quota-book.ts';
import { type QuotaAction, type QuotaKind, type QuotaScope, quotaActions } from './quota-kinds.ts';

/** Keys of one quota that a report looks at. */
const LOOKED_AT_MAX = 100_000;

export interface QuotaUse {
  readonly name: string;
  readonly of: QuotaKind;
  readonly per: QuotaScope;
  readonly action: QuotaAction;
  /** Client, user, tenant or listener; null: all anonymous clients; '': the node. */
  readonly key: string | null;
  /** Of a rate: tokens of the burst that are spent; above `burst`: messages wait for them. */
  readonly used: number;
  readonly max: number;
  /** Null: no rate. */
  readonly burst: number | null;
  /** Clients that are slowed down by it now. */
  readonly waiting: number;
}

/** One quota as a whole. */
export interface QuotaState {
  readonly name: string;
  readonly of: QuotaKind;
  readonly per: QuotaScope;
  readonly action: QuotaAction;
  readonly max: number;
  readonly burst: number | null;
  /** Those whose use is counted now; null: not known (connects). */
  readonly keys: number | null;
  readonly waiting: number;
  /** How often the limit was met since the start. */
  readonly hits: number;
}

/** Every quota in force, in the order of the configuration. */
export function* quotaStates(book: QuotaBook): Iterable<QuotaState> {
  for (const quota of book.quotas) {
    const { name, of, per, action, max } = quota;
    const hits = quotaActions.reduce((sum, one) => sum + quota.hits[one], 0);
    const [keys, waiting] = [keysOf(quota), waitingOf(quota)];
    yield { name, of, per, action, max, burst: burstOf(quota), keys, waiting, hits };
  }
}

/** The `topMax` fullest of each quota, quota by quota; nobody who uses nothing. */
export function* quotaUse(book: QuotaBook, nowMs: number, topMax: number): Iterable<QuotaUse> {
  for (const quota of book.quotas) {
    const { name, of, per, action, max } = quota;
    const burst = burstOf(quota);
    for (const { key, used, waiting } of fullest(quota, nowMs, topMax)) {
      yield { name, of, per, action, key, used, max, burst, waiting };
    }
  }
}

interface Use {
  readonly key: string | null;
  readonly used: number;
  readonly waiting: number;
}

function fullest(quota: AnyQuota, nowMs: number, topMax: number): readonly Use[] {
  const top: Use[] = [];
  let left = LOOKED_AT_MAX;
  for (const use of usesOf(quota, nowMs)) {
    if (left-- === 0) break;
    if (use.used <= 0) continue;
    if (top.length === topMax && use.used <= (top.at(-1)?.used ?? 0)) continue;
    let at = top.length;
    while (at > 0 && top[at - 1]!.used < use.used) at--;
    top.splice(at, 0, use);
    if (top.length > topMax) top.pop();
  }
  return top;
}

function* usesOf(quota: AnyQuota, nowMs: number): Iterable<Use> {
  if (quota instanceof CountQuota) {
    for (const { key, used } of quota.counters.values()) yield { key, used, waiting: 0 };
  } else if (!(quota instanceof ConnectQuota)) {
    for (const bucket of quota.buckets.values()) {
      const { key, waiting } = bucket;
      yield { key, used: Math.ceil(bucket.spent(nowMs)), waiting };
    }
  }
}

function burstOf(quota: AnyQuota): number | null {
  return quota instanceof CountQuota ? null : quota.burst;
}

function keysOf(quota: AnyQuota): number | null {
  if (quota instanceof ConnectQuota) return null;
  return quota instanceof CountQuota ? quota.counters.size : quota.buckets.size;
}

function waitingOf(quota: AnyQuota): number {
  if (quota instanceof CountQuota || quota instanceof ConnectQuota) return 0;
  let waiting = 0;
  let left = LOOKED_AT_MAX;
  for (const bucket of quota.buckets.values()) {
    if (left-- === 0) break;
    waiting += bucket.waiting;
  }
  return waiting;
}

/** Value by label, as the metrics page wants it. */
export type QuotaSample = readonly [labels: readonly string[], value: number];

export interface QuotaMetric {
  readonly name: string;
  readonly type: 'counter' | 'gauge';
  readonly help: string;
  readonly labels: readonly string[];
  readonly read: (book: QuotaBook, nowMs: number) => readonly QuotaSample[];
}

type State = 'max' | 'waiting';

function perQuota(name: string, help: string, field: State): QuotaMetric {
  return {
    name,
    type: 'gauge',
    help,
    labels: ['quota'],
    read: (book) => Array.from(quotaStates(book), (state) => [[state.name], state[field]]),
  };
}

export const quotaMetricTable: readonly QuotaMetric[] = [
  {
    name: 'causeway_quota_hits_total',
    type: 'counter',
    help: 'Times the limit of a quota was met, by what was done then.',
    labels: ['quota', 'action'],
    read: (book) =>
      book.quotas.flatMap((quota) =>
        quotaActions
          .filter((action) => action === quota.action || quota.hits[action] > 0)
          .map((action) => [[quota.name, action], quota.hits[action]] as const),
      ),
  },
  perQuota('causeway_quota_limit', 'What a quota allows; of rates: per second.', 'max'),
  perQuota('causeway_quota_waiting', 'Clients that a quota slows down now.', 'waiting'),
  {
    name: 'causeway_quota_keys',
    type: 'gauge',
    help: 'Clients, users, tenants or listeners whose use of a quota is counted now.',
    labels: ['quota'],
    read: (book) =>
      Array.from(quotaStates(book)).flatMap(({ name, keys }) =>
        keys === null ? [] : [[[name], keys] as const],
      ),
  },
  {
    name: 'causeway_quota_used',
    type: 'gauge',
    help: 'What is used of a quota that counts the node as a whole; of rates: spent of the burst.',
    labels: ['quota'],
    read: (book, nowMs) =>
      book.quotas.flatMap((quota) => {
        if (quota.per !== 'node') return [];
        if (quota instanceof CountQuota) {
          return [[[quota.name], quota.counters.get('')?.used ?? 0] as const];
        }
        return quota instanceof ConnectQuota
          ? []
          : [[[quota.name], Math.ceil(quota.buckets.get('')?.spent(nowMs) ?? 0)] as const];
      }),
  },
];

/**
 * One quota as the configuration has it, and what can be wrong with a list of them. The configuration
 * calls `checkQuotas` and shows the problems where they are; `QuotaGate` refuses a list that has any.
 */
import {
  actionsOf,
  type QuotaAction,
  type QuotaKind,
  type QuotaScope,
  quotaKindNames,
  quotaKinds,
  quotaScopes,
} from './quota-kinds.ts';

export interface QuotaOptions {
  /** What client, log, metrics and API call it. */
  readonly name: string;
  readonly of: QuotaKind;
  readonly per: QuotaScope;
  /** Most of it; for rates: per second. */
  readonly max: number;
  /** Rates only: how much may come at once; `max` when absent. */
  readonly burst?: number | undefined;
  /** Absent: the first that the kind has. */
  readonly action?: QuotaAction | undefined;
  /** Whom it concerns; absent: everyone. Names, never patterns. */
  readonly users?: readonly string[] | undefined;
  readonly tenants?: readonly string[] | undefined;
  readonly listeners?: readonly string[] | undefined;
}

export interface QuotaProblem {
  /** Place in the list. */
  readonly index: number;
  readonly field: keyof QuotaOptions;
  readonly message: string;
}

export const QUOTAS_MAX = 256;
const NAME_LENGTH_MAX = 64;
const AMOUNT_MAX = Number.MAX_SAFE_INTEGER / 1024;
/** A slowed client is looked at every 10 ms: what two looks bring must fit into the burst. */
const BURSTS_PER_S_MAX = 50;

const LETTERS = 'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.';

/** Everything that is wrong with the list, in its order. */
export function checkQuotas(list: readonly QuotaOptions[]): QuotaProblem[] {
  const problems: QuotaProblem[] = [];
  const names = new Set<string>();
  for (const [index, quota] of list.entries()) {
    const add = (field: keyof QuotaOptions, message: string): void => {
      problems.push({ index, field, message });
    };
    if (index === QUOTAS_MAX) add('name', `there are more than ${QUOTAS_MAX} quotas`);
    checkName(quota.name, names, add);
    names.add(quota.name);
    if (!quotaKindNames.includes(quota.of)) {
      add('of', `is one of ${quotaKindNames.join(', ')}`);
      continue;
    }
    checkScope(quota, add);
    checkAmounts(quota, add);
    checkLists(quota, add);
  }
  return problems;
}

type Add = (field: keyof QuotaOptions, message: string) => void;

function checkName(name: string, names: ReadonlySet<string>, add: Add): void {
  if (name.length === 0 || name.length > NAME_LENGTH_MAX) {
    add('name', `has 1 to ${NAME_LENGTH_MAX} characters`);
  }
  for (const letter of name) {
    if (LETTERS.includes(letter)) continue;
    add('name', 'has letters, digits, and . _ - only: it is a label of metrics');
    break;
  }
  if (names.has(name)) add('name', `"${name}" is taken by a quota before it`);
}

function checkScope({ of, per, action }: QuotaOptions, add: Add): void {
  const spec = quotaKinds[of];
  if (!quotaScopes.includes(per)) add('per', `is one of ${quotaScopes.join(', ')}`);
  else if (!spec.per.includes(per)) {
    add('per', `${of} cannot be counted per ${per}, but per ${spec.per.join(', ')}`);
  }
  if (action !== undefined && spec.actions[action] === undefined) {
    add('action', `${of} at its limit can ${actionsOf(of).join(' or ')}`);
  }
}

function checkAmounts({ of, max, burst }: QuotaOptions, add: Add): void {
  const { isRate } = quotaKinds[of];
  const least = isRate || of === 'inflightMessages' ? 1 : 0;
  if (!Number.isInteger(max) || max < least || max > AMOUNT_MAX) {
    add('max', `is a whole number from ${least} to ${AMOUNT_MAX}`);
    return;
  }
  if (burst === undefined) return;
  if (!isRate) {
    add('burst', `${of} is no rate and has none`);
    return;
  }
  const burstMin = Math.ceil(max / BURSTS_PER_S_MAX);
  if (!Number.isInteger(burst) || burst < burstMin || burst > AMOUNT_MAX) {
    add('burst', `is a whole number from ${burstMin} (what 20 ms bring) to ${AMOUNT_MAX}`);
  }
}

function checkLists(quota: QuotaOptions, add: Add): void {
  for (const field of ['users', 'tenants', 'listeners'] as const) {
    const list = quota[field];
    if (list === undefined) continue;
    if (list.length === 0) add(field, 'is empty: the quota would concern nobody');
    if (list.includes('')) add(field, 'has an empty name');
  }
  if (quota.listeners !== undefined && !quotaKinds[quota.of].knowsListener) {
    add('listeners', `${quota.of} belongs to sessions, which may come over any listener`);
  }
}

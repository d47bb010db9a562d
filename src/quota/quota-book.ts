/**
 * The quotas in force, compiled from their options. Of the quotas of one kind and scope the first in
 * the list that concerns somebody holds for them: exceptions come before the rule. A reload makes a
 * new book and takes over what goes on under its name.
 */
import { ConnectQuota } from './connect-quota.ts';
import { CountQuota } from './count-quota.ts';
import type { Quota, Subject } from './quota.ts';
import { type QuotaKind, quotaKinds } from './quota-kinds.ts';
import { checkQuotas, type QuotaOptions } from './quota-options.ts';
import { RateQuota, type RateServices } from './rate-quota.ts';

export type AnyQuota = CountQuota | RateQuota | ConnectQuota;

/** Quotas of one kind and scope, in the order of the list. */
type Group<T extends Quota> = T[];

const sessionKinds = ['subscriptions', 'queueBytes', 'inflightMessages', 'deliverBytesPerS'];
const retainedKinds = ['retainedMessages', 'retainedBytes'];

export class QuotaBook {
  readonly quotas: readonly AnyQuota[];
  /** Some quota speaks of sessions. */
  readonly countsSessions: boolean;
  /** Some quota speaks of retained messages. */
  readonly countsRetained: boolean;
  /** Some quota is counted over all nodes of a datacenter. */
  readonly sharesUse: boolean;
  /** Changes when retained messages have to be counted anew. */
  readonly retainedSignature: string;
  readonly #counts: Map<QuotaKind, Group<CountQuota>[]> = new Map();
  readonly #rates: Map<QuotaKind, Group<RateQuota>[]> = new Map();
  readonly #connects: Group<ConnectQuota>[] = [];

  /** Throws a RangeError for a list that `checkQuotas` finds fault with. */
  constructor(list: readonly QuotaOptions[], previous: QuotaBook | null, services: RateServices) {
    const problem = checkQuotas(list)[0];
    if (problem !== undefined) {
      throw new RangeError(`quota ${problem.index}: ${problem.field} ${problem.message}`);
    }
    this.quotas = list.map((options) => {
      const known = previous === null ? null : previous.#goOn(options);
      return known ?? make(options, services);
    });
    for (const quota of this.quotas) {
      if (quota instanceof CountQuota) enter(groupsOf(this.#counts, quota.of), quota);
      else if (quota instanceof RateQuota) enter(groupsOf(this.#rates, quota.of), quota);
      else enter(this.#connects, quota);
    }
    this.sharesUse = this.quotas.some((quota) => quota instanceof CountQuota && quota.isShared);
    this.countsSessions = list.some(({ of }) => sessionKinds.includes(of));
    const retained = list.filter(({ of }) => retainedKinds.includes(of));
    this.countsRetained = retained.length > 0;
    this.retainedSignature = JSON.stringify(
      retained.map(({ name, of, per, users, tenants }) => [name, of, per, users, tenants]),
    );
  }

  /** The quota of that name, when it still counts the same; it takes the new terms at once. */
  #goOn(options: QuotaOptions): AnyQuota | null {
    const { name, of, per } = options;
    const quota = this.quotas.find((one) => one.name === name && one.of === of && one.per === per);
    quota?.revise(options);
    return quota ?? null;
  }

  /** The quotas of the kind that hold for the subject, one per scope at most. */
  counts(kind: QuotaKind, subject: Subject): CountQuota[] {
    return holding(this.#counts.get(kind), subject);
  }

  rates(kind: QuotaKind, subject: Subject): RateQuota[] {
    return holding(this.#rates.get(kind), subject);
  }

  get limitsConnects(): boolean {
    return this.#connects.length > 0;
  }

  /** Those that can be asked before the credentials are looked at. */
  earlyConnects(subject: Subject): ConnectQuota[] {
    return this.#connects.filter(isEarly).flatMap((group) => firstFor(group, subject));
  }

  lateConnects(subject: Subject): ConnectQuota[] {
    return this.#connects
      .filter((group) => !isEarly(group))
      .flatMap((group) => firstFor(group, subject));
  }
}

function make(options: QuotaOptions, services: RateServices): AnyQuota {
  if (options.of === 'connectsPerS') {
    // What protects a node, or a door of it, is its own, and asked in a storm of connects.
    const isShared = quotaKinds.connectsPerS.together.includes(options.per);
    const limits = isShared ? services.shared : services.own;
    return new ConnectQuota(options, limits, services.log);
  }
  if (quotaKinds[options.of].isRate) return new RateQuota(options, services);
  return new CountQuota(options, services.log);
}

function groupsOf<T extends Quota>(
  groups: Map<QuotaKind, Group<T>[]>,
  kind: QuotaKind,
): Group<T>[] {
  const known = groups.get(kind);
  if (known !== undefined) return known;
  const made: Group<T>[] = [];
  groups.set(kind, made);
  return made;
}

function enter<T extends Quota>(groups: Group<T>[], quota: T): void {
  const group = groups.find(([first]) => first!.per === quota.per);
  if (group === undefined) groups.push([quota]);
  else group.push(quota);
}

function holding<T extends Quota>(groups: Group<T>[] | undefined, subject: Subject): T[] {
  if (groups === undefined) return [];
  return groups.flatMap((group) => firstFor(group, subject));
}

function firstFor<T extends Quota>(group: Group<T>, subject: Subject): T[] {
  const first = group.find((quota) => quota.concerns(subject));
  return first === undefined ? [] : [first];
}

/** Which quota of a group holds must not depend on credentials that nobody has looked at. */
function isEarly(group: Group<ConnectQuota>): boolean {
  return group.every((quota) => !quota.needsIdentity);
}

/**
 * Bans that were lifted in a datacenter, remembered for as long as a node that was away could bring
 * them back. Bounded: the one lifted first goes. Held by `bans.ts`, kept by `ban-file.ts`, told to other
 * nodes by `ban-exchange.ts`; a node alone has none.
 */
import {
  type BanOrigin,
  type BanTarget,
  banKey,
  banKinds,
  banOrigins,
  canonicalBanValue,
} from './ban.ts';

/** Operators' bans and those the broker made are kept apart: a storm of these costs no room of those. */
export type BanTable = 'operator' | 'automatic';

export const banTables: readonly BanTable[] = ['operator', 'automatic'];

export function tableOf(origin: BanOrigin): BanTable {
  return origin === 'operator' ? 'operator' : 'automatic';
}

export interface Lift extends BanTarget {
  /** Of the ban that was lifted. */
  readonly id: string;
  readonly origin: BanOrigin;
  /** Wall-clock ms; later than the ban it ended, whatever the clocks of nodes say. */
  readonly liftedAtMs: number;
  /** Wall-clock ms: nobody can bring it back any more, as it has ended by itself. */
  readonly untilMs: number;
}

/** How long a lift is remembered of a ban without end. */
const KEPT_MS = 90 * 86_400_000;
const LIFTS_MAX = 100_000;

export function untilOf(banExpiresAtMs: number, liftedAtMs: number): number {
  return banExpiresAtMs === 0 ? liftedAtMs + KEPT_MS : banExpiresAtMs;
}

/** What is later; equal times are told apart by what nodes agree on. A lift goes after a ban. */
export function isLater(atMs: number, tie: string, thanMs: number, thanTie: string): boolean {
  return atMs === thanMs ? tie > thanTie : atMs > thanMs;
}

/** Tie of a lift: above every id. */
export function liftTie({ id }: Lift): string {
  return `~${id}`;
}

export class BanLifts {
  readonly #max: number;
  /** The one lifted first, first. */
  readonly #byKey = new Map<string, Lift>();

  constructor(max: number = LIFTS_MAX) {
    this.#max = max;
  }

  get size(): number {
    return this.#byKey.size;
  }

  get(table: BanTable, key: string): Lift | null {
    return this.#byKey.get(`${table} ${key}`) ?? null;
  }

  add(lift: Lift): void {
    const key = `${tableOf(lift.origin)} ${banKey(lift)}`;
    this.#byKey.delete(key);
    this.#byKey.set(key, lift);
    for (const oldest of this.#byKey.keys()) {
      if (this.#byKey.size <= this.#max) return;
      this.#byKey.delete(oldest);
    }
  }

  remove(table: BanTable, key: string): void {
    this.#byKey.delete(`${table} ${key}`);
  }

  sweep(nowMs: number): boolean {
    const { size } = this.#byKey;
    for (const [key, { untilMs }] of this.#byKey) if (untilMs <= nowMs) this.#byKey.delete(key);
    return this.#byKey.size < size;
  }

  values(): Iterable<Lift> {
    return this.#byKey.values();
  }
}

export function lineOfLift({ id, kind, value, user, origin, liftedAtMs, untilMs }: Lift): string {
  return JSON.stringify({ id, kind, value, user, origin, liftedAtMs, untilMs });
}

/** The lift, or what is wrong with it. */
export function liftOf(entry: unknown): Lift | string {
  if (typeof entry !== 'object' || entry === null || Array.isArray(entry)) return 'is no object';
  const fields = entry as { readonly [name: string]: unknown };
  const { id, value, user, liftedAtMs, untilMs } = fields;
  const kind = banKinds.find((one) => one === fields['kind']);
  const origin = banOrigins.find((one) => one === fields['origin']);
  if (typeof id !== 'string' || id === '') return 'id is missing';
  if (kind === undefined) return `kind is none of ${banKinds.join(', ')}`;
  if (typeof value !== 'string' || canonicalBanValue(kind, value) !== value) {
    return `value is no ${kind}`;
  }
  if (user !== undefined && user !== null && typeof user !== 'string') return 'user is no text';
  if (origin === undefined) return `origin is none of ${banOrigins.join(', ')}`;
  if (!isTime(liftedAtMs) || !isTime(untilMs)) return 'liftedAtMs and untilMs are times';
  return { id, kind, value, ...(user === undefined ? {} : { user }), origin, liftedAtMs, untilMs };
}

function isTime(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}

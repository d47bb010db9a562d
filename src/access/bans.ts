/**
 * Who is banned. Asked by the gate for every socket and CONNECT (synchronous, bounded work), changed by
 * operators and by what the broker notices itself (flapping, failed logins). In force at once, on disk
 * a moment later; `saved` says when. Both kinds have their own bound, so that a storm of automatic
 * bans never keeps an operator from adding one.
 */
import type { Clock, Log, Random } from '../core/ports.ts';
import { parseIpNetwork } from '../util/ip-address.ts';
import {
  BAN_REASON_CHARACTERS_MAX,
  type Ban,
  BanError,
  type BanOrigin,
  type BanTarget,
  banKey,
  canonicalBanValue,
  clientAddressBytes,
} from './ban.ts';
import { BanFile, type StoredBan } from './ban-file.ts';
import {
  BanLifts,
  type BanTable,
  isLater,
  type Lift,
  liftTie,
  tableOf,
  untilOf,
} from './ban-lifts.ts';
import { NetworkMap } from './ban-networks.ts';

/** Bans of operators. */
const OPERATOR_BANS_MAX = 100_000;
/** Bans the broker made; the oldest goes when there are more, or more text in them. */
const AUTOMATIC_BANS_MAX = 20_000;
const AUTOMATIC_CHARACTERS_MAX = 8 * 1024 * 1024;
const SWEEP_INTERVAL_MS = 10_000;
const SAVE_INTERVAL_MS = 1_000;
const SAVE_RETRY_MS = 5_000;

/** Rises only; the metrics page reads it. */
export interface BanCounters {
  /** Sockets and CONNECTs refused. */
  hits: number;
  added: number;
  lifted: number;
  expired: number;
  /** Automatic bans that went early because there were too many. */
  displaced: number;
  saveErrors: number;
}

export interface BansOptions {
  /** Null: memory only, as the memory store keeps nothing either. */
  readonly file: string | null;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly operatorBansMax?: number;
  readonly automaticBansMax?: number;
  /** Other nodes have the same bans: what is lifted is remembered, so that none brings it back. */
  readonly isShared?: boolean;
}

/** What became of a record of another node. */
export interface Adopted {
  /** `older`: this node knows better, and should say so. */
  readonly outcome: 'taken' | 'known' | 'older' | 'full';
  readonly key: string;
}

/** What is known of a client that asks to be let in, or is in. */
export interface BanSubject {
  readonly clientId: string;
  /** Claimed or proven. */
  readonly user: string | null;
  readonly remoteAddress: string;
  /** In the spelling of `canonicalFingerprint`; null: no certificate. */
  readonly fingerprint: string | null;
}

export class Bans {
  readonly counters: BanCounters = {
    hits: 0,
    added: 0,
    lifted: 0,
    expired: 0,
    displaced: 0,
    saveErrors: 0,
  };
  /** A ban of an operator is in force: connections that fit it are to end. */
  onBanned: (ban: Ban) => void = () => {};
  /** Lifted by hand: what led to it is forgiven. */
  onLifted: (ban: Ban) => void = () => {};
  /** Another node noticed something: what led to it goes on counting here too. */
  onLearned: (ban: Ban) => void = () => {};
  /** Added or lifted here. */
  onChanged: (table: BanTable, key: string) => void = () => {};

  readonly #options: BansOptions;
  readonly #file: BanFile | null;
  readonly #byKey = new Map<string, Ban>();
  readonly #byId = new Map<string, Ban>();
  /** Bans of addresses, whoever the user. */
  readonly #networks = new NetworkMap<Ban>();
  /** Keys of the bans the broker made, oldest first. */
  readonly #automatic = new Set<string>();
  readonly #lifts = new BanLifts();
  readonly #active = new Map<BanOrigin, number>();
  #automaticCharacters = 0;
  #nextSweepMs = 0;
  #isDirty = false;
  #saving: Promise<void> | null = null;
  #nextSaveMs = 0;

  constructor(options: BansOptions) {
    this.#options = options;
    this.#file = options.file === null ? null : new BanFile(options.file);
  }

  /** Bans in force, and those expired that no sweep has met yet. */
  get size(): number {
    return this.#byKey.size;
  }

  /** The same, of one origin. */
  activeOf(origin: BanOrigin): number {
    return this.#active.get(origin) ?? 0;
  }

  /** Throws an AccessError when the file is broken. */
  async start(): Promise<void> {
    if (this.#file === null) return;
    const nowMs = this.#options.clock.wallMs();
    const { bans, lifts } = await this.#file.load();
    for (const stored of bans) {
      if (isOver(stored.expiresAtMs, nowMs)) continue;
      this.#insert({ ...stored, hits: 0 });
    }
    if (this.#options.isShared !== true) return;
    for (const lift of lifts) if (lift.untilMs > nowMs) this.#lifts.add(lift);
  }

  /** Resolves when everything is on disk. */
  async stop(): Promise<void> {
    await this.saved();
  }

  /** Adds a ban of an operator, or replaces that of the same target. Throws a BanError. */
  add(
    target: BanTarget,
    details: { readonly reason: string; readonly by: string; readonly expiresAtMs: number },
  ): Ban {
    const value = canonicalBanValue(target.kind, target.value);
    if (value === null) {
      throw new BanError('invalid', `value: not what a ban of kind ${target.kind} can hold`);
    }
    if (details.reason.length > BAN_REASON_CHARACTERS_MAX) {
      throw new BanError('invalid', `reason: longer than ${BAN_REASON_CHARACTERS_MAX} characters`);
    }
    if (isOver(details.expiresAtMs, this.#options.clock.wallMs())) {
      throw new BanError('invalid', 'the ban would end before it begins');
    }
    const key = banKey({ ...target, value });
    const before = this.#byKey.get(key);
    const operatorBansMax = this.#options.operatorBansMax ?? OPERATOR_BANS_MAX;
    if (before?.origin !== 'operator' && this.activeOf('operator') >= operatorBansMax) {
      this.#sweep(this.#options.clock.wallMs());
      if (this.activeOf('operator') >= operatorBansMax) {
        throw new BanError('full', `there are ${operatorBansMax} bans already`);
      }
    }
    if (before !== undefined) this.#remove(before);
    const ban = this.#made({ ...target, value }, 'operator', { ...details, step: 0 }, before);
    this.#insert(ban);
    this.#changed();
    this.#tell(ban);
    this.onBanned(ban);
    return ban;
  }

  /**
   * Adds a ban the broker decided on; never takes the place of an operator's. The target is spelled
   * canonically.
   */
  addAutomatic(
    target: BanTarget,
    origin: 'flapping' | 'login',
    details: { readonly reason: string; readonly expiresAtMs: number; readonly step: number },
  ): Ban {
    const before = this.#byKey.get(banKey(target));
    const nowMs = this.#options.clock.wallMs();
    if (before !== undefined) {
      if (before.origin === 'operator' && !isOver(before.expiresAtMs, nowMs)) return before;
      this.#remove(before);
    }
    const ban = this.#made(target, origin, { ...details, by: '' }, before);
    this.#insert(ban);
    this.#displace();
    this.#changed();
    this.#tell(ban);
    return ban;
  }

  /** Ends a ban by its id; null: there is none. */
  lift(id: string): Ban | null {
    const ban = this.#byId.get(id);
    if (ban === undefined || isOver(ban.expiresAtMs, this.#options.clock.wallMs())) return null;
    this.#remove(ban);
    this.counters.lifted++;
    if (this.#options.isShared === true) {
      const { kind, value, user, origin, createdAtMs, expiresAtMs } = ban;
      const liftedAtMs = Math.max(this.#options.clock.wallMs(), createdAtMs + 1);
      const untilMs = untilOf(expiresAtMs, liftedAtMs);
      const target = { kind, value, ...(user === undefined ? {} : { user }) };
      this.#lifts.add({ ...target, id, origin, liftedAtMs, untilMs });
    }
    this.#changed();
    this.onLifted(ban);
    this.onChanged(tableOf(ban.origin), banKey(ban));
    return ban;
  }

  // ------------------------------------------------------------------ other nodes

  get isShared(): boolean {
    return this.#options.isShared === true;
  }

  /** Of what is known of one table: bans in force, and lifts. */
  *keysOf(table: BanTable): Generator<string> {
    for (const [key, { origin }] of this.#byKey) if (tableOf(origin) === table) yield key;
    for (const lift of this.#lifts.values()) if (tableOf(lift.origin) === table) yield banKey(lift);
  }

  /** What other nodes should know of it; null: nothing any more. */
  known(table: BanTable, key: string): StoredBan | Lift | null {
    const nowMs = this.#options.clock.wallMs();
    const ban = this.#byKey.get(key);
    if (ban !== undefined && tableOf(ban.origin) === table && !isOver(ban.expiresAtMs, nowMs)) {
      return ban;
    }
    const lift = this.#lifts.get(table, key);
    return lift === null || lift.untilMs <= nowMs ? null : lift;
  }

  /** A ban of another node: in force here too, unless what is known here is later. */
  adoptBan(stored: StoredBan): Adopted {
    const key = banKey(stored);
    if (isOver(stored.expiresAtMs, this.#options.clock.wallMs())) return { outcome: 'known', key };
    const table = tableOf(stored.origin);
    const { id, createdAtMs, origin } = stored;
    const lift = this.#lifts.get(table, key);
    if (lift !== null && isLater(lift.liftedAtMs, liftTie(lift), createdAtMs, id)) {
      return { outcome: 'older', key };
    }
    const before = this.#byKey.get(key);
    if (before !== undefined && tableOf(before.origin) === table) {
      if (before.id === id && before.createdAtMs === createdAtMs) return { outcome: 'known', key };
      if (isLater(before.createdAtMs, before.id, createdAtMs, id)) return { outcome: 'older', key };
    } else if (before !== undefined && tableOf(before.origin) === 'operator') {
      const nowMs = this.#options.clock.wallMs();
      if (!isOver(before.expiresAtMs, nowMs)) return { outcome: 'known', key };
    }
    if (origin === 'operator' && before?.origin !== 'operator') {
      const operatorBansMax = this.#options.operatorBansMax ?? OPERATOR_BANS_MAX;
      if (this.activeOf('operator') >= operatorBansMax) return { outcome: 'full', key };
    }
    this.#lifts.remove(table, key);
    const ban = { ...stored, hits: 0 };
    if (this.#byId.has(id) && this.#byId.get(id) !== before) return { outcome: 'full', key };
    this.#insert(ban);
    this.#displace();
    this.#changed();
    if (origin === 'operator') this.onBanned(ban);
    else this.onLearned(ban);
    return { outcome: 'taken', key };
  }

  /** Another node has lifted a ban, or has heard of it. */
  adoptLift(lift: Lift): Adopted {
    const key = banKey(lift);
    if (lift.untilMs <= this.#options.clock.wallMs()) return { outcome: 'known', key };
    const table = tableOf(lift.origin);
    const { liftedAtMs } = lift;
    const tie = liftTie(lift);
    const before = this.#lifts.get(table, key);
    if (before !== null && !isLater(liftedAtMs, tie, before.liftedAtMs, liftTie(before))) {
      const isSame = before.id === lift.id && before.liftedAtMs === liftedAtMs;
      return { outcome: isSame ? 'known' : 'older', key };
    }
    const ban = this.#byKey.get(key);
    if (ban !== undefined && tableOf(ban.origin) === table) {
      if (isLater(ban.createdAtMs, ban.id, liftedAtMs, tie)) return { outcome: 'older', key };
      this.#remove(ban);
      this.counters.lifted++;
      this.onLifted(ban);
    }
    this.#lifts.add(lift);
    this.#changed();
    return { outcome: 'taken', key };
  }

  /** Told to other nodes, and later than what they were told of the same target. */
  #tell(ban: Ban): void {
    const key = banKey(ban);
    const table = tableOf(ban.origin);
    this.#lifts.remove(table, key);
    this.onChanged(table, key);
  }

  #createdAtMs(target: BanTarget, origin: BanOrigin, before: Ban | undefined): number {
    const nowMs = this.#options.clock.wallMs();
    if (this.#options.isShared !== true) return nowMs;
    const liftedAtMs = this.#lifts.get(tableOf(origin), banKey(target))?.liftedAtMs ?? 0;
    return Math.max(nowMs, liftedAtMs + 1, (before?.createdAtMs ?? 0) + 1);
  }

  get(id: string): Ban | null {
    const ban = this.#byId.get(id);
    return ban === undefined || isOver(ban.expiresAtMs, this.#options.clock.wallMs()) ? null : ban;
  }

  /** Those in force, oldest first. May be walked in slices while bans come and go. */
  *list(): Generator<Ban> {
    for (const ban of this.#byId.values()) {
      if (!isOver(ban.expiresAtMs, this.#options.clock.wallMs())) yield ban;
    }
  }

  /** The ban an address is under, whoever the client is. Not counted as a hit. */
  ofAddress(remoteAddress: string): Ban | null {
    if (this.#byKey.size === 0) return null;
    const bytes = clientAddressBytes(remoteAddress);
    if (bytes === null) return null;
    const nowMs = this.#options.clock.wallMs();
    let found: Ban | null = null;
    this.#networks.find(bytes, (ban) => {
      found = weightier(found, ban, nowMs);
      return found?.origin === 'operator';
    });
    return found;
  }

  /**
   * The ban a client is under, that of an operator first. `loginAddress`: the address as failed logins
   * are kept by; null: none are. Not counted as a hit.
   */
  of(subject: BanSubject, loginAddress: string | null): Ban | null {
    if (this.#byKey.size === 0) return null;
    const { clientId, user, fingerprint } = subject;
    const nowMs = this.#options.clock.wallMs();
    let found = this.ofAddress(subject.remoteAddress);
    const look = (target: BanTarget): void => {
      const ban = this.#byKey.get(banKey(target));
      if (ban !== undefined) found = weightier(found, ban, nowMs);
    };
    look({ kind: 'client', value: clientId });
    look({ kind: 'client', value: clientId, user });
    if (user !== null) look({ kind: 'user', value: user });
    if (fingerprint !== null) look({ kind: 'certificate', value: fingerprint });
    if (loginAddress !== null) look({ kind: 'address', value: loginAddress, user });
    return found;
  }

  /** Exactly this target is banned, by whomever. */
  holds(target: BanTarget): boolean {
    const ban = this.#byKey.get(banKey(target));
    return ban !== undefined && !isOver(ban.expiresAtMs, this.#options.clock.wallMs());
  }

  hit(ban: Ban): void {
    ban.hits++;
    this.counters.hits++;
  }

  /** Sweeps and saves when it is time to; called about once a second. */
  tick(monotonicMs: number): void {
    if (monotonicMs >= this.#nextSweepMs) {
      this.#nextSweepMs = monotonicMs + SWEEP_INTERVAL_MS;
      this.#sweep(this.#options.clock.wallMs());
    }
    if (this.#isDirty && this.#saving === null && monotonicMs >= this.#nextSaveMs) {
      this.#save().then(
        () => {},
        () => {},
      );
    }
  }

  /** Resolves when all changes so far are on disk; rejects when they cannot be written. */
  async saved(): Promise<void> {
    // A save that is under way may have begun before the last change; the next one has it. No more
    // than these: changes that come meanwhile may never end.
    await this.#saving?.catch(() => {});
    if (this.#isDirty || this.#saving !== null) await (this.#saving ?? this.#save());
  }

  #save(): Promise<void> {
    const file = this.#file!;
    const { clock, log } = this.#options;
    const startedMs = clock.monotonicMs();
    this.#isDirty = false;
    this.#saving = file.save(this.#byId.values(), this.#lifts.values()).then(
      () => {
        this.#saving = null;
        // However long the list is, writing it takes a small part of the time.
        const tookMs = clock.monotonicMs() - startedMs;
        this.#nextSaveMs = startedMs + Math.max(SAVE_INTERVAL_MS, 20 * tookMs);
      },
      (error: unknown) => {
        this.#saving = null;
        this.#isDirty = true;
        this.counters.saveErrors++;
        this.#nextSaveMs = clock.monotonicMs() + SAVE_RETRY_MS;
        log.error(
          { file: file.path, error: (error as Error).message },
          'bans are in force but could not be written; a restart would forget them',
        );
        throw error;
      },
    );
    return this.#saving;
  }

  #made(
    target: BanTarget,
    origin: BanOrigin,
    details: Pick<Ban, 'reason' | 'by' | 'expiresAtMs' | 'step'>,
    before: Ban | undefined,
  ): Ban {
    const { kind, value, user } = target;
    const { reason, by, expiresAtMs, step } = details;
    this.counters.added++;
    let id = this.#options.random.hex(8);
    while (this.#byId.has(id)) id = this.#options.random.hex(8);
    return {
      id,
      kind,
      value,
      ...(user === undefined ? {} : { user }),
      origin,
      reason,
      by,
      createdAtMs: this.#createdAtMs(target, origin, before),
      expiresAtMs,
      step,
      hits: 0,
    };
  }

  #insert(ban: Ban): void {
    const key = banKey(ban);
    const before = this.#byKey.get(key);
    if (before !== undefined) this.#remove(before);
    this.#byKey.set(key, ban);
    this.#byId.set(ban.id, ban);
    this.#active.set(ban.origin, this.activeOf(ban.origin) + 1);
    if (ban.kind === 'address' && ban.user === undefined) {
      this.#networks.set(parseIpNetwork(ban.value)!, ban);
    }
    if (ban.origin !== 'operator') {
      this.#automatic.add(key);
      this.#automaticCharacters += charactersOf(ban);
    }
  }

  #remove(ban: Ban): void {
    const key = banKey(ban);
    this.#byKey.delete(key);
    this.#byId.delete(ban.id);
    this.#active.set(ban.origin, this.activeOf(ban.origin) - 1);
    if (ban.kind === 'address' && ban.user === undefined) {
      this.#networks.delete(parseIpNetwork(ban.value)!);
    }
    if (this.#automatic.delete(key)) this.#automaticCharacters -= charactersOf(ban);
  }

  /** Keeps the automatic bans within their bounds. */
  #displace(): void {
    const max = this.#options.automaticBansMax ?? AUTOMATIC_BANS_MAX;
    for (const key of this.#automatic) {
      if (this.#automatic.size <= max && this.#automaticCharacters <= AUTOMATIC_CHARACTERS_MAX) {
        return;
      }
      this.#remove(this.#byKey.get(key)!);
      this.counters.displaced++;
    }
  }

  #sweep(nowMs: number): void {
    for (const ban of this.#byId.values()) {
      if (!isOver(ban.expiresAtMs, nowMs)) continue;
      this.#remove(ban);
      this.counters.expired++;
      this.#changed();
    }
    if (this.#lifts.size > 0 && this.#lifts.sweep(nowMs)) this.#changed();
  }

  #changed(): void {
    if (this.#file !== null) this.#isDirty = true;
  }
}

function charactersOf(ban: Ban): number {
  return ban.value.length + (ban.user?.length ?? 0);
}

function isOver(expiresAtMs: number, nowMs: number): boolean {
  return expiresAtMs !== 0 && expiresAtMs <= nowMs;
}

/** The one that says why a client is refused: an operator's word before what was noticed. */
function weightier(found: Ban | null, ban: Ban, nowMs: number): Ban | null {
  if (isOver(ban.expiresAtMs, nowMs)) return found;
  return found === null || (ban.origin === 'operator' && found.origin !== 'operator') ? ban : found;
}

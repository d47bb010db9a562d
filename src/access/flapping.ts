/**
 * Clients that come and go all the time, or two devices with one client identifier that throw each
 * other out: after too many connects in a window the identifier is banned for a while, for that user
 * only. Only proven logins count, so that nobody gets another's identifier banned.
 */
import type { Clock } from '../core/ports.ts';
import type { Ban } from './ban.ts';
import { type Block, Escalation, type EscalationOptions } from './ban-escalation.ts';
import type { Bans } from './bans.ts';
import type { SharedCounting, Tally } from './tally.ts';

export interface FlappingOptions {
  /** Connects within the window that are in order; 0: it is not looked for. */
  readonly connectsMax: number;
  readonly windowS: number;
  readonly banS: number;
  readonly banMaxS: number;
}

const KEYS_MAX = 100_000;

export class Flapping {
  readonly #bans: Bans;
  readonly #clock: Clock;
  readonly #connects: Escalation;
  /** Null: this node is alone. */
  readonly #sharing: SharedCounting | null;
  #shared: Tally | null = null;
  #isOn = false;

  constructor(
    options: FlappingOptions,
    bans: Bans,
    clock: Clock,
    keysMax: number = KEYS_MAX,
    sharing: SharedCounting | null = null,
  ) {
    this.#bans = bans;
    this.#clock = clock;
    this.#sharing = sharing;
    this.#connects = new Escalation(terms(options), clock, keysMax);
    this.revise(options);
  }

  /** After a reload. Bans that are in force stay. */
  revise(options: FlappingOptions): void {
    this.#isOn = options.connectsMax > 0;
    this.#connects.revise(terms(options));
    const { connectsMax, windowS } = options;
    this.#shared = this.#sharing?.open('connects', { eventsMax: connectsMax, windowS }) ?? null;
  }

  /** After the bans were read: those of flapping go on counting where they were. */
  restore(): void {
    for (const ban of this.#bans.list()) this.learned(ban);
  }

  /** A ban that another run, or another node, has begun: the next one is longer than that. */
  learned(ban: Ban): void {
    if (ban.origin !== 'flapping') return;
    const leftMs = Math.max(0, ban.expiresAtMs - this.#clock.wallMs());
    this.#connects.restore(keyOf(ban.value, ban.user ?? null), ban.step, leftMs);
  }

  /** Keys remembered, for tests of its bounds. */
  get size(): number {
    return this.#connects.size;
  }

  /** A client is proven and about to be let in; not null: it came too often. */
  connected(clientId: string, user: string | null): Ban | null {
    if (!this.#isOn) return null;
    const key = keyOf(clientId, user);
    const block = this.#connects.count(key);
    if (this.#shared !== null && block === null) this.#countAmongAll(this.#shared, clientId, user);
    return block === null ? null : this.#ban(clientId, user, block);
  }

  /**
   * What comes back once costs no question: a client's second connect of a window tells of both. So
   * a client that goes round the nodes has one more for each of them.
   */
  #countAmongAll(shared: Tally, clientId: string, user: string | null): void {
    const key = keyOf(clientId, user);
    const events = this.#connects.eventsOf(key);
    if (events < 2) return;
    shared
      .count(key, events === 2 ? 2 : 1)
      .then((answer) => {
        if (answer === 'blocked') this.#sharing?.blockedElsewhere();
        if (answer !== 'over') return;
        if (this.#bans.holds({ kind: 'client', value: clientId, user })) return;
        this.#ban(clientId, user, this.#connects.block(key));
      })
      .catch(() => {
        // Tallies do not reject; this node has counted by itself in any case.
      });
  }

  #ban(clientId: string, user: string | null, { durationMs, step }: Block): Ban {
    this.#shared?.block(keyOf(clientId, user), durationMs);
    return this.#bans.addAutomatic({ kind: 'client', value: clientId, user }, 'flapping', {
      reason: 'connected too often in a short time',
      expiresAtMs: this.#clock.wallMs() + durationMs,
      step,
    });
  }

  /** An operator lifted the ban. */
  lifted(ban: Ban): void {
    if (ban.origin !== 'flapping') return;
    const key = keyOf(ban.value, ban.user ?? null);
    this.#connects.forget(key);
    this.#shared?.forget(key);
  }
}

function keyOf(clientId: string, user: string | null): string {
  return user === null ? `-${clientId}` : `${clientId.length}+${clientId}${user}`;
}

function terms({ connectsMax, windowS, banS, banMaxS }: FlappingOptions): EscalationOptions {
  return { eventsMax: connectsMax, windowS, blockS: banS, blockMaxS: banMaxS };
}

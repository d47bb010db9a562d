/**
 * Clients that come and go all the time, or two devices with one client identifier that throw each
 * other out: after too many connects in a window the identifier is banned for a while, for that user
 * only. Only proven logins count, so that nobody gets another's identifier banned.
 */
import type { Clock } from '../core/ports.ts';
import type { Ban } from './ban.ts';
import { Escalation, type EscalationOptions } from './ban-escalation.ts';
import type { Bans } from './bans.ts';

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
  #isOn: boolean;

  constructor(options: FlappingOptions, bans: Bans, clock: Clock, keysMax: number = KEYS_MAX) {
    this.#bans = bans;
    this.#clock = clock;
    this.#isOn = options.connectsMax > 0;
    this.#connects = new Escalation(terms(options), clock, keysMax);
  }

  /** After a reload. Bans that are in force stay. */
  revise(options: FlappingOptions): void {
    this.#isOn = options.connectsMax > 0;
    this.#connects.revise(terms(options));
  }

  /** After the bans were read: those of flapping go on counting where they were. */
  restore(): void {
    const nowMs = this.#clock.wallMs();
    for (const ban of this.#bans.list()) {
      if (ban.origin !== 'flapping') continue;
      const leftMs = Math.max(0, ban.expiresAtMs - nowMs);
      this.#connects.restore(keyOf(ban.value, ban.user ?? null), ban.step, leftMs);
    }
  }

  /** Keys remembered, for tests of its bounds. */
  get size(): number {
    return this.#connects.size;
  }

  /** A client is proven and about to be let in; not null: it came too often. */
  connected(clientId: string, user: string | null): Ban | null {
    if (!this.#isOn) return null;
    const block = this.#connects.count(keyOf(clientId, user));
    if (block === null) return null;
    return this.#bans.addAutomatic({ kind: 'client', value: clientId, user }, 'flapping', {
      reason: 'connected too often in a short time',
      expiresAtMs: this.#clock.wallMs() + block.durationMs,
      step: block.step,
    });
  }

  /** An operator lifted the ban. */
  lifted(ban: Ban): void {
    if (ban.origin === 'flapping') this.#connects.forget(keyOf(ban.value, ban.user ?? null));
  }
}

function keyOf(clientId: string, user: string | null): string {
  return user === null ? `-${clientId}` : `${clientId.length}+${clientId}${user}`;
}

function terms({ connectsMax, windowS, banS, banMaxS }: FlappingOptions): EscalationOptions {
  return { eventsMax: connectsMax, windowS, blockS: banS, blockMaxS: banMaxS };
}

/**
 * Keeps one connection alive and notices when it is dead: sends PINGREQ when either direction has
 * been silent for most of the keep alive, and gives up when nothing comes back. [MQTT5-3.1.2-20]
 * Made per connection by `client.ts`; the timer never keeps the process alive by itself.
 */

import type { Timers } from './timers.ts';

export interface KeepAliveOptions {
  readonly keepAliveS: number;
  /** Longest wait for any byte after a PINGREQ. */
  readonly timeoutMs: number;
  readonly ping: () => void;
  /** True while we do not read: silence proves nothing then, but the server must still hear us. */
  readonly isPaused: () => boolean;
  readonly lost: () => void;
  readonly timers: Timers;
}

/** A ping leaves at this part of the keep alive, so that it arrives within all of it. */
const PING_AT = 0.75;
const CHECKS = 8;
const CHECK_MS_MIN = 20;
const CHECK_MS_MAX = 1000;

export class KeepAlive {
  readonly #options: KeepAliveOptions;
  readonly #pingAfterMs: number;
  readonly #timers: Timers;
  readonly #stop: () => void;
  #sentMs: number;
  #receivedMs: number;
  /** When a PINGREQ left that nothing has answered; 0: none. */
  #pingMs = 0;

  /** `keepAliveS` above 0. */
  constructor(options: KeepAliveOptions) {
    this.#options = options;
    const { timers } = options;
    this.#timers = timers;
    this.#sentMs = timers.nowMs();
    this.#receivedMs = this.#sentMs;
    this.#pingAfterMs = options.keepAliveS * 1000 * PING_AT;
    const wishedMs = Math.min(this.#pingAfterMs, options.timeoutMs) / CHECKS;
    const checkMs = Math.min(CHECK_MS_MAX, Math.max(CHECK_MS_MIN, wishedMs));
    this.#stop = timers.every(checkMs, () => this.#check());
  }

  sent(): void {
    this.#sentMs = this.#timers.nowMs();
  }

  received(): void {
    this.#receivedMs = this.#timers.nowMs();
    this.#pingMs = 0;
  }

  stop(): void {
    this.#stop();
  }

  #check(): void {
    const nowMs = this.#timers.nowMs();
    const isPaused = this.#options.isPaused();
    if (this.#pingMs !== 0 && !isPaused) {
      if (nowMs - this.#pingMs >= this.#options.timeoutMs) this.#options.lost();
      return;
    }
    const quietSinceMs = isPaused ? this.#sentMs : Math.min(this.#sentMs, this.#receivedMs);
    if (nowMs - quietSinceMs < this.#pingAfterMs) return;
    this.#pingMs = nowMs;
    this.#options.ping();
  }
}

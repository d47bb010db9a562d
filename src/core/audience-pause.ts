/**
 * A publisher that is not read on before its audience has caught up. One that makes no progress meanwhile
 * counts as slow, and all who wait for it go on. Apart from the publisher (a connection, or the inlet of
 * links), so that those who never wait do without. Data plane.
 */
import { Timer, type TimerOwner } from '../util/timer-wheel.ts';
import type { Core } from './core.ts';
import type { Audience, PausedPublisher } from './outlet.ts';

/** What an audience must take within PAUSE_MAX_MS to be waited for on (Outlet.progress). */
const PROGRESS_MIN = 64;
/** How long a publisher waits for an audience that makes no progress before it counts as slow. */
const PAUSE_MAX_MS = 250;

export class AudiencePause implements TimerOwner, PausedPublisher {
  readonly #core: Pick<Core, 'clock' | 'wheel'>;
  readonly #publisher: PausedPublisher;
  readonly #timer: Timer = new Timer(this);
  #audience: Audience | null = null;
  /** The audience's when the pause, or its last extension, began. */
  #progress = 0;

  constructor(core: Pick<Core, 'clock' | 'wheel'>, publisher: PausedPublisher) {
    this.#core = core;
    this.#publisher = publisher;
  }

  get isOn(): boolean {
    return this.#audience !== null;
  }

  begin(audience: Audience): void {
    const { clock, wheel } = this.#core;
    this.#audience = audience;
    this.#progress = audience.progress;
    audience.waiters ??= [];
    audience.waiters.push(this);
    wheel.set(this.#timer, clock.monotonicMs() + PAUSE_MAX_MS);
  }

  audienceReady(): void {
    if (this.#audience === null) return;
    this.#core.wheel.cancel(this.#timer);
    this.#audience = null;
    this.#publisher.audienceReady();
  }

  /** The publisher is gone. */
  end(): void {
    const waiters = this.#audience?.waiters ?? null;
    this.#core.wheel.cancel(this.#timer);
    this.#audience = null;
    const index = waiters === null ? -1 : waiters.indexOf(this);
    if (index !== -1) waiters!.splice(index, 1);
  }

  onTimer(timer: Timer, nowMs: number): void {
    const audience = this.#audience;
    if (audience === null) return;
    if (audience.progress - this.#progress >= PROGRESS_MIN) {
      this.#progress = audience.progress;
      this.#core.wheel.set(timer, nowMs + PAUSE_MAX_MS);
      return;
    }
    audience.slow = true;
    releaseWaiters(audience);
  }
}

/** Lets the publishers go on that waited for this receiver. */
export function releaseWaiters(audience: Audience): void {
  const { waiters } = audience;
  if (waiters === null) return;
  audience.waiters = null;
  for (const waiter of waiters) waiter.audienceReady();
}

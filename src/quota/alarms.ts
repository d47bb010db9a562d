/**
 * Deadlines of those who wait for tokens, on one timer wheel for all. Ticks only while somebody waits:
 * a node at rest has no timer from here.
 */
import type { Clock, Scheduler } from '../core/ports.ts';
import { Timer, type TimerOwner, TimerWheel } from '../util/timer-wheel.ts';

/** How late a client that was slowed down may go on. */
export const ALARM_TICK_MS = 10;
const SLOTS = 1024;

export interface AlarmOwner {
  onAlarm(nowMs: number): void;
}

/** One owner's deadline. */
export class Alarm extends Timer {
  readonly target: AlarmOwner;
  /** Also while the wheel has taken it out and not called yet. */
  isSet = false;

  constructor(alarms: TimerOwner, target: AlarmOwner) {
    super(alarms);
    this.target = target;
  }
}

export class Alarms implements TimerOwner {
  readonly #clock: Clock;
  readonly #scheduler: Scheduler;
  readonly #wheel: TimerWheel;
  #set = 0;
  #stop: (() => void) | null = null;

  constructor(clock: Clock, scheduler: Scheduler) {
    this.#clock = clock;
    this.#scheduler = scheduler;
    this.#wheel = new TimerWheel(ALARM_TICK_MS, SLOTS, clock.monotonicMs());
  }

  make(target: AlarmOwner): Alarm {
    return new Alarm(this, target);
  }

  set(alarm: Alarm, dueMs: number): void {
    if (!alarm.isSet) {
      alarm.isSet = true;
      this.#set++;
    }
    this.#wheel.set(alarm, dueMs);
    this.#stop ??= this.#scheduler.every(ALARM_TICK_MS, () => this.#tick());
  }

  cancel(alarm: Alarm): void {
    if (!alarm.isSet) return;
    alarm.isSet = false;
    this.#set--;
    this.#wheel.cancel(alarm);
  }

  /** A deadline is always that of an `Alarm`: `make` is the only way to one. */
  onTimer(timer: Timer, nowMs: number): void {
    const alarm = timer as Alarm;
    alarm.isSet = false;
    this.#set--;
    alarm.target.onAlarm(nowMs);
  }

  #tick(): void {
    this.#wheel.advance(this.#clock.monotonicMs());
    if (this.#set > 0) return;
    this.#stop?.();
    this.#stop = null;
  }

  stop(): void {
    this.#stop?.();
    this.#stop = null;
  }
}

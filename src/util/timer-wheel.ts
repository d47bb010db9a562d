/**
 * One coarse clock for every deadline of the broker: keep-alive, CONNECT timeout, session expiry,
 * will delay, stalls. A hashed wheel with intrusive timers: set and cancel cost O(1) and nothing is
 * allocated after the timer itself. A timer never fires early; it fires at most one tick late.
 */

/** A deadline of one owner. Make it once, set it as often as needed. */
export class Timer {
  readonly owner: TimerOwner;
  /** Monotonic ms; meaningless while not armed. */
  dueMs = 0;
  /** Links of the slot's ring; null while not armed. */
  next: Timer | null = null;
  previous: Timer | null = null;

  constructor(owner: TimerOwner) {
    this.owner = owner;
  }

  get armed(): boolean {
    return this.next !== null;
  }
}

export interface TimerOwner {
  /** The deadline has passed; the timer is not armed any more and may be set again from here. */
  onTimer(timer: Timer, nowMs: number): void;
}

const NOBODY: TimerOwner = { onTimer: () => {} };

export class TimerWheel {
  readonly tickMs: number;
  readonly #slots: Timer[] = [];
  readonly #mask: number;
  /** Ticks that have been handled. */
  #tick: number;

  /** `slots` is a power of two; deadlines beyond slots × tickMs go round more than once. */
  constructor(tickMs: number, slots: number, nowMs: number) {
    this.tickMs = tickMs;
    this.#mask = slots - 1;
    for (let i = 0; i < slots; i++) {
      const sentinel = new Timer(NOBODY);
      sentinel.next = sentinel;
      sentinel.previous = sentinel;
      this.#slots.push(sentinel);
    }
    this.#tick = Math.floor(nowMs / tickMs);
  }

  /** Arms the timer, or moves it when it is armed. */
  set(timer: Timer, dueMs: number): void {
    if (timer.next !== null) unlink(timer);
    timer.dueMs = dueMs;
    this.#link(timer, Math.max(Math.ceil(dueMs / this.tickMs), this.#tick + 1));
  }

  cancel(timer: Timer): void {
    if (timer.next !== null) unlink(timer);
    // It may be among those that fire right now: then it is in no slot any more.
    timer.dueMs = Number.POSITIVE_INFINITY;
  }

  /** Fires what is due. Owners may set and cancel any timer meanwhile. */
  advance(nowMs: number): void {
    const target = Math.floor(nowMs / this.tickMs);
    // After a long pause every slot is visited once, not once per tick missed.
    const first = Math.max(this.#tick + 1, target - this.#mask);
    for (let tick = first; tick <= target; tick++) {
      this.#tick = tick;
      this.#fire(this.#slots[tick & this.#mask]!, nowMs);
    }
    this.#tick = Math.max(this.#tick, target);
  }

  #link(timer: Timer, tick: number): void {
    const sentinel = this.#slots[tick & this.#mask]!;
    const last = sentinel.previous!;
    timer.previous = last;
    timer.next = sentinel;
    last.next = timer;
    sentinel.previous = timer;
  }

  #fire(sentinel: Timer, nowMs: number): void {
    // Take the whole ring first: owners may link new timers into this very slot.
    let timer = sentinel.next!;
    if (timer === sentinel) return;
    const due: Timer[] = [];
    while (timer !== sentinel) {
      const next = timer.next!;
      if (timer.dueMs <= nowMs) {
        unlink(timer);
        due.push(timer);
      }
      timer = next;
    }
    for (const fired of due) {
      // Set again by another owner meanwhile: not its time. Cancelled: not due any more.
      if (fired.next === null && fired.dueMs <= nowMs) fired.owner.onTimer(fired, nowMs);
    }
  }
}

function unlink(timer: Timer): void {
  timer.previous!.next = timer.next;
  timer.next!.previous = timer.previous;
  timer.next = null;
  timer.previous = null;
}

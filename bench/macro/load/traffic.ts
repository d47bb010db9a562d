// Drives all publishers of a load process until each has sent its count and has its acks: as fast
// as windows and sockets allow, or by a timetable. Gives every publisher one burst per turn of the
// event loop, and sleeps in the kernel when none can go on.

import type { Meter } from './meter.ts';
import type { PublishPlan } from './protocol.ts';
import type { Publisher } from './publisher.ts';

const STALL_CHECK_MS = 100;

export class Traffic {
  readonly #publishers: readonly Publisher[];
  readonly #plan: PublishPlan;
  readonly #meter: Meter;
  readonly #done: () => void;
  readonly #watch: NodeJS.Timeout;
  readonly #pauseMs: number;
  #next = 0;
  #scheduled = false;
  #ended = false;
  #startUs = 0;
  #sentOfTimetable = 0;
  #progress = -1;
  #progressAtUs = 0;

  constructor(publishers: readonly Publisher[], plan: PublishPlan, meter: Meter, done: () => void) {
    this.#publishers = publishers;
    this.#plan = plan;
    this.#meter = meter;
    this.#done = done;
    this.#pauseMs = plan.ratePerS > 0 ? (plan.pauseMs ?? 0) : 0;
    this.#watch = setInterval(() => this.#check(), STALL_CHECK_MS);
  }

  start(): void {
    this.#startUs = this.#meter.nowUs();
    this.#progressAtUs = this.#startUs;
    for (const publisher of this.#publishers) {
      publisher.client.onRoom = () => this.#wake();
    }
    this.#wake();
  }

  #wake(): void {
    if (!this.#scheduled && !this.#ended) {
      this.#scheduled = true;
      if (this.#pauseMs > 0) setTimeout(() => this.#turn(), this.#pauseMs);
      else setImmediate(() => this.#turn());
    }
  }

  #turn(): void {
    this.#scheduled = false;
    if (this.#ended) {
      return;
    }
    const timed = this.#plan.ratePerS > 0;
    const sent = timed ? this.#timedTurn() : this.#fastTurn();
    const finished = this.#publishers.every((publisher) => publisher.finished);
    if (finished) {
      if (this.#publishers.every((publisher) => publisher.settled)) {
        this.#end();
      }
    } else if (sent > 0 || timed) {
      this.#wake();
    }
  }

  #fastTurn(): number {
    const nowUs = this.#meter.nowUs();
    let sent = 0;
    for (const publisher of this.#publishers) {
      sent += publisher.turn(this.#plan.burst, nowUs);
    }
    return sent;
  }

  /** One message at a time from publisher after publisher, as many as are due by now. */
  #timedTurn(): number {
    const perUs = this.#plan.ratePerS / 1_000_000;
    const due = Math.floor((this.#meter.nowUs() - this.#startUs) * perUs);
    let sent = 0;
    while (this.#sentOfTimetable < due) {
      const nowUs = this.#meter.nowUs();
      const publisher = this.#publishers[this.#next]!;
      this.#next = this.#next + 1 === this.#publishers.length ? 0 : this.#next + 1;
      this.#sentOfTimetable++;
      if (publisher.turn(1, nowUs) > 0) {
        const dueUs = this.#startUs + this.#sentOfTimetable / perUs;
        this.#meter.lateness.add((nowUs - dueUs) | 0);
        sent++;
      } else if (this.#publishers.every((some) => some.finished)) {
        break;
      }
    }
    return sent;
  }

  /** Ends what has settled without a further event, and what no longer moves. */
  #check(): void {
    const meter = this.#meter;
    const progress = meter.sent + meter.acked + meter.received;
    const nowUs = meter.nowUs();
    if (progress !== this.#progress) {
      this.#progress = progress;
      this.#progressAtUs = nowUs;
    }
    if (nowUs - this.#startUs > this.#plan.withinMs * 1000) {
      for (const publisher of this.#publishers) {
        publisher.stop();
      }
    }
    const stalled = nowUs - this.#progressAtUs > this.#plan.stallMs * 1000;
    if (stalled || this.#publishers.every((publisher) => publisher.settled)) {
      this.#end();
    } else {
      this.#wake();
    }
  }

  #end(): void {
    if (!this.#ended) {
      this.#ended = true;
      clearInterval(this.#watch);
      for (const publisher of this.#publishers) {
        publisher.client.onRoom = undefined;
      }
      this.#done();
    }
  }
}

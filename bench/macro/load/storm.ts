// The connect storm: opens a connection, waits for CONNACK, sends DISCONNECT, begins the next one,
// with a fixed number under way or by a timetable, anonymous or with logins taken in turn. Source
// addresses change so that no address runs out of ports.

import type { Socket } from 'node:net';
import { connect } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { Histogram } from '../histogram.ts';
import { connectFrame, disconnectFrame } from './frames.ts';
import type { Meter } from './meter.ts';
import type { Stormed, StormPlan } from './protocol.ts';

const ADDRESSES = 200;
const ATTEMPT_MS = 5000;
/** Of the timetable. */
const TICK_MS = 2;
/** What could not be opened for longer is left out: made up for at once it would be a burst. */
const BACKLOG_S = 0.02;

export class Storm {
  readonly #plan: StormPlan;
  readonly #meter: Meter;
  readonly #done: (result: Stormed) => void;
  readonly #failures: Map<string, number> = new Map();
  readonly #connackUs: Histogram = new Histogram();
  readonly #network: string;
  readonly #startUs: number;
  #ticks: NodeJS.Timeout | undefined;
  #endUs: number;
  /** Attempts the timetable has room for now. */
  #due = 0;
  #dueAtUs: number;
  #number = 0;
  #connected = 0;
  #lastUs: number;
  #under = 0;

  constructor(plan: StormPlan, meter: Meter, done: (result: Stormed) => void) {
    this.#plan = plan;
    this.#meter = meter;
    this.#done = done;
    this.#network = `127.0.${(plan.network ?? 1) + plan.process}`;
    this.#startUs = meter.nowUs();
    this.#lastUs = this.#startUs;
    this.#dueAtUs = this.#startUs;
    this.#endUs = this.#startUs + plan.seconds * 1_000_000;
  }

  start(): void {
    if (this.#plan.ratePerS !== undefined) {
      this.#ticks = setInterval(() => this.#go(), TICK_MS);
    }
    this.#go();
  }

  end(): void {
    this.#endUs = 0;
    this.#go();
  }

  get #isOver(): boolean {
    const { count } = this.#plan;
    return this.#meter.nowUs() >= this.#endUs || (count !== undefined && this.#number >= count);
  }

  /** Opens what is due and has room; ends when nothing more is due and all are answered. */
  #go(): void {
    const { concurrency, ratePerS } = this.#plan;
    if (ratePerS === undefined) {
      this.#due = Number.POSITIVE_INFINITY;
    } else {
      const nowUs = this.#meter.nowUs();
      const due = this.#due + ((nowUs - this.#dueAtUs) / 1_000_000) * ratePerS;
      this.#due = Math.min(due, Math.max(1, ratePerS * BACKLOG_S));
      this.#dueAtUs = nowUs;
    }
    while (this.#under < concurrency && this.#due >= 1 && !this.#isOver) {
      this.#due--;
      this.#open();
    }
    if (this.#isOver && this.#under === 0) {
      clearInterval(this.#ticks);
      this.#done({
        connected: this.#connected,
        elapsedS: (this.#lastUs - this.#startUs) / 1_000_000,
        failures: this.#failures,
        connackUs: this.#connackUs.counts,
      });
    }
  }

  #open(): void {
    const { target, process: processNumber, logins, tls } = this.#plan;
    const number = this.#number++;
    const login = logins?.[number % logins.length];
    const openedUs = this.#meter.nowUs();
    let outcome: string | undefined;
    this.#under++;
    const options = {
      host: target.host,
      port: target.port,
      localAddress: `${this.#network}.${2 + (number % (this.#plan.addresses ?? ADDRESSES))}`,
      noDelay: true,
    };
    const socket: Socket =
      tls === undefined ? connect(options) : connectTls({ ...options, ...tls });
    socket.setTimeout(this.#plan.attemptMs ?? ATTEMPT_MS, () => {
      outcome ??= 'no answer';
      socket.destroy();
    });
    socket.once(tls === undefined ? 'connect' : 'secureConnect', () => {
      const clientId = `s${processNumber}-${number}`;
      const { mqttVersion, keepAliveS } = target;
      socket.write(connectFrame(mqttVersion, clientId, true, keepAliveS, login));
    });
    socket.on('data', (data) => {
      if (outcome !== undefined || data[0] !== 0x20) return;
      this.#lastUs = this.#meter.nowUs();
      if (data[3] !== 0) {
        outcome = `CONNACK 0x${(data[3] ?? 0).toString(16)}`;
        socket.end();
        return;
      }
      outcome = '';
      this.#connected++;
      this.#connackUs.add(this.#lastUs - openedUs);
      socket.end(disconnectFrame);
    });
    socket.once('error', (error: NodeJS.ErrnoException) => {
      outcome ??= error.code ?? error.message;
    });
    socket.once('close', () => {
      this.#closed(outcome ?? 'closed before CONNACK');
    });
  }

  #closed(outcome: string): void {
    this.#under--;
    if (outcome !== '') {
      this.#failures.set(outcome, (this.#failures.get(outcome) ?? 0) + 1);
    }
    this.#go();
  }
}

// The connect storm: opens a connection, waits for CONNACK, sends DISCONNECT, begins the next one,
// with a fixed number under way. Source addresses change so that no address runs out of ports.

import type { Socket } from 'node:net';
import { connect } from 'node:net';
import { Histogram } from '../histogram.ts';
import { connectFrame, disconnectFrame } from './frames.ts';
import type { Meter } from './meter.ts';
import type { Stormed, StormPlan } from './protocol.ts';

const ADDRESSES = 200;
const ATTEMPT_MS = 5000;

export class Storm {
  readonly #plan: StormPlan;
  readonly #meter: Meter;
  readonly #done: (result: Stormed) => void;
  readonly #failures: Map<string, number> = new Map();
  readonly #connackUs: Histogram = new Histogram();
  readonly #startUs: number;
  readonly #endUs: number;
  #number = 0;
  #connected = 0;
  #lastUs = 0;
  #under = 0;

  constructor(plan: StormPlan, meter: Meter, done: (result: Stormed) => void) {
    this.#plan = plan;
    this.#meter = meter;
    this.#done = done;
    this.#startUs = meter.nowUs();
    this.#endUs = this.#startUs + plan.seconds * 1_000_000;
  }

  start(): void {
    for (let index = 0; index < this.#plan.concurrency; index++) {
      this.#open();
    }
  }

  #open(): void {
    const { target, process: processNumber } = this.#plan;
    const number = this.#number++;
    const clientId = `s${processNumber}-${number}`;
    const openedUs = this.#meter.nowUs();
    let outcome: string | undefined;
    this.#under++;
    const socket: Socket = connect({
      host: target.host,
      port: target.port,
      localAddress: `127.0.${1 + processNumber}.${2 + (number % ADDRESSES)}`,
      noDelay: true,
    });
    socket.setTimeout(ATTEMPT_MS, () => {
      outcome ??= 'no answer';
      socket.destroy();
    });
    socket.once('connect', () => {
      socket.write(connectFrame(target.mqttVersion, clientId, true, target.keepAliveS));
    });
    socket.on('data', (data) => {
      if (data[0] === 0x20 && data[3] === 0) {
        outcome = '';
        this.#connected++;
        this.#lastUs = this.#meter.nowUs();
        this.#connackUs.add(this.#lastUs - openedUs);
        socket.end(disconnectFrame);
      }
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
    if (this.#meter.nowUs() < this.#endUs) {
      this.#open();
    } else if (this.#under === 0) {
      this.#done({
        connected: this.#connected,
        elapsedS: (this.#lastUs - this.#startUs) / 1_000_000,
        failures: this.#failures,
        connackUs: this.#connackUs.counts,
      });
    }
  }
}

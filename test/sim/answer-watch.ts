/**
 * What a node may not say once its lease is over (hard cases 2 and 3): that somebody is subscribed, or
 * connected. Reads what leaves brokers for clients; used by cluster-run.ts.
 */
import type { SimLife } from './sim-site.ts';

const CONNACK = 2;
const SUBACK = 9;
const UNSUBACK = 11;
/** An answer that was released in time may leave at the end of its turn, or in the next one. */
const TURN_MS = 2;

export class AnswerWatch {
  readonly broken: string[] = [];

  /** Whole packets, as the outbox hands them over. */
  wrote(life: SimLife, nowMs: number, buffer: Buffer, start: number, end: number): void {
    for (let at = start; at < end; ) {
      const body = at + 1 + lengthBytes(buffer, at + 1);
      this.#packet(life, nowMs, buffer, at, body);
      at = body + remainingLength(buffer, at + 1);
    }
  }

  #packet(life: SimLife, nowMs: number, buffer: Buffer, at: number, body: number): void {
    const type = buffer[at]! >> 4;
    if (type !== CONNACK && type !== SUBACK && type !== UNSUBACK) return;
    if (type === CONNACK && buffer[body + 1] !== 0) return;
    if (life.membership.mayServe() || nowMs - life.servedMs <= TURN_MS) return;
    this.broken.push(`${life.node.name} sent packet type ${type} without its lease`);
  }
}

function lengthBytes(buffer: Buffer, at: number): number {
  let count = 1;
  while (buffer[at + count - 1]! >= 0x80) count++;
  return count;
}

function remainingLength(buffer: Buffer, at: number): number {
  let length = 0;
  for (let i = 0; ; i++) {
    length += (buffer[at + i]! & 0x7f) * 128 ** i;
    if (buffer[at + i]! < 0x80) return length;
  }
}

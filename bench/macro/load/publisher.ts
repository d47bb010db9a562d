// Sends one client's messages: stamps the time and packet ids into packets built beforehand and
// hands the packets of one turn to the socket as one buffer. Driven by traffic.ts.

import type { Client } from './client.ts';
import { UNSENT_BYTES_MAX } from './client.ts';
import type { PublishTemplate } from './frames.ts';
import type { Meter } from './meter.ts';
import type { PublishPlan } from './protocol.ts';

export class Publisher {
  sent = 0;
  readonly client: Client;
  readonly #plan: PublishPlan;
  readonly #template: PublishTemplate;
  readonly #meter: Meter;
  readonly #window: number;
  #burst: Buffer;
  /** Prefixes of the burst buffer by number of packets, made when first wanted. */
  #prefixes: (Buffer | undefined)[] = [];
  #stopped = false;
  #topic = 0;
  #packetId = 0;

  constructor(client: Client, plan: PublishPlan, template: PublishTemplate, meter: Meter) {
    this.client = client;
    this.#plan = plan;
    this.#template = template;
    this.#meter = meter;
    this.#window = Math.min(plan.window, client.receiveMaximum);
    this.#burst = this.#newBurst();
  }

  /** Everything that will be sent has been sent, or cannot be any more. */
  get finished(): boolean {
    return this.#stopped || this.sent >= this.#plan.countPerPublisher || !this.client.usable;
  }

  /** Nothing of what was sent is still on its way out or waits for an ack. */
  get settled(): boolean {
    const client = this.client;
    return !client.usable || (this.finished && client.inflight === 0 && client.unsentBytes === 0);
  }

  /** Sends nothing more; what is under way is still waited for. */
  stop(): void {
    this.#stopped = true;
  }

  /** Sends up to `most` messages if window and socket allow; answers how many. */
  turn(most: number, nowUs: number): number {
    const client = this.client;
    let count = Math.min(most, this.#plan.countPerPublisher - this.sent);
    if (this.#plan.qos > 0) {
      count = Math.min(count, this.#window - client.inflight);
    }
    if (count <= 0 || this.#stopped || client.unsentBytes >= UNSENT_BYTES_MAX || !client.usable) {
      return 0;
    }
    this.#stamp(count, nowUs);
    client.write(this.#prefix(count));
    if (client.unsentBytes > 0) {
      this.#burst = this.#newBurst();
      this.#prefixes = [];
    }
    this.sent += count;
    this.#meter.sent += count;
    if (this.#meter.firstSentUs === 0) {
      this.#meter.firstSentUs = nowUs;
    }
    return count;
  }

  #newBurst(): Buffer {
    const { bytes, packetBytes } = this.#template;
    const burst = Buffer.allocUnsafeSlow(packetBytes * this.#plan.burst);
    for (let at = 0; at < burst.length; at += packetBytes) {
      bytes.copy(burst, at, 0, packetBytes);
    }
    return burst;
  }

  #prefix(count: number): Buffer {
    let prefix = this.#prefixes[count];
    if (prefix === undefined) {
      prefix = this.#burst.subarray(0, count * this.#template.packetBytes);
      this.#prefixes[count] = prefix;
    }
    return prefix;
  }

  #stamp(count: number, nowUs: number): void {
    const { bytes, packetBytes, packetIdOffset, payloadOffset, topics } = this.#template;
    const burst = this.#burst;
    const client = this.client;
    for (let index = 0; index < count; index++) {
      const start = index * packetBytes;
      if (topics > 1) {
        const from = this.#topic * packetBytes;
        bytes.copy(burst, start, from, from + packetBytes);
        this.#topic = this.#topic + 1 === topics ? 0 : this.#topic + 1;
      }
      if (packetIdOffset >= 0) {
        const packetId = this.#packetId === 65_535 ? 1 : this.#packetId + 1;
        this.#packetId = packetId;
        burst[start + packetIdOffset] = packetId >> 8;
        burst[start + packetIdOffset + 1] = packetId;
        client.inflight++;
        client.noteSent(packetId, nowUs);
      }
      const at = start + payloadOffset;
      burst[at] = nowUs >> 24;
      burst[at + 1] = nowUs >> 16;
      burst[at + 2] = nowUs >> 8;
      burst[at + 3] = nowUs;
    }
  }
}

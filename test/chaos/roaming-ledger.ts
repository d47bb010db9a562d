/**
 * The books of a run of moves between regions: what was acknowledged to whom published it, and what came to
 * whom it was for. Knows no socket.
 */
export type QoS = 1 | 2;

interface Line {
  readonly qos: QoS;
  readonly acked: Set<number>;
  /** How often each came. */
  readonly counts: Map<number, number>;
  readonly hows: Map<number, readonly string[]>;
  last: number;
}

export interface RoamingVerdict {
  readonly acked: number;
  readonly delivered: number;
  readonly lost: number;
  readonly qos2Duplicates: number;
  readonly qos1Duplicates: number;
  readonly outOfOrder: number;
  readonly ownedTwice: number;
  readonly sessionsLost: number;
  /** The first few in words. */
  readonly examples: readonly string[];
}

const EXAMPLES_MAX = 12;

/** As brokers log it. */
function nowMs(): number {
  return Math.round(performance.timeOrigin + performance.now());
}

export class RoamingLedger {
  /** The regions do not see each other: both may serve a device. */
  isBlind = false;
  /** By receiver and topic. */
  readonly #lines: Map<string, Line> = new Map();
  /** Topics whose messages a device has published: others receive them. */
  #outOfOrder = 0;
  #ownedTwice = 0;
  #sessionsLost = 0;
  #acked = 0;
  readonly #said: string[] = [];

  #line(topic: string, qos: QoS): Line {
    let line = this.#lines.get(topic);
    if (line === undefined) {
      line = { qos, acked: new Set(), counts: new Map(), hows: new Map(), last: 0 };
      this.#lines.set(topic, line);
    }
    return line;
  }

  #say(what: string): void {
    if (this.#said.length < EXAMPLES_MAX) this.#said.push(what);
  }

  acked(topic: string, seq: number, qos: QoS): void {
    this.#acked++;
    this.#line(topic, qos).acked.add(seq);
  }

  /** `how`: for whoever looks for a mistake. */
  delivered(receiver: string, topic: string, seq: number, qos: QoS, how = ''): void {
    const line = this.#line(topic, qos);
    const count = (line.counts.get(seq) ?? 0) + 1;
    const hows = (line.hows.get(seq) ?? []).concat(`${nowMs()} ${how}`);
    line.hows.set(seq, hows);
    line.counts.set(seq, count);
    if (count > 1) {
      if (qos === 2)
        this.#said.unshift(`${receiver} got ${topic} ${seq} ${count} times: ${hows.join('; ')}`);
      return;
    }
    if (seq < line.last) {
      this.#outOfOrder++;
      this.#say(`${receiver} got ${topic} ${seq} after ${line.last}: ${how}`);
    }
    line.last = Math.max(line.last, seq);
  }

  sessionLost(device: string, region: string): void {
    this.#sessionsLost++;
    this.#said.unshift(`${nowMs()} ${device} found no session in ${region}`);
  }

  ownedTwice(device: string, region: string): void {
    this.#ownedTwice++;
    this.#said.unshift(`${nowMs()} ${device} was still served in ${region}`);
  }

  /** Acknowledged, and not there yet. */
  get missing(): number {
    let missing = 0;
    for (const { acked, counts } of this.#lines.values()) {
      for (const seq of acked) if (!counts.has(seq)) missing++;
    }
    return missing;
  }

  verdict(): RoamingVerdict {
    let delivered = 0;
    let qos1 = 0;
    let qos2 = 0;
    for (const [topic, { qos, acked, counts }] of this.#lines) {
      delivered += counts.size;
      for (const count of counts.values()) {
        if (qos === 1) qos1 += count - 1;
        else qos2 += count - 1;
      }
      for (const seq of acked) {
        if (!counts.has(seq)) this.#said.unshift(`${topic} ${seq} never came`);
      }
    }
    return {
      acked: this.#acked,
      delivered,
      lost: this.missing,
      qos2Duplicates: qos2,
      qos1Duplicates: qos1,
      outOfOrder: this.#outOfOrder,
      ownedTwice: this.#ownedTwice,
      sessionsLost: this.#sessionsLost,
      examples: this.#said.slice(0, EXAMPLES_MAX),
    };
  }
}

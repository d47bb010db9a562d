/**
 * The books of a run of moves between regions: what was acknowledged to whom published it, and what came to
 * whom it was for. Knows no socket.
 *
 * Who is told of no session (CONNACK, session present = 0) has to subscribe anew: what is published between that
 * CONNECT and the time at which all regions know of its subscriptions again is not owed to it (ADR 0023). What had been
 * acknowledged before is, and what is published later. What it had before it began anew, or what was published before
 * its two sessions met, may come twice.
 */
export type QoS = 1 | 2;

interface Line {
  readonly qos: QoS;
  /** When its publisher had the answer. */
  readonly acked: Map<number, number>;
  /** When it was published first. */
  readonly sent: Map<number, number>;
  /** How often each came. */
  readonly counts: Map<number, number>;
  readonly hows: Map<number, readonly string[]>;
  /** When each came first. */
  readonly came: Map<number, number>;
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
  /** Not promised: sessions that nobody could know of, what was published meanwhile, and what came twice for that. */
  readonly sessionsUnknown: number;
  readonly notOwed: number;
  readonly repeatsExcused: number;
  /** The first few in words. */
  readonly examples: readonly string[];
}

/** A device has begun anew, as it was told of no session. */
export interface Fork {
  /** When it sent that CONNECT. */
  readonly fromMs: number;
  /** Until when its subscriptions, and that it is here, may not be known everywhere. */
  toMs: number;
}

const EXAMPLES_MAX = 12;

/** As brokers log it. */
function nowMs(): number {
  return Math.round(performance.timeOrigin + performance.now());
}

export class RoamingLedger {
  /** The regions do not see each other: both may serve a device. */
  isBlind = false;
  /** Told of a device that begins anew. */
  onFork: (device: string, fork: Fork) => void = () => {};
  /** By device. */
  readonly #forks: Map<string, readonly Fork[]> = new Map();
  #sessionsUnknown = 0;
  #repeatsExcused = 0;
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
      line = {
        ...{ qos, acked: new Map(), sent: new Map(), last: 0 },
        ...{ counts: new Map(), hows: new Map(), came: new Map() },
      };
      this.#lines.set(topic, line);
    }
    return line;
  }

  #say(what: string): void {
    if (this.#said.length < EXAMPLES_MAX) this.#said.push(what);
  }

  sent(topic: string, seq: number, qos: QoS, atMs: number = nowMs()): void {
    this.#line(topic, qos).sent.set(seq, atMs);
  }

  acked(topic: string, seq: number, qos: QoS, atMs: number = nowMs()): void {
    this.#acked++;
    this.#line(topic, qos).acked.set(seq, atMs);
  }

  /** Of a message to a device; what devices publish is owed to who stays. */
  #forksOf(topic: string): readonly Fork[] {
    return this.#forks.get(topic.split('/')[1]!) ?? [];
  }

  #isOwed(topic: string, line: Line, seq: number): boolean {
    const sentMs = line.sent.get(seq) ?? 0;
    const ackedMs = line.acked.get(seq)!;
    return this.#forksOf(topic).every(({ fromMs, toMs }) => ackedMs < fromMs || sentMs >= toMs);
  }

  /** It came when `fork` had begun, and had come before that, or was there before both sessions had met. */
  #mayRepeat(topic: string, line: Line, seq: number, atMs: number): boolean {
    return this.#forksOf(topic).some(
      ({ fromMs, toMs }) =>
        atMs >= fromMs && (line.came.get(seq)! < fromMs || (line.sent.get(seq) ?? 0) < toMs),
    );
  }

  /** `how`: for whoever looks for a mistake. */
  delivered(
    receiver: string,
    topic: string,
    seq: number,
    qos: QoS,
    how = '',
    atMs: number = nowMs(),
  ): void {
    const line = this.#line(topic, qos);
    const count = (line.counts.get(seq) ?? 0) + 1;
    const hows = (line.hows.get(seq) ?? []).concat(`${atMs} ${how}`);
    line.hows.set(seq, hows);
    line.counts.set(seq, count);
    if (count === 1) line.came.set(seq, atMs);
    if (count > 1 && qos === 2 && this.#mayRepeat(topic, line, seq, atMs)) {
      this.#repeatsExcused++;
      return;
    }
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

  /**
   * `fromMs`: of the CONNECT that found none. It may be so if it is nobody's fault: no row had to have it, as the
   * device was never told that it is subscribed, and whoever had it could not be asked.
   */
  sessionLost(device: string, region: string, fromMs: number, isUnknown: boolean): void {
    const fork = { fromMs, toMs: Number.POSITIVE_INFINITY };
    const before = this.#forks.get(device) ?? [];
    // What the one before is about goes on in this one.
    for (const one of before) one.toMs = Math.min(one.toMs, fromMs);
    this.#forks.set(device, [...before, fork]);
    this.onFork(device, fork);
    if (isUnknown) {
      this.#sessionsUnknown++;
      return;
    }
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
    for (const [topic, line] of this.#lines) {
      for (const seq of line.acked.keys()) {
        if (!line.counts.has(seq) && this.#isOwed(topic, line, seq)) missing++;
      }
    }
    return missing;
  }

  verdict(): RoamingVerdict {
    let delivered = 0;
    let qos1 = 0;
    let qos2 = 0;
    let notOwed = 0;
    for (const [topic, line] of this.#lines) {
      const { qos, acked, counts } = line;
      delivered += counts.size;
      for (const count of counts.values()) {
        if (qos === 1) qos1 += count - 1;
        else qos2 += count - 1;
      }
      for (const seq of acked.keys()) {
        if (counts.has(seq)) continue;
        if (this.#isOwed(topic, line, seq)) this.#said.unshift(`${topic} ${seq} never came`);
        else notOwed++;
      }
    }
    return {
      acked: this.#acked,
      delivered,
      lost: this.missing,
      qos2Duplicates: qos2 - this.#repeatsExcused,
      qos1Duplicates: qos1,
      outOfOrder: this.#outOfOrder,
      ownedTwice: this.#ownedTwice,
      sessionsLost: this.#sessionsLost,
      sessionsUnknown: this.#sessionsUnknown,
      notOwed,
      repeatsExcused: this.#repeatsExcused,
      examples: this.#said.slice(0, EXAMPLES_MAX),
    };
  }
}

/**
 * What decision sources (HTTP) say about one connection: peeked per packet, asked when nobody knows,
 * and remembered for the packet that waits meanwhile. The first source with an opinion counts. Made and
 * called by `client-gate.ts`.
 */
import { hash } from 'node:crypto';
import { type GateWaiter, WAIT } from '../core/ports.ts';
import type { AclAction } from './acl/granted-rule.ts';
import type { Decider, SourceVerdict } from './acl/source.ts';
import type { AskLine } from './ask-line.ts';

/** Who holds the connection's rights. */
export interface AskedRightsOwner {
  readonly asks: AskLine;
  monotonicMs(): number;
  /** A source denies now what it allowed before. */
  rightsChanged(): void;
  /** What waited failed when it went on: a fault of the program. */
  failed(error: unknown): void;
}

/** Subscriptions whose verdict is remembered for the next look at them. */
const SAID_MAX = 1000;
/** Longer filters are remembered by their hash: SAID_MAX of them would be 64 MiB of one client. */
const FILTER_LENGTH_MAX = 200;
/**
 * Longest time answers are kept for a packet that is not handed in again, from the last of them on:
 * a SUBSCRIBE with many filters may wait for each longer than this for all, and has to come to an end.
 */
const KEPT_MS = 10_000;
/** Subscriptions of a session that are asked about at one time before it is resumed. */
const LEARNED_AT_ONCE = 8;

export class AskedRights {
  readonly #clientId: string;
  readonly #deciders: readonly Decider[];
  readonly #owner: AskedRightsOwner;
  /**
   * Answers for the packet that waits, by question: a SUBSCRIBE is handed in anew after each of its
   * filters was asked, so all are kept until it is through.
   */
  readonly #kept = new Map<string, SourceVerdict>();
  #keptAtMs = 0;
  /** What was last said of subscriptions, by filter (`saidKey`). */
  readonly #said = new Map<string, SourceVerdict>();
  /** Filters asked about again since `keeps` did not know. */
  readonly #reasked = new Set<string>();
  #isAsking = false;
  #wasUsed = false;
  #isClosed = false;

  constructor(clientId: string, deciders: readonly Decider[], owner: AskedRightsOwner) {
    this.#clientId = clientId;
    this.#deciders = deciders;
    this.#owner = owner;
  }

  /** `ignore`: the rules decide. Undefined: it was asked, and `waiter` goes on with the answer. */
  decide(
    action: AclAction,
    topic: string,
    qos: number,
    retain: boolean,
    waiter: GateWaiter,
  ): SourceVerdict | undefined {
    const verdict =
      this.#recall(action, topic, qos, retain) ?? this.#peek(action, topic, qos, retain);
    if (verdict !== undefined) {
      if (action === 'subscribe') this.#remember(topic, verdict);
      return verdict;
    }
    this.#isAsking = true;
    this.ask(action, topic, qos, retain)
      .then((answer) => this.#answered(action, topic, qos, retain, answer, waiter))
      .catch((error: unknown) => this.#owner.failed(error));
    return undefined;
  }

  /** What is known about a subscription, or was last said; undefined: nothing. Asks behind the back. */
  keeps(filter: string, qos: number): SourceVerdict | undefined {
    const verdict = this.#peek('subscribe', filter, qos, false);
    if (verdict !== undefined && verdict !== 'unavailable') {
      this.#remember(filter, verdict);
      return verdict;
    }
    this.#askAgain(filter, qos);
    return this.#said.get(saidKey(filter));
  }

  /**
   * Is a verdict known about each? WAIT: they are asked, some at a time, and `decide` is told whether
   * all have been answered.
   */
  knows(
    subscriptions: Iterable<{ readonly filter: string; readonly qos: number }>,
    decide: (known: boolean) => void,
  ): boolean | typeof WAIT {
    const unknown: { readonly filter: string; readonly qos: number }[] = [];
    for (const { filter, qos } of subscriptions) {
      const verdict = this.#peek('subscribe', filter, qos, false);
      if (verdict === undefined || verdict === 'unavailable') unknown.push({ filter, qos });
      else this.#remember(filter, verdict);
    }
    if (unknown.length === 0) return true;
    this.#learn(unknown)
      .then(decide)
      .catch((error: unknown) => this.#owner.failed(error));
    return WAIT;
  }

  async #learn(unknown: { readonly filter: string; readonly qos: number }[]): Promise<boolean> {
    const line = unknown.values();
    let isKnown = true;
    const ask = async (): Promise<void> => {
      for (const { filter, qos } of line) {
        if (this.#isClosed || !isKnown) return;
        const verdict = await this.ask('subscribe', filter, qos, false);
        if (verdict === 'unavailable') isKnown = false;
        else this.#remember(filter, verdict);
      }
    };
    await Promise.all(Array.from({ length: Math.min(LEARNED_AT_ONCE, unknown.length) }, ask));
    return isKnown;
  }

  /** Also for a will, which no packet waits for. Never rejects. */
  ask(action: AclAction, topic: string, qos: number, retain: boolean): Promise<SourceVerdict> {
    return this.#owner.asks.live(() => this.#ask(action, topic, qos, retain));
  }

  async #ask(
    action: AclAction,
    topic: string,
    qos: number,
    retain: boolean,
  ): Promise<SourceVerdict> {
    try {
      for (const decider of this.#deciders) {
        const verdict =
          decider.peek(action, topic, qos, retain) ??
          (await decider.ask(action, topic, qos, retain));
        if (verdict !== 'ignore') return verdict;
      }
      return 'ignore';
    } catch (error) {
      this.#owner.failed(error);
      return 'unavailable';
    }
  }

  /** No packet waits any more. */
  close(): void {
    this.#isClosed = true;
    this.#kept.clear();
    this.#reasked.clear();
  }

  #peek(action: AclAction, topic: string, qos: number, retain: boolean): SourceVerdict | undefined {
    for (let i = 0; i < this.#deciders.length; i++) {
      const verdict = this.#deciders[i]!.peek(action, topic, qos, retain);
      if (verdict !== 'ignore') return verdict;
    }
    return 'ignore';
  }

  #recall(
    action: AclAction,
    topic: string,
    qos: number,
    retain: boolean,
  ): SourceVerdict | undefined {
    if (this.#kept.size === 0) return undefined;
    if (this.#owner.monotonicMs() - this.#keptAtMs > KEPT_MS) {
      this.#kept.clear();
      return undefined;
    }
    const verdict = this.#kept.get(questionKey(action, topic, qos, retain));
    if (verdict !== undefined) this.#wasUsed = true;
    return verdict;
  }

  #answered(
    action: AclAction,
    topic: string,
    qos: number,
    retain: boolean,
    verdict: SourceVerdict,
    waiter: GateWaiter,
  ): void {
    this.#isAsking = false;
    if (this.#isClosed) return;
    this.#kept.set(questionKey(action, topic, qos, retain), verdict);
    this.#keptAtMs = this.#owner.monotonicMs();
    this.#wasUsed = false;
    waiter.resume();
    // The packet was handed in again and did not stop at another question: it is through.
    if (this.#wasUsed && !this.#isAsking) this.#kept.clear();
  }

  #remember(filter: string, verdict: SourceVerdict): void {
    if (verdict === 'unavailable') return;
    const key = saidKey(filter);
    this.#said.delete(key);
    if (this.#said.size >= SAID_MAX) {
      for (const oldest of this.#said.keys()) {
        this.#said.delete(oldest);
        break;
      }
    }
    this.#said.set(key, verdict);
  }

  #askAgain(filter: string, qos: number): void {
    if (this.#isClosed || this.#reasked.has(filter)) return;
    this.#reasked.add(filter);
    this.#owner.asks.later(this.#clientId, async () => {
      if (this.#isClosed) return;
      try {
        const verdict = await this.#ask('subscribe', filter, qos, false);
        this.#reasked.delete(filter);
        if (this.#isClosed || verdict === 'unavailable') return;
        const before = this.#said.get(saidKey(filter));
        this.#remember(filter, verdict);
        if (verdict !== 'allow' && verdict !== before) this.#owner.rightsChanged();
      } catch (error) {
        this.#owner.failed(error);
      }
    });
  }
}

function questionKey(action: AclAction, topic: string, qos: number, retain: boolean): string {
  return `${action} ${qos} ${retain} ${topic}`;
}

/** No filter begins like a hash here: `#` stands alone in one. */
function saidKey(filter: string): string {
  return filter.length <= FILTER_LENGTH_MAX ? filter : `#${hash('sha256', filter, 'base64')}`;
}

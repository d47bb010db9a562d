/**
 * Decisions of one client by topic (data plane): the topic of the packet before by identity, and a
 * few more by text. Bounded; a client that names a new topic each time makes it stop remembering
 * rather than fill and empty.
 */
import type { Decision } from './decision.ts';

/** Topics remembered per kind of message. */
const TOPICS_MAX = 64;
/** Longer ones are decided anew: a client must not keep 64 KiB here for each of them. */
const TOPIC_LENGTH_MAX = 512;
/** Questions answered without remembering, after a full map was of little use. */
const RESTS = 4096;

export class DecisionCache {
  #topic = '';
  #bit = 0;
  #decision: Decision = 0;
  /** By position of the bit: one map, unless rules ask for QoS or RETAIN. */
  #maps: (Map<string, Decision> | null)[] | null = null;
  #hits = 0;
  #rest = 0;

  /** Undefined: not known. `bit`: one of six, 1 when nothing but the topic counts. */
  get(topic: string, bit: number): Decision | undefined {
    if (topic === this.#topic && bit === this.#bit) return this.#decision;
    return this.#recall(topic, bit);
  }

  #recall(topic: string, bit: number): Decision | undefined {
    if (this.#maps === null) return undefined;
    const decision = this.#maps[31 - Math.clz32(bit)]?.get(topic);
    if (decision === undefined) return undefined;
    this.#hits += 1;
    this.#topic = topic;
    this.#bit = bit;
    this.#decision = decision;
    return decision;
  }

  put(topic: string, bit: number, decision: Decision): void {
    const isFirst = this.#bit === 0;
    const lastTopic = this.#topic;
    const lastBit = this.#bit;
    const lastDecision = this.#decision;
    this.#topic = topic;
    this.#bit = bit;
    this.#decision = decision;
    // A client with one topic, as most have, needs no map.
    if (isFirst) return;
    if (this.#rest > 0) {
      this.#rest -= 1;
      return;
    }
    if (this.#maps === null) this.#remember(lastTopic, lastBit, lastDecision);
    this.#remember(topic, bit, decision);
  }

  #remember(topic: string, bit: number, decision: Decision): void {
    if (topic.length > TOPIC_LENGTH_MAX) return;
    const position = 31 - Math.clz32(bit);
    this.#maps ??= [];
    while (this.#maps.length <= position) this.#maps.push(null);
    let map = this.#maps[position]!;
    if (map === null) {
      map = new Map();
      this.#maps[position] = map;
    } else if (map.size >= TOPICS_MAX) {
      if (this.#hits < TOPICS_MAX) {
        this.#rest = RESTS;
        this.#maps = null;
        this.#hits = 0;
        return;
      }
      map.clear();
      this.#hits = 0;
    }
    map.set(topic, decision);
  }
}

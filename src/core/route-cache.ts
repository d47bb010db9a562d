/**
 * Topic bytes -> compiled match result (data plane). A direct-mapped table keyed by a hash of the raw
 * bytes: a hit needs no string, a collision simply replaces, so random topics cannot make it grow.
 */
import type { PublishView } from '../wire/publish.ts';
import { topicLevelCount } from '../wire/topic.ts';
import type { Route } from './route.ts';

const SLOTS_MIN = 1024;
const SLOTS_MAX = 65_536;

/** A topic that has been seen: its checked text, its bytes and its route. */
export class TopicEntry {
  readonly hash: number;
  readonly topic: string;
  /** Topic field as on the wire: length prefix, then UTF-8. */
  readonly field: Buffer;
  /** Generation bucket of its first level. */
  readonly bucket: number;
  /** Starts with `$`: closed to clients that publish. */
  readonly isReserved: boolean;
  readonly levels: number;
  route: Route;
  /** Router generation the route belongs to. */
  generation: number;

  constructor(
    hash: number,
    topic: string,
    field: Buffer,
    bucket: number,
    route: Route,
    generation: number,
  ) {
    this.hash = hash;
    this.topic = topic;
    this.field = field;
    this.bucket = bucket;
    this.isReserved = topic.charCodeAt(0) === 0x24;
    this.levels = topicLevelCount(topic);
    this.route = route;
    this.generation = generation;
  }

  /** Whether the view's topic is this one, byte by byte. */
  isTopicOf(view: PublishView): boolean {
    const field = this.field;
    const length = field.length;
    const start = view.topicStart;
    if (view.topicEnd - start !== length) return false;
    const buffer = view.topicBuffer;
    // From the end: topics of one fleet differ there.
    for (let i = length - 1; i > 1; i--) {
      if (buffer[start + i] !== field[i]) return false;
    }
    return true;
  }
}

export class RouteCache {
  #slots: (TopicEntry | null)[] = new Array(SLOTS_MIN).fill(null);
  #used = 0;
  /** Receivers in all cached routes, against `receiversMax`. */
  #receivers = 0;
  receiversMax: number;

  constructor(receiversMax: number) {
    this.receiversMax = receiversMax;
  }

  /** FNV-1a over the view's topic. */
  hashOf(view: PublishView): number {
    const buffer = view.topicBuffer;
    const end = view.topicEnd;
    let hash = 0x811c9dc5;
    for (let i = view.topicStart + 2; i < end; i++) {
      hash = Math.imul(hash ^ buffer[i]!, 16_777_619);
    }
    return (hash ^ (hash >>> 15)) >>> 0;
  }

  find(view: PublishView, hash: number): TopicEntry | null {
    const entry = this.#slots[hash & (this.#slots.length - 1)]!;
    return entry !== null && entry.hash === hash && entry.isTopicOf(view) ? entry : null;
  }

  put(entry: TopicEntry): void {
    if (this.#receivers > this.receiversMax) this.clear();
    if (this.#used * 2 > this.#slots.length && this.#slots.length < SLOTS_MAX) this.#grow();
    const slot = entry.hash & (this.#slots.length - 1);
    const replaced = this.#slots[slot]!;
    if (replaced === null) this.#used++;
    else this.#receivers -= replaced.route.size;
    this.#slots[slot] = entry;
    this.#receivers += entry.route.size;
  }

  /** Counts a route that was recompiled in place. */
  recount(before: number, after: number): void {
    this.#receivers += after - before;
  }

  clear(): void {
    this.#slots = new Array(SLOTS_MIN).fill(null);
    this.#used = 0;
    this.#receivers = 0;
  }

  #grow(): void {
    const slots: (TopicEntry | null)[] = new Array(this.#slots.length * 2).fill(null);
    let used = 0;
    let receivers = 0;
    for (const entry of this.#slots) {
      if (entry === null) continue;
      const slot = entry.hash & (slots.length - 1);
      const other = slots[slot]!;
      if (other === null) used++;
      else receivers -= other.route.size;
      slots[slot] = entry;
      receivers += entry.route.size;
    }
    this.#slots = slots;
    this.#used = used;
    this.#receivers = receivers;
  }
}

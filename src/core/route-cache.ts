/**
 * Topic bytes -> compiled match result (data plane). A direct-mapped table keyed by a hash of the raw
 * bytes: a hit needs no string, a collision simply replaces, so random topics cannot make it grow.
 */
import type { PublishView } from '../wire/publish.ts';
import { topicLevelCount } from '../wire/topic.ts';
import type { Route } from './route.ts';

const SLOTS_MIN = 1024;
const SLOTS_MAX = 65_536;
/** Topic bytes that count like one receiver: long topics must not fill memory either. */
const TOPIC_BYTES_SHIFT = 4;

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
  /** In the cache, and counted there. */
  isCached = false;

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

  /** What it counts for against `receiversMax`. */
  get weight(): number {
    return this.route.size + (this.field.length >>> TOPIC_BYTES_SHIFT);
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
  /** Receivers in all cached routes, and their topics as receivers, against `receiversMax`. */
  #receivers = 0;
  receiversMax: number;

  constructor(receiversMax: number) {
    this.receiversMax = receiversMax;
  }

  get receivers(): number {
    return this.#receivers;
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
    if (this.#receivers + entry.weight > this.receiversMax) this.clear();
    if (this.#used * 2 > this.#slots.length && this.#slots.length < SLOTS_MAX) this.#grow();
    const slot = entry.hash & (this.#slots.length - 1);
    const replaced = this.#slots[slot]!;
    if (replaced === null) this.#used++;
    else this.#forget(replaced);
    this.#slots[slot] = entry;
    entry.isCached = true;
    this.#receivers += entry.weight;
  }

  /** Puts a recompiled route in place; publishers may keep entries that the cache has forgotten. */
  replaceRoute(entry: TopicEntry, route: Route): void {
    if (entry.isCached) this.#receivers += route.size - entry.route.size;
    entry.route = route;
  }

  #forget(entry: TopicEntry): void {
    entry.isCached = false;
    this.#receivers -= entry.weight;
  }

  clear(): void {
    for (const entry of this.#slots) if (entry !== null) entry.isCached = false;
    this.#slots = new Array(SLOTS_MIN).fill(null);
    this.#used = 0;
    this.#receivers = 0;
  }

  #grow(): void {
    const slots: (TopicEntry | null)[] = new Array(this.#slots.length * 2).fill(null);
    let used = 0;
    for (const entry of this.#slots) {
      if (entry === null) continue;
      const slot = entry.hash & (slots.length - 1);
      const other = slots[slot]!;
      if (other === null) used++;
      else this.#forget(other);
      slots[slot] = entry;
    }
    this.#slots = slots;
    this.#used = used;
  }
}

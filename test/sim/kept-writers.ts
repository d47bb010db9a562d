/**
 * Retained messages of simulated regions: in each a client that sets and clears topics which all of them write
 * (P7). When nothing is broken any more, every region, and its table where there are such, say the same, and
 * what was acknowledged last by one alone is it. Used by region-run.ts.
 */
import type { Line } from '../chaos/line.ts';
import type { Prng } from '../chaos/prng.ts';
import { connect, publish, subscribe } from '../conformance/packets.ts';
import type { SimRegion } from './region-life.ts';
import type { RegionSite } from './region-site.ts';

const WRITE_MS = 600;
const SHARED = ['kept/a', 'kept/b', 'kept/c'];
const CLEARED_ONCE_IN = 4;
const EXPIRY_S = 86_400;

export class KeptWriters {
  readonly #site: RegionSite;
  readonly #writers: readonly Writer[];
  /** Topics written since all links were there. */
  readonly #linked: Set<string> = new Set();
  #isLinked = false;
  #isOver = false;
  #isQuiet = false;

  constructor(site: RegionSite, prng: Prng) {
    this.#site = site;
    this.#writers = site.regions.map((region) => new Writer(site, region, prng));
  }

  begin(): void {
    if (this.#isOver) return;
    this.#site.kernel.after(null, WRITE_MS, () => this.begin());
    for (const writer of this.#writers) writer.tick(this.#isQuiet);
    if (this.#isLinked) for (const { last } of this.#writers) this.#linked.add(last);
  }

  /** All regions have asked each other for what they want: changes from here on have to be everywhere. */
  linked(): void {
    this.#isLinked = true;
    for (const writer of this.#writers) writer.last = '';
  }

  /** Nothing is written any more. */
  settle(): void {
    this.#isQuiet = true;
  }

  /** Sessions that stay when their clients go: links have to bring what is published meanwhile. */
  get sessions(): readonly (readonly [SimRegion, clientId: string])[] {
    return this.#writers.map(({ region, clientId }) => [region, clientId]);
  }

  end(): void {
    this.#isOver = true;
    for (const writer of this.#writers) writer.leave();
  }

  /** Where regions differ. */
  differences(): string[] {
    const { tables } = this.#site;
    const different: string[] = [];
    const topics = [...SHARED, ...this.#writers.map(({ own }) => own)];
    for (const topic of topics) {
      // What was retained before somebody wanted it is brought by a Cassandra alone (docs/guides/regions.md).
      if (tables === null && !this.#linked.has(topic)) continue;
      const kept = this.#site.ready.map(({ broker }) => {
        const message = broker.admin.retainedMessage(topic);
        return message === null ? '' : message.payload.toString();
      });
      const texts = tables?.textsOf(topic) ?? [];
      const stored = texts.map((text) => (text === 'cleared' ? '' : (text ?? '')));
      if (new Set([...kept, ...stored]).size > 1) {
        const inTables = tables === null ? '' : `, in tables ${stored.join(' | ')}`;
        different.push(`${topic} is ${kept.join(' | ')}${inTables}`);
      }
    }
    for (const { own, acked, open } of this.#writers) {
      const there = this.#site.ready[0]?.broker.admin.retainedMessage(own);
      const text = there?.payload.toString() ?? '';
      if (text !== acked && !open.has(text)) different.push(`${own} is ${text}, not ${acked}`);
    }
    return different;
  }
}

class Writer {
  /** Nobody else writes it. */
  readonly own: string;
  /** The last value of it that was acknowledged, and those since then that were not. */
  acked = '';
  readonly open: Set<string> = new Set();
  /** The topic of its last change. */
  last = '';
  readonly region: SimRegion;
  readonly clientId: string;
  readonly #site: RegionSite;
  readonly #prng: Prng;
  readonly #waiting: Map<number, string> = new Map();
  #line: Line | null = null;
  #isUp = false;
  #count = 0;

  constructor(site: RegionSite, region: SimRegion, prng: Prng) {
    this.#site = site;
    this.region = region;
    this.#prng = prng;
    this.own = `kept/${region.name}`;
    this.clientId = `${region.name}-kept`;
  }

  tick(isQuiet: boolean): void {
    if (this.#line === null) this.#connect();
    else if (this.#isUp && !isQuiet) this.#write();
  }

  leave(): void {
    this.#line?.close();
  }

  #connect(): void {
    const { region, clientId } = this;
    const line = this.#site.dialTo(region)?.(5, {
      opened: () =>
        line?.send(
          connect({
            version: 5,
            clientId,
            clean: false,
            keepAliveSec: 0,
            properties: [['sessionExpiryInterval', EXPIRY_S]],
          }),
          subscribe({
            version: 5,
            packetId: 65_535,
            subscriptions: [{ filter: 'kept/#', qos: 0 }],
          }),
        ),
      packet: ({ type, packetId }) => {
        if (type === 'SUBACK') this.#isUp = true;
        const text = type === 'PUBACK' ? this.#waiting.get(packetId) : undefined;
        if (text === undefined) return;
        this.#waiting.delete(packetId);
        this.acked = text;
        this.open.delete(text);
      },
      closed: () => {
        this.#line = null;
        this.#isUp = false;
        this.#waiting.clear();
      },
      fault: (text) => {
        throw new Error(`${clientId}: ${text}`);
      },
    });
    this.#line = line ?? null;
  }

  #write(): void {
    const { name } = this.region;
    const topic = this.#prng.once(3) ? this.own : this.#prng.pick(SHARED);
    this.last = topic;
    this.#count++;
    const text = this.#prng.once(CLEARED_ONCE_IN) ? '' : `${name} ${this.#count}`;
    const packetId = this.#count;
    if (topic === this.own) {
      this.open.add(text);
      this.#waiting.set(packetId, text);
    }
    const payload = Buffer.from(text);
    this.#line?.send(publish({ version: 5, topic, payload, qos: 1, packetId, retain: true }));
  }
}

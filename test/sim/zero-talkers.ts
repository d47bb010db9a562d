/**
 * QoS 0 between simulated regions: in each a client that talks now and then and hears what all say. What it is
 * told comes once at most, however many ways lead there; when nothing is broken it comes. Used by region-run.ts.
 */
import type { Line } from '../chaos/line.ts';
import { connect, publish, subscribe } from '../conformance/packets.ts';
import type { SimRegion } from './region-life.ts';
import type { RegionSite } from './region-site.ts';

const TALK_MS = 700;

export class ZeroTalkers {
  heard = 0;
  readonly #site: RegionSite;
  readonly #talkers: readonly Talker[];
  #isOver = false;

  constructor(site: RegionSite) {
    this.#site = site;
    this.#talkers = site.regions.map((region) => new Talker(site, region));
  }

  begin(): void {
    if (this.#isOver) return;
    this.#site.kernel.after(null, TALK_MS, () => this.begin());
    for (const talker of this.#talkers) talker.tick();
  }

  /** What each said last is heard by all; asked for when nothing is broken any more. */
  get isHeard(): boolean {
    return this.#talkers.every(({ said, since }) =>
      this.#talkers.every(({ times }) => isHeardBy(times, said, since)),
    );
  }

  /** From here on nothing is broken. */
  settle(): void {
    for (const talker of this.#talkers) talker.since = talker.said.length;
  }

  end(): void {
    this.#isOver = true;
    for (const talker of this.#talkers) talker.leave();
  }

  judge(): string[] {
    const broken: string[] = [];
    for (const { clientId, times } of this.#talkers) {
      for (const [text, count] of times) {
        this.heard++;
        if (count > 1) broken.push(`${clientId} heard ${text} ${count} times`);
      }
    }
    for (const { clientId, said, since } of this.#talkers) {
      const silent = this.#talkers.filter(({ times }) => !isHeardBy(times, said, since));
      for (const other of silent) broken.push(`${other.clientId} does not hear ${clientId}`);
    }
    return broken;
  }
}

/** It goes on talking: one of the latest. */
function isHeardBy(
  times: ReadonlyMap<string, number>,
  said: readonly string[],
  since: number,
): boolean {
  for (let at = said.length - 1; at >= Math.max(since, said.length - 8); at--) {
    if (times.has(said[at]!)) return true;
  }
  return false;
}

class Talker {
  readonly clientId: string;
  readonly said: string[] = [];
  /** How often each text came. */
  readonly times: Map<string, number> = new Map();
  since = 0;
  readonly #site: RegionSite;
  readonly #region: SimRegion;
  #line: Line | null = null;
  #isSubscribed = false;

  constructor(site: RegionSite, region: SimRegion) {
    this.#site = site;
    this.#region = region;
    this.clientId = `${region.name}-zero`;
  }

  tick(): void {
    if (this.#line === null) this.#connect();
    else if (this.#isSubscribed) this.#talk();
  }

  leave(): void {
    this.#line?.close();
  }

  #connect(): void {
    const line = this.#site.dialTo(this.#region)?.(5, {
      opened: () =>
        line?.send(
          connect({ version: 5, clientId: this.clientId, clean: true, keepAliveSec: 0 }),
          subscribe({ version: 5, packetId: 1, subscriptions: [{ filter: 'zero/#', qos: 0 }] }),
        ),
      packet: ({ type, payload }) => {
        if (type === 'SUBACK') this.#isSubscribed = true;
        if (type !== 'PUBLISH') return;
        const text = payload.toString();
        this.times.set(text, (this.times.get(text) ?? 0) + 1);
      },
      closed: () => {
        this.#line = null;
        this.#isSubscribed = false;
      },
      fault: (text) => {
        throw new Error(`${this.clientId}: ${text}`);
      },
    });
    this.#line = line ?? null;
  }

  #talk(): void {
    const { name } = this.#region;
    const text = `${name} ${this.said.length + 1}`;
    this.said.push(text);
    const payload = Buffer.from(text);
    this.#line?.send(publish({ version: 5, topic: `zero/${name}`, payload, qos: 0 }));
  }
}

/**
 * Watches what links between simulated regions bring and send: each message once per region however many ways
 * lead there, none that has been here before, none again that was safe, none twice over one connection.
 * Used by region-run.ts.
 */
import { Drop, type DropReason } from '../../src/core/drop-reason.ts';
import { linkIdOf } from '../../src/core/link-names.ts';
import type { RegionLife } from './region-life.ts';
import type { RegionSite } from './region-site.ts';

const ID = Buffer.from('causeway-id');
const BROKEN_MAX = 8;
/** Reasons for which an acknowledged message is dropped: none of them may be met. */
const LOSSES: readonly DropReason[] = ['link_budget', 'queue_full', 'store_failed', 'expired'];

export class LinkWatch {
  readonly broken: string[] = [];
  /** Messages that links have brought, and copies of messages that they have sent. */
  taken = 0;
  sent = 0;
  readonly #site: RegionSite;
  readonly #losses: readonly DropReason[];
  /** By region: names of QoS 1 and 2 messages that are safe there. */
  readonly #safe: Map<string, Set<string>> = new Map();
  /** By connection: names of what went over it. */
  readonly #over: Map<number, Set<string>> = new Map();

  /** `startsClean`: sessions end with what waits in them. */
  constructor(site: RegionSite, startsClean: boolean = false) {
    this.#site = site;
    this.#losses = startsClean ? LOSSES : [...LOSSES, 'session_expired'];
    site.onWrite = (life, to, connection, bytes) => this.#wrote(life, to, connection, bytes);
  }

  #say(text: string): void {
    if (this.broken.length < BROKEN_MAX) this.broken.push(text);
    this.#site.kernel.trace(null, `BROKEN ${text}`);
  }

  watch(life: RegionLife): void {
    const { region, node } = life;
    const { linkInlet } = life.broker;
    let safe = this.#safe.get(region);
    if (safe === undefined) {
      safe = new Set();
      this.#safe.set(region, safe);
    }
    const known = safe;
    /** Of this life: taken, and not failed. */
    const here: Set<string> = new Set();
    const publish = linkInlet.publish.bind(linkInlet);
    linkInlet.publish = (from, topic, start, mark, ticket, settled, ...rest) => {
      const { id, path } = mark.origin!;
      const { qos } = from;
      this.taken++;
      const { kernel } = this.#site;
      if (kernel.isTracing) {
        const text = from.payloadBuffer
          .toString('latin1', from.payloadStart, from.payloadEnd)
          .slice(0, 8);
        kernel.trace(node, `takes ${text} qos ${qos} ${id.slice(-17)} ${path}`);
      }
      this.#checkPath(region, id, path);
      if (life.member !== null) {
        // A holder publishes again what the one before may not have: queues know it by its name.
        publish(from, topic, start, mark, ticket, settled, ...rest);
        return;
      }
      if (known.has(id)) this.#say(`${node.name}: ${id} (${path}) came again after it was safe`);
      else if (here.has(id)) this.#say(`${node.name}: ${id} (${path}) was taken twice`);
      here.add(id);
      const done = (failed: boolean): void => {
        if (failed) here.delete(id);
        else if (qos > 0) known.add(id);
        settled(failed);
      };
      publish(from, topic, start, mark, ticket, done, ...rest);
    };
  }

  #checkPath(region: string, id: string, path: string): void {
    const regions = path.split(',');
    if (regions.includes(region)) this.#say(`${region}: ${id} was here before: ${path}`);
    if (new Set(regions).size !== regions.length) this.#say(`${id} went in a circle: ${path}`);
    if (!id.startsWith(`${regions[0]}.`)) this.#say(`${id} has the path ${path}`);
  }

  /** What a broker hands to a socket of a link. */
  #wrote(life: RegionLife, to: string, connection: number, bytes: Buffer): void {
    let over = this.#over.get(connection);
    if (over === undefined) {
      over = new Set();
      this.#over.set(connection, over);
    }
    for (let at = bytes.indexOf(ID); at !== -1; at = bytes.indexOf(ID, at + 1)) {
      const value = at + ID.length;
      // A packet may be cut anywhere.
      if (value + 2 > bytes.length) return;
      const end = value + 2 + bytes.readUInt16BE(value);
      if (end > bytes.length) return;
      const id = bytes.latin1Slice(value + 2, end);
      this.sent++;
      if (id.startsWith(`${to}.`)) this.#say(`${id} was sent back to ${to} by ${life.region}`);
      // A datacenter whose holder has died may have put QoS 1 into its queues twice.
      const isOnce = life.member === null;
      if (isOnce && over.has(id))
        this.#say(`${id} went twice over connection ${connection} to ${to}`);
      over.add(id);
    }
  }

  /** What must never have been counted by links that are well. */
  *counted(): Generator<string> {
    for (const { region, holder, broker, links } of this.#site.ready) {
      for (const { region: from, counters, refusedFilters } of holder.links) {
        const { loops, malformed, refused, gaps } = counters;
        const counts = { loops, malformed, refused, gaps, refusedFilters };
        for (const [name, count] of Object.entries(counts)) {
          if (count > 0) yield `${region} < ${from}: ${name} is ${count}`;
        }
      }
      for (const { region: to, dropped } of links.peers) {
        if (dropped > 0) yield `${region} > ${to}: dropped is ${dropped}`;
      }
      for (const reason of this.#losses) {
        const dropped = broker.stats.dropped[Drop[reason]]!;
        if (dropped > 0) yield `${region}: ${reason} is ${dropped}`;
      }
    }
  }

  /** What waits for a link. */
  *waiting(): Generator<string> {
    for (const { region, broker, links } of this.#site.ready) {
      for (const { region: to } of links.peers) {
        const queued = broker.admin.session(linkIdOf(to))?.queuedMessages ?? 0;
        if (queued > 0) yield `${region} > ${to}: ${queued} still wait`;
      }
    }
  }
}

/**
 * Watches sessions that go from region to region in a simulated run: where each stands, what ADR 0023 does not
 * promise of it, that two regions which see each other never serve one device both, and that in the end each
 * session has one home. Asks regions only through `standingsOf`, whatever a region is made of.
 */

import { linkIdOf } from '../../src/core/link-names.ts';
import { decodeFrame } from '../../src/geo/roaming/frame.ts';
import type { RegionMover } from '../../src/geo/roaming/mover.ts';
import { decodeListed } from '../../src/store/cassandra/listed-record.ts';
import { RecordDamage } from '../../src/store/embedded/damage.ts';
import type { Ledger } from '../chaos/ledger.ts';
import { holderOf, type RegionLife, readyOf, type SimRegion } from './region-life.ts';
import type { RegionSite } from './region-site.ts';
import type { RoamingClient } from './roaming-client.ts';

/** A session as a region has it. */
export interface Standing {
  readonly region: string;
  /** It is on its way to another one. */
  readonly leavesFor: string | null;
  /** Regions that still have something of it. */
  readonly sources: readonly string[];
  readonly isConnected: boolean;
}

/** Where a session is that lasts, also where it is on its way from. */
export function standingsOf(site: RegionSite, clientId: string): readonly Standing[] {
  const standings: Standing[] = [];
  for (const region of site.regions) {
    const standing = standingIn(region, clientId);
    if (standing !== null) standings.push(standing);
  }
  return standings;
}

function standingIn(region: SimRegion, clientId: string): Standing | null {
  return region.datacenter === null
    ? standingAlone(region, clientId)
    : standingInDatacenter(region, clientId);
}

function standingAlone(region: SimRegion, clientId: string): Standing | null {
  for (const { roaming } of readyOf(region)) {
    const session = roaming?.core.session(clientId) ?? null;
    if (session === null || session.ended || !session.durable) continue;
    return {
      region: region.name,
      leavesFor: session.roam?.leaving?.to ?? null,
      sources: session.roam?.sources.map((source) => source.region) ?? [],
      isConnected: session.owner !== null,
    };
  }
  return null;
}

/** What of it is under way only the holder of the links knows. */
function standingInDatacenter(region: SimRegion, clientId: string): Standing | null {
  const lives = readyOf(region);
  if (!lives.some(({ broker }) => broker.remote!.knownSession(clientId) !== null)) return null;
  const holder = lives.find(({ moves }) => moves?.isHolder === true) ?? null;
  const state = holder?.moves?.stateOf(clientId) ?? null;
  return {
    region: region.name,
    leavesFor: state?.leaving?.to ?? null,
    sources: holder === null ? [NOBODY] : (state?.sources.map((source) => source.region) ?? []),
    isConnected: lives.some(({ broker }) => broker.admin.client(clientId) !== null),
  };
}

/** A CONNECT that has left. */
interface Connecting {
  isTroubled: boolean;
  /** Named by the row that can be read where it goes. */
  readonly home: string | null;
  /** Whoever had something of it could not be asked. */
  readonly isParted: boolean;
  readonly sinceMs: number;
}

export interface RoamingExcuses {
  /** Sessions that nobody who could be asked knew of. */
  unknown: number;
  /** The directory had no row yet, and those who had it could not be asked. */
  unlisted: number;
  /** Subscriptions that ended while another region had the session, too. */
  collected: number;
}

/** No node of the region has its links. */
const NOBODY = 'nobody knows where';
/** Both may serve a device until the first has heard of the second, and its packets are on their way. */
const TAKEOVER_MS = 2000;
/** Answers to CONNECTs are waited for so long; two ways and a turn have to fit in. */
const SURE_DELAY_MS = 100;

export class RoamingWatch {
  readonly excused: RoamingExcuses = { unknown: 0, unlisted: 0, collected: 0 };
  /** Served without what their home has. */
  away = 0;
  readonly #site: RegionSite;
  readonly #ledger: Ledger;
  readonly #delayMaxMs: number;
  /** Whose order is not promised until its session is in one place. */
  readonly #disordered: Set<string> = new Set();
  /** By client: what was so when its CONNECT left, or at any time since. */
  readonly #connecting: Map<string, Connecting> = new Map();
  /** Since when two regions serve it that see each other. */
  readonly #doubles: Map<string, number> = new Map();
  #orderGivenUp = 0;
  #isTroubled = false;
  #isLinked = false;

  constructor(site: RegionSite, ledger: Ledger, delayMaxMs: number) {
    this.#site = site;
    this.#ledger = ledger;
    this.#delayMaxMs = delayMaxMs;
  }

  /** Before it starts. */
  watch(life: RegionLife): void {
    const { roaming, moves } = life;
    if (roaming !== null) this.#watchMover(life, roaming.mover);
    if (moves !== null) moves.onMover = (mover) => this.#watchMover(life, mover);
  }

  #watchMover(life: RegionLife, mover: RegionMover): void {
    const fetch = mover.fetch.bind(mover);
    mover.fetch = (clientId, home, epoch, done) =>
      fetch(clientId, home, epoch, (answer, known) => {
        this.#site.kernel.trace(life.node, `${clientId}: ${home} answers ${answer.kind}`);
        if (answer.kind === 'silent') {
          this.away++;
          this.#disordered.add(clientId);
        }
        done(answer, known);
      });
    if (this.#site.kernel.isTracing) this.#traceWords(life, mover);
  }

  /** What regions say to one another, without what waits. */
  #traceWords({ node }: RegionLife, mover: RegionMover): void {
    const { kernel } = this.#site;
    const said = (what: string, payload: Buffer): void => {
      const { head, entries } = decodeFrame<object>(payload, () => 0);
      const { record: _, entries: __, ...plain } = head as { record?: object; entries?: object };
      kernel.trace(node, `${what} ${JSON.stringify(plain)} ${entries.map(({ seq }) => seq)}`);
    };
    const { asked, answered, moved } = mover;
    mover.asked = (region, payload) => {
      said(`asked by ${region}`, payload);
      asked.call(mover, region, payload);
    };
    mover.answered = (region, payload) => {
      said(`answered by ${region}`, payload);
      answered.call(mover, region, payload);
    };
    mover.moved = (region, payload, earlier, done) => {
      said(`word of ${region}`, payload);
      moved.call(mover, region, payload, earlier, done);
    };
  }

  /** What each region knows of the sessions. */
  trace(devices: readonly RoamingClient[]): void {
    const { kernel, ready } = this.#site;
    for (const { clientId } of devices) {
      for (const { name } of this.#site.regions) {
        const listed = this.#site.sessions!.row(name, clientId);
        const home = this.#listedHome(name, clientId);
        kernel.trace(null, `${clientId} in the directory at ${name}: ${home} ${listed?.timeUs}`);
      }
      for (const { roaming, moves, node } of ready) {
        const state = moves?.stateOf(clientId) ?? null;
        if (state !== null) kernel.trace(node, `${clientId} ${JSON.stringify(state.record())}`);
        const session = roaming?.core.session(clientId);
        if (!session?.durable) continue;
        const { tailSeq, queuedMessages } = session;
        const record = JSON.stringify({ tailSeq, queuedMessages, ...session.roam?.record() });
        kernel.trace(node, `${clientId} ${record}`);
      }
    }
  }

  /** From here on regions may not see each other, or hear late. */
  troubled(): void {
    this.#isTroubled = true;
    for (const connect of this.#connecting.values()) connect.isTroubled = true;
  }

  get isLinked(): boolean {
    return this.#isLinked;
  }

  tick(nowMs: number, devices: readonly RoamingClient[]): void {
    const site = this.#site;
    this.#isLinked = site.isLinked;
    let givenUp = 0;
    for (const { roaming, moves } of site.ready) {
      givenUp += (roaming?.mover ?? moves)?.counters.orderGivenUp ?? 0;
    }
    const isGivenUp = givenUp !== this.#orderGivenUp;
    this.#orderGivenUp = givenUp;
    for (const device of devices) {
      const { clientId } = device;
      const standings = standingsOf(site, clientId);
      this.#watchDoubles(nowMs, device, standings);
      const isSettled = standings.length === 1 && isSettledAt(standings[0]!);
      if (device.isForked) this.#watchFork(device, isSettled);
      // A datacenter gives the order up while a session moves.
      const isShared = site.regions.some(({ datacenter }) => datacenter !== null);
      const isUnsure = this.#isTroubled || isGivenUp || isShared || !this.#isLinked;
      if (!isSettled && isUnsure) this.#disordered.add(clientId);
      if (!this.#disordered.has(clientId)) continue;
      this.#ledger.disordered(clientId);
      if (isSettled && site.isReady) this.#disordered.delete(clientId);
    }
  }

  /** What both of its sessions had taken by the time they met comes twice, and in another order. */
  #watchFork(device: RoamingClient, isSettled: boolean): void {
    this.#ledger.storeLost((reader) => reader === device.clientId);
    if (isSettled && this.#site.isReady) device.isForked = false;
  }

  #watchDoubles(nowMs: number, device: RoamingClient, standings: readonly Standing[]): void {
    const { clientId } = device;
    const served = standings.filter(({ isConnected }) => isConnected);
    // A link that is half open is up for a minute.
    if (served.length < 2 || this.#isTroubled || device.isForked) {
      this.#doubles.delete(clientId);
      return;
    }
    const sinceMs = this.#doubles.get(clientId) ?? nowMs;
    this.#doubles.set(clientId, sinceMs);
    if (nowMs - sinceMs <= TAKEOVER_MS + 4 * this.#delayMaxMs) return;
    this.#doubles.set(clientId, Number.POSITIVE_INFINITY);
    const where = served.map(({ region }) => region).join(' and ');
    this.#ledger.fault(`${clientId} is served in ${where} for ${Math.round(nowMs - sinceMs)} ms`);
  }

  /** Each has a link to each other one, over which something comes. */
  #areMutual(regions: readonly string[]): boolean {
    const { network } = this.#site;
    return regions.every((from) =>
      regions.every((to) => {
        if (from === to) return true;
        const holder = holderOf(this.#site.region(from));
        if (holder === null || holder.node.pausedUntilMs >= 0) return false;
        if (network.isBlocked(from, to) || network.isBlocked(to, from)) return false;
        if (holder.holder.link(to)?.isUp !== true) return false;
        // One that is half open has no session there.
        const there = readyOf(this.#site.region(to));
        return there.some(({ broker }) => broker.admin.client(linkIdOf(from)) !== null);
      }),
    );
  }

  // ------------------------------------------------------------------ what is asked of it

  connecting({ clientId }: RoamingClient, region: string): void {
    const standings = standingsOf(this.#site, clientId);
    const others = standings.filter((one) => one.region !== region);
    const isQuiet = others.length === 0 || (standings.length === 1 && isSettledAt(standings[0]!));
    // Back while it is moved.
    if (!isQuiet) this.#disordered.add(clientId);
    const isTroubled = this.#site.sessions!.isTroubled(region);
    const home = this.#listedHome(region, clientId);
    const isParted = others.some((other) => !this.#areMutual([region, other.region]));
    const { nowMs: sinceMs } = this.#site.kernel;
    this.#connecting.set(clientId, { isTroubled, home, isParted, sinceMs });
  }

  excuses(device: RoamingClient, region: string): boolean {
    const { clientId } = device;
    // A row that has come since was not read.
    const { isTroubled, home, isParted } = this.#connecting.get(clientId)!;
    const hasAnswer = !isTroubled && !this.#site.sessions!.isTroubled(region);
    if (hasAnswer && home !== null && home !== region) return false;
    const others = standingsOf(this.#site, clientId).filter((one) => one.region !== region);
    // Whoever is down may have it.
    if (others.length === 0 && this.#site.isReady) return false;
    const isAskable =
      this.#delayMaxMs <= SURE_DELAY_MS &&
      !isTroubled &&
      !isParted &&
      others.some((other) => this.#areMutual([region, other.region]));
    if (isAskable) return false;
    if (hasAnswer && home === null && others.length > 0) this.excused.unlisted++;
    else this.excused.unknown++;
    return true;
  }

  isCollected({ clientId, region }: RoamingClient): boolean {
    const standings = standingsOf(this.#site, clientId);
    if (standings.every((one) => one.region === region)) return false;
    this.excused.collected++;
    return true;
  }

  /** Null: it is in no row that can be read there. */
  #listedHome(region: string, clientId: string): string | null {
    const row = this.#site.sessions!.row(region, clientId);
    if (row === null || row.record === null) return null;
    try {
      return decodeListed(clientId, row.record, row.timeUs).home;
    } catch (error) {
      if (!(error instanceof RecordDamage)) throw error;
      return null;
    }
  }

  /** All regions can read that it is where it is, and no other one has anything of it. */
  isRooted({ clientId, region }: RoamingClient): boolean {
    const standings = standingsOf(this.#site, clientId);
    if (standings.length !== 1 || standings[0]!.region !== region) return false;
    if (!isSettledAt(standings[0]!)) return false;
    return this.#site.regions.every(({ name }) => this.#listedHome(name, clientId) === region);
  }

  // ------------------------------------------------------------------ in the end

  /** Where a session is not in one place, in words. */
  *scattered(devices: readonly RoamingClient[]): Generator<string> {
    for (const { clientId, region, isServed, isClaimed } of devices) {
      const standings = standingsOf(this.#site, clientId);
      const home = standings.find((one) => one.region === region);
      if (!isServed || home === undefined || !home.isConnected) {
        yield `${clientId} is not served in ${region}`;
        continue;
      }
      if (!isClaimed) yield `${clientId} has subscriptions that are not known everywhere`;
      const left = standings.filter((one) => one !== home && !this.#isBetween(one, home));
      if (left.length === 0 && (isSettledAt(home) || this.#hasBetween(standings, home))) continue;
      yield `${clientId}: ${standings.map(describe).join('; ')}`;
    }
  }

  /** A third region has no link to the home: this one stays between them for good. */
  #isBetween(one: Standing, home: Standing): boolean {
    if (one.leavesFor !== home.region) return false;
    const { links } = this.#site.region(home.region);
    return this.#site
      .region(one.region)
      .links.some((third) => third !== home.region && !links.includes(third));
  }

  #hasBetween(standings: readonly Standing[], home: Standing): boolean {
    if (home.leavesFor !== null) return false;
    return home.sources.every((source) =>
      standings.some((one) => one.region === source && this.#isBetween(one, home)),
    );
  }
}

function isSettledAt({ leavesFor, sources }: Standing): boolean {
  return leavesFor === null && sources.length === 0;
}

function describe({ region, leavesFor, sources, isConnected }: Standing): string {
  const parts = [region];
  if (isConnected) parts.push('connected');
  if (leavesFor !== null) parts.push(`leaves for ${leavesFor}`);
  if (sources.length > 0) parts.push(`has something in ${sources.join(', ')}`);
  return parts.join(', ');
}

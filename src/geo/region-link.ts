/**
 * The link to one other region: an MQTT 5 client with a durable session at an ordinary listener there
 * (docs/adr/0022). Keeps its subscriptions equal to what is wanted here, and publishes what comes; a message
 * is acknowledged when it is safe here. Made by `link-holder.ts`, on the node that has the role.
 */
import { isDeepStrictEqual } from 'node:util';
import { Client } from '../client/client.ts';
import type { ClientError } from '../client/client-error.ts';
import { parseEndpoint } from '../client/endpoint.ts';
import type { TlsOptions } from '../client/transport.ts';
import type { LinkInlet } from '../core/link-inlet.ts';
import {
  ANSWER_TOPIC,
  ASK_TOPIC,
  hasRegion,
  isRoamTopic,
  linkIdOf,
  MOVED_TOPIC,
  parseLinkFilter,
} from '../core/link-names.ts';
import { LinkProperties } from '../core/link-properties.ts';
import type { Clock, Log, Ticket } from '../core/ports.ts';
import { BUDGET_BYTES_PROPERTY, REGION_PROPERTY } from '../core/region-links.ts';
import type { ConnackPacket } from '../wire/connack.ts';
import type { PublishView } from '../wire/publish.ts';
import { filterMatches } from '../wire/topic-match.ts';
import { atOnce, type SayWord } from './applied-words.ts';
import type { ArrivalLine } from './arrival-line.ts';
import { FilterCover } from './filter-cover.ts';
import { type IdentityWindow, NEW, PENDING } from './identity-window.ts';
import { LinkCounters } from './link-counters.ts';
import { FILTERS_PER_STEP } from './link-interest.ts';
import {
  EMPTY,
  filterKey,
  HAD_SESSION,
  type LinkMemory,
  STARTS_CLEAN,
  sessionKey,
} from './link-memory.ts';
import type { LinkNotes } from './link-notes.ts';
import type { LinkWorld } from './link-world.ts';
import type { RoamingEars } from './roaming/roaming-links.ts';
import type { UnlinkedRegions } from './roaming/unlinked-regions.ts';
import { SlicedWork } from './sliced-work.ts';

/** Of one entry of `regions.links`, files read. */
export interface LinkSettings {
  readonly region: string;
  readonly url: string;
  readonly username: string | undefined;
  readonly password: string | undefined;
  readonly tls: TlsOptions | undefined;
  readonly allow: readonly string[];
  readonly budgetAgeS: number;
  readonly budgetBytes: number;
}

export interface LinkParts {
  readonly settings: LinkSettings;
  /** This region. */
  readonly region: string;
  readonly inlet: LinkInlet;
  readonly window: IdentityWindow;
  /** QoS 1 and 2, where notes are not of the same commit as the message. */
  readonly line: ArrivalLine;
  readonly notes: LinkNotes;
  /** Filters to subscribe to there, as of now. */
  readonly interest: () => Generator<undefined, Set<string>>;
  /** What an earlier life, or holder, has left: filters subscribed there, and whether a session was. */
  readonly memory: LinkMemory;
  /** Asked for each message: a node that was stopped may be the holder no longer (hard case 2). */
  readonly isHolder: () => boolean;
  /** The other region has lost what it had queued. */
  readonly missed: () => void;
  /** Null: sessions stay in their region. */
  readonly ears: RoamingEars | null;
  /** The link to a region; null: there is none. */
  readonly linkTo: (region: string) => RegionLink | null;
  readonly unlinked: Pick<UnlinkedRegions, 'heard'>;
  readonly clock: Clock;
  readonly log: Log;
  readonly world: LinkWorld;
  readonly unsubscribeAfterMs: number;
}

const KEEP_ALIVE_S = 15;
const RECEIVE_MAXIMUM = 65_535;
const RECONNECT_MIN_MS = 1000;
const RECONNECT_MAX_MS = 30_000;
/** When the other end is not what it should be: somebody has to change something. */
const STRANGER_MS = 30_000;
/** Filters of one SUBSCRIBE. */
const FILTERS_AT_ONCE = 256;

/** A filter at the other region. */
interface Held {
  /** It is, or is being, subscribed to over this connection, or one before of the same session. */
  isGranted: boolean;
  /** Its SUBACK has come. */
  isServed: boolean;
  /** Monotonic ms at which it is given up; 0: it is wanted. */
  dueMs: number;
}

export class RegionLink {
  readonly region: string;
  readonly counters: LinkCounters = new LinkCounters();
  /** Why it is not up; '': it is. */
  problem = 'not connected yet';
  readonly #parts: LinkParts;
  readonly #properties: LinkProperties = new LinkProperties();
  readonly #held: Map<string, Held> = new Map();
  /** Refused by the other region, until the next connection. */
  readonly #refused: Set<string> = new Set();
  #client: Client | null = null;
  #isUp = false;
  #isStopped = false;
  #isPaused = false;
  #upSinceMs = 0;
  /** The session there may have lost some of its subscriptions. */
  #isDoubtful = true;
  #cancelRetry: (() => void) | null = null;
  #saidProblem = '';
  readonly #look: SlicedWork;
  /** What is wanted has changed since the look that runs began. */
  #isStale = false;
  /** Lag is looked at some times a second: the clock costs more than a look into the window. */
  #measuresLag = true;
  /** The last topic that may be brought; '': it is to be looked at again. */
  #goodTopic = '';
  /** The last path that this region was not on. */
  #goodPath = '';
  /** Where that began, if it leads through another region; null: it comes straight from there. */
  #relayedFrom: string | null = null;
  /** What is subscribed to there, or was: more does no harm. Null: nobody asks. */
  readonly #cover: FilterCover | null;

  constructor(parts: LinkParts) {
    this.#parts = parts;
    this.region = parts.settings.region;
    this.#look = new SlicedWork(parts.clock, parts.world.timers);
    this.#cover = parts.ears === null ? null : new FilterCover();
    for (const filter of parts.memory.filters) {
      this.#covers(filter);
      this.#held.set(filter, { isGranted: false, isServed: false, dueMs: 0 });
    }
  }

  /** Nothing would change. */
  isOf(settings: LinkSettings): boolean {
    return isDeepStrictEqual(settings, this.#parts.settings);
  }

  get isUp(): boolean {
    return this.#isUp;
  }

  /** Wall-clock ms; 0: it is down. */
  get upSinceMs(): number {
    return this.#isUp ? this.#upSinceMs : 0;
  }

  /** Filters the other region serves, and those it has refused. */
  get subscriptions(): number {
    let granted = 0;
    for (const { isGranted } of this.#held.values()) if (isGranted) granted++;
    return granted;
  }

  get refusedFilters(): number {
    return this.#refused.size;
  }

  /** Without user and password. */
  get url(): string {
    return parseEndpoint(this.#parts.settings.url).display;
  }

  start(): void {
    const { settings, region, memory, world } = this.#parts;
    const { open, random, timers } = world;
    const { url, username, password, tls, budgetAgeS, budgetBytes } = settings;
    this.#isDoubtful = true;
    let client: Client;
    try {
      client = new Client({
        url,
        clientId: linkIdOf(region),
        version: 5,
        cleanStart: memory.startsClean,
        keepAliveS: KEEP_ALIVE_S,
        username,
        password,
        tls,
        properties: {
          sessionExpiryIntervalS: budgetAgeS,
          receiveMaximum: RECEIVE_MAXIMUM,
          topicAliasMaximum: 0,
          userProperties: [[BUDGET_BYTES_PROPERTY, String(budgetBytes)]],
        },
        reconnect: { minMs: RECONNECT_MIN_MS, maxMs: RECONNECT_MAX_MS, always: true, random },
        timers,
        openTransport: open === undefined ? undefined : (handler) => open(url, handler),
        resubscribe: false,
        onArrival: (view, topic, done) => this.#arrived(view, topic, done),
        onConnected: (connack) => this.#connected(client, connack),
        onDisconnected: (error) => this.#disconnected(error),
      });
    } catch (error) {
      this.#say((error as Error).message);
      return;
    }
    this.#client = client;
    // It tries for as long as it is not stopped.
    client.connect().catch(() => {});
  }

  /** In order; what is not acknowledged comes again. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#isUp = false;
    this.#look.stop();
    this.#cancelRetry?.();
    await this.#client?.disconnect({ sessionExpiryIntervalS: this.#parts.settings.budgetAgeS });
  }

  /** Another region is not wanted any more: nothing is kept for this one there. */
  async end(): Promise<void> {
    this.#isStopped = true;
    this.#look.stop();
    this.#cancelRetry?.();
    const { memory } = this.#parts;
    for (const filter of [...this.#held.keys()]) this.#forget(filter);
    memory.hadSession = false;
    memory.startsClean = true;
    this.#parts.notes.putNote(sessionKey(this.region), STARTS_CLEAN);
    await this.#client?.disconnect({ sessionExpiryIntervalS: 0 });
  }

  /** That region has a connection here: it is there. */
  retrySoon(): void {
    if (!this.#isUp && !this.#isStopped) this.#client?.retrySoon();
  }

  pause(isPaused: boolean): void {
    this.#isPaused = isPaused;
    if (isPaused) this.#client?.pause();
    else this.#client?.resume();
  }

  // ------------------------------------------------------------------ connection

  #connected(client: Client, connack: ConnackPacket): void {
    const { memory, notes, log } = this.#parts;
    const { region } = this;
    const said = connack.userProperties?.find(([name]) => name === REGION_PROPERTY)?.[1];
    if (said !== region) {
      const whose = said === undefined ? 'of no region' : `of region ${said}`;
      this.#say(`the listener is ${whose}, not of ${region}`);
      this.#client = null;
      client.destroy().catch(() => {});
      this.#cancelRetry = this.#parts.world.timers.after(STRANGER_MS, () => this.start());
      return;
    }
    this.counters.connects++;
    this.#isUp = true;
    this.#upSinceMs = this.#parts.clock.wallMs();
    this.problem = '';
    this.#saidProblem = '';
    this.#refused.clear();
    const { sessionPresent } = connack;
    log.info({ region, sessionPresent }, 'link to another region is up');
    if (!sessionPresent) {
      this.#doubtAll();
      if (memory.hadSession) {
        this.counters.gaps++;
        log.warn({ region }, 'the other region has lost the session: what it had queued is gone');
        this.#parts.missed();
        this.#parts.ears?.missed(region);
      }
    } else if (this.#isDoubtful) {
      this.#doubtAll();
    }
    this.#isDoubtful = false;
    memory.hadSession = true;
    memory.startsClean = false;
    notes.putNote(sessionKey(region), HAD_SESSION);
    if (this.#isPaused) client.pause();
    this.#look.stop();
    this.syncSoon();
  }

  #doubtAll(): void {
    for (const held of this.#held.values()) {
      held.isGranted = false;
      held.isServed = false;
    }
  }

  #disconnected(error: ClientError): void {
    this.#look.stop();
    if (this.#isStopped) return;
    this.#isUp = false;
    this.counters.failures++;
    // It may have taken back rights, and subscriptions with them.
    if (error.code === 'closed_by_server') this.#isDoubtful = true;
    this.#say(error.message);
  }

  /** Once for each problem: it may last for hours. */
  #say(problem: string): void {
    this.problem = problem;
    if (problem === this.#saidProblem) return;
    this.#saidProblem = problem;
    this.#parts.log.warn({ region: this.region, problem }, 'link to another region is down');
  }

  // ------------------------------------------------------------------ interest

  /**
   * Subscribes to what is wanted and not had; gives up later what is had and not wanted. True: all that is
   * wanted is served there.
   */
  sync(): boolean {
    const client = this.#client;
    if (!this.#isUp || client === null || this.#isStopped) return false;
    const steps = this.#syncSteps(client);
    for (;;) {
      const step = steps.next();
      if (step.done === true) return step.value;
    }
  }

  /** The same in pieces, as there may be a million filters: for whoever need not know what comes of it. */
  syncSoon(): void {
    const client = this.#client;
    if (!this.#isUp || client === null || this.#isStopped) return;
    if (this.#look.isBusy) {
      this.#isStale = true;
      return;
    }
    this.#isStale = false;
    this.#look.run(this.#syncSteps(client), () => {
      if (this.#isStale) this.syncSoon();
    });
  }

  /** What the last look at all that is wanted took. */
  get lookMs(): number {
    return this.#look.tookMs;
  }

  *#syncSteps(client: Client): Generator<undefined, boolean> {
    const wanted = yield* this.#parts.interest();
    const nowMs = this.#parts.clock.monotonicMs();
    let count = 0;
    for (const [filter, held] of this.#held) {
      if (++count % FILTERS_PER_STEP === 0) yield;
      if (wanted.has(filter)) held.dueMs = 0;
      else if (held.dueMs === 0) held.dueMs = nowMs + this.#parts.unsubscribeAfterMs;
    }
    let missing: string[] = [];
    let isServed = true;
    for (const filter of wanted) {
      if (++count % FILTERS_PER_STEP === 0) yield;
      if (this.#refused.has(filter)) continue;
      const held = this.#held.get(filter);
      if (held?.isServed !== true) isServed = false;
      if (held?.isGranted === true || missing.push(filter) < FILTERS_AT_ONCE) continue;
      this.#subscribe(client, missing);
      missing = [];
    }
    if (missing.length > 0) this.#subscribe(client, missing);
    return isServed;
  }

  #subscribe(client: Client, filters: readonly string[]): void {
    const { notes, memory } = this.#parts;
    let ticket: Ticket = 0;
    for (const filter of filters) {
      memory.filters.add(filter);
      ticket = notes.putNote(filterKey(this.region, filter), EMPTY);
      // Not asked for again while the answer is on its way.
      this.#held.set(filter, { isGranted: true, isServed: false, dueMs: 0 });
    }
    // Known for good before it is there: what nobody remembers is not given up, and would come for ever.
    notes.whenDurable(ticket, (failed) => {
      const open = filters.filter((filter) => this.#held.get(filter)?.isGranted === true);
      if (failed || !this.#isUp || client !== this.#client) this.#notGranted(open);
      else if (open.length > 0) this.#request(client, open);
    });
  }

  #request(client: Client, filters: readonly string[]): void {
    const { log } = this.#parts;
    const subscriptions = filters.map((filter) => ({
      filter,
      qos: 2 as const,
      retainAsPublished: true,
      retainHandling: 2 as const,
    }));
    client.subscribe(subscriptions).then(
      (results) => {
        for (const { filter, error } of results) {
          if (error === null) {
            const held = this.#held.get(filter);
            if (held !== undefined && client === this.#client) held.isServed = held.isGranted;
            this.#covers(filter);
            continue;
          }
          this.#refused.add(filter);
          this.#forget(filter);
          log.warn({ region: this.region, filter, problem: error.message }, 'link: filter refused');
        }
      },
      // The connection is gone.
      () => this.#notGranted(filters),
    );
  }

  /** To be asked for again over the next connection. */
  #notGranted(filters: readonly string[]): void {
    for (const filter of filters) {
      const held = this.#held.get(filter);
      if (held === undefined) continue;
      held.isGranted = false;
      held.isServed = false;
    }
  }

  #covers(filter: string): void {
    const known = parseLinkFilter(filter);
    this.#cover?.add(known === null ? filter : known.filter, '');
  }

  /** What is published there under that topic comes over this link, when it is up. */
  brings(topic: string): boolean {
    if (this.#cover === null || !this.#parts.memory.hadSession) return false;
    return this.#mayBring(topic) && this.#cover.isCovered(topic, ANY_REGION);
  }

  #forget(filter: string): void {
    this.#held.delete(filter);
    this.#parts.memory.filters.delete(filter);
    this.#parts.notes.putNote(filterKey(this.region, filter), null);
  }

  /** Now and then: gives up what has not been wanted for a while. */
  tick(): void {
    const client = this.#client;
    if (!this.#isUp || client === null) return;
    this.#measuresLag = true;
    // Limits may be others by now.
    this.#goodTopic = '';
    const nowMs = this.#parts.clock.monotonicMs();
    const over: string[] = [];
    for (const [filter, { dueMs, isServed, isGranted }] of this.#held) {
      // What covers the others may not be there yet.
      if (dueMs === 0 && !isServed) return;
      // Its SUBSCRIBE may be yet to leave, and must not come behind the UNSUBSCRIBE.
      if (isGranted && !isServed) continue;
      if (dueMs === 0 || dueMs > nowMs || over.length === FILTERS_AT_ONCE) continue;
      over.push(filter);
    }
    if (over.length === 0) return;
    for (const filter of over) {
      const held = this.#held.get(filter)!;
      held.dueMs = Number.POSITIVE_INFINITY;
      held.isServed = false;
    }
    client.unsubscribe(over).then(
      () => {
        for (const filter of over) {
          // Wanted again meanwhile: subscribed to again.
          const isWanted = this.#held.get(filter)?.dueMs === 0;
          this.#forget(filter);
          if (isWanted) this.syncSoon();
        }
      },
      () => {
        for (const filter of over) {
          const held = this.#held.get(filter);
          if (held === undefined) continue;
          // It may have been carried out: wanted again, it is subscribed to again.
          held.isGranted = false;
          if (held.dueMs !== 0) held.dueMs = nowMs;
        }
        this.syncSoon();
      },
    );
  }

  // ------------------------------------------------------------------ messages

  #arrived(view: PublishView, topic: string, done: (isTaken: boolean) => void): void {
    const { counters } = this;
    const { window, line, inlet, clock, notes } = this.#parts;
    // The same string, as topics that come again have the text they had.
    const isGood = topic === this.#goodTopic;
    if (!isGood && isRoamTopic(topic)) {
      this.#hear(view, topic, done);
      return;
    }
    const properties = this.#properties;
    if (!this.#parts.isHolder()) {
      done(false);
      return;
    }
    const { propertyBuffer, propertyStart, propertyEnd } = view;
    const isNamed = properties.read(propertyBuffer, propertyStart, propertyEnd);
    if (!isNamed || properties.path === '') {
      counters.malformed++;
      done(true);
      return;
    }
    const { source, number, path } = properties;
    if (path !== this.#goodPath) {
      if (hasRegion(path, this.#parts.region)) {
        counters.loops++;
        done(true);
        return;
      }
      this.#goodPath = path;
      const end = path.indexOf(',');
      this.#relayedFrom = end === -1 ? null : path.slice(0, end);
      const { ears, unlinked } = this.#parts;
      if (this.#relayedFrom !== null && ears !== null) unlinked.heard(this.#relayedFrom);
    }
    if (!isGood) {
      if (inlet.refusal(topic) !== null || !this.#mayBring(topic)) {
        counters.refused++;
        done(true);
        return;
      }
      this.#goodTopic = topic;
    }
    const seen = window.seen(source, number);
    if (seen !== NEW) {
      counters.duplicates++;
      // The first one may be on its way to the disk.
      if (view.qos === 0) done(true);
      else if (seen === PENDING) window.whenEnded(source, number, (failed) => done(!failed));
      else notes.whenDurable(seen, (failed) => done(!failed));
      return;
    }
    if (this.#relayedFrom !== null && view.qos > 0 && this.#awaits(this.#relayedFrom, topic)) {
      counters.deferred++;
      done(true);
      return;
    }
    counters.received++;
    counters.receivedBytes += view.payloadEnd - view.payloadStart;
    if (this.#measuresLag) {
      this.#measuresLag = false;
      counters.lagMs = Math.max(0, clock.wallMs() - properties.timeMs);
    }
    const { end } = properties;
    const mark = properties.mark();
    if (view.qos === 0 || notes.isAtomic) {
      const ticket = window.mark(source, number, view.qos > 0);
      inlet.publish(view, topic, end, mark, ticket, (failed) => {
        if (failed) window.unmark(source, number);
        this.#settled(failed, done);
      });
      return;
    }
    line.add(view, topic, properties, (failed) => this.#settled(failed, done));
  }

  /**
   * Whether a message of a third region is taken only as it comes straight from there: in its place between the
   * words of that region about sessions that move, by which they tell whether it is for here.
   */
  #awaits(origin: string, topic: string): boolean {
    const { ears, linkTo } = this.#parts;
    return ears !== null && linkTo(origin)?.brings(topic) === true;
  }

  /** What the other region says of sessions that move. */
  #hear(view: PublishView, topic: string, done: (isTaken: boolean) => void): void {
    const { ears, line, notes } = this.#parts;
    const { payloadBuffer, payloadStart, payloadEnd } = view;
    const payload = Buffer.from(payloadBuffer.subarray(payloadStart, payloadEnd));
    if (ears !== null && topic === MOVED_TOPIC) {
      const say: SayWord = (earlier, ended) => ears.moved(this.region, payload, earlier, ended);
      // Of the commit that has what came before it, or a later one.
      if (notes.isAtomic) say(atOnce, done);
      else line.addWord(say, (failed) => done(!failed));
      return;
    }
    if (topic === ANSWER_TOPIC) ears?.answered(this.region, payload);
    done(true);
  }

  /** Asks the other region about a session; false: the link is down. */
  ask(payload: Buffer): boolean {
    const client = this.#client;
    if (!this.#isUp || client === null || this.#isStopped) return false;
    client.publish(ASK_TOPIC, payload, { qos: 0 }).catch(() => {});
    return true;
  }

  #settled(failed: boolean, done: (isTaken: boolean) => void): void {
    if (failed) this.counters.failed++;
    done(!failed);
  }

  #mayBring(topic: string): boolean {
    const { allow } = this.#parts.settings;
    for (const filter of allow) if (filter === '#' || filterMatches(filter, topic)) return true;
    return false;
  }
}

/** Not the same as that of any filter, so that one covers itself. */
const ANY_REGION = '*';

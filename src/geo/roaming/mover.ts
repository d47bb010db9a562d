/**
 * The region a client has come to (docs/adr/0023): has the home of its session let go, and fetches what
 * waits there, page by page; a page is asked for when the one before is durable here. What a session still
 * has elsewhere is in its record, so all of this goes on after a restart of either end.
 */
import { isGivenUp } from '../../core/learned-subscriptions.ts';
import type { MovedEntry } from '../../core/moved-entry.ts';
import type { Clock, Log, Random, Scheduler, Ticket } from '../../core/ports.ts';
import type { Roaming } from '../../core/roaming.ts';
import type { FetchAnswer, Mover } from '../../core/roaming-ports.ts';
import type { Source } from '../../core/roaming-record.ts';
import type { Session } from '../../core/session.ts';
import {
  type Answer,
  type Ask,
  decodeFrame,
  decodeMoved,
  encodeFrame,
  FrameDamage,
  type Moved,
} from './frame.ts';
import { HomeDesk } from './home-desk.ts';
import { Inquiries } from './inquiries.ts';
import { Offers } from './offers.ts';
import { RoamingCounters } from './roaming-counters.ts';
import type { RoamingEars, RoamingLinks } from './roaming-links.ts';
import { Searches } from './searches.ts';

export interface MoverParts {
  readonly roaming: Roaming;
  readonly links: RoamingLinks;
  readonly clock: Clock;
  readonly random: Random;
  readonly scheduler: Scheduler;
  readonly log: Log;
  /** A CONNECT waits so long for the home of its session. */
  readonly waitMs: number;
  /** Of movers of this node before this one, too. */
  readonly counters?: RoamingCounters | undefined;
}

/** A CONNECT that waits for the home of its session. */
interface Fetch {
  readonly clientId: string;
  home: string;
  epoch: number;
  readonly untilMs: number;
  dueMs: number;
  n: string;
  done: ((answer: FetchAnswer, epoch: number) => void) | null;
}

/** What is still fetched from one region. */
interface Pull {
  readonly session: Session;
  readonly source: Source;
  /** Of the question that is not answered; '': none. */
  n: string;
  askedMs: number;
  dueMs: number;
  /** Questions in a row that brought nothing. */
  idle: number;
  heldSinceMs: number;
  /** A page is on its way to the disk. */
  isTaking: boolean;
  othersDueMs: number;
  unheardDueMs: number;
}

const TICK_MS = 10;
const ANSWER_MS = 3000;
const WAIT_MS = 15;
/** What was published during a move waits no longer for what was published before it. */
const HELD_MS_MAX = 5000;
const POLL_MS = 20;
const POLL_MS_MAX = 5000;
const DOWN_MS = 100;
const OTHERS_MS = 1000;
/** Words are on their way for a while. */
const UNHEARD_AFTER = 20;
const LOG_EVERY_MS = 10_000;

export class RegionMover implements Mover, RoamingEars {
  readonly counters: RoamingCounters;
  readonly #parts: MoverParts;
  readonly #desk: HomeDesk;
  readonly #offers: Offers;
  readonly #inquiries: Inquiries;
  readonly #fetches: Set<Fetch> = new Set();
  readonly #searches: Searches;
  readonly #pulls: Map<string, Pull> = new Map();
  /** Who waits for which answer. */
  readonly #asked: Map<string, (answer: Answer, entries: readonly MovedEntry[]) => void> =
    new Map();
  readonly #life: string;
  #count = 0;
  #loggedMs = Number.NEGATIVE_INFINITY;
  #stopTick: (() => void) | null = null;

  constructor(parts: MoverParts) {
    this.#parts = parts;
    this.#life = parts.random.hex(6);
    const { roaming, links, log } = parts;
    this.counters = parts.counters ?? new RoamingCounters();
    this.#desk = new HomeDesk({
      roaming,
      links,
      log,
      counters: this.counters,
      reclaim: (session, from) => this.#reclaim(session, from),
      isAsked: (session) => this.#offers.asked(session),
      close: (session) => this.#inquiries.close(session),
    });
    this.#inquiries = new Inquiries({
      roaming,
      ask: (region, ask, taken) => this.#ask(region, ask, taken),
      giveUp: (n) => this.#asked.delete(n),
    });
    this.#offers = new Offers({
      roaming,
      clock: parts.clock,
      ask: (region, ask, taken) => this.#ask(region, ask, taken) !== '',
      // It is nobody's CONNECT: none is waited for.
      locate: (clientId, done) => this.#searches.begin(clientId, 0, done),
    });
    this.#searches = new Searches({
      own: roaming.own,
      directory: roaming.directory,
      links,
      clock: parts.clock,
      waitMs: parts.waitMs,
      ask: (region, ask, taken) => this.#ask(region, ask, taken),
      giveUp: (n) => this.#asked.delete(n),
    });
  }

  /** Sessions are restored, and links begin. */
  start(): void {
    const { roaming } = this.#parts;
    for (const session of roaming.sessions()) {
      roaming.restored(session);
      this.begin(session);
      this.#offers.add(session);
      this.inquire(session);
    }
    this.#stopTick = this.#parts.scheduler.every(TICK_MS, () => this.#tick());
  }

  stop(): void {
    this.#stopTick?.();
    this.#stopTick = null;
    for (const fetch of [...this.#fetches]) this.#fetched(fetch, { kind: 'silent' });
  }

  /** Sessions that have something elsewhere. */
  get moving(): number {
    return this.#pulls.size;
  }

  asked(region: string, payload: Buffer): void {
    this.#desk.asked(region, payload);
  }

  // ------------------------------------------------------------------ RoamingEars

  answered(region: string, payload: Buffer): void {
    const { roaming } = this.#parts;
    this.#searches.heard(region);
    try {
      const { head, entries } = decodeFrame<Answer>(payload, () => roaming.nextSequence());
      const taken = this.#asked.get(head.re);
      if (taken === undefined) return;
      this.#asked.delete(head.re);
      taken(head, entries);
    } catch (error) {
      if (!(error instanceof FrameDamage)) throw error;
      this.#say(region, error.message);
    }
  }

  /** A node alone has its messages and this in commits one after the other. */
  moved(
    region: string,
    payload: Buffer,
    earlier: (then: (failed: boolean) => void) => void,
    done: (isTaken: boolean) => void,
  ): void {
    const { roaming } = this.#parts;
    try {
      const word = decodeMoved(region, payload);
      const { client } = word;
      const keep = this.#heard(region, word);
      earlier((failed) => {
        const ticket = keep(failed);
        if (failed) done(false);
        else roaming.whenDurable(ticket, (isLost) => done(!isLost));
        for (const pull of this.#pullsOf(client)) if (pull.n === '') pull.dueMs = 0;
      });
      this.#letGone(client);
    } catch (error) {
      if (!(error instanceof FrameDamage)) throw error;
      this.#say(region, error.message);
      done(true);
    }
  }

  #heard(
    region: string,
    { client, to, epoch, by, anew, identity = null }: Moved,
  ): (failed: boolean) => Ticket {
    const { roaming } = this.#parts;
    // A client that comes back has a CONNECT above the one it was known by there.
    roaming.directory.observe(epoch);
    if (anew === undefined) return roaming.redirected(region, client, to, epoch, by);
    const begun = roaming.begunElsewhere(region, client, epoch, { anew, identity });
    if (begun.outcome === 'ended') this.counters.endedElsewhere++;
    else if (begun.outcome === 'fetch') this.#reclaim(roaming.session(client)!, region);
    return begun.keep;
  }

  /** It may have let go of it: whoever has it now may not know what is here. */
  #letGone(clientId: string): void {
    const session = this.#parts.roaming.session(clientId);
    if (session?.roam?.leaving) this.#offers.add(session);
  }

  missed(region: string): void {
    const { roaming } = this.#parts;
    for (const session of roaming.sessions()) {
      const { roam } = session;
      if (roam === null || roam.leaving !== null) continue;
      const homes = roam.homesOf(region);
      if (homes.size === 1 && homes.has(roaming.own)) continue;
      // What it has said was among it, or will be again.
      roam.claim(region, roam.epoch);
      roaming.save(session);
    }
  }

  #say(region: string, problem: string): void {
    const { clock, log } = this.#parts;
    const nowMs = clock.monotonicMs();
    if (nowMs - this.#loggedMs < LOG_EVERY_MS) return;
    this.#loggedMs = nowMs;
    log.warn({ region, problem }, 'what another region says of a session cannot be read');
  }

  // ------------------------------------------------------------------ CONNECT

  fetch(
    clientId: string,
    home: string,
    epoch: number,
    done: (answer: FetchAnswer, epoch: number) => void,
  ): void {
    const { clock } = this.#parts;
    const nowMs = clock.monotonicMs();
    const untilMs = nowMs + this.#parts.waitMs;
    const fetch: Fetch = { clientId, home, epoch, untilMs, dueMs: Infinity, n: '', done };
    this.#fetches.add(fetch);
    this.#askHome(fetch);
  }

  #askHome(fetch: Fetch): void {
    const { clientId, home, epoch } = fetch;
    fetch.dueMs = Number.POSITIVE_INFINITY;
    const ask = { kind: 'pull', client: clientId, epoch, isFirst: true } as const;
    const n = this.#ask(home, ask, (answer) => this.#ofHome(fetch, answer));
    // Never from inside the call.
    if (n === '') fetch.dueMs = Number.NEGATIVE_INFINITY;
    fetch.n = n;
  }

  #ofHome(fetch: Fetch, answer: Answer): void {
    const { roaming, clock } = this.#parts;
    fetch.n = '';
    if (answer.kind === 'wait') {
      fetch.dueMs = clock.monotonicMs() + WAIT_MS;
    } else if (answer.kind === 'newer' && answer.to !== fetch.home && answer.to !== undefined) {
      fetch.home = answer.to;
      this.#askHome(fetch);
    } else if (answer.kind === 'newer') {
      roaming.directory.observe(answer.epoch ?? 0);
      fetch.epoch = Math.max(roaming.directory.nextEpoch(), (answer.epoch ?? 0) + 1);
      this.#askHome(fetch);
    } else if (answer.kind === 'moved' && answer.to !== undefined && answer.to !== roaming.own) {
      fetch.home = answer.to;
      this.#askHome(fetch);
    } else if (answer.kind === 'session' && answer.record !== undefined) {
      const { record, inboundIds = [], born = 0, turn = 0, taken = null } = answer;
      const handed = { record, inboundIds, born, turn, taken };
      this.counters.arrived++;
      this.#fetched(fetch, { kind: 'handed', home: fetch.home, handed });
    } else {
      this.#fetched(fetch, { kind: 'none' });
    }
  }

  #fetched(fetch: Fetch, answer: FetchAnswer): void {
    const { done, n, epoch } = fetch;
    this.#fetches.delete(fetch);
    this.#asked.delete(n);
    if (done === null) return;
    fetch.done = null;
    if (answer.kind === 'silent') this.counters.servedAway++;
    // Of other regions more may have been heard, and said of this one, since it was asked.
    done(answer, answer.kind === 'silent' ? this.#parts.roaming.directory.nextEpoch() : epoch);
  }

  locate(
    clientId: string,
    epoch: number,
    done: (home: string | null, isSure: boolean) => void,
  ): void {
    this.#searches.begin(clientId, epoch, (home, _, isSure) => done(home, isSure));
  }

  goneTo(clientId: string): { readonly to: string; readonly epoch: number } | null {
    return this.#desk.goneTo(clientId);
  }

  askAgain(clientId: string, region: string, to: string, epoch: number): void {
    const { links, log } = this.#parts;
    // What this one wants is subscribed to there before that region says that it keeps nothing.
    if (!links.isUp(region) || !links.sync(region)) return;
    log.info(
      { clientId, region },
      'what that region says of a session has not come: it is asked again',
    );
    const ask: Ask = { kind: 'again', client: clientId, epoch, to, n: '' };
    links.ask(region, encodeFrame(ask));
  }

  /** '': the link is down. */
  #ask(
    region: string,
    ask: Omit<Ask, 'n'>,
    taken: (answer: Answer, entries: readonly MovedEntry[]) => void,
  ): string {
    const n = `${this.#life}.${++this.#count}`;
    if (!this.#parts.links.ask(region, encodeFrame({ ...ask, n }))) return '';
    this.#asked.set(n, taken);
    return n;
  }

  // ------------------------------------------------------------------ what is elsewhere

  begin(session: Session): void {
    const { roam, clientId } = session;
    if (roam === null) return;
    for (const source of roam.sources) {
      const key = keyOf(clientId, source.region);
      const known = this.#pulls.get(key);
      if (known?.session === session && known.source === source) {
        known.dueMs = 0;
        continue;
      }
      if (known !== undefined) this.#asked.delete(known.n);
      const pull: Pull = {
        ...{ session, source, n: '', askedMs: 0, dueMs: 0, idle: 0 },
        ...{ heldSinceMs: 0, isTaking: false, othersDueMs: 0, unheardDueMs: 0 },
      };
      this.#pulls.set(key, pull);
      // What it asks for says what it has: also what a holder that died had taken and not noted.
      pull.isTaking = true;
      this.#parts.roaming.whenTaken(session, () => {
        pull.isTaking = false;
        if (this.#pulls.get(key) === pull) this.#step(pull, this.#parts.clock.monotonicMs());
      });
    }
  }

  inquire(session: Session): void {
    this.#inquiries.add(session);
  }

  *#pullsOf(clientId: string): Iterable<Pull> {
    for (const source of this.#parts.roaming.session(clientId)?.roam?.sources ?? []) {
      const pull = this.#pulls.get(keyOf(clientId, source.region));
      if (pull !== undefined) yield pull;
    }
  }

  /** Two regions have served its client, this one last: what the other one has is fetched. */
  #reclaim(session: Session, from: string): void {
    const { roaming } = this.#parts;
    const { roam } = session;
    if (roam === null || roam.sourceOf(from) !== null) return;
    roam.addSource(from, 0);
    roaming.save(session);
    this.begin(session);
  }

  #tick(): void {
    const nowMs = this.#parts.clock.monotonicMs();
    const { links } = this.#parts;
    for (const fetch of [...this.#fetches]) {
      const isGone = fetch.n !== '' && !links.isUp(fetch.home);
      if (isGone || nowMs >= fetch.untilMs || fetch.dueMs === Number.NEGATIVE_INFINITY) {
        this.#fetched(fetch, { kind: 'silent' });
      } else if (nowMs >= fetch.dueMs) this.#askHome(fetch);
    }
    this.#searches.tick(nowMs);
    for (const pull of this.#pulls.values()) this.#look(pull, nowMs);
    this.#offers.tick(nowMs);
    this.#inquiries.tick(nowMs);
  }

  #look(pull: Pull, nowMs: number): void {
    const { roaming } = this.#parts;
    const { session, source } = pull;
    const { roam } = session;
    if (session.ended || roam === null || !roam.sources.includes(source)) {
      if (session.ended && roam !== null) {
        // With it ends what is left of it there.
        roaming.sayAnew(session.clientId, roam.epoch, 'clean', session.identity);
      }
      this.#drop(pull);
      return;
    }
    if (roam.held === null) pull.heldSinceMs = 0;
    else if (pull.heldSinceMs === 0) pull.heldSinceMs = nowMs;
    else if (nowMs - pull.heldSinceMs >= HELD_MS_MAX) this.#giveUpOrder(pull);
    if (pull.isTaking) return;
    if (pull.n === '') {
      if (nowMs >= pull.dueMs) this.#step(pull, nowMs);
      return;
    }
    if (nowMs - pull.askedMs < ANSWER_MS) return;
    this.#asked.delete(pull.n);
    pull.n = '';
    this.#isAway(pull);
    roaming.directory.observe(0);
    this.#step(pull, nowMs);
  }

  /** The other region does not answer: its client is served without it. */
  #isAway(pull: Pull): void {
    const { roaming } = this.#parts;
    const { session } = pull;
    const { roam } = session;
    if (roam!.leaving === null && !roam!.isCut) roaming.cut(session, false);
    if (roam!.held !== null) this.#giveUpOrder(pull);
  }

  #giveUpOrder(pull: Pull): void {
    if (pull.session.roam!.held!.length > 0) this.counters.orderGivenUp++;
    this.#parts.roaming.release(pull.session);
  }

  #drop(pull: Pull): void {
    const key = keyOf(pull.session.clientId, pull.source.region);
    this.#asked.delete(pull.n);
    if (this.#pulls.get(key) === pull) this.#pulls.delete(key);
    this.#parts.roaming.release(pull.session);
  }

  #step(pull: Pull, nowMs: number): void {
    const { roaming, links } = this.#parts;
    const { session, source } = pull;
    const { clientId } = session;
    const roam = session.roam!;
    const { region, born, had, isDone } = source;
    if (!links.isUp(region)) {
      this.#isAway(pull);
      pull.dueMs = nowMs + DOWN_MS;
      return;
    }
    const epoch = roam.epoch;
    // Who only passes it on is in no row: the home that it goes to is, before this one is forgotten.
    if (isDone && roam.leaving === null && !roaming.isListed(session)) {
      pull.dueMs = nowMs + POLL_MS;
      return;
    }
    if (isDone) {
      const ask = { kind: 'forget', client: clientId, epoch, born } as const;
      pull.n = this.#ask(region, ask, (answer) => this.#answered(pull, answer, []));
    } else if (source.isUnheard === true && roam.leaving === null) {
      const ask = { kind: 'pull', client: clientId, epoch, isFirst: true } as const;
      pull.n = this.#ask(region, ask, (answer) => this.#answered(pull, answer, []));
    } else {
      // What is wanted is subscribed to there before that region stops to keep it.
      const cuts = roam.isCut && links.sync(region);
      const ask = { kind: 'pull', client: clientId, epoch, born, had, cuts } as const;
      pull.n = this.#ask(region, ask, (answer, entries) => this.#answered(pull, answer, entries));
      if (cuts) this.#askOthers(pull, nowMs);
    }
    pull.askedMs = nowMs;
    if (pull.n === '') pull.dueMs = nowMs + DOWN_MS;
  }

  /** Regions that are neither: their messages are for the session here, too. */
  #askOthers(pull: Pull, nowMs: number): void {
    const { links } = this.#parts;
    const { session, source } = pull;
    const roam = session.roam!;
    if (roam.leaving !== null || nowMs < pull.othersDueMs) return;
    pull.othersDueMs = nowMs + OTHERS_MS;
    const { clientId: client } = session;
    for (const region of links.regions()) {
      if (region === source.region || roam.isHeard(region) || !links.sync(region)) continue;
      const ask: Ask = { kind: 'moved', client, epoch: roam.epoch, n: '' };
      links.ask(region, encodeFrame(ask));
    }
  }

  #answered(pull: Pull, answer: Answer, entries: readonly MovedEntry[]): void {
    const { roaming, clock } = this.#parts;
    const { session, source } = pull;
    const nowMs = clock.monotonicMs();
    pull.n = '';
    const roam = session.roam!;
    if (session.ended || !roam.sources.includes(source)) return;
    switch (answer.kind) {
      case 'session':
        if (answer.record !== undefined) roaming.learn(session, source, answer.record);
        else source.isUnheard = false;
        this.#step(pull, nowMs);
        return;
      case 'page':
        this.#paged(pull, answer, entries, nowMs);
        return;
      case 'newer':
        this.#lost(pull, answer);
        return;
      case 'moved':
        this.#took(pull, answer);
        if (answer.to !== undefined && answer.to !== roaming.own) {
          this.#isAt(pull, answer.to);
          return;
        }
        this.#isOver(pull);
        return;
      case 'none':
        this.#isOver(pull);
        return;
      default:
        if (answer.more === true) source.isDone = false;
        // To forget it may have to wait for a region that is away.
        pull.idle++;
        pull.dueMs = nowMs + (source.isDone ? idleMs(pull) : WAIT_MS);
    }
  }

  /** That region says what it has of what it was given from here. */
  #took({ session, source }: Pull, { taken }: Answer): void {
    if (taken === undefined) return;
    const had = taken?.born === session.roam!.born ? taken.had : 0;
    this.#parts.roaming.resolveDoubt(session, source.region, had);
  }

  #paged(pull: Pull, answer: Answer, entries: readonly MovedEntry[], nowMs: number): void {
    const { roaming } = this.#parts;
    const { session, source } = pull;
    const roam = session.roam!;
    if (answer.born !== undefined && answer.born !== source.born) {
      source.born = answer.born;
      source.had = 0;
    }
    if (answer.epoch !== undefined && roam.leaving === null && answer.epoch < roam.epoch) {
      roam.arrived = Math.max(roam.arrived, answer.epoch + 1);
    }
    this.#took(pull, answer);
    const fresh = entries.filter(({ seq }) => seq > source.had);
    if (fresh.length > 0) {
      this.#take(pull, fresh);
      return;
    }
    if (answer.more === true) {
      this.#step(pull, nowMs);
    } else if (answer.isLast === true && roam.doubts.of(source.region) === null) {
      source.isDone = true;
      roaming.release(session);
      pull.isTaking = true;
      roaming.whenDurable(roaming.save(session), (failed) => {
        pull.isTaking = false;
        if (!failed) this.#step(pull, this.#parts.clock.monotonicMs());
      });
    } else if (roam.leaving === null && !roam.isCut) {
      // All that waited is here; what comes now, and from the next moment on is here at once, stays behind it.
      roaming.cut(session, true);
      pull.heldSinceMs = nowMs;
      // A datacenter takes a while for it.
      if (roam.isCut) this.#step(pull, nowMs);
      else pull.dueMs = nowMs + POLL_MS;
    } else {
      pull.idle++;
      pull.dueMs = nowMs + idleMs(pull);
      this.#tellUnheard(pull, answer.unheard ?? [], nowMs);
    }
  }

  /** That region has come to have the session when words about it had been said already. */
  #tellUnheard(pull: Pull, regions: readonly string[], nowMs: number): void {
    const { roaming, links } = this.#parts;
    const { session } = pull;
    const { epoch, leaving } = session.roam!;
    if (leaving !== null || pull.idle < UNHEARD_AFTER || nowMs < pull.unheardDueMs) return;
    pull.unheardDueMs = nowMs + OTHERS_MS;
    const { clientId: client } = session;
    for (const region of regions) {
      if (region === roaming.own) roaming.sayAgain(client, session, region, epoch);
      else links.ask(region, encodeFrame({ kind: 'moved', client, epoch, n: '' }));
    }
  }

  #take(pull: Pull, fresh: readonly MovedEntry[]): void {
    const { roaming, clock } = this.#parts;
    const { session, source } = pull;
    const roam = session.roam!;
    const known = roam.isAnew ? unknownTo(fresh) : fresh;
    const wanted = known.filter((entry) => !isGivenUp(session, entry));
    this.counters.takenIn += wanted.length;
    pull.idle = 0;
    pull.isTaking = true;
    const ticket = wanted.length === 0 ? 0 : roaming.takeIn(session, source, wanted);
    roaming.whenDurable(ticket, (failed) => {
      pull.isTaking = false;
      // What could not be stored here is still there: the next start finds how far it came.
      if (failed) {
        pull.dueMs = clock.monotonicMs() + ANSWER_MS;
        return;
      }
      if (wanted.length < fresh.length) {
        roam.tookUpTo(source, fresh.at(-1)!.seq);
        roaming.save(session);
      }
      this.#step(pull, clock.monotonicMs());
    });
  }

  /** The client is at another region, which knows it by a later CONNECT. */
  #lost(pull: Pull, answer: Answer): void {
    const { roaming } = this.#parts;
    const { session, source } = pull;
    const roam = session.roam!;
    const { to = source.region, epoch = 0 } = answer;
    if (roam.leaving === null && epoch <= roam.epoch) {
      // Its client has come back here since that was asked.
      pull.dueMs = 0;
      return;
    }
    roam.dropSource(source);
    if (roam.leaving === null && epoch > roam.epoch && to !== roaming.own) {
      roaming.letGo(session, to, epoch);
      this.#offers.add(session);
    } else roaming.save(session);
    this.#drop(pull);
  }

  /** What is there goes to a third region, and has to come from that one. */
  #isAt(pull: Pull, region: string): void {
    const { roaming } = this.#parts;
    const { session, source } = pull;
    const roam = session.roam!;
    roam.dropSource(source);
    if (roam.sourceOf(region) === null) roam.addSource(region, 0);
    this.#drop(pull);
    roaming.save(session);
    this.begin(session);
  }

  /** That region has nothing of it. */
  #isOver(pull: Pull): void {
    const { roaming } = this.#parts;
    const { session, source } = pull;
    const roam = session.roam!;
    // Its queue is gone, and what is here of it.
    roam.sources = roam.sources.filter((one) => one !== source);
    roaming.resolveDoubt(session, source.region, 0);
    if (!source.isDone && roam.leaving === null) {
      // It never said, and never will, from where on its messages are for here.
      roaming.cut(session, false);
      if (roam.rest === source.region) roam.rest = roaming.own;
      if (roam.homesOf(source.region).has(source.region)) roam.claim(source.region, roam.epoch);
    }
    this.#drop(pull);
    roaming.save(session);
  }
}

/** For a client that knows nothing of that session: it has what it has acknowledged, and no packet identifier. */
function unknownTo(entries: readonly MovedEntry[]): readonly MovedEntry[] {
  return entries.filter(({ isReleased }) => !isReleased).map((entry) => ({ ...entry, id: 0 }));
}

function idleMs({ idle }: Pull): number {
  return Math.min(POLL_MS_MAX, idle < 100 ? POLL_MS : POLL_MS * idle);
}

function keyOf(clientId: string, region: string): string {
  return `${region}/${clientId}`;
}

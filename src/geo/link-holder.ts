/**
 * All links of this node to other regions: made from settings, started where this node has the role, told
 * of what is wanted, revised after a reload (docs/adr/0022). Made by app/; the connections are
 * `region-link.ts`, what other regions get from here is core's.
 */
import type { LinkInlet } from '../core/link-inlet.ts';
import type { Clock, Log, Scheduler } from '../core/ports.ts';
import type { RegionLinks } from '../core/region-links.ts';
import { ArrivalLine } from './arrival-line.ts';
import { IdentityWindow } from './identity-window.ts';
import { interestSteps } from './link-interest.ts';
import { type LinkMemory, noteAgain, recall } from './link-memory.ts';
import type { LinkNotes } from './link-notes.ts';
import { type LinkWorld, systemWorld } from './link-world.ts';
import { type LinkSettings, RegionLink } from './region-link.ts';
import type { RoamingEars } from './roaming/roaming-links.ts';
import { UnlinkedRegions } from './roaming/unlinked-regions.ts';

/** What goes with the role, and has its notes among those of the links: sessions on their way. */
export interface NotedMoves {
  /** The notes are about to be taken here. */
  begin(notes: LinkNotes): void;
  /** False: it is a note of others. */
  restore(key: string, value: Buffer): boolean;
  /** All are read; before any link is up. `isEmptied`: there was none. */
  resume(isEmptied: boolean): void;
  /** They are another node's. */
  end(): void;
}

export interface LinksParts {
  readonly core: RegionLinks;
  readonly inlet: LinkInlet;
  readonly notes: LinkNotes;
  /** One node of the region has all its links; alone: this one. */
  readonly isHolder: () => boolean;
  readonly clock: Clock;
  readonly scheduler: Scheduler;
  readonly log: Log;
  /** A link has a gap: retained changes may be among what is lost. */
  readonly missed: () => void;
  /** Null: sessions stay in their region. */
  readonly ears?: RoamingEars | null | undefined;
  /** Null: alone, or sessions stay. */
  readonly moves?: NotedMoves | null | undefined;
  readonly unsubscribeAfterMs?: number | undefined;
  readonly world?: LinkWorld | undefined;
}

const TICK_MS = 250;
const SWEEP_MS = 60_000;
/** Subscriptions that come together are looked at together. */
const GATHER_MS = 20;
/** What is wanted is looked at for at most this share of the time. */
const PAUSES_PER_LOOK = 10;
const UNSUBSCRIBE_AFTER_MS = 30_000;
/** Beyond the largest budget, until a name is forgotten. */
const WINDOW_SLACK_MS = 3_600_000;

export class LinkHolder {
  /** Names of messages; a new one with each taking of the notes. */
  window: IdentityWindow;
  /** Only where sessions roam. */
  readonly unlinked: UnlinkedRegions;
  #line: ArrivalLine;
  readonly #parts: LinksParts;
  readonly #links: Map<string, RegionLink> = new Map();
  /** Whose connection has yet to end: one after the other has the session there. */
  readonly #closing: Set<string> = new Set();
  #memories: Map<string, LinkMemory> = new Map();
  /** Of when this node had the links before: Redis may have lost what it noted. */
  #earlier: { readonly window: IdentityWindow; readonly memories: Map<string, LinkMemory> } | null =
    null;
  #settings: readonly LinkSettings[] = [];
  #isHolder = false;
  #isTaking = false;
  #isStopped = false;
  #stopTick: (() => void) | null = null;
  readonly #world: LinkWorld;
  /** Null: nothing is gathered. */
  #cancelGather: (() => void) | null = null;
  #sweptMs = 0;

  constructor(parts: LinksParts) {
    this.#parts = parts;
    this.#world = parts.world ?? systemWorld;
    this.window = new IdentityWindow(parts.notes, parts.clock);
    this.#line = this.#newLine();
    this.unlinked = new UnlinkedRegions(parts.clock, parts.log, (name) =>
      this.#settings.some(({ region }) => region === name),
    );
  }

  #newLine(): ArrivalLine {
    const { inlet, notes, isHolder, clock, log } = this.#parts;
    return new ArrivalLine({ inlet, window: this.window, notes, isHolder, clock, log });
  }

  #restore(key: string, value: Buffer): void {
    if (this.#parts.moves?.restore(key, value) === true) return;
    if (this.window.restore(key, value) || this.#line.restore(key, value)) return;
    recall(key, value, (region) => this.#memoryOf(region));
  }

  #memoryOf(region: string): LinkMemory {
    let memory = this.#memories.get(region);
    if (memory === undefined) {
      memory = { hadSession: false, startsClean: false, filters: new Set() };
      this.#memories.set(region, memory);
    }
    return memory;
  }

  get links(): Iterable<RegionLink> {
    return this.#links.values();
  }

  /** The link that fetches from there; null: there is none now. */
  link(region: string): RegionLink | null {
    return this.#links.get(region) ?? null;
  }

  /** Regions of links, up or not. */
  get regions(): readonly string[] {
    return this.#settings.map(({ region }) => region);
  }

  /** This node has the links of the region. */
  get isHolder(): boolean {
    return this.#isHolder;
  }

  start(settings: readonly LinkSettings[]): void {
    const { core, inlet, scheduler } = this.#parts;
    this.#settings = settings;
    core.wanted.onChange = () => this.#gather();
    core.onPeer = (region) => this.#links.get(region)?.retrySoon();
    inlet.onPause = (isPaused) => {
      for (const link of this.#links.values()) link.pause(isPaused);
    };
    this.#stopTick = scheduler.every(TICK_MS, () => this.#tick());
    this.#tick();
  }

  /** After a reload: links that are as they were stay up. */
  revise(settings: readonly LinkSettings[]): void {
    this.#settings = settings;
    if (!this.#isHolder) return;
    const wanted = new Map(settings.map((one) => [one.region, one]));
    for (const [region, link] of [...this.#links]) {
      const next = wanted.get(region);
      if (next !== undefined && link.isOf(next)) continue;
      this.#links.delete(region);
      const closed = next === undefined ? link.end() : link.stop();
      void this.#closed(region, closed).then(() => this.#open());
    }
    this.#open();
  }

  #open(): void {
    if (this.#isStopped || !this.#isHolder) return;
    const { core, inlet, notes, clock, log } = this.#parts;
    for (const settings of this.#settings) {
      const { region, allow } = settings;
      if (this.#links.has(region) || this.#closing.has(region)) continue;
      const link = new RegionLink({
        settings,
        region: core.region,
        inlet,
        window: this.window,
        line: this.#line,
        notes,
        interest: () => interestSteps(core.wanted, core.region, region, allow),
        memory: this.#memoryOf(region),
        isHolder: this.#parts.isHolder,
        missed: this.#parts.missed,
        ears: this.#parts.ears ?? null,
        linkTo: (name) => this.link(name),
        unlinked: this.unlinked,
        clock,
        log,
        world: this.#world,
        unsubscribeAfterMs: this.#parts.unsubscribeAfterMs ?? UNSUBSCRIBE_AFTER_MS,
      });
      this.#links.set(region, link);
      link.start();
    }
  }

  #tick(): void {
    const { notes, log } = this.#parts;
    const isAsked = this.#parts.isHolder();
    if (this.#isHolder && !this.#mayGoOn(isAsked)) {
      this.#isHolder = false;
      log.info({}, 'links of this region are no longer held here');
      this.#line.close();
      this.#parts.moves?.end();
      notes.letGo();
      void this.#closeAll();
    } else if (isAsked && !this.#isHolder && !this.#isTaking && this.#closing.size === 0) {
      this.#take();
    }
    if (isAsked && this.#isHolder) this.#line.goOn();
    for (const link of this.#links.values()) link.tick();
    const nowMs = this.#parts.clock.monotonicMs();
    if (nowMs - this.#sweptMs < SWEEP_MS) return;
    this.#sweptMs = nowMs;
    const ages = this.#settings.map(({ budgetAgeS }) => budgetAgeS * 1000);
    this.window.sweep(Math.max(0, ...ages) + WINDOW_SLACK_MS);
  }

  /**
   * A busy node may not serve for a moment now and then, and nobody else has its links for that: what has not come
   * in yet waits. Sessions on their way do not.
   */
  #mayGoOn(isAsked: boolean): boolean {
    const { notes, moves } = this.#parts;
    if (this.#line.isClosed) return false;
    return isAsked ? notes.isTaken : (moves ?? null) === null && notes.isKept;
  }

  /** What the holder before knew, from wherever it has left it. */
  #take(): void {
    const { notes, clock, log } = this.#parts;
    this.#isTaking = true;
    this.#parts.moves?.begin(notes);
    this.window = new IdentityWindow(notes, clock);
    this.#line = this.#newLine();
    this.#memories = new Map();
    let found = 0;
    notes.take(
      (key, value) => {
        found++;
        this.#restore(key, value);
      },
      (isTaken) => {
        this.#isTaking = false;
        if (!isTaken || this.#isStopped) return;
        this.#isHolder = true;
        const rewritten = this.#recover(found === 0);
        this.#parts.moves?.resume(found === 0);
        const replayed = this.#line.replay();
        const { pages } = this.window;
        log.info({ pages, rewritten, replayed }, 'links of this region are held here');
        this.#open();
      },
    );
  }

  /** What this node knew and the notes do not know any more. How many pages of names. */
  #recover(isEmptied: boolean): number {
    const { notes } = this.#parts;
    const { window } = this;
    const earlier = this.#earlier;
    const rewritten = earlier === null ? 0 : window.merge(earlier.window);
    if (isEmptied && earlier !== null) {
      this.#memories = earlier.memories;
      for (const [region, memory] of this.#memories) noteAgain(region, memory, notes);
    }
    this.#earlier = { window, memories: this.#memories };
    return rewritten;
  }

  #gather(): void {
    if (this.#cancelGather !== null || this.#links.size === 0) return;
    let lookMs = 0;
    for (const link of this.#links.values()) lookMs += link.lookMs;
    const waitMs = Math.max(GATHER_MS, lookMs * PAUSES_PER_LOOK);
    this.#cancelGather = this.#world.timers.after(waitMs, () => {
      this.#cancelGather = null;
      for (const link of this.#links.values()) link.syncSoon();
    });
  }

  async #closeAll(): Promise<void> {
    this.#cancelGather?.();
    this.#cancelGather = null;
    const links = [...this.#links.values()];
    this.#links.clear();
    await Promise.all(links.map((link) => this.#closed(link.region, link.stop())));
    this.#open();
  }

  async #closed(region: string, closed: Promise<void>): Promise<void> {
    this.#closing.add(region);
    await closed.catch(() => {});
    this.#closing.delete(region);
  }

  /** Before the broker stops: what comes later comes again. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#isHolder = false;
    this.#stopTick?.();
    this.#parts.core.wanted.onChange = null;
    await this.#closeAll();
  }
}

/**
 * The links of a node to other regions, made from a configuration (docs/adr/0022): what the core knows of
 * them, and the connections of geo/. Made by `node.ts` where the configuration has regions.
 */
import { randomBytes } from 'node:crypto';
import type { FetcherReport, LinkReport, LinksReport, LinksView } from '../admin/links-view.ts';
import type {
  RegionAcceptConfig,
  RegionLinkConfig,
  RegionsConfig,
} from '../config/regions-config.ts';
import type { LinkInlet } from '../core/link-inlet.ts';
import { linkIdOf } from '../core/link-names.ts';
import type { Admin, Log } from '../core/ports.ts';
import { type LinkPeer, type LinkTerms, RegionLinks } from '../core/region-links.ts';
import type { NoteKeeper } from '../geo/identity-window.ts';
import { LinkHolder, type NotedMoves } from '../geo/link-holder.ts';
import { LocalNotes } from '../geo/link-notes.ts';
import type { LinkSettings, RegionLink } from '../geo/region-link.ts';
import type { RoamingEars, RoamingLinks } from '../geo/roaming/roaming-links.ts';
import { systemClock, systemScheduler } from '../listeners/scheduler.ts';
import type { Datacenter } from './datacenter.ts';
import { LINKS_ROLE } from './links-role.ts';
import { readSecret } from './read-file.ts';
import { tlsOf } from './remote-tls.ts';

export interface LinkSurroundings {
  readonly sessions: Pick<Admin, 'session'>;
  readonly inlet: LinkInlet;
  /** Of the node's own store; null: it keeps nothing, and has no links of its own. */
  readonly notes: NoteKeeper | null;
  /** Null: this node is alone. */
  readonly datacenter: Pick<Datacenter, 'roles' | 'linkNotes'> | null;
  /** Another region has lost what it had queued: also what it told of retained messages. */
  readonly missed: () => void;
  /** Null: sessions stay in their region. */
  readonly ears: RoamingEars | null;
  /** Null: alone, or sessions stay. */
  readonly moves: NotedMoves | null;
}

const INCARNATION_BYTES = 16;

export class NodeLinks implements LinksView {
  readonly core: RegionLinks;
  readonly #log: Log;
  #config: RegionsConfig;
  #settings: readonly LinkSettings[];
  readonly #notes: Map<string, Buffer> = new Map();
  #around: LinkSurroundings | null = null;
  #holder: LinkHolder | null = null;

  /** Throws a StartError when a file cannot be read. */
  static async open(config: RegionsConfig, log: Log): Promise<NodeLinks> {
    return new NodeLinks(config, await settingsOf(config), log);
  }

  private constructor(config: RegionsConfig, settings: readonly LinkSettings[], log: Log) {
    this.#config = config;
    this.#settings = settings;
    this.#log = log;
    this.core = new RegionLinks(config.name, randomBytes(INCARNATION_BYTES));
    this.#revise(config);
  }

  #revise({ accept, links }: RegionsConfig): void {
    this.core.revise(accept.map(termsOf));
    const ages = links.map(({ budgetAgeS }) => budgetAgeS * 1000);
    this.core.budgetAgeMaxMs = Math.max(0, ...ages);
  }

  /** What the store has kept of an earlier life; before `begin`. */
  recall(key: string, value: Buffer): void {
    this.#notes.set(key, value);
  }

  /** The broker takes messages. */
  begin(around: LinkSurroundings): void {
    const { inlet, notes: own, datacenter } = around;
    this.#around = around;
    if (own === null && datacenter === null) return;
    const roles = datacenter?.roles ?? null;
    const notes = datacenter?.linkNotes() ?? new LocalNotes(own!, inlet, this.#notes);
    if (this.#config.links.length > 0) roles?.want(LINKS_ROLE);
    this.#holder = new LinkHolder({
      core: this.core,
      inlet,
      notes,
      isHolder: () => roles === null || roles.held(LINKS_ROLE),
      clock: systemClock,
      scheduler: systemScheduler,
      log: this.#log,
      missed: around.missed,
      ears: around.ears,
      moves: around.moves,
    });
    this.#holder.start(this.#settings);
  }

  /** For what is said about sessions that move. */
  get ways(): RoamingLinks {
    const link = (region: string): RegionLink | null => this.#holder?.link(region) ?? null;
    return {
      regions: () => this.#holder?.regions ?? [],
      isUp: (region) => link(region)?.isUp === true,
      ask: (region, payload) => {
        this.#holder?.unlinked.heard(region);
        return link(region)?.ask(payload) === true;
      },
      sync: (region) => link(region)?.sync() === true,
    };
  }

  /** Regions whose link is here and down. In a datacenter, the holder has them all. */
  get unreachable(): readonly string[] {
    const holder = this.#holder;
    if (holder === null || !holder.isHolder) return [];
    return holder.regions.filter((region) => holder.link(region)?.isUp !== true);
  }

  report(): LinksReport {
    const holder = this.#holder;
    const { region, peers, refused } = this.core;
    return {
      region,
      isHolder: holder?.isHolder === true,
      links: [...(holder?.links ?? [])].map(linkReport),
      unlinked: holder?.unlinked.names ?? [],
      fetchers: [...peers].map((peer) => this.#fetcherReport(peer)),
      waiting: this.#around?.inlet.waiting ?? 0,
      windowPages: holder?.window.pages ?? 0,
      windowOverflows: holder?.window.overflows ?? 0,
      refusedConnects: refused,
    };
  }

  #fetcherReport(peer: LinkPeer): FetcherReport {
    const { region, budgetBytes, handed, returned, withheld, dropped } = peer;
    const session = this.#around?.sessions.session(linkIdOf(region)) ?? null;
    return {
      region,
      isConnected: session?.connected === true,
      subscriptions: session?.subscriptions ?? 0,
      queuedMessages: session?.queuedMessages ?? 0,
      queuedBytes: session?.queuedBytes ?? 0,
      ...{ budgetBytes, handed, returned, withheld, dropped },
    };
  }

  /** After a reload: reads files; throws a StartError and keeps what it had. */
  async revise(config: RegionsConfig): Promise<void> {
    const settings = await settingsOf(config);
    this.#config = config;
    this.#settings = settings;
    this.#revise(config);
    if (config.links.length > 0) this.#around?.datacenter?.roles.want(LINKS_ROLE);
    this.#holder?.revise(settings);
  }

  /** Before the broker stops. */
  async stop(): Promise<void> {
    await this.#holder?.stop();
  }
}

function settingsOf({ links }: RegionsConfig): Promise<readonly LinkSettings[]> {
  return Promise.all(links.map(linkOf));
}

async function linkOf(link: RegionLinkConfig): Promise<LinkSettings> {
  const { region, url, username, allow, budgetAgeS, budgetBytes, tls } = link;
  const { passwordFile } = link;
  const password = passwordFile === undefined ? undefined : await readSecret(passwordFile);
  return {
    ...{ region, url, username, password, allow, budgetAgeS, budgetBytes },
    tls: await tlsOf(tls),
  };
}

function termsOf(accept: RegionAcceptConfig): LinkTerms {
  const { region, user = null, certificate = null, topics } = accept;
  const { budgetAgeMaxS, budgetBytesMax: budgetBytes } = accept;
  return { region, user, certificate, topics, budgetAgeMs: budgetAgeMaxS * 1000, budgetBytes };
}

function linkReport(link: RegionLink): LinkReport {
  const { region, url, isUp, problem, upSinceMs, subscriptions, refusedFilters, counters } = link;
  return { region, url, isUp, problem, upSinceMs, subscriptions, refusedFilters, ...counters };
}

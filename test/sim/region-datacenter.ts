/**
 * A simulated region of several nodes: the datacenter of sim-site.ts, each node of which has retained messages of
 * its own and may have the links to other regions, put together as app/ does. Made by region-site.ts.
 */
import type { Log } from '../../src/core/ports.ts';
import type { RegionLinks } from '../../src/core/region-links.ts';
import { SharedNotes } from '../../src/geo/link-notes.ts';
import type { CassandraDirectory } from '../../src/store/cassandra/cassandra-directory.ts';
import { EmbeddedStore } from '../../src/store/embedded/embedded-store.ts';
import { type RegionLife, type RegionNode, readyOf, type SimRegion } from './region-life.ts';
import { RegionMoves } from './region-moves.ts';
import { RegionRetained } from './region-retained.ts';
import { directoryOf } from './region-roaming.ts';
import { linkListener, RegionGate, type RegionWorld } from './region-world.ts';
import { SimLevel } from './sim-level.ts';
import type { SimNode } from './sim-node.ts';
import { PREFIX, type SimLife, SimSite, type SimSurroundings } from './sim-site.ts';

const LINKS_ROLE = 'links';
const RETAINED_ROLE = 'retained';
/** Of Redis: so few that a holder ends between two calls now and then. */
const NOTES_PER_CALL = 2;

/** `region`: asked when a node starts. */
export function datacenterOf(
  world: RegionWorld,
  options: { readonly nodes: number; readonly name: string; readonly wallOffsetMs: number },
  region: () => SimRegion,
): SimSite {
  let begun: Member | null = null;
  const site: SimSite = new SimSite(world.kernel, {
    ...options,
    surroundings: (machine, node, log) => {
      const own = region().nodes[site.machines.indexOf(machine)]!;
      begun = new Member(world, region(), own, node, log);
      return begun.surroundings;
    },
  });
  site.onLife = (life) => begun!.made(life);
  return site;
}

/** One life of one of its nodes. */
class Member {
  readonly surroundings: SimSurroundings;
  readonly #world: RegionWorld;
  readonly #region: SimRegion;
  readonly #machine: RegionNode;
  readonly #log: Log;
  readonly #store: EmbeddedStore;
  readonly #retained: RegionRetained | null;
  readonly #links: RegionLinks;
  readonly #directory: CassandraDirectory | null;
  #member: SimLife | null = null;
  #life: RegionLife | null = null;
  /** It has what subscribers are to be served from. */
  #hasBegun = false;

  constructor(world: RegionWorld, region: SimRegion, own: RegionNode, node: SimNode, log: Log) {
    const { kernel, tables, sessions } = world;
    this.#world = world;
    this.#region = region;
    this.#machine = own;
    this.#log = log;
    this.#store = new EmbeddedStore({
      directory: own.name,
      marksRetained: tables !== null,
      database: SimLevel.of(kernel, node, own.disk),
      scheduler: node,
      log,
    });
    this.#retained =
      tables === null
        ? null
        : new RegionRetained({
            mirror: this.#store,
            table: tables.of(region.name, node),
            node,
            log,
            memory: own.roundMemory,
            tombstoneS: world.tombstoneS,
            askKept: (done) => this.#member!.cluster.askKept(done),
          });
    this.#links = world.linksOf(region);
    this.#directory =
      sessions === null
        ? null
        : directoryOf({
            region: region.name,
            table: sessions.of(region.name, node),
            node,
            log,
            hybridClock: this.#retained?.hybridClock ?? null,
          });
    this.surroundings = {
      gate: new RegionGate(),
      links: this.#links,
      local: this.#retained?.store ?? this.#store,
      rounds: this.#retained?.datacenterRounds ?? null,
      directory: this.#directory,
      joined: () => this.#joined(),
    };
  }

  /** Before it starts. */
  made(member: SimLife): void {
    const { node, broker, redis } = member;
    const roles = member.roles!;
    const log = this.#log;
    const notes = new SharedNotes({
      redis,
      keyPrefix: PREFIX,
      epoch: () => roles.epoch(LINKS_ROLE),
      keptEpoch: () => roles.keptEpoch(LINKS_ROLE),
      scheduler: node,
      log,
      notesPerCall: NOTES_PER_CALL,
    });
    const moves =
      this.#directory === null
        ? null
        : new RegionMoves({ broker, node, log, holder: () => life.holder });
    const holder = this.#world.holderOf(node, log, () => life, {
      core: this.#links,
      inlet: broker.linkInlet,
      notes,
      isHolder: () => roles.held(LINKS_ROLE),
      missed: () => this.#retained?.rounds.request(),
      ears: moves?.ears ?? null,
      moves,
    });
    const hasBegun = (): boolean => this.#hasBegun;
    const life: RegionLife = {
      region: this.#region.name,
      node,
      broker,
      links: this.#links,
      holder,
      store: this.#store,
      notes,
      retained: this.#retained,
      roaming: null,
      moves,
      member,
      onBegun: null,
      get isReady() {
        return member.isReady && hasBegun();
      },
      accept: (sink) => (life.isReady ? broker.accept(sink, linkListener) : null),
      wrote: (to, connection, buffer, start, end) =>
        this.#world.onWrite(life, to, connection, buffer.subarray(start, end)),
    };
    this.#member = member;
    this.#life = life;
    this.#machine.lives++;
    this.#machine.life = life;
    this.#world.onLife(life);
  }

  #joined(): void {
    const { broker, cluster } = this.#member!;
    const roles = this.#member!.roles!;
    if (this.#retained === null) {
      this.#begin();
      return;
    }
    roles.want(RETAINED_ROLE);
    const around = {
      isMine: () => roles.held(RETAINED_ROLE),
      hasOthers: () => readyOf(this.#region).some((other) => other !== this.#life),
      ended: (beganMs: number) => cluster.roundEnded(beganMs),
    };
    this.#retained.begin(broker.retained, around, () => this.#begin());
  }

  #begin(): void {
    const life = this.#life!;
    this.#directory?.start();
    this.#member!.roles!.want(LINKS_ROLE);
    life.holder.start(this.#world.settingsOf(this.#region));
    life.onBegun?.();
    this.#hasBegun = true;
    this.#world.network.listen(life);
    life.node.trace('takes clients');
  }
}

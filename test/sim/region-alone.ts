/**
 * The node of a simulated region that is alone: the real core over the real embedded store, and the real links of
 * src/geo. Made by region-site.ts.
 */
import { Broker } from '../../src/core/broker.ts';
import { makeLimits } from '../../src/core/limits.ts';
import { LocalNotes } from '../../src/geo/link-notes.ts';
import { EmbeddedStore } from '../../src/store/embedded/embedded-store.ts';
import type { RegionLife, RegionNode, SimRegion } from './region-life.ts';
import { RegionRetained } from './region-retained.ts';
import { RegionRoaming } from './region-roaming.ts';
import { linkListener, RegionGate, type RegionWorld } from './region-world.ts';
import { SimLevel } from './sim-level.ts';

/** Starts it; it is ready later. */
export function startAlone(world: RegionWorld, region: SimRegion, machine: RegionNode): void {
  const { kernel, network, tables, sessions } = world;
  machine.lives++;
  const node = kernel.node(`${machine.name}.${machine.lives}`, {
    rate: 1 + (kernel.chance.next() - 0.5) / 50,
    wallOffsetMs: region.wallOffsetMs,
  });
  const log = world.logOf(node);
  const found: Map<string, Buffer> = new Map();
  const store = new EmbeddedStore({
    directory: machine.name,
    marksRetained: tables !== null,
    database: SimLevel.of(kernel, node, machine.disk),
    scheduler: node,
    log,
    onNote: (key, value) => {
      if (roaming?.recall(key, value) !== true) found.set(key, value);
    },
  });
  const retained =
    tables === null
      ? null
      : new RegionRetained({
          mirror: store,
          table: tables.of(region.name, node),
          node,
          log,
          memory: machine.roundMemory,
          tombstoneS: world.tombstoneS,
          askKept: null,
        });
  const roaming =
    sessions === null
      ? null
      : new RegionRoaming({
          region: region.name,
          table: sessions.of(region.name, node),
          node,
          log,
          hybridClock: retained?.hybridClock ?? null,
        });
  const links = world.linksOf(region);
  const broker = new Broker({
    limits: makeLimits({}),
    queueOverflow: 'drop_oldest',
    sharedStrategy: 'round_robin',
    revokedSubscription: 'disconnect',
    clock: node.clock,
    random: node.random,
    scheduler: node,
    log,
    store: retained?.store ?? store,
    gate: new RegionGate(),
    observer: null,
    bus: null,
    links,
    directory: roaming?.directory ?? null,
  });
  const notes = new LocalNotes(store, broker.linkInlet, found);
  const holder = world.holderOf(node, log, () => life, {
    core: links,
    inlet: broker.linkInlet,
    notes,
    isHolder: () => true,
    missed: () => retained?.rounds.request(),
    ears: roaming?.attach(broker, () => holder) ?? null,
  });
  let isReady = false;
  const life: RegionLife = {
    region: region.name,
    node,
    broker,
    links,
    holder,
    store,
    notes,
    retained,
    roaming,
    moves: null,
    member: null,
    onBegun: null,
    get isReady() {
      return isReady;
    },
    accept: (sink) => broker.accept(sink, linkListener),
    wrote: (to, connection, buffer, start, end) =>
      world.onWrite(life, to, connection, buffer.subarray(start, end)),
  };
  machine.life = life;
  world.onLife(life);
  const begin = (): void => {
    roaming?.begin(store);
    holder.start(world.settingsOf(region));
    life.onBegun?.();
    isReady = true;
    network.listen(life);
    node.trace('ready');
  };
  void broker.start().then(() =>
    kernel.after(node, 1, () => {
      if (retained === null) begin();
      else retained.begin(broker.retained, null, begin);
    }),
  );
}

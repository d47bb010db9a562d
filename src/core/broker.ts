/**
 * The broker as the rest of the program sees it: accepts connections from listeners, publishes from
 * inside, starts and stops. Puts the parts of the core together and holds no logic of its own.
 */

import { Connection } from './connection.ts';
import { Core, type CoreOptions } from './core.ts';
import { Delivery } from './delivery.ts';
import { Drain, type DrainOptions, type DrainProgress } from './drain.ts';
import { Fanout } from './fanout.ts';
import { GroupQueues } from './group-queues.ts';
import { HolderRoaming } from './holder-roaming.ts';
import { Inlet } from './inlet.ts';
import { Inspection } from './inspection.ts';
import type { Limits, RevokedSubscription } from './limits.ts';
import { LinkInlet } from './link-inlet.ts';
import type { RoamNotes } from './moving-table.ts';
import type {
  Acceptor,
  ByteHandler,
  ByteSink,
  ListenerInfo,
  Observer,
  Steering,
  StoreEvents,
} from './ports.ts';
import { Publication } from './publication.ts';
import { PublishEncoder } from './publish-encoder.ts';
import { Publisher } from './publisher.ts';
import { Remote } from './remote.ts';
import { RetainedReplay } from './retained-replay.ts';
import { RetainedView } from './retained-view.ts';
import { RoamVoice } from './roam-voice.ts';
import { Roaming } from './roaming.ts';
import type { ParkedOwner, Services } from './services.ts';
import { Sessions } from './sessions.ts';
import { SharedRoaming } from './shared-roaming.ts';
import type { Stats } from './stats.ts';

export type BrokerOptions = CoreOptions;

/** Sockets accepted beyond connectionsMax, so that their CONNECT can be told why. */
const REFUSED_CONNECTIONS_MAX = 1000;
const WHEEL_TICK_MS = 50;
/** How often some retained messages are looked at for their expiry. */
const SWEEP_MS = 1000;
const FAILED_TICKETS_MAX = 1000;

export class Broker implements Acceptor {
  readonly #core: Core;
  readonly #services: Services & { readonly connections: Set<Connection> };
  #stopClock: (() => void) | null = null;
  #drain: Drain | null = null;
  /** What operators see and do. */
  readonly admin: Inspection;
  /** Where messages of other regions come in. */
  readonly linkInlet: LinkInlet;
  /** Null: sessions stay in their region, or this node is not alone. */
  readonly roaming: Roaming | null = null;
  /** The same in a datacenter. */
  readonly sharedRoaming: SharedRoaming | null = null;
  /** What other nodes do here; null: alone. */
  readonly remote: Remote | null;
  readonly #encoder: PublishEncoder;
  /** Null: alone. */
  readonly #groupQueues: GroupQueues | null;

  constructor(options: BrokerOptions) {
    const core = new Core(options);
    const encoder = new PublishEncoder(core.outbox);
    this.#encoder = encoder;
    const delivery = new Delivery(core, encoder);
    const fanout = new Fanout(core, delivery, encoder);
    const publisher = new Publisher(core, delivery, fanout);
    this.#core = core;
    this.#services = {
      core,
      delivery,
      fanout,
      publisher,
      sessions: new Sessions(core, delivery, publisher),
      replay: new RetainedReplay(core, delivery, encoder, publisher),
      retainedView: new RetainedView(core, publisher),
      inbound: new Publication(),
      parked: new Set<ParkedOwner>(),
      connections: new Set<Connection>(),
      connectionsByListener: new Map(),
    };
    if (core.bridges !== null) {
      core.bridges.onReleased = (clientId) => {
        const session = core.sessions.get(clientId);
        if (session !== undefined) delivery.pump(session);
      };
    }
    const { directory, links } = core;
    if (directory?.moves === true && links !== null) {
      if (core.bus === null) {
        this.roaming = new Roaming(this.#services, encoder, links.region, directory);
        core.roaming = this.roaming;
      } else if (options.roamCodec != null) {
        const voice = new RoamVoice(this.#services, encoder);
        const { bus } = core;
        const { roamCodec } = options;
        this.sharedRoaming = new SharedRoaming(this.#services, bus, voice, links, roamCodec);
        core.roaming = this.sharedRoaming;
      }
    }
    this.admin = new Inspection(this.#services);
    this.linkInlet = new LinkInlet(this.#services);
    this.remote = this.#remoteSide();
    this.#groupQueues = this.#ofGroups();
  }

  /** This node has the links of its datacenter: what moves there is decided by it. */
  holdRoaming(notes: RoamNotes): HolderRoaming {
    const { directory } = this.#core;
    const shared = this.sharedRoaming!;
    return new HolderRoaming(this.#services, this.#encoder, directory!, shared, notes);
  }

  #remoteSide(): Remote | null {
    const { bus } = this.#core;
    if (bus === null) return null;
    const remote = new Remote(this.#services, bus, this.#services.sessions.tenure!);
    bus.sessions.listen(remote);
    return remote;
  }

  #ofGroups(): GroupQueues | null {
    const { core, delivery, parked, sessions } = this.#services;
    const { bus, interests } = core;
    const { tenure } = sessions;
    if (bus === null || interests === null || tenure === null) return null;
    const groupQueues = new GroupQueues({ core, delivery, parked }, bus, {
      take: (options, done) => tenure.take(options, false, done),
      release: (session) => tenure.disconnected(session, false),
      end: (session) => {
        const { clientId, queuedMessages } = session;
        for (let i = 0; i < queuedMessages; i++) core.drop('session_expired', clientId, '');
        sessions.end(session);
      },
      save: (session) => void sessions.save(session),
    });
    interests.onGroup = groupQueues.touch;
    return groupQueues;
  }

  get retained(): RetainedView {
    return this.#services.retainedView;
  }

  get stats(): Stats {
    return this.#core.stats;
  }

  /** Opens the store and takes back what it holds; then connections may come. */
  async start(): Promise<void> {
    const core = this.#core;
    const { sessions, delivery } = this.#services;
    const events: StoreEvents = {
      entryDurable: (entry, sessionNumber) => delivery.stored(entry, sessionNumber, false),
      entryFailed: (entry, sessionNumber) => delivery.stored(entry, sessionNumber, true),
      committed: (ticket, error) => this.#committed(ticket, error),
      retainedCommitted: (ticket, error) =>
        this.#services.publisher.retainedCommitted(ticket, error !== null),
    };
    await core.store.start(events, {
      session: (restored) => sessions.restore(restored),
      retained: (message) => this.#services.publisher.restoreRetained(message),
      tombstone: (topic, version) => this.#services.publisher.restoreTombstone(topic, version),
    });
    sessions.startTimers();
    let sweptMs = core.clock.monotonicMs();
    this.#stopClock = core.scheduler.every(WHEEL_TICK_MS, () => {
      const nowMs = core.clock.monotonicMs();
      core.wheel.advance(nowMs);
      this.#groupQueues?.tick(nowMs);
      const isKeptAny = core.stats.retainedMessages > 0 || core.stamps !== null;
      if (nowMs - sweptMs < SWEEP_MS || !isKeptAny) return;
      sweptMs = nowMs;
      this.#services.publisher.sweepRetained();
    });
  }

  #committed(ticket: number, error: Error | null): void {
    const core = this.#core;
    if (error !== null) {
      for (let failed = core.settledTicket + 1; failed <= ticket; failed++) {
        core.failedTickets.add(failed);
      }
    }
    core.settledTicket = Math.max(core.settledTicket, ticket);
    this.#services.delivery.committed();
    for (const owner of [...this.#services.parked]) owner.releaseParked();
    // Nobody waits for the oldest any more.
    for (const oldest of core.failedTickets) {
      if (core.failedTickets.size <= FAILED_TICKETS_MAX) break;
      core.failedTickets.delete(oldest);
    }
  }

  accept(sink: ByteSink, listener: ListenerInfo): ByteHandler | null {
    const core = this.#core;
    const { connections, connectionsByListener } = this.#services;
    core.stats.socketsAccepted++;
    const ofListener = connectionsByListener.get(listener.name) ?? 0;
    const listenerMax = listener.limits.connectionsMax ?? Number.POSITIVE_INFINITY;
    if (
      core.stopping ||
      connections.size >= core.limits.connectionsMax + REFUSED_CONNECTIONS_MAX ||
      ofListener >= listenerMax ||
      (listener.isOwn !== true && core.gate?.socket(sink.remoteAddress, listener) === false)
    ) {
      core.stats.socketsRefused++;
      return null;
    }
    const connection = new Connection(this.#services, sink, listener);
    connections.add(connection);
    connectionsByListener.set(listener.name, ofListener + 1);
    core.stats.sockets++;
    core.stats.connections = connections.size;
    if (connections.size > core.stats.connectionsMaximum) {
      core.stats.connectionsMaximum = connections.size;
    }
    core.wheel.set(connection.timer, connection.lastActivityMs + core.limits.connectTimeoutMs);
    return new Inlet(connection);
  }

  /** Publishes from inside the broker ($SYS, API). */
  publish(
    topic: string,
    payload: Uint8Array | string,
    options: { readonly qos?: 0 | 1 | 2; readonly retain?: boolean } = {},
  ): void {
    const bytes = typeof payload === 'string' ? Buffer.from(payload) : payload;
    const { publisher } = this.#services;
    publisher.publishBytes(topic, bytes, options.retain ?? false, options.qos ?? 0);
  }

  /** Who sees what happens; null: nobody. */
  observe(observer: Observer | null): void {
    this.#core.observer = observer;
  }

  /** What becomes of a client whose subscription is taken back, from now on. */
  setRevokedSubscription(policy: RevokedSubscription): void {
    this.#core.revokedSubscription = policy;
  }

  /** New limits hold for new connections, and at once for what is checked per message. */
  setLimits(limits: Limits): void {
    this.#core.limits = limits;
    this.#core.router.cache.receiversMax = limits.routeCacheReceiversMax;
  }

  /** Who should be served elsewhere from now on; null: nobody. */
  setSteering(steering: Steering | null): void {
    this.#core.steering = steering;
  }

  /** Sends clients elsewhere, and whoever still comes; `done` when nobody is left. Again: other options. */
  drain(options: DrainOptions, done: () => void): void {
    const core = this.#core;
    core.draining = true;
    core.serverReference = options.serverReference;
    this.#drain?.cancel();
    this.#drain = new Drain(core, this.#services.connections, options, done);
  }

  /** Clients may come again. */
  endDrain(): void {
    this.#drain?.cancel();
    this.#drain = null;
    this.#core.draining = false;
    this.#core.serverReference = null;
  }

  /** Null: the node is not being drained. */
  get drainProgress(): DrainProgress | null {
    return this.#drain?.progress ?? null;
  }

  /** From here on no connection is accepted and CONNECT is refused. */
  beginShutdown(): void {
    this.#core.stopping = true;
  }

  /** Tells every client 0x8B, waits up to `graceMs` for their sockets, and closes the store. */
  async stop(graceMs: number): Promise<void> {
    const core = this.#core;
    this.beginShutdown();
    for (const connection of [...this.#services.connections]) {
      connection.close('server_shutting_down');
    }
    core.outbox.flush();
    await new Promise<void>((resolve) => {
      const startedMs = core.clock.monotonicMs();
      const stopWaiting = core.scheduler.every(10, () => {
        const isLate = core.clock.monotonicMs() - startedMs >= graceMs;
        if (core.stats.sockets > 0 && !isLate) return;
        stopWaiting();
        resolve();
      });
    });
    this.#drain?.cancel();
    await core.store.stop();
    this.#stopClock?.();
  }
}

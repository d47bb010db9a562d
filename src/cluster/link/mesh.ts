/**
 * The links of a node to all other members and theirs to it (docs/adr/0012), as one Mesh: an outbound and
 * an inbound link for each incarnation in the member list, and the connections that have not proved yet
 * whose they are. Everything is injected: app/ gives it TcpTransport, the simulation a network of its own.
 *
 * Positions of a peer's stream rise through all link sessions. After a session was given up, `applied`
 * stands still until the peer has applied the tables of the next one (its first TABLES_END).
 */
import type { Incarnation } from '../../core/cluster-ports.ts';
import type { Audience } from '../../core/outlet.ts';
import type { Clock, Log, Random, Scheduler } from '../../core/ports.ts';
import type {
  LinkSocket,
  LinkSocketEvents,
  LinkState,
  LinkTransport,
  Member,
  Mesh,
  MeshEvents,
} from '../ports.ts';
import { type ConnectionOwner, InboundConnection } from './inbound-connection.ts';
import { InboundLink } from './inbound-link.ts';
import type { Flushable, LinkLimits, LinkWorld } from './link-world.ts';
import { OutboundLink } from './outbound-link.ts';

export interface PeerMeshOptions {
  readonly transport: LinkTransport;
  readonly clock: Clock;
  readonly random: Random;
  readonly scheduler: Scheduler;
  readonly log: Log;
  readonly limits: LinkLimits;
  /** Of this program; told to peers. */
  readonly release: string;
  /**
   * Somebody who is no member says HELLO (it has proved nothing) and is held for a second: a good moment
   * to ask for the member list again.
   */
  readonly strangerCalls?: (incarnation: Incarnation) => void;
}

const TICK_MS = 50;
/** Connections that have not proved themselves; the oldest goes for one more. */
const ARRIVING_MAX = 128;
const REFUSALS_LOGGED_PER_S = 3;

interface PeerLinks {
  readonly outbound: OutboundLink;
  readonly inbound: InboundLink;
}

export class PeerMesh implements Mesh, ConnectionOwner {
  readonly #world: LinkWorld;
  readonly #scheduler: Scheduler;
  readonly #strangerCalls: ((incarnation: Incarnation) => void) | null;
  readonly #peers: Map<Incarnation, PeerLinks> = new Map();
  readonly #arriving: Set<InboundConnection> = new Set();
  #dirty: Flushable[] = [];
  #stopTicking: (() => void) | null = null;
  #isStopped = false;
  #refusals = 0;
  #refusalsSinceMs = 0;

  constructor(options: PeerMeshOptions) {
    const { clock, random, log, transport, limits, release, scheduler } = options;
    this.#scheduler = scheduler;
    this.#strangerCalls = options.strangerCalls ?? null;
    this.#world = {
      clock,
      random,
      log,
      transport,
      limits,
      release,
      events: null,
      self: '',
      generation: '',
      secret: '',
      attempts: 0,
      atEndOfTurn: (flushable) => this.#flushLater(flushable),
    };
  }

  /** Once, before the first `setMembers`. */
  start(events: MeshEvents): void {
    this.#world.events = events;
    this.#world.transport.listen((socket) => this.#accepted(socket));
    this.#stopTicking = this.#scheduler.every(TICK_MS, () => this.#tick());
  }

  /** What new connections have to agree on; known before the first `setMembers`. Open ones stay. */
  identify(generation: string, secret: string): void {
    this.#world.generation = generation;
    this.#world.secret = secret;
    this.#answerHeld();
  }

  // ------------------------------------------------------------------------------ Mesh

  setMembers(self: Incarnation, members: readonly Member[]): void {
    if (this.#isStopped) return;
    const isOther = self !== this.#world.self;
    const wanted = new Set<Incarnation>();
    for (const { incarnation } of members) if (incarnation !== self) wanted.add(incarnation);
    this.#world.self = self;
    for (const [incarnation, links] of [...this.#peers]) {
      if (isOther || !wanted.has(incarnation)) this.#remove(incarnation, links);
    }
    // Who goes may let something go on that announces: it must not come before a new peer's tables.
    for (const member of members) {
      if (member.incarnation === self || this.#peers.has(member.incarnation)) continue;
      const outbound = new OutboundLink(this.#world, member);
      const inbound = new InboundLink(this.#world, member);
      outbound.onRefused = () => this.#refusedBy(member.incarnation, inbound);
      this.#peers.set(member.incarnation, { outbound, inbound });
      outbound.start();
    }
    this.#answerHeld();
  }

  send(peer: Incarnation, frame: Buffer): void {
    this.#peers.get(peer)?.outbound.send(frame);
  }

  broadcast(frame: Buffer): void {
    for (const { outbound } of this.#peers.values()) outbound.send(frame);
  }

  sendDroppable(peer: Incarnation, frame: Buffer): boolean {
    return this.#peers.get(peer)?.outbound.sendDroppable(frame) ?? false;
  }

  position(peer: Incarnation): number {
    return this.#peers.get(peer)?.outbound.position ?? 0;
  }

  applied(peer: Incarnation): number {
    return this.#peers.get(peer)?.outbound.applied ?? 0;
  }

  audience(peer: Incarnation): Audience | null {
    return this.#peers.get(peer)?.outbound.audience ?? null;
  }

  links(): readonly LinkState[] {
    const states: LinkState[] = [];
    for (const { outbound, inbound } of this.#peers.values()) {
      states.push(outbound.state, inbound.state);
    }
    return states;
  }

  /** Outbound links that are up: for heartbeats. */
  get linksUp(): number {
    let count = 0;
    for (const { outbound } of this.#peers.values()) if (outbound.isUp) count++;
    return count;
  }

  /** What was handed over still leaves, as far as the sockets take it. */
  stop(): void {
    if (this.#isStopped) return;
    this.#isStopped = true;
    this.#stopTicking?.();
    for (const { outbound, inbound } of this.#peers.values()) {
      outbound.close();
      inbound.close();
    }
    this.#peers.clear();
    for (const connection of [...this.#arriving]) connection.close();
  }

  #refusedBy(incarnation: Incarnation, inbound: InboundLink): void {
    if (!inbound.isUp) this.#world.events!.refused(incarnation);
  }

  #remove(incarnation: Incarnation, { outbound, inbound }: PeerLinks): void {
    this.#peers.delete(incarnation);
    outbound.close();
    inbound.close();
    this.#world.events!.progressed(incarnation);
  }

  // ------------------------------------------------------------------------------ arriving connections

  #accepted(socket: LinkSocket): LinkSocketEvents {
    const connection = new InboundConnection(this.#world, this, socket);
    if (this.#isStopped) {
      connection.close();
      return connection;
    }
    if (this.#arriving.size >= ARRIVING_MAX) {
      const [oldest] = this.#arriving;
      oldest!.close();
    }
    this.#arriving.add(connection);
    return connection;
  }

  inboundOf(incarnation: Incarnation): InboundLink | null {
    return this.#peers.get(incarnation)?.inbound ?? null;
  }

  arrived(connection: InboundConnection): void {
    this.#arriving.delete(connection);
  }

  strangerCalls(incarnation: Incarnation): void {
    this.#strangerCalls?.(incarnation);
  }

  refused(incarnation: string, why: string): void {
    if (this.#refusals++ >= REFUSALS_LOGGED_PER_S) return;
    // Whoever says HELLO chose the text.
    this.#world.log.warn({ from: incarnation.slice(0, 32), why }, 'a peer link is refused');
  }

  #answerHeld(): void {
    for (const connection of [...this.#arriving]) connection.tryAnswer();
  }

  // ------------------------------------------------------------------------------ time

  #flushLater(flushable: Flushable): void {
    this.#dirty.push(flushable);
    if (this.#dirty.length === 1) this.#scheduler.endOfTurn(this.#flush);
  }

  readonly #flush = (): void => {
    const dirty = this.#dirty;
    this.#dirty = [];
    for (const flushable of dirty) flushable.flush();
  };

  #tick(): void {
    const nowMs = this.#world.clock.monotonicMs();
    if (nowMs - this.#refusalsSinceMs >= 1000) {
      this.#refusals = 0;
      this.#refusalsSinceMs = nowMs;
    }
    for (const connection of [...this.#arriving]) connection.tick(nowMs);
    for (const { outbound, inbound } of [...this.#peers.values()]) {
      outbound.tick(nowMs);
      inbound.tick(nowMs);
    }
  }
}

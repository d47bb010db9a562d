/**
 * The network between simulated nodes: LinkTransports whose connections delay, split and join bytes, and
 * stall, break or go silent when a test, or the seed, says so. Each direction is a queue of its own, from
 * which the kernel's events take in order; a pause or death of a node is the kernel's business.
 */
import type { LinkSocket, LinkSocketEvents, LinkTransport } from '../../src/cluster/ports.ts';
import type { Kernel } from './kernel.ts';
import type { SimNode } from './sim-node.ts';

export interface LinkNetworkOptions {
  /** Of every hop; the seed chooses in between. */
  readonly delayMs?: readonly [min: number, max: number];
  /** How often a piece arrives in parts, or with those behind it. */
  readonly splitChance?: number;
  /** What a socket takes before bytes count as unsent. */
  readonly socketBytes?: number;
  /** How often the other end hears of a killed process; else it has to find out by itself. */
  readonly resetChance?: number;
}

/** One way of a connection: what is under way, in order. */
interface Way {
  readonly to: End;
  readonly pieces: Piece[];
  bytes: number;
  isPumping: boolean;
  /** This connection alone is held up, as by packets that are lost again and again. */
  stalledUntilMs: number;
}

interface Piece {
  readonly kind: 'opened' | 'bytes' | 'closed';
  readonly buffer: Buffer;
  pos: number;
  readonly dueMs: number;
}

const NOTHING = Buffer.alloc(0);
const SHARED_BYTES = 64 * 1024;
const SYN_TIMEOUT_MS = 4000;
const REFUSED = 'connection refused';

/** One end of a connection, as its node holds it. */
class End implements LinkSocket {
  readonly node: SimNode;
  readonly address: string;
  events: LinkSocketEvents | null = null;
  peer: End | null = null;
  /** To the peer. */
  way: Way | null = null;
  isClosed = false;
  /** Nothing arrives at either end any more, and nobody says so. */
  isSilent = false;
  owesDrained = false;
  readonly #network: LinkNetwork;

  constructor(network: LinkNetwork, node: SimNode, address: string) {
    this.#network = network;
    this.node = node;
    this.address = address;
  }

  get unsentBytes(): number {
    return this.way === null ? 0 : Math.max(0, this.way.bytes - this.#network.socketBytes);
  }

  write(buffer: Buffer): void {
    if (this.isClosed || this.way === null) return;
    this.#network.put(this.way, 'bytes', buffer);
    if (this.unsentBytes > 0) this.owesDrained = true;
  }

  close(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    if (this.way !== null) this.#network.put(this.way, 'closed', NOTHING);
    if (this.peer === null || this.peer.isClosed || this.isSilent) this.#network.forget(this);
  }

  /** The connection ended without this end's doing. */
  hear(why: string): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.#network.forget(this);
    this.events?.closed(why, why === REFUSED);
  }
}

interface Listener {
  readonly node: SimNode;
  readonly accepted: (socket: LinkSocket) => LinkSocketEvents;
}

export class LinkNetwork {
  readonly socketBytes: number;
  readonly #kernel: Kernel;
  readonly #delayMs: readonly [number, number];
  readonly #splitChance: number;
  readonly #resetChance: number;
  readonly #listeners: Map<string, Listener> = new Map();
  /** `from>to` of the ways that take nothing. */
  readonly #blocked: Set<string> = new Set();
  /** Dialling ends of all connections. */
  readonly #dialled: Set<End> = new Set();
  /** What is handed to `bytes`, and overwritten afterwards: nobody may keep it. */
  readonly #shared: Buffer = Buffer.alloc(SHARED_BYTES);

  constructor(kernel: Kernel, options: LinkNetworkOptions = {}) {
    this.#kernel = kernel;
    this.#delayMs = options.delayMs ?? [0.1, 2];
    this.#splitChance = options.splitChance ?? 0.2;
    this.socketBytes = options.socketBytes ?? 256 * 1024;
    this.#resetChance = options.resetChance ?? 0.7;
  }

  // ------------------------------------------------------------------------------ for nodes

  /** The transport of a process that is reached under `address`; a new process there replaces it. */
  transport(node: SimNode, address: string): LinkTransport {
    node.onKill(() => this.#died(node));
    return {
      dial: (to, events) => this.#dial(node, address, to, events),
      listen: (accepted) => {
        this.#listeners.set(address, { node, accepted });
      },
    };
  }

  #dial(node: SimNode, from: string, to: string, events: LinkSocketEvents): LinkSocket {
    const kernel = this.#kernel;
    const near = new End(this, node, from);
    near.events = events;
    this.#dialled.add(near);
    kernel.after(null, this.#delay(), () => {
      const listener = this.#listeners.get(to);
      if (this.#isBlocked(from, to) || this.#isBlocked(to, from)) {
        // Nobody answers.
        kernel.after(node, SYN_TIMEOUT_MS, () => near.hear('timed out'));
      } else if (listener === undefined) {
        kernel.after(node, this.#delay(), () => near.hear(REFUSED));
      } else {
        this.#connect(near, to, listener);
      }
    });
    return near;
  }

  /** The kernel of the other machine accepts; its process hears of it when it runs. */
  #connect(near: End, to: string, listener: Listener): void {
    const far = new End(this, listener.node, to);
    near.peer = far;
    far.peer = near;
    far.way = { to: near, pieces: [], bytes: 0, isPumping: false, stalledUntilMs: 0 };
    near.way = { to: far, pieces: [], bytes: 0, isPumping: false, stalledUntilMs: 0 };
    this.put(near.way, 'opened', NOTHING);
    this.put(far.way, 'opened', NOTHING);
    if (near.isClosed) this.put(near.way, 'closed', NOTHING);
  }

  /** Called by ends. */
  put(way: Way, kind: Piece['kind'], buffer: Buffer): void {
    const { pieces } = way;
    const dueMs = Math.max(this.#kernel.nowMs + this.#delay(), pieces.at(-1)?.dueMs ?? 0);
    pieces.push({ kind, buffer, pos: 0, dueMs });
    way.bytes += buffer.length;
    this.#pumpLater(way);
  }

  #pumpLater(way: Way): void {
    const [head] = way.pieces;
    if (way.isPumping || head === undefined) return;
    way.isPumping = true;
    const dueMs = Math.max(head.dueMs, way.stalledUntilMs);
    this.#kernel.after(way.to.node, dueMs - this.#kernel.nowMs, () => this.#pump(way));
  }

  #pump(way: Way): void {
    way.isPumping = false;
    const { to } = way;
    const from = to.peer!;
    // What stalls goes on when the way is open again.
    if (to.isSilent || this.#isBlocked(from.address, to.address)) return;
    const piece = way.pieces[0];
    if (piece === undefined) return;
    if (way.stalledUntilMs > this.#kernel.nowMs) {
      this.#pumpLater(way);
      return;
    }
    if (to.isClosed) {
      // Its machine answers what comes for a connection it has not with a reset.
      way.pieces.length = 0;
      way.bytes = 0;
      if (!from.isClosed) this.#kernel.after(from.node, this.#delay(), () => from.hear('reset'));
      return;
    }
    if (piece.kind === 'bytes') this.#deliver(way, to);
    else {
      way.pieces.shift();
      if (piece.kind === 'closed') to.hear('ended by the other side');
      else if (to.events === null) this.#accept(to);
      else to.events.opened();
    }
    if (from.owesDrained && way.bytes === 0) {
      from.owesDrained = false;
      this.#kernel.after(from.node, 0, () => {
        if (!from.isClosed) from.events?.drained();
      });
    }
    this.#pumpLater(way);
  }

  #accept(to: End): void {
    const listener = this.#listeners.get(to.address);
    if (listener === undefined || listener.node !== to.node) to.close();
    else to.events = listener.accepted(to);
  }

  /** A part of the first piece, all of it, or it and what is right behind it. */
  #deliver(way: Way, to: End): void {
    const { chance } = this.#kernel;
    const draw = chance.next();
    const isSplit = draw < this.#splitChance;
    const isJoined = draw > 1 - this.#splitChance;
    let fill = 0;
    while (fill < SHARED_BYTES) {
      const piece = way.pieces[0];
      if (piece?.kind !== 'bytes') break;
      const left = Math.min(piece.buffer.length - piece.pos, SHARED_BYTES - fill);
      const count = isSplit ? 1 + chance.below(left) : left;
      piece.buffer.copy(this.#shared, fill, piece.pos, piece.pos + count);
      fill += count;
      piece.pos += count;
      if (piece.pos === piece.buffer.length) way.pieces.shift();
      if (!isJoined || chance.next() < 0.2) break;
    }
    way.bytes -= fill;
    to.events!.bytes(this.#shared, 0, fill);
    this.#shared.fill(0xdd, 0, fill);
  }

  /** Called by ends. */
  forget(end: End): void {
    this.#dialled.delete(end);
    if (end.peer !== null) this.#dialled.delete(end.peer);
  }

  #died(node: SimNode): void {
    for (const [address, listener] of this.#listeners) {
      if (listener.node === node) this.#listeners.delete(address);
    }
    for (const near of [...this.#dialled]) {
      const dead = near.node === node ? near : near.peer;
      const other = dead === near ? near.peer : near;
      if (dead?.node !== node || other === null) continue;
      dead.isClosed = true;
      this.#dialled.delete(near);
      if (this.#kernel.chance.next() < this.#resetChance) {
        this.#kernel.after(other.node, this.#delay(), () => other.hear('reset'));
      } else {
        this.#silence(near);
      }
    }
  }

  #delay(): number {
    const [min, max] = this.#delayMs;
    return min + this.#kernel.chance.next() * (max - min);
  }

  #isBlocked(from: string, to: string): boolean {
    return this.#blocked.has(`${from}>${to}`);
  }

  // ------------------------------------------------------------------------------ for tests

  /** Nothing gets from one to the other; what is sent waits. The other way is not touched. */
  block(from: string, to: string): void {
    this.#blocked.add(`${from}>${to}`);
  }

  unblock(from: string, to: string): void {
    if (!this.#blocked.delete(`${from}>${to}`)) return;
    for (const near of this.#dialled) {
      for (const way of [near.way, near.peer?.way ?? null]) {
        if (way !== null && way.to.address === to && way.to.peer!.address === from) {
          this.#pumpLater(way);
        }
      }
    }
  }

  unblockAll(): void {
    for (const key of [...this.#blocked]) {
      const [from, to] = key.split('>');
      this.unblock(from!, to!);
    }
  }

  /**
   * Breaks connections between two addresses, all or those `from` has dialled: what is under way is
   * lost. Both ends hear of it, each in its time; `half`: one does not; `silent`: neither does.
   */
  cut(a: string, b: string, how: 'both' | 'half' | 'silent' = 'both', isOneWay = false): number {
    let count = 0;
    for (const near of [...this.#dialled]) {
      const far = near.peer;
      if (far === null) continue;
      const isMeant =
        (near.address === a && far.address === b) ||
        (!isOneWay && near.address === b && far.address === a);
      if (!isMeant) continue;
      count++;
      this.#silence(near);
      const { chance } = this.#kernel;
      const hears =
        how === 'both' ? [near, far] : how === 'half' ? [chance.below(2) ? near : far] : [];
      for (const end of hears) {
        this.#kernel.after(end.node, this.#delay() * (1 + chance.below(20)), () =>
          end.hear('reset'),
        );
      }
    }
    return count;
  }

  /**
   * What goes from one to the other over the connections there are now comes so much later; others are
   * not touched. `isReset`: the sending end hears that its connection is gone, and what it had sent
   * arrives all the same.
   */
  stall(from: string, to: string, forMs: number, isReset = false): void {
    for (const near of [...this.#dialled]) {
      for (const way of [near.way, near.peer?.way ?? null]) {
        if (way === null || way.to.address !== to || way.to.peer!.address !== from) continue;
        way.stalledUntilMs = this.#kernel.nowMs + forMs;
        const end = way.to.peer!;
        if (isReset) this.#kernel.after(end.node, this.#delay(), () => end.hear('reset'));
      }
    }
  }

  /** Neither way of what `by` has dialled gets on: its frames, and what acks them. */
  stallDialled(by: string, to: string, forMs: number): void {
    for (const near of this.#dialled) {
      const far = near.peer;
      if (far === null || near.address !== by || far.address !== to) continue;
      near.way!.stalledUntilMs = this.#kernel.nowMs + forMs;
      far.way!.stalledUntilMs = this.#kernel.nowMs + forMs;
    }
  }

  /** Connections that nobody has closed. */
  get connections(): number {
    return this.#dialled.size;
  }

  #silence(near: End): void {
    near.isSilent = true;
    if (near.peer !== null) near.peer.isSilent = true;
    for (const way of [near.way, near.peer?.way ?? null]) if (way !== null) way.pieces.length = 0;
  }
}

/**
 * Connections between simulated regions, as TCP makes them over a wide area: what is sent arrives in order
 * or, with the connection, not at all; either direction may stand still for a while; an end may die without
 * the other hearing of it. One end is the transport of a link's client, the other a ByteSink of a broker.
 */
import type { Transport, TransportHandler } from '../../src/client/transport.ts';
import type { ByteHandler, ByteSink } from '../../src/core/ports.ts';
import type { Kernel } from './kernel.ts';
import type { SimNode } from './sim-node.ts';

/** Whoever may be connected to: a node of a region. */
export interface RegionEnd {
  readonly region: string;
  readonly node: SimNode;
  /** It takes clients. */
  readonly isReady: boolean;
  /** Null: it takes no connection. */
  accept(sink: ByteSink): ByteHandler | null;
  /** What leaves its broker. */
  wrote(to: string, connection: number, buffer: Buffer, start: number, end: number): void;
}

/** `half`: the client hears nothing of it, `deaf`: the broker. */
export type CutKind = 'both' | 'half' | 'deaf';

/** Bytes on their way, until the sender has to wait. */
const FLIGHT_BYTES_MAX = 64 * 1024;
/** A goodbye that is not answered. */
const CLOSE_MS = 2000;

export class RegionNetwork {
  readonly #kernel: Kernel;
  readonly #ends: Set<RegionEnd> = new Set();
  /** `from>to`: one way, in ms. */
  readonly #delays: Map<string, number> = new Map();
  readonly #blocked: Set<string> = new Set();
  readonly #open: Set<Connection> = new Set();
  readonly #delayMaxMs: number;
  #number = 0;

  constructor(kernel: Kernel, delayMaxMs: number) {
    this.#kernel = kernel;
    this.#delayMaxMs = delayMaxMs;
  }

  /** It takes connections from now on. */
  listen(end: RegionEnd): void {
    this.#ends.add(end);
  }

  gone(end: RegionEnd): void {
    this.#ends.delete(end);
  }

  /** Whoever is behind the address of the region for one more connection; undefined: nobody is. */
  listener(region: string): RegionEnd | undefined {
    const ends = [...this.#ends].filter((end) => end.region === region && end.isReady);
    return ends.length > 1 ? ends[this.#kernel.chance.below(ends.length)] : ends[0];
  }

  connect(from: RegionEnd, to: string, handler: TransportHandler): Transport {
    const connection = new Connection(this.#kernel, this, ++this.#number, from, to, handler);
    this.#open.add(connection);
    return connection.transport;
  }

  closed(connection: Connection): void {
    this.#open.delete(connection);
  }

  /** Most of a way is as long as it always is. */
  delayMs(from: string, to: string): number {
    const { chance } = this.#kernel;
    const way = from < to ? `${from}>${to}` : `${to}>${from}`;
    let base = this.#delays.get(way);
    if (base === undefined) {
      base = 1 + chance.next() * (this.#delayMaxMs / 2);
      this.#delays.set(way, base);
    }
    const late = chance.next() < 0.05 ? this.#delayMaxMs / 2 : base / 4;
    return base + chance.next() * late;
  }

  isBlocked(from: string, to: string): boolean {
    return this.#blocked.has(`${from}>${to}`);
  }

  /** Nothing comes through that way; what is sent waits, as TCP would send it again. */
  block(from: string, to: string): void {
    this.#blocked.add(`${from}>${to}`);
  }

  unblock(from: string, to: string): void {
    this.#blocked.delete(`${from}>${to}`);
    for (const connection of this.#open) connection.goOn(from, to);
  }

  unblockAll(): void {
    for (const way of [...this.#blocked]) {
      const [from, to] = way.split('>');
      this.unblock(from!, to!);
    }
  }

  /** All connections between these two break. */
  cut(one: string, other: string, kind: CutKind): void {
    for (const connection of [...this.#open]) {
      if (connection.isBetween(one, other)) connection.cut(kind);
    }
  }
}

/** One direction. */
class Way {
  readonly from: string;
  readonly to: string;
  isCut = false;
  flightBytes = 0;
  /** Told when all that had to wait is on its way. */
  drained: (() => void) | null = null;
  readonly #kernel: Kernel;
  readonly #network: RegionNetwork;
  readonly #waiting: { readonly bytes: number; readonly task: () => void }[] = [];
  readonly #node: () => SimNode | null;
  #arrived = 0;
  #lastMs = 0;

  /** `node`: whose events the arrivals are; null: nobody's yet, or the world's. */
  constructor(
    kernel: Kernel,
    network: RegionNetwork,
    from: string,
    to: string,
    node: () => SimNode | null,
  ) {
    this.#kernel = kernel;
    this.#network = network;
    this.from = from;
    this.to = to;
    this.#node = node;
  }

  send(bytes: number, task: () => void): void {
    if (this.isCut) return;
    this.#waiting.push({ bytes, task });
    this.flightBytes += bytes;
    const { nowMs } = this.#kernel;
    this.#lastMs = Math.max(this.#lastMs, nowMs + this.#network.delayMs(this.from, this.to));
    this.#kernel.after(this.#node(), this.#lastMs - nowMs, () => {
      this.#arrived++;
      this.#take();
    });
  }

  /** The way is free again. */
  goOn(): void {
    if (this.#arrived === 0 || this.isCut) return;
    const delayMs = this.#network.delayMs(this.from, this.to);
    this.#kernel.after(this.#node(), delayMs, () => this.#take());
  }

  #take(): void {
    const wasFull = this.flightBytes > FLIGHT_BYTES_MAX;
    while (this.#arrived > 0 && !this.isCut && !this.#network.isBlocked(this.from, this.to)) {
      this.#arrived--;
      const { bytes, task } = this.#waiting.shift()!;
      this.flightBytes -= bytes;
      task();
    }
    if (wasFull && this.flightBytes <= FLIGHT_BYTES_MAX && !this.isCut) this.drained?.();
  }

  get unsentBytes(): number {
    return this.isCut ? 0 : Math.max(0, this.flightBytes - FLIGHT_BYTES_MAX);
  }
}

class Connection {
  readonly transport: Transport;
  readonly #kernel: Kernel;
  readonly #network: RegionNetwork;
  readonly #number: number;
  readonly #client: RegionEnd;
  readonly #to: string;
  readonly #handler: TransportHandler;
  readonly #up: Way;
  readonly #down: Way;
  #server: RegionEnd | null = null;
  #sink: LinkSink | null = null;
  #isClientOver = false;
  #isPaused = false;
  readonly #held: Buffer[] = [];

  constructor(
    kernel: Kernel,
    network: RegionNetwork,
    number: number,
    client: RegionEnd,
    to: string,
    handler: TransportHandler,
  ) {
    this.#kernel = kernel;
    this.#network = network;
    this.#number = number;
    this.#client = client;
    this.#to = to;
    this.#handler = handler;
    const { region, node } = client;
    this.#up = new Way(kernel, network, region, to, () => this.#server?.node ?? null);
    this.#down = new Way(kernel, network, to, region, () => node);
    this.#up.drained = () => kernel.after(node, 0, () => handler.onDrained());
    this.transport = this.#transport();
    node.onKill(() => this.#clientDied());
    this.#up.send(0, () => this.#reached());
  }

  isBetween(one: string, other: string): boolean {
    const { region } = this.#client;
    return (region === one && this.#to === other) || (region === other && this.#to === one);
  }

  goOn(from: string, to: string): void {
    for (const way of [this.#up, this.#down]) {
      if (way.from === from && way.to === to) way.goOn();
    }
  }

  cut(kind: CutKind): void {
    this.#up.isCut = true;
    this.#down.isCut = true;
    this.#kernel.trace(null, `connection ${this.#number} ${this.#client.region} cut: ${kind}`);
    if (kind !== 'half') this.#closeClient(new Error('reset'));
    if (kind !== 'deaf') this.#sink?.over(new Error('reset'));
    if (kind !== 'both') return;
    this.#network.closed(this);
  }

  // ------------------------------------------------------------------ the client

  #transport(): Transport {
    const up = this.#up;
    return {
      write: (bytes) => {
        if (this.#isClientOver) return;
        const copy = Buffer.from(bytes);
        this.#refuseDead();
        up.send(copy.length, () => this.#sink?.arrived(copy));
      },
      unsentBytes: () => up.unsentBytes,
      pause: () => {
        this.#isPaused = true;
      },
      resume: () => {
        this.#isPaused = false;
        this.#kernel.after(this.#client.node, 0, () => this.#feed());
      },
      end: () => up.send(0, () => this.#sink?.over(null)),
      destroy: () => {
        up.send(0, () => this.#sink?.over(new Error('reset')));
        this.#closeClient(null);
      },
    };
  }

  /** Somebody else has the address of a machine that went without a word: it knows no such connection. */
  #refuseDead(): void {
    const server = this.#server;
    if (server === null || server.node.isAlive) return;
    if (this.#network.listener(this.#to) === undefined) return;
    if (this.#network.isBlocked(this.#client.region, this.#to)) return;
    this.#down.send(0, () => this.#closeClient(new Error('reset')));
  }

  #opened(): void {
    if (!this.#isClientOver) this.#handler.onOpen();
  }

  #arrived(chunk: Buffer): void {
    this.#held.push(chunk);
    this.#feed();
  }

  #feed(): void {
    while (this.#held.length > 0 && !this.#isPaused && !this.#isClientOver) {
      const chunk = this.#held.shift()!;
      this.#handler.onBytes(chunk);
      chunk.fill(0xee);
    }
  }

  /** It is told, in a turn of its own. */
  #closeClient(error: Error | null): void {
    if (this.#isClientOver) return;
    this.#isClientOver = true;
    this.#kernel.after(this.#client.node, 0, () => this.#handler.onClosed(error));
  }

  /** What it had written still arrives, and the goodbye of its kernel, if that is alive. */
  #clientDied(): void {
    this.#isClientOver = true;
    if (isPowerless(this.#client.node)) return;
    this.#up.send(0, () => this.#sink?.over(new Error('reset')));
  }

  // ------------------------------------------------------------------ the broker

  /** The first packet has come to where the other region listens, or should. */
  #reached(): void {
    const server = this.#network.listener(this.#to);
    if (server === undefined) {
      this.#down.send(0, () => this.#closeClient(new Error('refused')));
      return;
    }
    this.#server = server;
    const { node } = server;
    this.#kernel.after(node, 0, () => {
      const sink = new LinkSink(this.#kernel, node, this.#down, {
        bytes: (chunk) => this.#arrived(chunk),
        ended: () => this.#closeClient(null),
        wrote: (buffer, start, end) =>
          server.wrote(this.#client.region, this.#number, buffer, start, end),
        gone: () => {
          if (this.#isClientOver) this.#network.closed(this);
        },
      });
      this.#sink = sink;
      sink.handler = server.accept(sink);
      if (sink.handler === null) {
        this.#down.send(0, () => this.#closeClient(new Error('refused')));
        return;
      }
      node.onKill(() => {
        sink.handler = null;
        if (isPowerless(node)) return;
        this.#down.send(0, () => this.#closeClient(new Error('reset')));
      });
      this.#down.send(0, () => this.#opened());
    });
  }
}

interface SinkEvents {
  readonly bytes: (chunk: Buffer) => void;
  readonly ended: () => void;
  readonly wrote: (buffer: Buffer, start: number, end: number) => void;
  readonly gone: () => void;
}

class LinkSink implements ByteSink {
  readonly remoteAddress = '198.51.100.7';
  readonly remotePort = 50_000;
  readonly certificate = null;
  readonly pskIdentity = null;
  handler: ByteHandler | null = null;
  readonly #kernel: Kernel;
  readonly #node: SimNode;
  readonly #down: Way;
  readonly #events: SinkEvents;
  readonly #held: Buffer[] = [];
  #isPaused = false;
  #isEnded = false;

  constructor(kernel: Kernel, node: SimNode, down: Way, events: SinkEvents) {
    this.#kernel = kernel;
    this.#node = node;
    this.#down = down;
    this.#events = events;
    down.drained = () => kernel.after(node, 0, () => this.handler?.onDrained());
  }

  write(buffer: Buffer, start: number, end: number): boolean {
    if (this.#isEnded) return true;
    this.#events.wrote(buffer, start, end);
    const copy = Buffer.from(buffer.subarray(start, end));
    this.#down.send(copy.length, () => this.#events.bytes(copy));
    return true;
  }

  unsentBytes(): number {
    return this.#down.unsentBytes;
  }

  pause(): void {
    this.#isPaused = true;
  }

  resume(): void {
    this.#isPaused = false;
    if (this.#held.length > 0) this.#kernel.after(this.#node, 0, () => this.#feed());
  }

  /** Memory is overwritten afterwards, as a read buffer is. */
  arrived(chunk: Buffer): void {
    this.#held.push(chunk);
    this.#feed();
  }

  #feed(): void {
    while (this.#held.length > 0 && !this.#isPaused && this.handler !== null) {
      const chunk = this.#held.shift()!;
      this.handler.onBytes(chunk, 0, chunk.length);
      chunk.fill(0xee);
    }
  }

  end(lingerMs: number): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    this.#down.send(0, () => this.#events.ended());
    this.#kernel.after(this.#node, lingerMs + CLOSE_MS, () => this.over(null));
  }

  destroy(): void {
    this.#isEnded = true;
    this.#down.send(0, () => this.#events.ended());
    this.over(null);
  }

  /** The socket is gone, on this side. */
  over(error: Error | null): void {
    this.#isEnded = true;
    const { handler } = this;
    this.handler = null;
    if (handler === null) return;
    this.#kernel.after(this.#node, 0, () => handler.onClosed(error));
    this.#events.gone();
  }
}

const powerless: WeakSet<SimNode> = new WeakSet();

/** The machine of that node goes with it: nobody is told. */
export function losesPower(node: SimNode): void {
  powerless.add(node);
}

function isPowerless(node: SimNode): boolean {
  return powerless.has(node);
}

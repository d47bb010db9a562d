/**
 * A client's connection to a simulated broker: the client side is a `Line` of the chaos clients, the
 * broker side a ByteSink, and between them two streams whose bytes take a while, in order. When the
 * broker's process is killed the client hears of it a little later; what was on its way is gone.
 */
import type { Broker } from '../../src/core/broker.ts';
import type { ByteHandler, ByteSink, ListenerInfo } from '../../src/core/ports.ts';
import { type Line, type LineEvents, PacketCutter } from '../chaos/line.ts';
import type { Kernel } from './kernel.ts';
import type { SimNode } from './sim-node.ts';

const listenerInfo: ListenerInfo = { name: 'sim', transport: 'tcp', limits: {} };

/** Deliveries in order, each some ms after it was sent. */
class Pipe {
  readonly #kernel: Kernel;
  /** Whose events the deliveries are; null: the client's, which never stops. */
  readonly #node: SimNode | null;
  readonly #waiting: (() => void)[] = [];
  readonly #delayMs: () => number;
  #lastMs = 0;
  isCut = false;

  constructor(kernel: Kernel, node: SimNode | null, delayMs: () => number) {
    this.#kernel = kernel;
    this.#node = node;
    this.#delayMs = delayMs;
  }

  send(task: () => void): void {
    if (this.isCut) return;
    this.#waiting.push(task);
    const dueMs = Math.max(this.#lastMs, this.#kernel.nowMs + this.#delayMs());
    this.#lastMs = dueMs;
    this.#kernel.after(this.#node, dueMs - this.#kernel.nowMs, () => {
      const next = this.#waiting.shift();
      if (!this.isCut) next?.();
    });
  }
}

interface SinkEvents {
  /** Leaves the broker. */
  wrote(buffer: Buffer, start: number, end: number): void;
  bytes(chunk: Buffer): void;
  ended(): void;
}

class SimSink implements ByteSink {
  readonly remoteAddress = '192.0.2.7';
  readonly remotePort = 40_000;
  readonly certificate = null;
  readonly pskIdentity = null;
  handler: ByteHandler | null = null;
  isPaused = false;
  isEnded = false;
  readonly #toClient: Pipe;
  readonly #events: SinkEvents;
  readonly #held: Buffer[] = [];
  readonly #kernel: Kernel;
  readonly #node: SimNode;

  constructor(kernel: Kernel, node: SimNode, toClient: Pipe, events: SinkEvents) {
    this.#kernel = kernel;
    this.#node = node;
    this.#toClient = toClient;
    this.#events = events;
  }

  write(buffer: Buffer, start: number, end: number): boolean {
    if (this.isEnded) return true;
    this.#events.wrote(buffer, start, end);
    const copy = Buffer.from(buffer.subarray(start, end));
    this.#toClient.send(() => this.#events.bytes(copy));
    return true;
  }

  unsentBytes(): number {
    return 0;
  }

  pause(): void {
    this.isPaused = true;
  }

  resume(): void {
    this.isPaused = false;
    if (this.#held.length > 0) this.#kernel.after(this.#node, 0, () => this.#feed());
  }

  /** From the client; memory is overwritten afterwards, as a read buffer is. */
  arrived(chunk: Buffer): void {
    this.#held.push(chunk);
    this.#feed();
  }

  #feed(): void {
    while (this.#held.length > 0 && !this.isPaused && this.handler !== null) {
      const chunk = this.#held.shift()!;
      this.handler.onBytes(chunk, 0, chunk.length);
      chunk.fill(0xee);
    }
  }

  end(): void {
    if (this.isEnded) return;
    this.isEnded = true;
    this.#toClient.send(() => this.#events.ended());
  }

  destroy(): void {
    this.end();
  }

  /** The socket is gone, on this side. */
  closed(): void {
    this.isEnded = true;
    const { handler } = this;
    this.handler = null;
    handler?.onClosed(null);
  }
}

export interface SimDialOptions {
  readonly kernel: Kernel;
  readonly node: SimNode;
  readonly broker: Broker;
  readonly version: 4 | 5;
  readonly events: LineEvents;
  /** Of one way; chosen anew for each delivery. */
  readonly delayMs: () => number;
  /** Registers who hears that the process is gone. */
  readonly onKill: (task: () => void) => void;
  /** Sees what leaves the broker, whole packets. */
  readonly onWrite?: (buffer: Buffer, start: number, end: number) => void;
}

export class SimLine implements Line {
  readonly unsentBytes = 0;
  readonly #options: SimDialOptions;
  readonly #cutter: PacketCutter;
  readonly #toBroker: Pipe;
  readonly #toClient: Pipe;
  readonly #sink: SimSink;
  #isOver = false;

  constructor(options: SimDialOptions) {
    const { kernel, node, broker, delayMs, events } = options;
    this.#options = options;
    this.#cutter = new PacketCutter(options.version);
    this.#toBroker = new Pipe(kernel, node, delayMs);
    this.#toClient = new Pipe(kernel, null, delayMs);
    this.#sink = new SimSink(kernel, node, this.#toClient, {
      wrote: (buffer, start, end) => options.onWrite?.(buffer, start, end),
      bytes: (chunk) => this.#read(chunk),
      ended: () => this.#ended(),
    });
    options.onKill(() => {
      this.#toBroker.isCut = true;
      this.#toClient.isCut = true;
      kernel.after(null, delayMs(), () => this.#over());
    });
    this.#toBroker.send(() => {
      this.#sink.handler = broker.accept(this.#sink, listenerInfo);
      if (this.#sink.handler === null) this.#sink.end();
    });
    kernel.after(null, delayMs(), () => {
      if (!this.#isOver) events.opened();
    });
  }

  send(...packets: readonly Buffer[]): void {
    if (this.#isOver) return;
    const chunk = Buffer.concat(packets);
    this.#toBroker.send(() => this.#sink.arrived(chunk));
  }

  end(packet: Buffer): void {
    this.send(packet);
    this.close();
  }

  /** What was sent before still arrives. */
  close(): void {
    if (this.#isOver) return;
    this.#toBroker.send(() => this.#sink.closed());
    this.#over();
  }

  #read(chunk: Buffer): void {
    if (this.#isOver) return;
    try {
      this.#cutter.feed(chunk, (packet) => {
        this.#options.events.packet(packet);
        return !this.#isOver;
      });
    } catch (error) {
      this.#options.events.fault((error as Error).message);
      this.close();
    }
  }

  #ended(): void {
    this.#toBroker.send(() => this.#sink.closed());
    this.#over();
  }

  #over(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#options.events.closed();
  }
}

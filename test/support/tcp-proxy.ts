/**
 * A TCP proxy for faults between two parties on loopback: forwards, swallows one or both directions
 * without closing anything (half-open), cuts, delays, throttles, refuses. Chunks keep their order.
 */
import { connect, createServer, type Server, type Socket } from 'node:net';
import { resetSocket } from './reset-socket.ts';

export type Direction = 'toServer' | 'toClient';

interface Leg {
  readonly from: Socket;
  readonly to: Socket;
  readonly direction: Direction;
  /** What waits for its time, or for the end of a pause. */
  readonly waiting: { readonly chunk: Buffer; readonly dueMs: number }[];
  timer: NodeJS.Timeout | undefined;
  isPaused: boolean;
  isStalled: boolean;
  /** When the line has carried what is ahead; of a throttled proxy. */
  freeMs: number;
  /** `from` has closed: so will `to`, when it has got everything. */
  isEnding: boolean;
}

/** More than this on a throttled line, and nothing is read from the sender: what its socket would feel. */
const THROTTLED_BYTES_MAX = 64 * 1024;

export class TcpProxy {
  readonly port: number;
  /** Connections accepted so far. */
  accepted = 0;
  /** True: neither this chunk nor what follows on its connection is handed on. */
  stalls: ((chunk: Buffer, direction: Direction) => boolean) | null = null;
  #target: () => number;
  readonly #host: string;
  readonly #server: Server;
  readonly #legs: Set<Leg> = new Set();
  readonly #paused: Set<Direction> = new Set();
  #delay: () => number = () => 0;
  #bytesPerMs = Number.POSITIVE_INFINITY;
  #isRefusing = false;

  private constructor(server: Server, port: number, targetPort: number, host: string) {
    this.#server = server;
    this.port = port;
    this.#target = () => targetPort;
    this.#host = host;
  }

  /** `at`: where it listens, unless it may choose. */
  static async start(
    targetPort: number,
    host: string = '127.0.0.1',
    at: { readonly host: string; readonly port: number } = { host: '127.0.0.1', port: 0 },
  ): Promise<TcpProxy> {
    const server = createServer();
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(at.port, at.host, resolve);
    });
    const { port } = server.address() as { port: number };
    const proxy = new TcpProxy(server, port, targetPort, host);
    server.on('connection', (socket) => proxy.#accept(socket));
    return proxy;
  }

  get connections(): number {
    return this.#legs.size / 2;
  }

  /** For connections to come; a function is asked for each of them. */
  retarget(port: number | (() => number)): void {
    this.#target = typeof port === 'number' ? () => port : port;
  }

  /** What comes, an end included, is kept and not handed on until `resume`; nobody is told. */
  pause(...directions: readonly Direction[]): void {
    const both: readonly Direction[] = ['toServer', 'toClient'];
    for (const direction of directions.length > 0 ? directions : both) this.#paused.add(direction);
    for (const leg of this.#legs) leg.isPaused ||= this.#paused.has(leg.direction);
  }

  /** New connections pass; those that were paused stay so. */
  resumeNew(): void {
    this.#paused.clear();
  }

  resume(): void {
    this.#paused.clear();
    for (const leg of [...this.#legs]) {
      leg.isPaused = false;
      this.#forward(leg);
    }
  }

  /**
   * Each chunk is handed on this much later, in both directions; a function is asked for each of them, null
   * changes nothing. Answers what it was before.
   */
  delay(ms: number | (() => number) | null): () => number {
    const before = this.#delay;
    if (ms !== null) this.#delay = typeof ms === 'number' ? () => ms : ms;
    return before;
  }

  /** Bytes a second that each direction of a connection carries; 0: as many as come. */
  throttle(bytesPerS: number): void {
    this.#bytesPerMs = bytesPerS === 0 ? Number.POSITIVE_INFINITY : bytesPerS / 1000;
  }

  /** Ends all connections with a reset; what was kept is gone. */
  cut(): void {
    for (const leg of [...this.#legs]) this.#cutOne(leg);
  }

  /** New connections are reset while it is set. */
  refuse(isRefusing: boolean): void {
    this.#isRefusing = isRefusing;
  }

  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.cut();
    await closed;
  }

  #accept(client: Socket): void {
    if (this.#isRefusing) {
      client.resetAndDestroy();
      return;
    }
    this.accepted += 1;
    const server = connect({ port: this.#target(), host: this.#host, noDelay: true });
    client.setNoDelay(true);
    const pair: [Socket, Socket, Direction][] = [
      [client, server, 'toServer'],
      [server, client, 'toClient'],
    ];
    for (const [from, to, direction] of pair) {
      const isPaused = this.#paused.has(direction);
      const leg: Leg = {
        from,
        to,
        direction,
        waiting: [],
        timer: undefined,
        isPaused,
        isStalled: false,
        freeMs: 0,
        isEnding: false,
      };
      this.#legs.add(leg);
      from.on('data', (chunk: Buffer) => {
        if (this.stalls?.(chunk, direction) === true) leg.isStalled = true;
        if (leg.isStalled) return;
        const nowMs = performance.now();
        leg.freeMs = Math.max(leg.freeMs, nowMs) + chunk.length / this.#bytesPerMs;
        leg.waiting.push({ chunk, dueMs: leg.freeMs + this.#delay() });
        if ((leg.freeMs - nowMs) * this.#bytesPerMs > THROTTLED_BYTES_MAX) from.pause();
        this.#forward(leg);
      });
      from.on('error', () => {});
      from.on('close', () => {
        leg.isEnding = true;
        this.#forward(leg);
      });
    }
  }

  #forward(leg: Leg): void {
    clearTimeout(leg.timer);
    if (leg.isPaused) return;
    const nowMs = performance.now();
    for (let first = leg.waiting[0]; first !== undefined; first = leg.waiting[0]) {
      if (first.dueMs > nowMs) {
        leg.timer = setTimeout(() => this.#forward(leg), first.dueMs - nowMs);
        return;
      }
      leg.waiting.shift();
      if (leg.to.writable) leg.to.write(first.chunk);
    }
    if (leg.from.isPaused()) leg.from.resume();
    if (!leg.isEnding) return;
    this.#legs.delete(leg);
    leg.to.destroySoon();
  }

  #cutOne(leg: Leg): void {
    this.#legs.delete(leg);
    clearTimeout(leg.timer);
    for (const socket of [leg.from, leg.to]) resetSocket(socket);
  }
}

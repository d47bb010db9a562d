/**
 * A TCP proxy for faults between two parties on loopback: forwards, swallows one or both directions
 * without closing anything (half-open), cuts, delays, refuses. Chunks keep their order.
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
  /** `from` has closed: so will `to`, when it has got everything. */
  isEnding: boolean;
}

export class TcpProxy {
  readonly port: number;
  /** Connections accepted so far. */
  accepted = 0;
  /** True: neither this chunk nor what follows on its connection is handed on. */
  stalls: ((chunk: Buffer, direction: Direction) => boolean) | null = null;
  #targetPort: number;
  readonly #server: Server;
  readonly #legs: Set<Leg> = new Set();
  readonly #paused: Set<Direction> = new Set();
  #delayMs = 0;
  #isRefusing = false;

  private constructor(server: Server, port: number, targetPort: number) {
    this.#server = server;
    this.port = port;
    this.#targetPort = targetPort;
  }

  static async start(targetPort: number): Promise<TcpProxy> {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as { port: number };
    const proxy = new TcpProxy(server, port, targetPort);
    server.on('connection', (socket) => proxy.#accept(socket));
    return proxy;
  }

  get connections(): number {
    return this.#legs.size / 2;
  }

  /** For connections to come. */
  retarget(port: number): void {
    this.#targetPort = port;
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

  /** Each chunk is handed on this much later, in both directions. */
  delay(ms: number): void {
    this.#delayMs = ms;
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
    const server = connect({ port: this.#targetPort, host: '127.0.0.1', noDelay: true });
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
        isEnding: false,
      };
      this.#legs.add(leg);
      from.on('data', (chunk: Buffer) => {
        if (this.stalls?.(chunk, direction) === true) leg.isStalled = true;
        if (leg.isStalled) return;
        leg.waiting.push({ chunk, dueMs: performance.now() + this.#delayMs });
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

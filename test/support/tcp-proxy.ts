/**
 * A TCP proxy for faults between two parties on loopback: forwards, swallows one or both directions
 * without closing anything (half-open), cuts, delays, refuses. Chunks keep their order.
 */
import { connect, createServer, type Server, type Socket } from 'node:net';

export type Direction = 'toServer' | 'toClient';

interface Leg {
  readonly from: Socket;
  readonly to: Socket;
  readonly direction: Direction;
  /** What waits for its time, or for the end of a pause. */
  readonly waiting: { readonly chunk: Buffer; readonly dueMs: number }[];
  timer: NodeJS.Timeout | undefined;
}

export class TcpProxy {
  readonly port: number;
  /** Connections accepted so far. */
  accepted = 0;
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

  /** What comes is kept and not handed on, until `resume`; nobody is told. */
  pause(...directions: readonly Direction[]): void {
    const both: readonly Direction[] = ['toServer', 'toClient'];
    for (const direction of directions.length > 0 ? directions : both) this.#paused.add(direction);
  }

  resume(): void {
    this.#paused.clear();
    for (const leg of this.#legs) this.#forward(leg);
  }

  /** Each chunk is handed on this much later, in both directions. */
  delay(ms: number): void {
    this.#delayMs = ms;
  }

  /** Ends all connections with a reset; what was kept is gone. */
  cut(): void {
    for (const leg of [...this.#legs]) this.#end(leg, true);
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
      const leg: Leg = { from, to, direction, waiting: [], timer: undefined };
      this.#legs.add(leg);
      from.on('data', (chunk: Buffer) => {
        leg.waiting.push({ chunk, dueMs: performance.now() + this.#delayMs });
        this.#forward(leg);
      });
      from.on('error', () => this.#end(leg, true));
      from.on('close', () => this.#end(leg, false));
    }
  }

  #forward(leg: Leg): void {
    clearTimeout(leg.timer);
    if (this.#paused.has(leg.direction)) return;
    const nowMs = performance.now();
    for (let first = leg.waiting[0]; first !== undefined; first = leg.waiting[0]) {
      if (first.dueMs > nowMs) {
        leg.timer = setTimeout(() => this.#forward(leg), first.dueMs - nowMs);
        return;
      }
      leg.waiting.shift();
      leg.to.write(first.chunk);
    }
  }

  #end(leg: Leg, isReset: boolean): void {
    if (!this.#legs.delete(leg)) return;
    clearTimeout(leg.timer);
    for (const socket of [leg.from, leg.to]) {
      if (isReset && socket.connecting === false) socket.resetAndDestroy();
      else socket.destroy();
    }
  }
}

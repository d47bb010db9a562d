/**
 * A listener on Node's streams: TLS, WebSocket, Unix sockets, whatever has a PROXY header in front,
 * and plain TCP where raw handles are not to be had. It takes sockets through their handshakes and
 * hands finished ones to the broker. Control plane; the bytes go through the sinks.
 */
import { createServer, type Server, type Socket } from 'node:net';
import type { Acceptor, ListenerInfo, Log } from '../core/ports.ts';
import { Arrival, endpointKey } from './arrival.ts';
import type { Listener, ListenerCounters, ListenerOptions } from './listener.ts';
import { ListenerError } from './listener-error.ts';
import { assertSameAddress, type ListenerPlan, planListener } from './listener-plan.ts';
import { ListeningSocket } from './listening-socket.ts';
import { LogThrottle } from './log-throttle.ts';
import { isTrusted, readProxyHeader } from './proxy-stage.ts';
import { infoOf } from './raw-tcp-listener.ts';
import type { OpenableSink, Stage, StageHost } from './stage.ts';
import { StreamSink } from './stream-sink.ts';
import { TlsStage } from './tls.ts';
import { loadTlsMaterial } from './tls-material.ts';
import { WebSocketStage } from './web-socket.ts';

export class StreamListener implements Listener, StageHost {
  info: ListenerInfo;
  readonly counters: ListenerCounters = {
    accepted: 0,
    refused: 0,
    handshakesFailed: 0,
    untrusted: 0,
    acceptErrors: 0,
  };
  #plan: ListenerPlan;
  #stage: Stage | null = null;
  readonly #acceptor: Acceptor;
  readonly #log: Log;
  readonly #throttle: LogThrottle = new LogThrottle();
  readonly #server: Server;
  readonly #socket: ListeningSocket;
  /** Sockets in handshakes: by themselves, and by their endpoints for the TLS sockets around them. */
  readonly #arrivals: Map<Socket | string, Arrival> = new Map();
  #handshakes = 0;
  #connections = 0;

  constructor(plan: ListenerPlan, acceptor: Acceptor, log: Log) {
    this.#plan = plan;
    this.info = infoOf(plan);
    this.#acceptor = acceptor;
    this.#log = log;
    // Half-open: the broker ends its own side when it has said its last word.
    this.#server = createServer({ pauseOnConnect: true, noDelay: true }, (socket) =>
      this.#accept(socket),
    );
    this.#socket = new ListeningSocket(plan, this.#server, this.counters, log);
  }

  get address(): string {
    return this.#socket.address;
  }

  get connections(): number {
    return this.#connections;
  }

  async start(): Promise<void> {
    this.#stage = await this.#makeStage(this.#plan);
    await this.#socket.open();
  }

  async reload(options: ListenerOptions): Promise<void> {
    const next = planListener(options);
    assertSameAddress(this.#plan, next);
    if ((this.#plan.proxies === null) !== (next.proxies === null)) {
      const what = 'proxyProtocol cannot be switched on or off while it runs; restart';
      throw new ListenerError('LISTENER_RESTART', this.#plan.name, what);
    }
    // Made before anything is replaced: a broken file leaves all as it was.
    const stage = await this.#makeStage(next);
    if (next.unixMode !== this.#plan.unixMode) await this.#socket.setUnixMode(next.unixMode);
    this.#plan = next;
    this.#stage = stage;
    this.info = infoOf(next);
  }

  async stop(): Promise<void> {
    await this.#socket.close();
    for (const [key, arrival] of [...this.#arrivals]) {
      if (typeof key === 'string') continue;
      this.#settle(arrival);
      arrival.socket.destroy();
    }
  }

  async #makeStage(plan: ListenerPlan): Promise<Stage> {
    const { tls, handshakeTimeoutMs } = plan.options;
    const material = tls === undefined ? null : await loadTlsMaterial(tls, plan.name, this.#log);
    if (plan.websocketPath !== '') return new WebSocketStage(plan, material, this, this.#log);
    if (material !== null) return new TlsStage(material, handshakeTimeoutMs, this, this.#log);
    return { take: (arrival) => this.#takePlain(arrival) };
  }

  #accept(socket: Socket): void {
    this.counters.accepted++;
    this.#connections++;
    socket.once('close', () => {
      this.#connections--;
    });
    // Errors of a socket nobody listens to would end the process; `close` follows each.
    socket.on('error', () => {});
    this.#socket.watchDescriptors(this.#connections);
    if (this.#handshakes >= this.#plan.handshakesMax) {
      this.counters.refused++;
      socket.destroy();
      return;
    }
    const arrival = new Arrival(socket, this.#plan.options.handshakeTimeoutMs, () => {
      this.failed(arrival, 'handshake took too long', arrival.remoteAddress);
      socket.destroy();
    });
    this.#arrivals.set(socket, arrival);
    // All Unix clients have the same, empty endpoint; nothing wraps their sockets either.
    if (this.#plan.unixPath === '') this.#arrivals.set(arrival.key, arrival);
    this.#handshakes++;
    socket.once('close', () => this.#settle(arrival));
    const { proxies } = this.#plan;
    if (proxies === null) {
      this.#stage!.take(arrival);
      return;
    }
    if (!isTrusted(arrival.remoteAddress, proxies)) {
      this.counters.untrusted++;
      this.#refuse(arrival, 'not from a trusted proxy', false);
      return;
    }
    readProxyHeader(
      arrival,
      () => this.#stage!.take(arrival),
      (problem) => this.#refuse(arrival, problem, true),
    );
  }

  #takePlain(arrival: Arrival): void {
    this.arrived(
      arrival,
      new StreamSink(arrival.socket, {
        remoteAddress: this.#plan.unixPath === '' ? arrival.remoteAddress : '',
        remotePort: arrival.remotePort,
        certificate: null,
        copiesWrites: false,
        log: this.#log,
      }),
    );
  }

  #refuse(arrival: Arrival, problem: string, counts: boolean): void {
    if (counts) this.failed(arrival, problem, arrival.remoteAddress);
    else {
      this.#settle(arrival);
      this.#tell(problem, arrival.remoteAddress);
    }
    arrival.socket.destroy();
  }

  arrivalOf(socket: Socket): Arrival | null {
    return this.#arrivals.get(socket) ?? this.#arrivals.get(endpointKey(socket)) ?? null;
  }

  arrived(arrival: Arrival, sink: OpenableSink): void {
    this.#settle(arrival);
    const handler = this.#acceptor.accept(sink, this.info);
    if (handler === null) {
      this.counters.refused++;
      sink.destroy();
      return;
    }
    sink.open(handler);
  }

  failed(arrival: Arrival | null, problem: string, remoteAddress: string): void {
    // One arrival fails once, however many layers report it.
    if (arrival !== null && !this.#settle(arrival)) return;
    this.counters.handshakesFailed++;
    this.#tell(problem, remoteAddress);
  }

  #tell(problem: string, remoteAddress: string): void {
    this.#throttle.log((suppressed) => {
      const listener = this.#plan.name;
      this.#log.warn({ listener, remoteAddress, problem, suppressed }, 'connection refused');
    });
  }

  /** False: it was settled before. */
  #settle(arrival: Arrival): boolean {
    if (!this.#arrivals.delete(arrival.socket)) return false;
    if (this.#arrivals.get(arrival.key) === arrival) this.#arrivals.delete(arrival.key);
    arrival.settle();
    this.#handshakes--;
    return true;
  }
}

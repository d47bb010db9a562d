/**
 * A listener on Node's streams: TLS, WebSocket, Unix sockets, whatever has a PROXY header in front,
 * and plain TCP where raw handles are not to be had. It takes sockets through their handshakes and
 * hands finished ones to the broker. Control plane; the bytes go through the sinks.
 */
import { createServer, type Server, type Socket } from 'node:net';
import type { Acceptor, ListenerInfo, Log, PeerCertificate } from '../core/ports.ts';
import { normalizeIpAddress } from '../util/ip-address.ts';
import { admit, newCounters } from './admission.ts';
import { Arrival } from './arrival.ts';
import type { Listener, ListenerCounters, ListenerOptions } from './listener.ts';
import { ListenerError } from './listener-error.ts';
import {
  assertSameAddress,
  infoOf,
  type ListenerPlan,
  planListener,
  renewInfo,
} from './listener-plan.ts';
import { ListeningSocket } from './listening-socket.ts';
import { LogThrottle } from './log-throttle.ts';
import { isTrusted, readProxyHeader } from './proxy-stage.ts';
import type { RevocationList } from './revocation-list.ts';
import type { OpenableSink, Stage, StageHost } from './stage.ts';
import { StreamSink } from './stream-sink.ts';
import { TlsStage } from './tls.ts';
import { loadTlsMaterial } from './tls-material.ts';
import { WebSocketStage } from './web-socket.ts';

/** Half-open connections of clients without keep-alive are noticed by TCP after this. */
const TCP_KEEPALIVE_MS = 300_000;
/** How long a client may read why it was refused. */
const REFUSED_LINGER_MS = 1000;

/** What a plan becomes before anything of the old one is replaced. */
interface Prepared {
  readonly stage: Stage;
  readonly revocationLists: readonly RevocationList[];
}

export class StreamListener implements Listener, StageHost {
  info: ListenerInfo;
  readonly counters: ListenerCounters = newCounters();
  #plan: ListenerPlan;
  #stage: Stage | null = null;
  #revocationLists: readonly RevocationList[] = [];
  readonly #acceptor: Acceptor;
  readonly #log: Log;
  readonly #throttle: LogThrottle = new LogThrottle();
  readonly #server: Server;
  readonly #socket: ListeningSocket;
  /** In handshakes, or refused and not yet closed. */
  readonly #arrivals: Set<Arrival> = new Set();
  #connections = 0;

  constructor(plan: ListenerPlan, acceptor: Acceptor, log: Log) {
    this.#plan = plan;
    this.info = infoOf(plan);
    this.#acceptor = acceptor;
    this.#log = log;
    const socketOptions = {
      pauseOnConnect: true,
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: TCP_KEEPALIVE_MS,
    };
    this.#server = createServer(socketOptions, (socket) => this.#accept(socket));
    this.#socket = new ListeningSocket(plan, this.#server, this.counters, log);
  }

  get address(): string {
    return this.#socket.address;
  }

  get connections(): number {
    return this.#connections;
  }

  async start(): Promise<void> {
    this.#install(await this.#prepare(this.#plan));
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
    const prepared = await this.#prepare(next);
    if (next.unixMode !== this.#plan.unixMode) await this.#socket.setUnixMode(next.unixMode);
    this.#plan = next;
    this.#install(prepared);
    this.info = renewInfo(this.info, next);
  }

  isRevoked(certificate: PeerCertificate): boolean {
    return this.#revocationLists.some((list) => list.has(certificate));
  }

  async stop(): Promise<void> {
    await this.#socket.close();
    for (const arrival of [...this.#arrivals]) {
      this.#settle(arrival);
      arrival.socket.destroy();
    }
  }

  #install({ stage, revocationLists }: Prepared): void {
    this.#stage = stage;
    this.#revocationLists = revocationLists;
  }

  /** The stages of one plan, the first one outermost. */
  async #prepare(plan: ListenerPlan): Promise<Prepared> {
    const { tls, handshakeTimeoutMs } = plan.options;
    const isWebSocket = plan.websocketPath !== '';
    const inner: Stage = isWebSocket
      ? new WebSocketStage(plan, this, this.#log)
      : { take: (arrival) => this.#takeStream(arrival) };
    if (tls === undefined) return { stage: inner, revocationLists: [] };
    const material = await loadTlsMaterial(tls, plan.name, this.#log);
    // What https servers say; MQTT has no name there, and clients that offer one get no answer.
    const context = isWebSocket
      ? { ...material.context, ALPNProtocols: ['http/1.1'] }
      : material.context;
    const stage = new TlsStage({ ...material, context }, handshakeTimeoutMs, this, inner);
    return { stage, revocationLists: material.revocationLists };
  }

  #accept(socket: Socket): void {
    this.counters.accepted++;
    this.#connections++;
    // Errors of a socket nobody listens to would end the process; `close` follows each.
    socket.on('error', ignore);
    this.#socket.watchDescriptors(this.#connections);
    if (this.#arrivals.size >= this.#plan.handshakesMax) {
      this.counters.refused++;
      socket.once('close', () => {
        this.#connections--;
      });
      socket.destroy();
      this.#tell('too many unfinished handshakes', normalizeIpAddress(socket.remoteAddress ?? ''));
      return;
    }
    const arrival = new Arrival(socket, this.#plan.options.handshakeTimeoutMs, () => {
      this.failed(arrival, 'handshake took too long');
      socket.destroy();
    });
    this.#arrivals.add(arrival);
    socket.once('close', () => {
      this.#connections--;
      if (!this.#arrivals.has(arrival)) return;
      const end = (): void => {
        this.failed(arrival, 'connection ended within the handshake');
        this.#settle(arrival);
      };
      if (arrival.isStageTelling) setTimeout(end, 0);
      else end();
    });
    const { proxies } = this.#plan;
    if (proxies === null) {
      this.#stage!.take(arrival);
      return;
    }
    if (!isTrusted(arrival.remoteAddress, proxies)) {
      this.counters.untrusted++;
      this.#settle(arrival);
      this.#tell('not from a trusted proxy', arrival.remoteAddress);
      socket.destroy();
      return;
    }
    readProxyHeader(
      arrival,
      () => this.#stage!.take(arrival),
      (problem) => {
        this.failed(arrival, problem);
        socket.destroy();
      },
    );
  }

  /** MQTT follows at once. */
  #takeStream(arrival: Arrival): void {
    const isUnix = this.#plan.unixPath !== '';
    this.arrived(
      arrival,
      new StreamSink(arrival.stream, {
        remoteAddress: isUnix ? '' : arrival.remoteAddress,
        remotePort: arrival.remotePort,
        certificate: arrival.certificate,
        pskIdentity: arrival.pskIdentity,
        copiesWrites: arrival.isEncrypted,
        log: this.#log,
      }),
    );
  }

  arrived(arrival: Arrival, sink: OpenableSink): void {
    if (this.#settle(arrival)) admit(sink, this.#acceptor, this.info, this.counters, this.#log);
    else sink.destroy();
  }

  failed(arrival: Arrival, problem: string): void {
    if (arrival.hasFailed || !this.#arrivals.has(arrival)) return;
    arrival.hasFailed = true;
    this.counters.handshakesFailed++;
    this.#tell(problem, arrival.remoteAddress);
    // The stage may have sent an answer; who does not close after it is closed.
    arrival.limit(REFUSED_LINGER_MS);
  }

  #tell(problem: string, remoteAddress: string): void {
    this.#throttle.log((suppressed) => {
      const listener = this.#plan.name;
      this.#log.warn({ listener, remoteAddress, problem, suppressed }, 'connection refused');
    });
  }

  /** False: it was settled before. */
  #settle(arrival: Arrival): boolean {
    arrival.settle();
    return this.#arrivals.delete(arrival);
  }
}

function ignore(): void {}

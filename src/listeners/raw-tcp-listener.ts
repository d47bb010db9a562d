/**
 * A plain TCP listener on raw handles (raw-tcp.ts): what `mqtt://` gets when Node's internals are as
 * expected and no PROXY header has to be read first. Control plane; the bytes do not come here.
 */
import type { Acceptor, ListenerInfo, Log } from '../core/ports.ts';
import { admit, handlerFailed, newCounters } from './admission.ts';
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
import { RawTcpServer, type RawTcpSink } from './raw-tcp.ts';

export class RawTcpListener implements Listener {
  info: ListenerInfo;
  readonly counters: ListenerCounters = newCounters();
  #plan: ListenerPlan;
  readonly #acceptor: Acceptor;
  readonly #log: Log;
  readonly #server: RawTcpServer;
  readonly #socket: ListeningSocket;

  constructor(plan: ListenerPlan, acceptor: Acceptor, log: Log) {
    this.#plan = plan;
    this.info = infoOf(plan);
    this.#acceptor = acceptor;
    this.#log = log;
    this.#server = new RawTcpServer({
      accepted: (sink) => this.#accept(sink),
      acceptFailed: (errno) => this.#socket.acceptFailed(errno),
      handlerFailed: (error, remoteAddress) => handlerFailed(error, remoteAddress, log),
    });
    this.#socket = new ListeningSocket(plan, this.#server.server, this.counters, log);
  }

  get address(): string {
    return this.#socket.address;
  }

  get connections(): number {
    return this.#server.connections;
  }

  start(): Promise<void> {
    return this.#socket.open();
  }

  async reload(options: ListenerOptions): Promise<void> {
    const next = planListener(options);
    assertSameAddress(this.#plan, next);
    if (next.proxies !== null) {
      throw new ListenerError(
        'LISTENER_RESTART',
        this.#plan.name,
        'proxyProtocol cannot be added while it runs; restart',
      );
    }
    this.#plan = next;
    this.info = renewInfo(this.info, next);
  }

  isRevoked(): boolean {
    return false;
  }

  stop(): Promise<void> {
    return this.#socket.close();
  }

  #accept(sink: RawTcpSink): void {
    this.counters.accepted++;
    this.#socket.watchDescriptors(this.#server.connections);
    admit(sink, this.#acceptor, this.info, this.counters, this.#log);
  }
}

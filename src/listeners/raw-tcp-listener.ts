/**
 * A plain TCP listener on raw handles (raw-tcp.ts): what `mqtt://` gets when Node's internals are as
 * expected and no PROXY header has to be read first. Control plane; the bytes do not come here.
 */
import type { Acceptor, ListenerInfo, Log } from '../core/ports.ts';
import type { Listener, ListenerCounters, ListenerOptions } from './listener.ts';
import { ListenerError } from './listener-error.ts';
import { assertSameAddress, type ListenerPlan, planListener } from './listener-plan.ts';
import { ListeningSocket } from './listening-socket.ts';
import { RawTcpServer, type RawTcpSink } from './raw-tcp.ts';

export class RawTcpListener implements Listener {
  info: ListenerInfo;
  readonly counters: ListenerCounters = {
    accepted: 0,
    refused: 0,
    handshakesFailed: 0,
    untrusted: 0,
    acceptErrors: 0,
  };
  #plan: ListenerPlan;
  readonly #acceptor: Acceptor;
  readonly #server: RawTcpServer;
  readonly #socket: ListeningSocket;

  constructor(plan: ListenerPlan, acceptor: Acceptor, log: Log) {
    this.#plan = plan;
    this.info = infoOf(plan);
    this.#acceptor = acceptor;
    this.#server = new RawTcpServer(
      (sink) => this.#accept(sink),
      (code) => this.#socket.acceptFailed(code),
    );
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
    this.info = infoOf(next);
  }

  stop(): Promise<void> {
    return this.#socket.close();
  }

  #accept(sink: RawTcpSink): void {
    this.counters.accepted++;
    this.#socket.watchDescriptors(this.#server.connections);
    const handler = this.#acceptor.accept(sink, this.info);
    if (handler === null) {
      this.counters.refused++;
      sink.destroy();
      return;
    }
    sink.handler = handler;
    sink.resume();
  }
}

/** What the core sees of a listener. */
export function infoOf(plan: ListenerPlan): ListenerInfo {
  return { name: plan.name, transport: plan.transport, limits: plan.options.limits };
}

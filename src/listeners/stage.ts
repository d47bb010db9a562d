/**
 * What lies between an accepted socket and MQTT bytes, as `stream-listener.ts` sees it: a stage takes
 * an arrival through one handshake and on to the next stage, to an open sink, or reports a failure.
 */
import type { ByteHandler, ByteSink } from '../core/ports.ts';
import type { Arrival } from './arrival.ts';

/** A sink that waits for its handler. */
export interface OpenableSink extends ByteSink {
  /** The broker has taken the connection: bytes flow to `handler` from now on. */
  open(handler: ByteHandler): void;
}

export interface Stage {
  /** Takes over the arrival's stream, which may be paused with bytes put back. */
  take(arrival: Arrival): void;
}

/** What a stage needs of its listener. */
export interface StageHost {
  /** The handshakes are done: offers the sink to the broker. */
  arrived(arrival: Arrival, sink: OpenableSink): void;
  /**
   * The handshakes failed; counted and told once per arrival. The stage may still send an answer: the
   * listener closes the socket a moment later in any case.
   */
  failed(arrival: Arrival, problem: string): void;
}

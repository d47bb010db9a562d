/**
 * What lies between an accepted socket and MQTT bytes, as `stream-listener.ts` sees it: a stage takes
 * an arrival through its handshakes and hands back an open sink, or reports that it failed.
 */
import type { Socket } from 'node:net';
import type { ByteHandler, ByteSink } from '../core/ports.ts';
import type { Arrival } from './arrival.ts';

/** A sink that waits for its handler. */
export interface OpenableSink extends ByteSink {
  open(handler: ByteHandler): void;
}

export interface Stage {
  /** Takes over the arrival's socket, which may be paused with bytes put back. */
  take(arrival: Arrival): void;
}

/** What a stage needs of its listener. */
export interface StageHost {
  /** The arrival whose connection this socket carries; null when it has gone. */
  arrivalOf(socket: Socket): Arrival | null;
  /** The handshakes are done: offer the sink to the broker. */
  arrived(arrival: Arrival, sink: OpenableSink): void;
  /** The handshakes failed; the stage sees to the socket. */
  failed(arrival: Arrival | null, problem: string, remoteAddress: string): void;
}

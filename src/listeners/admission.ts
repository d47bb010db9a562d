/**
 * The step from a finished connection to the broker, the same for every kind of listener: offers the
 * sink, opens it for the handler it gets, counts a refusal. Control plane: once per connection.
 */
import type { Acceptor, ByteHandler, ListenerInfo, Log } from '../core/ports.ts';
import type { ListenerCounters } from './listener.ts';
import type { OpenableSink } from './stage.ts';

export function newCounters(): ListenerCounters {
  return { accepted: 0, refused: 0, handshakesFailed: 0, untrusted: 0, acceptErrors: 0 };
}

export function admit(
  sink: OpenableSink,
  acceptor: Acceptor,
  info: ListenerInfo,
  counters: ListenerCounters,
  log: Log,
): void {
  let handler: ByteHandler | null = null;
  try {
    handler = acceptor.accept(sink, info);
  } catch (error) {
    // It concerns this connection; the others and the listener go on.
    handlerFailed(error, sink.remoteAddress, log);
  }
  if (handler === null) {
    counters.refused++;
    sink.destroy();
    return;
  }
  sink.open(handler);
}

/** The core catches its own errors; one that escapes must not end the process. */
export function handlerFailed(error: unknown, remoteAddress: string, log: Log): void {
  log.error({ err: error, remoteAddress }, 'connection handler failed');
}

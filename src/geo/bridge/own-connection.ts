/**
 * A connection of a part of this program to its own broker, without a socket: what one end writes the other
 * reads in a following turn, and either end may let the other wait. Used by `bridge.ts` for the session here.
 */
import type { Transport, TransportHandler } from '../../client/transport.ts';
import type { Acceptor, ByteHandler, ByteSink, ListenerInfo, Scheduler } from '../../core/ports.ts';

/** What has been written to one end and not read at the other. */
class Way {
  readonly #scheduler: Scheduler;
  readonly #read: (bytes: Buffer) => void;
  readonly #drained: () => void;
  #waiting: Buffer[] = [];
  #isPaused = false;
  #isDue = false;
  #isClosed = false;
  bytes = 0;

  constructor(scheduler: Scheduler, read: (bytes: Buffer) => void, drained: () => void) {
    this.#scheduler = scheduler;
    this.#read = read;
    this.#drained = drained;
  }

  write(bytes: Buffer): void {
    if (this.#isClosed) return;
    this.#waiting.push(bytes);
    this.bytes += bytes.length;
    this.#schedule();
  }

  pause(): void {
    this.#isPaused = true;
  }

  resume(): void {
    this.#isPaused = false;
    if (this.#waiting.length > 0) this.#schedule();
  }

  close(): void {
    this.#isClosed = true;
    this.#waiting = [];
    this.bytes = 0;
  }

  /** Hands over what is there, whether the reader wants to wait or not: the other end has ended. */
  flush(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    this.bytes = 0;
    for (const bytes of waiting) if (!this.#isClosed) this.#read(bytes);
  }

  #schedule(): void {
    if (this.#isDue || this.#isPaused) return;
    this.#isDue = true;
    this.#scheduler.nextTurn(() => this.#deliver());
  }

  #deliver(): void {
    this.#isDue = false;
    while (!this.#isPaused && !this.#isClosed) {
      const bytes = this.#waiting.shift();
      if (bytes === undefined) break;
      this.bytes -= bytes.length;
      this.#read(bytes);
    }
    if (this.#waiting.length === 0 && !this.#isClosed) this.#drained();
  }
}

/** Begins in a following turn, as a socket would. */
export function openOwnConnection(
  broker: Acceptor,
  listener: ListenerInfo,
  scheduler: Scheduler,
  client: TransportHandler,
): Transport {
  let handler: ByteHandler | null = null;
  let isClosed = false;
  const toBroker = new Way(
    scheduler,
    (bytes) => handler?.onBytes(bytes, 0, bytes.length),
    () => client.onDrained(),
  );
  const toClient = new Way(
    scheduler,
    (bytes) => client.onBytes(bytes),
    () => handler?.onDrained(),
  );
  const close = (): void => {
    if (isClosed) return;
    isClosed = true;
    // Never from inside a call of either end.
    scheduler.nextTurn(() => {
      toBroker.close();
      toClient.close();
      handler?.onClosed(null);
      client.onClosed(null);
    });
  };
  const end = (way: Way): void => {
    scheduler.nextTurn(() => {
      if (!isClosed) way.flush();
      close();
    });
  };
  const sink: ByteSink = {
    remoteAddress: '',
    remotePort: 0,
    certificate: null,
    pskIdentity: null,
    write: (buffer, start, bytesEnd) => {
      toClient.write(Buffer.from(buffer.subarray(start, bytesEnd)));
      return true;
    },
    unsentBytes: () => toClient.bytes,
    pause: () => toBroker.pause(),
    resume: () => toBroker.resume(),
    end: () => end(toClient),
    destroy: close,
  };
  scheduler.nextTurn(() => {
    if (isClosed) return;
    handler = broker.accept(sink, listener);
    if (handler === null) close();
    else client.onOpen();
  });
  return {
    write: (bytes) => toBroker.write(bytes),
    unsentBytes: () => toBroker.bytes,
    pause: () => toClient.pause(),
    resume: () => toClient.resume(),
    end: () => end(toBroker),
    destroy: close,
  };
}

/**
 * Data plane: the socket side of one connection over any Node stream (net.Socket, TLS, Unix socket).
 * Made by listeners, called by the core through `ByteSink`. It knows bytes and nothing of MQTT.
 * Nothing here calls the core from inside a call of the core: all of it follows stream events.
 */
import type { Duplex } from 'node:stream';
import type { ByteHandler, Log, PeerCertificate } from '../core/ports.ts';
import { handlerFailed } from './admission.ts';
import type { OpenableSink } from './stage.ts';

/** Set on the stream, so that one function per event serves all connections. */
const sinkKey: unique symbol = Symbol('sink');

type Carrier = Duplex & { [sinkKey]?: StreamSink | undefined };

const OPEN = 0;
/** `end` was called: input is drained, nothing more is written. */
const ENDING = 1;
const CLOSED = 2;

export interface StreamSinkOptions {
  readonly remoteAddress: string;
  readonly remotePort: number;
  readonly certificate: PeerCertificate | null;
  readonly pskIdentity: string | null;
  /**
   * True when the stream may read the bytes after `write` returned and cannot say so at once (TLS
   * completes every write later): they are copied, and the caller has its memory back.
   */
  readonly copiesWrites: boolean;
  readonly log: Log;
}

function onData(this: Carrier, chunk: Buffer): void {
  this[sinkKey]?.received(chunk);
}

function onError(this: Carrier, error: Error): void {
  this[sinkKey]?.failed(error);
}

function onClose(this: Carrier): void {
  this[sinkKey]?.closed();
}

export class StreamSink implements OpenableSink {
  readonly remoteAddress: string;
  readonly remotePort: number;
  readonly certificate: PeerCertificate | null;
  readonly pskIdentity: string | null;
  readonly #stream: Carrier;
  readonly #log: Log;
  readonly #copiesWrites: boolean;
  #handler: ByteHandler | null = null;
  #phase = OPEN;
  #paused = false;
  /** The last write left some: `onDrained` is due. */
  #isOwingDrained = false;
  #error: Error | null = null;
  #lingerTimer: NodeJS.Timeout | null = null;
  readonly #onWritten = (error?: Error | null): void => {
    // A write that failed is followed by the close.
    if (error || !this.#isOwingDrained || this.#stream.writableLength !== 0) return;
    this.#isOwingDrained = false;
    if (this.#phase === OPEN) this.#guard((handler) => handler.onDrained());
  };

  constructor(stream: Duplex, options: StreamSinkOptions) {
    this.remoteAddress = options.remoteAddress;
    this.remotePort = options.remotePort;
    this.certificate = options.certificate;
    this.pskIdentity = options.pskIdentity;
    this.#copiesWrites = options.copiesWrites;
    this.#log = options.log;
    this.#stream = stream;
    this.#stream[sinkKey] = this;
    stream.on('error', onError);
    stream.on('close', onClose);
  }

  open(handler: ByteHandler): void {
    this.#handler = handler;
    this.#stream.on('data', onData);
    // The stream may come paused from an earlier stage, or the core may have paused it already.
    if (!this.#paused) this.#stream.resume();
  }

  write(buffer: Buffer, start: number, end: number): boolean {
    const stream = this.#stream;
    // A stream whose peer has gone still looks open to the core until `onClosed`.
    if (this.#phase !== OPEN || stream.destroyed || stream.writableEnded) return true;
    const bytes = buffer.subarray(start, end);
    stream.write(this.#copiesWrites ? Buffer.from(bytes) : bytes, this.#onWritten);
    if (stream.writableLength === 0) return true;
    this.#isOwingDrained = true;
    return this.#copiesWrites;
  }

  unsentBytes(): number {
    return this.#isOwingDrained ? this.#stream.writableLength : 0;
  }

  pause(): void {
    if (this.#phase !== OPEN || this.#paused) return;
    this.#paused = true;
    this.#stream.pause();
  }

  resume(): void {
    if (this.#phase !== OPEN || !this.#paused) return;
    this.#paused = false;
    if (this.#handler !== null) this.#stream.resume();
  }

  end(lingerMs: number): void {
    if (this.#phase !== OPEN) return;
    this.#phase = ENDING;
    const stream = this.#stream;
    stream.end();
    // Unread input at the close would make the kernel send a reset, which destroys what the client
    // has not read yet: go on reading and throw it away.
    stream.resume();
    this.#lingerTimer = setTimeout(() => stream.destroy(), lingerMs);
  }

  destroy(): void {
    if (this.#phase === OPEN) this.#phase = ENDING;
    this.#stream.destroy();
  }

  /** From `onData`; not for the core. */
  received(chunk: Buffer): void {
    if (this.#phase !== OPEN) return;
    try {
      this.#handler?.onBytes(chunk, 0, chunk.length);
    } catch (error) {
      this.#blame(error);
    }
  }

  /** From `onError`; `closed` follows. */
  failed(error: Error): void {
    // What fails after the core has ended the connection is no news.
    if (this.#phase === OPEN) this.#error ??= error;
  }

  /** From `onClose`, once. */
  closed(): void {
    this.#phase = CLOSED;
    if (this.#lingerTimer !== null) clearTimeout(this.#lingerTimer);
    this.#guard((handler) => handler.onClosed(this.#error));
    this.#handler = null;
    this.#stream[sinkKey] = undefined;
  }

  /** The core catches its own errors; one that escapes must not end the process. */
  #guard(call: (handler: ByteHandler) => void): void {
    if (this.#handler === null) return;
    try {
      call(this.#handler);
    } catch (error) {
      this.#blame(error);
    }
  }

  #blame(error: unknown): void {
    handlerFailed(error, this.remoteAddress, this.#log);
    if (this.#phase !== OPEN) return;
    this.#error = error instanceof Error ? error : new Error('connection handler failed');
    this.#phase = ENDING;
    this.#stream.destroy();
  }
}

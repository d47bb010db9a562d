/**
 * Data plane: the socket side of one MQTT connection over WebSocket. Frame borders mean nothing to
 * MQTT [MQTT5-6.0.0-3]: each binary message is passed on as bytes, each flush leaves as one binary
 * message. Text is refused [MQTT5-6.0.0-1].
 */
import type { Duplex } from 'node:stream';
import type { WebSocket } from 'ws';
import type { ByteHandler, Log, PeerCertificate } from '../core/ports.ts';
import { handlerFailed } from './admission.ts';
import type { OpenableSink } from './stage.ts';

const OPEN = 0;
const ENDING = 1;
const CLOSED = 2;

const CLOSE_NORMAL = 1000;
const CLOSE_UNSUPPORTED_DATA = 1003;

/** How long a closing that the broker did not ask for may take. */
export const CLOSE_TIMEOUT_MS: number = 1000;

export interface WebSocketSinkOptions {
  readonly remoteAddress: string;
  readonly remotePort: number;
  readonly certificate: PeerCertificate | null;
  readonly pskIdentity: string | null;
  /** TLS below: it may read the bytes after `write` returned. */
  readonly copiesWrites: boolean;
  readonly log: Log;
  /** What a client may send before the broker has answered its CONNECT. */
  readonly bytesUnansweredMax: number;
}

export class WebSocketSink implements OpenableSink {
  readonly remoteAddress: string;
  readonly remotePort: number;
  readonly certificate: PeerCertificate | null;
  readonly pskIdentity: string | null;
  readonly #webSocket: WebSocket;
  readonly #stream: Duplex;
  readonly #copiesWrites: boolean;
  readonly #log: Log;
  #handler: ByteHandler | null = null;
  #phase = OPEN;
  #isPaused = false;
  /** The last write left some: `onDrained` is due. */
  #isOwingDrained = false;
  /** Own writes that have not been reported; pongs may wait behind them in the stream. */
  #writesOpen = 0;
  #error: Error | null = null;
  #lingerTimer: NodeJS.Timeout | null = null;
  /** Bytes read before the broker's first answer: ws holds messages whole, so they are bounded here. */
  #bytesUnanswered = 0;
  #isAnswered = false;
  readonly #onChunk = (chunk: Buffer): void => {
    this.#bytesUnanswered += chunk.length;
    if (this.#bytesUnanswered <= this.#bytesUnansweredMax || this.#phase !== OPEN) return;
    this.#error = new Error('too many bytes before CONNECT was accepted');
    this.#phase = ENDING;
    this.#webSocket.terminate();
  };
  readonly #bytesUnansweredMax: number;
  readonly #onWritten = (error?: Error | null): void => {
    this.#writesOpen--;
    // A write that failed is followed by the close.
    if (error || !this.#isOwingDrained || this.#writesOpen > 0) return;
    this.#isOwingDrained = false;
    if (this.#phase === OPEN) this.#guard((handler) => handler.onDrained());
  };

  /** `stream` is the socket below the WebSocket. */
  constructor(webSocket: WebSocket, stream: Duplex, options: WebSocketSinkOptions) {
    this.remoteAddress = options.remoteAddress;
    this.remotePort = options.remotePort;
    this.certificate = options.certificate;
    this.pskIdentity = options.pskIdentity;
    this.#copiesWrites = options.copiesWrites;
    this.#log = options.log;
    this.#webSocket = webSocket;
    this.#stream = stream;
    this.#bytesUnansweredMax = options.bytesUnansweredMax;
    // Before ws' own listener, which is there already.
    stream.prependListener('data', this.#onChunk);
    webSocket.binaryType = 'nodebuffer';
    // Nothing is read before the broker has taken the connection.
    webSocket.pause();
    webSocket.on('message', (data, isBinary) => this.#received(data as Buffer, isBinary));
    webSocket.on('error', (error) => {
      this.#failed(error);
      // Broken frames: ws has sent a closing frame with the reason.
      this.#phase = ENDING;
      this.#armLinger(CLOSE_TIMEOUT_MS);
    });
    // What ws leaves out: it reports no error of the socket below.
    stream.on('error', (error) => this.#failed(error));
    webSocket.on('close', () => this.#closed());
  }

  open(handler: ByteHandler): void {
    this.#handler = handler;
    if (!this.#isPaused) this.#webSocket.resume();
  }

  write(buffer: Buffer, start: number, end: number): boolean {
    if (this.#phase !== OPEN || this.#webSocket.readyState !== this.#webSocket.OPEN) return true;
    if (!this.#isAnswered) {
      this.#isAnswered = true;
      this.#stream.off('data', this.#onChunk);
    }
    const bytes = buffer.subarray(start, end);
    this.#writesOpen++;
    this.#webSocket.send(
      this.#copiesWrites ? Buffer.from(bytes) : bytes,
      { binary: true, compress: false },
      this.#onWritten,
    );
    if (this.#stream.writableLength === 0) return true;
    this.#isOwingDrained = true;
    return this.#copiesWrites;
  }

  unsentBytes(): number {
    return this.#isOwingDrained ? Math.max(1, this.#stream.writableLength) : 0;
  }

  pause(): void {
    if (this.#phase !== OPEN || this.#isPaused) return;
    this.#isPaused = true;
    this.#webSocket.pause();
  }

  resume(): void {
    if (this.#phase !== OPEN || !this.#isPaused) return;
    this.#isPaused = false;
    if (this.#handler !== null) this.#webSocket.resume();
  }

  end(lingerMs: number): void {
    if (this.#phase !== OPEN) return;
    this.#finish(CLOSE_NORMAL, '', lingerMs);
  }

  destroy(): void {
    if (this.#phase === OPEN) this.#phase = ENDING;
    this.#webSocket.terminate();
  }

  #received(data: Buffer, isBinary: boolean): void {
    if (this.#phase !== OPEN) return;
    if (!isBinary) {
      this.#error = new Error('text frame: MQTT needs binary frames');
      this.#finish(CLOSE_UNSUPPORTED_DATA, 'MQTT needs binary frames', CLOSE_TIMEOUT_MS);
      return;
    }
    this.#guard((handler) => handler.onBytes(data, 0, data.length));
  }

  /** Sends the closing frame and reads on until the client's has come. */
  #finish(code: number, reason: string, lingerMs: number): void {
    this.#phase = ENDING;
    this.#webSocket.resume();
    this.#webSocket.close(code, reason);
    this.#armLinger(lingerMs);
  }

  #armLinger(lingerMs: number): void {
    this.#lingerTimer ??= setTimeout(() => this.#webSocket.terminate(), lingerMs);
  }

  #failed(error: Error): void {
    // What fails after the core has ended the connection is no news.
    if (this.#phase === OPEN) this.#error ??= error;
  }

  #closed(): void {
    if (this.#phase === CLOSED) return;
    this.#phase = CLOSED;
    if (this.#lingerTimer !== null) clearTimeout(this.#lingerTimer);
    this.#guard((handler) => handler.onClosed(this.#error));
    this.#handler = null;
  }

  /** The core catches its own errors; one that escapes must not end the process. */
  #guard(call: (handler: ByteHandler) => void): void {
    if (this.#handler === null) return;
    try {
      call(this.#handler);
    } catch (error) {
      handlerFailed(error, this.remoteAddress, this.#log);
      if (this.#phase !== OPEN) return;
      this.#error = error instanceof Error ? error : new Error('connection handler failed');
      this.destroy();
    }
  }
}

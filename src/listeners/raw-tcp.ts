/**
 * TCP without net.Socket (data plane): the broker's own reader and writer on Node's TCP handles. One
 * shared read buffer for all connections, no stream machinery, and writes that the kernel takes at
 * once cost one system call and no object. It leans on internals of Node (`_handle`, stream_wrap);
 * `rawTcpSupported` says whether they look as expected, and tcp.ts falls back to net.Socket if not.
 */
import net from 'node:net';
import type { ByteHandler, ByteSink, PeerCertificate } from '../core/ports.ts';

/** What is used of Node's TCP handle. */
interface TcpHandle {
  onread: (this: TcpHandle) => void;
  sink: RawTcpSink | null;
  readStart(): number;
  readStop(): number;
  useUserBuffer(buffer: Buffer): void;
  writeBuffer(request: WriteRequest, bytes: Uint8Array): number;
  shutdown(request: ShutdownRequest): number;
  close(done?: () => void): void;
  setNoDelay(on: boolean): number;
  setKeepAlive(on: boolean, delayS: number): number;
  getpeername(out: { address?: string; port?: number }): number;
  readonly writeQueueSize: number;
}

interface WriteRequest {
  oncomplete: ((this: WriteRequest, status: number) => void) | null;
  sink: RawTcpSink | null;
  buffer: Uint8Array | null;
}

interface ShutdownRequest {
  oncomplete: ((status: number) => void) | null;
}

interface StreamBinding {
  readonly WriteWrap: new () => WriteRequest;
  readonly ShutdownWrap: new () => ShutdownRequest;
  readonly streamBaseState: Int32Array;
  readonly kReadBytesOrError: number;
  readonly kLastWriteWasAsync: number;
}

interface ServerHandle {
  onconnection: (status: number, handle: TcpHandle | undefined) => void;
}

const binding = streamBinding();

function streamBinding(): StreamBinding | null {
  try {
    const load = (process as unknown as { binding(name: string): unknown }).binding;
    const found = load.call(process, 'stream_wrap') as StreamBinding;
    const complete =
      typeof found.WriteWrap === 'function' &&
      typeof found.ShutdownWrap === 'function' &&
      found.streamBaseState instanceof Int32Array &&
      Number.isInteger(found.kReadBytesOrError) &&
      Number.isInteger(found.kLastWriteWasAsync);
    return complete ? found : null;
  } catch {
    return null;
  }
}

/** False on a Node whose internals differ, or with CAUSEWAY_NO_RAW_TCP=1. */
export const rawTcpSupported: boolean =
  binding !== null && process.env.CAUSEWAY_NO_RAW_TCP !== '1';

const READ_BUFFER_BYTES = 64 * 1024;
/** Half-open connections of clients without keep-alive are noticed by TCP after this. */
const TCP_KEEPALIVE_S = 300;
const UV_EOF = -4095;

/** Parsing is synchronous, so one buffer serves every socket. */
const readBuffer = Buffer.allocUnsafeSlow(READ_BUFFER_BYTES);
const state = binding?.streamBaseState ?? new Int32Array(8);
const READ_RESULT = binding?.kReadBytesOrError ?? 0;
const WRITE_ASYNC = binding?.kLastWriteWasAsync ?? 0;

/** A request object that no write is using: a write the kernel takes at once gives it back. */
let spareRequest: WriteRequest | null = null;

function onRead(this: TcpHandle): void {
  const sink = this.sink;
  if (sink !== null) sink.received(state[READ_RESULT]!);
}

function onWriteComplete(this: WriteRequest, status: number): void {
  const sink = this.sink;
  this.sink = null;
  this.buffer = null;
  if (sink !== null) sink.writeCompleted(status);
}

/** Enough of a ByteSink's life for the states below; a closed sink never goes back. */
const OPEN = 0;
const ENDING = 1;
const CLOSED = 2;

export class RawTcpSink implements ByteSink {
  readonly certificate: PeerCertificate | null = null;
  handler: ByteHandler | null = null;
  readonly #handle: TcpHandle;
  readonly #onGone: () => void;
  #phase = OPEN;
  #unsent = 0;
  #reading = false;
  #lingerMs = 0;
  #lingerTimer: NodeJS.Timeout | null = null;
  #peer: { address?: string; port?: number } | null = null;

  constructor(handle: TcpHandle, onGone: () => void) {
    this.#handle = handle;
    this.#onGone = onGone;
    handle.sink = this;
    handle.onread = onRead;
    handle.useUserBuffer(readBuffer);
    handle.setNoDelay(true);
    handle.setKeepAlive(true, TCP_KEEPALIVE_S);
  }

  get remoteAddress(): string {
    return this.#peerName().address ?? '';
  }

  get remotePort(): number {
    return this.#peerName().port ?? 0;
  }

  write(buffer: Buffer, start: number, end: number): boolean {
    if (this.#phase !== OPEN) return true;
    const bytes = buffer.subarray(start, end);
    const request = spareRequest ?? newRequest();
    const error = this.#handle.writeBuffer(request, bytes);
    if (error !== 0) {
      this.#close(errorOf('write', error));
      return true;
    }
    if (state[WRITE_ASYNC] === 0) {
      spareRequest = request;
      return true;
    }
    spareRequest = null;
    request.oncomplete = onWriteComplete;
    request.sink = this;
    // Held here until the kernel has taken it.
    request.buffer = bytes;
    this.#unsent = this.#handle.writeQueueSize;
    return false;
  }

  unsentBytes(): number {
    return this.#unsent;
  }

  pause(): void {
    if (!this.#reading || this.#phase !== OPEN) return;
    this.#reading = false;
    this.#handle.readStop();
  }

  resume(): void {
    if (this.#reading || this.#phase === CLOSED) return;
    this.#reading = true;
    const error = this.#handle.readStart();
    if (error !== 0) this.#close(errorOf('read', error));
  }

  end(lingerMs: number): void {
    if (this.#phase !== OPEN) return;
    this.resume();
    if ((this.#phase as number) === CLOSED) return;
    this.#phase = ENDING;
    this.#lingerMs = lingerMs;
    if (this.#unsent === 0) this.#shutdown();
    else this.#armLinger();
  }

  destroy(): void {
    this.#close(null);
  }

  /** From onRead: `count` bytes are in the shared buffer, or a negative error. */
  received(count: number): void {
    if (count > 0) {
      // While ending, input is drained so that no reset destroys the last packet sent.
      if (this.#phase === OPEN) this.handler?.onBytes(readBuffer, 0, count);
    } else if (count < 0) {
      this.#close(count === UV_EOF ? null : errorOf('read', count));
    }
  }

  writeCompleted(status: number): void {
    this.#unsent = 0;
    if (status < 0) {
      this.#close(errorOf('write', status));
    } else if (this.#phase === ENDING) {
      this.#shutdown();
    } else if (this.#phase === OPEN) {
      this.handler?.onDrained();
    }
  }

  #shutdown(): void {
    const request = new binding!.ShutdownWrap();
    request.oncomplete = () => {};
    if (this.#handle.shutdown(request) !== 0) this.#close(null);
    else this.#armLinger();
  }

  #armLinger(): void {
    if (this.#lingerTimer === null) {
      this.#lingerTimer = setTimeout(() => this.#close(null), this.#lingerMs);
    }
  }

  #close(error: Error | null): void {
    if (this.#phase === CLOSED) return;
    this.#phase = CLOSED;
    this.#reading = false;
    if (this.#lingerTimer !== null) clearTimeout(this.#lingerTimer);
    const handler = this.handler;
    // Never called back from inside write or resume: close completes in a later phase of the loop.
    this.#handle.close(() => {
      this.#handle.sink = null;
      this.handler = null;
      this.#onGone();
      handler?.onClosed(error);
    });
  }

  #peerName(): { address?: string; port?: number } {
    if (this.#peer === null) {
      this.#peer = {};
      this.#handle.getpeername(this.#peer);
    }
    return this.#peer;
  }
}

function newRequest(): WriteRequest {
  const request = new binding!.WriteWrap();
  request.oncomplete = null;
  request.sink = null;
  request.buffer = null;
  return request;
}

function errorOf(operation: string, code: number): Error {
  return new Error(`${operation} failed (uv ${code})`);
}

/** Accepts on a net.Server's listening handle and hands out sinks instead of sockets. */
export class RawTcpServer {
  readonly #server: net.Server;
  #connections = 0;

  /**
   * `onConnection` gets each accepted sink, sets its `handler` and calls `resume`, or destroys it;
   * `onAcceptError` hears of failed accepts (EMFILE) by libuv's error number.
   */
  constructor(onConnection: (sink: RawTcpSink) => void, onAcceptError: (code: number) => void) {
    this.#server = net.createServer();
    this.#server.on('listening', () => {
      const listening = (this.#server as unknown as { _handle: ServerHandle })._handle;
      listening.onconnection = (status, handle) => {
        if (status !== 0 || handle === undefined) {
          onAcceptError(status);
          return;
        }
        this.#connections++;
        onConnection(
          new RawTcpSink(handle, () => {
            this.#connections--;
          }),
        );
      };
    });
  }

  get server(): net.Server {
    return this.#server;
  }

  get connections(): number {
    return this.#connections;
  }
}

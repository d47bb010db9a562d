/**
 * TCP without net.Socket (data plane): the broker's own reader and writer on Node's TCP handles. One
 * shared read buffer for all connections, no stream machinery, and writes that the kernel takes at
 * once cost one system call and no object. It leans on internals of Node (`_handle`, stream_wrap);
 * `rawTcpSupported` says whether they look as expected; create-listener.ts falls back to streams if not.
 */
import net from 'node:net';
import { getSystemErrorName } from 'node:util';
import type { ByteHandler, PeerCertificate } from '../core/ports.ts';
import { normalizeIpAddress } from '../util/ip-address.ts';
import type { OpenableSink } from './stage.ts';

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
export const rawTcpSupported: boolean = binding !== null && process.env.CAUSEWAY_NO_RAW_TCP !== '1';

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
/** `end` was called: input is drained, nothing more is written. */
const ENDING = 1;
/** As ENDING, and the client has ended too: over when the unfinished write is. */
const ENDED_BY_BOTH = 2;
const CLOSED = 3;

/** What a sink needs of its server. */
interface SinkOwner {
  sinkClosed(): void;
  handlerFailed(error: unknown, remoteAddress: string): void;
}

export class RawTcpSink implements OpenableSink {
  readonly certificate: PeerCertificate | null = null;
  readonly pskIdentity: string | null = null;
  readonly #handle: TcpHandle;
  readonly #owner: SinkOwner;
  #handler: ByteHandler | null = null;
  #phase = OPEN;
  /** A write is unfinished: its memory is held and `onDrained` is due. */
  #isWriting = false;
  /** What the core wants; nothing is read before there is a handler. */
  #wantsBytes = true;
  #lingerMs = 0;
  #lingerTimer: NodeJS.Timeout | null = null;
  #peer: { address?: string; port?: number } | null = null;

  constructor(handle: TcpHandle, owner: SinkOwner) {
    this.#handle = handle;
    this.#owner = owner;
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

  open(handler: ByteHandler): void {
    this.#handler = handler;
    if (this.#phase === OPEN && this.#wantsBytes) this.#readStart();
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
    this.#isWriting = true;
    return false;
  }

  unsentBytes(): number {
    // libuv may have sent the rest already and not told yet: the memory is still held then.
    return this.#isWriting ? Math.max(1, this.#handle.writeQueueSize) : 0;
  }

  pause(): void {
    if (this.#phase !== OPEN || !this.#wantsBytes) return;
    this.#wantsBytes = false;
    if (this.#handler !== null) this.#handle.readStop();
  }

  resume(): void {
    if (this.#phase !== OPEN || this.#wantsBytes) return;
    this.#wantsBytes = true;
    if (this.#handler !== null) this.#readStart();
  }

  end(lingerMs: number): void {
    if (this.#phase !== OPEN) return;
    this.#phase = ENDING;
    this.#lingerMs = lingerMs;
    if (!this.#wantsBytes || this.#handler === null) this.#readStart();
    if (this.#isWriting) this.#armLinger();
    else this.#shutdown();
  }

  destroy(): void {
    this.#close(null);
  }

  /** From onRead: `count` bytes are in the shared buffer, or a negative error. */
  received(count: number): void {
    if (count > 0) {
      // While ending, input is drained so that no reset destroys the last packet sent.
      if (this.#phase !== OPEN) return;
      try {
        this.#handler?.onBytes(readBuffer, 0, count);
      } catch (error) {
        this.#blame(error);
      }
    } else if (count === UV_EOF) {
      // A client that has said its last may still read ours.
      if (this.#phase === ENDING && this.#isWriting) this.#phase = ENDED_BY_BOTH;
      else this.#close(null);
    } else if (count < 0) {
      this.#close(errorOf('read', count));
    }
  }

  writeCompleted(status: number): void {
    this.#isWriting = false;
    if (status < 0) {
      this.#close(errorOf('write', status));
    } else if (this.#phase === ENDING) {
      this.#shutdown();
    } else if (this.#phase === ENDED_BY_BOTH) {
      this.#close(null);
    } else if (this.#phase === OPEN) {
      try {
        this.#handler?.onDrained();
      } catch (error) {
        this.#blame(error);
      }
    }
  }

  #readStart(): void {
    const error = this.#handle.readStart();
    if (error !== 0) this.#close(errorOf('read', error));
  }

  #shutdown(): void {
    if (this.#phase === CLOSED) return;
    const request = new binding!.ShutdownWrap();
    request.oncomplete = () => {};
    if (this.#handle.shutdown(request) !== 0) this.#close(null);
    else this.#armLinger();
  }

  #armLinger(): void {
    if (this.#lingerTimer === null && this.#phase !== CLOSED) {
      this.#lingerTimer = setTimeout(() => this.#close(null), this.#lingerMs);
    }
  }

  /** The core catches its own errors; one that escapes must not end the process. */
  #blame(error: unknown): void {
    this.#owner.handlerFailed(error, this.remoteAddress);
    if (this.#phase !== OPEN) return;
    this.#close(error instanceof Error ? error : new Error('connection handler failed'));
  }

  #close(error: Error | null): void {
    if (this.#phase === CLOSED) return;
    // What fails after the core has ended the connection is no news.
    const reported = this.#phase === OPEN ? error : null;
    this.#phase = CLOSED;
    if (this.#lingerTimer !== null) clearTimeout(this.#lingerTimer);
    // Never called back from inside write or resume: close completes in a later phase of the loop.
    this.#handle.close(() => {
      this.#handle.sink = null;
      const handler = this.#handler;
      this.#handler = null;
      this.#owner.sinkClosed();
      try {
        handler?.onClosed(reported);
      } catch (failure) {
        this.#owner.handlerFailed(failure, this.remoteAddress);
      }
    });
  }

  #peerName(): { address?: string; port?: number } {
    if (this.#peer === null) {
      const peer: { address?: string; port?: number } = {};
      this.#handle.getpeername(peer);
      if (peer.address !== undefined) peer.address = normalizeIpAddress(peer.address);
      this.#peer = peer;
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

/** As Node's streams say it. */
function errorOf(syscall: string, errno: number): Error {
  const code = getSystemErrorName(errno);
  return Object.assign(new Error(`${syscall} ${code}`), { errno, code, syscall });
}

/** What a server tells its listener. */
export interface RawTcpEvents {
  /** Gets each accepted sink, and opens or destroys it. */
  accepted(sink: RawTcpSink): void;
  /** An accept failed (EMFILE), by libuv's error number. */
  acceptFailed(errno: number): void;
  handlerFailed(error: unknown, remoteAddress: string): void;
}

/** Accepts on a net.Server's listening handle and hands out sinks instead of sockets. */
export class RawTcpServer implements SinkOwner {
  readonly #server: net.Server;
  readonly #events: RawTcpEvents;
  #connections = 0;

  constructor(events: RawTcpEvents) {
    this.#events = events;
    this.#server = net.createServer();
    this.#server.on('listening', () => {
      const listening = (this.#server as unknown as { _handle: ServerHandle })._handle;
      listening.onconnection = (status, handle) => {
        if (status !== 0 || handle === undefined) {
          events.acceptFailed(status);
          return;
        }
        this.#connections++;
        events.accepted(new RawTcpSink(handle, this));
      };
    });
  }

  get server(): net.Server {
    return this.#server;
  }

  get connections(): number {
    return this.#connections;
  }

  sinkClosed(): void {
    this.#connections--;
  }

  handlerFailed(error: unknown, remoteAddress: string): void {
    this.#events.handlerFailed(error, remoteAddress);
  }
}

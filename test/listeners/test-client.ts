/**
 * A client over any transport as the tests of listeners need it: sends and counts bytes, stops
 * reading, ends, resets. Foreign code carries it: net, tls and ws.
 */
import { once } from 'node:events';
import net from 'node:net';
import tls, { type ConnectionOptions } from 'node:tls';
import { WebSocket } from 'ws';
import { resetSocket } from '../support/reset-socket.ts';
import { until } from './recorder.ts';

export interface ClientOptions {
  /** The listener's address. */
  readonly address: string;
  /** Written before anything else, for example a PROXY header. */
  readonly preface?: Buffer | undefined;
  readonly tls?: ConnectionOptions | undefined;
  readonly isPaused?: boolean | undefined;
  /** Goes on sending when the broker has ended; not for WebSocket. */
  readonly isHalfOpen?: boolean | undefined;
}

export abstract class TestClient {
  /** The socket the kernel knows. */
  readonly socket: net.Socket;
  readonly chunks: Buffer[] = [];
  bytesReceived = 0;
  /** The broker's end was seen: FIN or a closing frame. */
  hasEnded = false;
  isClosed = false;
  readonly errors: Error[] = [];

  constructor(socket: net.Socket) {
    this.socket = socket;
    socket.on('error', (error) => this.errors.push(error));
    socket.on('close', () => {
      this.isClosed = true;
    });
  }

  abstract send(bytes: Buffer | string): void;
  abstract pause(): void;
  abstract resume(): void;
  /** An orderly end. */
  abstract end(): void;

  /** For WebSocket. */
  ping(): void {
    throw new Error('no pings here');
  }

  /** Has the kernel send a reset. */
  reset(): void {
    if (this.socket.remoteAddress === undefined) {
      // Unix sockets do so when what arrived is unread.
      this.socket.destroy();
    } else {
      resetSocket(this.socket);
    }
  }

  destroy(): void {
    this.socket.destroy();
  }

  received(): Buffer {
    return Buffer.concat(this.chunks);
  }

  async receivedBytes(count: number): Promise<Buffer> {
    await until(() => this.bytesReceived >= count, `${count} bytes at the client`);
    return this.received();
  }

  async closed(): Promise<void> {
    await until(() => this.isClosed, 'the client is closed');
  }

  protected take(chunk: Buffer): void {
    this.chunks.push(chunk);
    this.bytesReceived += chunk.length;
  }
}

class StreamClient extends TestClient {
  readonly #stream: net.Socket;

  constructor(socket: net.Socket, stream: net.Socket, isPaused: boolean) {
    super(socket);
    this.#stream = stream;
    if (isPaused) stream.pause();
    stream.on('data', (chunk: Buffer) => this.take(chunk));
    stream.on('end', () => {
      this.hasEnded = true;
    });
    if (stream !== socket) stream.on('error', (error) => this.errors.push(error));
  }

  send(bytes: Buffer | string): void {
    this.#stream.write(bytes);
  }

  pause(): void {
    this.#stream.pause();
  }

  resume(): void {
    this.#stream.resume();
  }

  end(): void {
    this.#stream.end();
  }
}

const MESSAGE_BYTES_MAX = 1_000_000;

class WebSocketClient extends TestClient {
  readonly #webSocket: WebSocket;

  constructor(socket: net.Socket, webSocket: WebSocket) {
    super(socket);
    this.#webSocket = webSocket;
    webSocket.on('message', (data: Buffer) => this.take(data));
    webSocket.on('error', (error) => this.errors.push(error));
    webSocket.on('close', () => {
      this.hasEnded = true;
    });
  }

  send(bytes: Buffer | string): void {
    // Frame borders mean nothing, but a message has a largest size.
    const all = Buffer.from(bytes);
    for (let at = 0; at < all.length; at += MESSAGE_BYTES_MAX) {
      if (this.#webSocket.readyState !== WebSocket.OPEN) return;
      this.#webSocket.send(all.subarray(at, at + MESSAGE_BYTES_MAX));
    }
  }

  pause(): void {
    this.#webSocket.pause();
  }

  resume(): void {
    this.#webSocket.resume();
  }

  end(): void {
    this.#webSocket.close(1000);
  }

  override ping(): void {
    this.#webSocket.ping();
  }
}

/** Connects the plain socket and sends the preface. */
export async function connectSocket(options: ClientOptions): Promise<net.Socket> {
  const { address, preface, isHalfOpen: allowHalfOpen = false } = options;
  const socket = address.startsWith('unix:')
    ? net.connect({ path: address.slice('unix:'.length), allowHalfOpen })
    : net.connect({ port: Number(new URL(address).port), host: hostOf(address), allowHalfOpen });
  socket.setNoDelay(true);
  await once(socket, 'connect');
  if (preface !== undefined) socket.write(preface);
  return socket;
}

function hostOf(address: string): string {
  return new URL(address).hostname.replace(/^\[(.*)\]$/, '$1');
}

/** Connects up to where MQTT would begin. */
export async function connectClient(options: ClientOptions): Promise<TestClient> {
  const { address, isPaused = false } = options;
  const scheme = address.slice(0, address.indexOf(':'));
  const socket = await connectSocket(options);
  try {
    const isTls = scheme === 'mqtts' || scheme === 'wss';
    let stream = socket;
    if (isTls) {
      const secure = tls.connect({ ...options.tls, socket });
      // The broker may refuse after the client's part of the handshake: that is an error, later.
      secure.on('error', () => {});
      await once(secure, 'secureConnect');
      stream = secure;
    }
    if (scheme !== 'ws' && scheme !== 'wss') return new StreamClient(socket, stream, isPaused);
    const url = address.replace(/^wss/, 'ws');
    const webSocket = new WebSocket(url, ['mqtt'], { createConnection: () => stream });
    const client = new WebSocketClient(socket, webSocket);
    await once(webSocket, 'open');
    if (isPaused) client.pause();
    return client;
  } catch (error) {
    socket.destroy();
    throw error;
  }
}

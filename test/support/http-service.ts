/**
 * A real HTTP service that answers as a test tells it: well, slowly, with nonsense, half, or not at
 * all. Ended with the test; can go away and come back on its port.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import type { Test } from 'tap';
import { resetSocket } from './reset-socket.ts';

export interface Asked {
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingMessage['headers'];
  readonly body: string;
  readonly socket: Socket;
}

export type Answer = (asked: Asked, response: ServerResponse) => void;

export interface TlsFiles {
  readonly key: Buffer | string;
  readonly cert: Buffer | string;
}

export class HttpService {
  answer: Answer;
  readonly asked: Asked[] = [];
  /** Requests that wait for their answer, and the most there were at one time. */
  open = 0;
  openMax = 0;
  readonly #sockets = new Set<Socket>();
  readonly #tls: TlsFiles | null;
  socketsMax = 0;
  #server: Server | null = null;
  #port = 0;

  private constructor(answer: Answer, tls: TlsFiles | null) {
    this.answer = answer;
    this.#tls = tls;
  }

  static async start(t: Test, answer: Answer, tls: TlsFiles | null = null): Promise<HttpService> {
    const service = new HttpService(answer, tls);
    t.teardown(() => service.stop());
    await service.resume();
    return service;
  }

  get port(): number {
    return this.#port;
  }

  get url(): string {
    return `${this.#tls === null ? 'http' : 'https'}://127.0.0.1:${this.#port}`;
  }

  get sockets(): number {
    return this.#sockets.size;
  }

  async resume(): Promise<void> {
    const handle = (request: IncomingMessage, response: ServerResponse): void => {
      const chunks: Buffer[] = [];
      this.open += 1;
      this.openMax = Math.max(this.openMax, this.open);
      response.on('close', () => {
        this.open -= 1;
      });
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        const asked: Asked = {
          method: request.method ?? '',
          url: request.url ?? '',
          headers: request.headers,
          body: Buffer.concat(chunks).toString(),
          socket: request.socket,
        };
        this.asked.push(asked);
        this.answer(asked, response);
      });
    };
    const server = this.#tls === null ? createServer(handle) : createTlsServer(this.#tls, handle);
    server.on('connection', (socket: Socket) => {
      this.#sockets.add(socket);
      this.socketsMax = Math.max(this.socketsMax, this.#sockets.size);
      socket.on('close', () => this.#sockets.delete(socket));
      socket.on('error', () => {});
    });
    this.#server = server;
    await new Promise<void>((resolve) => server.listen(this.#port, '127.0.0.1', resolve));
    this.#port = (server.address() as AddressInfo).port;
  }

  /** Nobody listens any more, and every connection is broken. */
  async stop(): Promise<void> {
    const server = this.#server;
    this.#server = null;
    if (server === null) return;
    const closed = new Promise((resolve) => server.close(resolve));
    this.breakConnections();
    await closed;
  }

  breakConnections(): void {
    for (const socket of this.#sockets) resetSocket(socket);
  }
}

export function json(value: unknown, status = 200): Answer {
  return (_asked, response) => {
    response.writeHead(status, { 'content-type': 'application/json; charset=utf-8' });
    response.end(JSON.stringify(value));
  };
}

export function status(code: number): Answer {
  return (_asked, response) => {
    response.writeHead(code);
    response.end();
  };
}

export function text(body: string | Buffer, contentType: string, code = 200): Answer {
  return (_asked, response) => {
    response.writeHead(code, { 'content-type': contentType });
    response.end(body);
  };
}

/** Says nothing, for ever. */
export const silence: Answer = () => {};

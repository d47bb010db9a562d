/**
 * A node's HTTP API for tests of the commands that speak to it: answers by method and path, and
 * remembers what it was asked.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { json } from 'node:stream/consumers';

export interface Asked {
  readonly method: string;
  /** As sent: nothing decoded. */
  readonly path: string;
  readonly query: URLSearchParams;
  readonly token: string | null;
  readonly body: unknown;
}

export interface Reply {
  readonly status?: number;
  readonly body?: unknown;
  /** Lines of a stream; it stays open when `isOpen`. */
  readonly lines?: readonly unknown[];
  readonly isOpen?: boolean;
}

export type Answerer = (asked: Asked) => Reply | undefined;

export const TOKEN = 'cwt_test-token';

export class FakeApi {
  readonly asked: Asked[] = [];
  readonly url: string;
  readonly #close: () => Promise<void>;

  private constructor(url: string, close: () => Promise<void>) {
    this.url = url;
    this.#close = close;
  }

  static async start(answer: Answerer): Promise<FakeApi> {
    const server = createServer((request, response) => {
      void handle(request, response);
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    const api = new FakeApi(`http://127.0.0.1:${port}`, async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    });
    async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
      const [path = '', query = ''] = (request.url ?? '').split('?');
      const asked: Asked = {
        method: request.method ?? '',
        path,
        query: new URLSearchParams(query),
        token: /^Bearer (.*)$/.exec(request.headers.authorization ?? '')?.[1] ?? null,
        body:
          Number(request.headers['content-length'] ?? 0) === 0 ? undefined : await json(request),
      };
      api.asked.push(asked);
      const reply = asked.token === TOKEN ? answer(asked) : problem(401, 'no such token');
      send(response, reply ?? problem(404, 'there is no such thing'));
    }
    return api;
  }

  close(): Promise<void> {
    return this.#close();
  }
}

export function problem(status: number, detail: string, errors?: readonly object[]): Reply {
  const body = { type: 'about:blank', title: 'No', status, detail };
  return { status, body: errors === undefined ? body : { ...body, errors } };
}

function send(response: ServerResponse, reply: Reply): void {
  const { status = reply.body === undefined && reply.lines === undefined ? 204 : 200 } = reply;
  if (reply.lines !== undefined) {
    response.writeHead(status, { 'content-type': 'application/x-ndjson' });
    for (const line of reply.lines) response.write(`${JSON.stringify(line)}\n`);
    if (reply.isOpen !== true) response.end();
    return;
  }
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(reply.body === undefined ? '' : JSON.stringify(reply.body));
}

/**
 * Client of a node's HTTP API: requests with the token, lists over several pages, lines of a stream,
 * and errors as one sentence. Used by `ctl`, `trace` and `acl test`; prints nothing.
 */
import { Agent as HttpAgent, request as httpRequest, type IncomingMessage } from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import { createInterface } from 'node:readline';

export interface ApiClientOptions {
  /** `http(s)://HOST:PORT`, a path in front of the API allowed. */
  readonly url: URL;
  readonly token: string | null;
  /** PEM of the authorities to trust instead of the system's. */
  readonly ca: string | null;
}

/** The node gave no answer, or one that says no. */
export class ApiError extends Error {
  override readonly name: string = 'ApiError';
  /** HTTP status; 0: there was no answer. */
  readonly status: number;
  /** What is wrong with which field, file or option. */
  readonly details: readonly string[];

  constructor(status: number, message: string, details: readonly string[] = []) {
    super(message);
    this.status = status;
    this.details = details;
  }
}

export type Method = 'GET' | 'POST' | 'DELETE';
export type Query = Readonly<Record<string, string | number | undefined>>;

export interface Page {
  readonly items: readonly unknown[];
  /** Where the rest begins; null: that was all. */
  readonly cursor: string | null;
}

const BASE_PATH = '/api/v1';
const ANSWER_BYTES_MAX = 64 * 1024 * 1024;
/** Without a byte from the node. */
const SILENCE_MS = 30_000;
const PAGE_ITEMS_MAX = 1000;

export class ApiClient {
  readonly #options: ApiClientOptions;
  readonly #isTls: boolean;
  readonly #agent: HttpAgent;

  constructor(options: ApiClientOptions) {
    this.#options = options;
    this.#isTls = options.url.protocol === 'https:';
    // One connection for the pages of a list.
    const kept = { keepAlive: true, maxSockets: 1 };
    this.#agent = this.#isTls
      ? new HttpsAgent({ ...kept, ...(options.ca === null ? {} : { ca: options.ca }) })
      : new HttpAgent(kept);
  }

  /** Answer of a request as it is; undefined when it has no content. */
  async send(method: Method, path: string, query: Query = {}, body?: unknown): Promise<unknown> {
    const response = await this.#request(method, path, query, body);
    const text = await readAll(response);
    const status = response.statusCode ?? 0;
    if (status >= 400) throw errorOf(status, text);
    if (status >= 300) throw new ApiError(0, `answered ${status}: this is not a node's API`);
    if (text === '') return undefined;
    return parseJson(text);
  }

  get(path: string, query: Query = {}): Promise<unknown> {
    return this.send('GET', path, query);
  }

  /** Up to `limit` items, over as many pages as they take. */
  async list(path: string, query: Query, limit: number): Promise<Page> {
    const items: unknown[] = [];
    let cursor: string | null = null;
    // A page may be short, even empty, while the node still walks: only the cursor says whether it ends.
    do {
      const page = asPage(
        await this.get(path, {
          ...query,
          limit: Math.min(PAGE_ITEMS_MAX, limit - items.length),
          cursor: cursor ?? undefined,
        }),
      );
      for (const item of page.items) items.push(item);
      cursor = page.cursor;
    } while (cursor !== null && items.length < limit);
    return { items, cursor };
  }

  /** Calls `line` for each JSON line until the node or `signal` ends the stream. */
  async lines(
    path: string,
    query: Query,
    line: (value: unknown) => void | Promise<void>,
    signal: AbortSignal,
  ): Promise<void> {
    try {
      const response = await this.#request('GET', path, query, undefined, signal);
      const status = response.statusCode ?? 0;
      if (status !== 200) throw errorOf(status, await readAll(response));
      // Nothing may happen for hours: silence is no error from here on.
      response.socket.setTimeout(0);
      for await (const text of createInterface({ input: response })) {
        if (text !== '') await line(parseJson(text));
        if (signal.aborted) return;
      }
    } catch (error) {
      if (signal.aborted) return;
      throw error instanceof ApiError ? error : new ApiError(0, brokenText(error));
    }
  }

  close(): void {
    this.#agent.destroy();
  }

  #request(
    method: Method,
    path: string,
    query: Query,
    body: unknown,
    signal?: AbortSignal,
  ): Promise<IncomingMessage> {
    const { url, token } = this.#options;
    const bytes = body === undefined ? null : Buffer.from(JSON.stringify(body));
    const promise = Promise.withResolvers<IncomingMessage>();
    const send = this.#isTls ? httpsRequest : httpRequest;
    const request = send(
      {
        host: url.hostname.replace(/^\[|\]$/g, ''),
        port: url.port === '' ? (this.#isTls ? 443 : 80) : Number(url.port),
        // Written out: a URL object would take the client id `..` for a step upward.
        path: `${url.pathname.replace(/\/+$/, '')}${BASE_PATH}${path}${queryText(query)}`,
        method,
        agent: this.#agent,
        timeout: SILENCE_MS,
        headers: {
          accept: 'application/json',
          ...(token === null ? {} : { authorization: `Bearer ${token}` }),
          ...(bytes === null
            ? {}
            : { 'content-type': 'application/json', 'content-length': bytes.length }),
        },
        ...(signal === undefined ? {} : { signal }),
      },
      promise.resolve,
    );
    request.on('timeout', () => {
      request.destroy(new ApiError(0, `no answer within ${SILENCE_MS / 1000} s`));
    });
    request.on('error', (error) => {
      promise.reject(
        error instanceof ApiError
          ? error
          : new ApiError(0, `cannot reach ${url.origin}: ${brokenText(error)}`),
      );
    });
    request.end(bytes ?? undefined);
    return promise.promise;
  }
}

/** A part of a path: nothing in it is a separator or a step. */
export function pathPart(text: string): string {
  const encoded = encodeURIComponent(text);
  return /^\.+$/.test(encoded) ? encoded.replaceAll('.', '%2E') : encoded;
}

function queryText(query: Query): string {
  const pairs = Object.entries(query).filter(([, value]) => value !== undefined);
  if (pairs.length === 0) return '';
  return `?${pairs.map(([name, value]) => `${name}=${encodeURIComponent(value!)}`).join('&')}`;
}

async function readAll(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  try {
    for await (const chunk of response as AsyncIterable<Buffer>) {
      bytes += chunk.length;
      if (bytes > ANSWER_BYTES_MAX) throw new ApiError(0, 'the answer is too large');
      chunks.push(chunk);
    }
  } catch (error) {
    throw error instanceof ApiError ? error : new ApiError(0, brokenText(error));
  }
  return Buffer.concat(chunks).toString('utf8');
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new ApiError(0, "the answer is not JSON: this is not a node's API");
  }
}

function asPage(value: unknown): Page {
  const { items, cursor } = (value ?? {}) as { items?: unknown; cursor?: unknown };
  if (!Array.isArray(items)) throw new ApiError(0, 'the answer is not a list');
  return { items, cursor: typeof cursor === 'string' ? cursor : null };
}

/** problem+json, or whatever stands between us and the node has to say. */
function errorOf(status: number, text: string): ApiError {
  let detail = '';
  const details: string[] = [];
  try {
    const problem = JSON.parse(text) as { detail?: unknown; title?: unknown; errors?: unknown };
    detail = String(problem.detail ?? problem.title ?? '');
    for (const error of Array.isArray(problem.errors) ? problem.errors : []) {
      const { field = '', message = '' } = (error ?? {}) as { field?: unknown; message?: unknown };
      details.push(field === '' ? String(message) : `${field}: ${message}`);
    }
  } catch {
    // Not from a node; its text says nothing we could vouch for.
  }
  if (status === 401) detail ||= 'the token is missing or wrong';
  if (status === 403) detail ||= 'the role of the token is not enough';
  return new ApiError(
    status,
    detail === '' ? `answered ${status}` : `${detail} (${status})`,
    details,
  );
}

function brokenText(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === 'ECONNREFUSED') return 'nobody listens there';
  if (code === 'ECONNRESET') return 'the connection was cut';
  return message === '' ? String(code) : message;
}

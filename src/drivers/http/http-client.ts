/**
 * Asks one HTTP or HTTPS server: connections are kept and bounded, the whole exchange has one deadline,
 * the answer a size limit. No redirect is followed, no proxy is used, nothing is decompressed. It does
 * not judge the answer: whoever asked does.
 */
import { Agent as HttpAgent, type IncomingMessage, request as requestHttp } from 'node:http';
import { Agent as HttpsAgent, request as requestHttps } from 'node:https';
import { FairSlots, NoSlotError } from '../fair-slots.ts';

export interface HttpClientOptions {
  /** Scheme, host and port of it are used. */
  readonly url: URL;
  /** Authorities for https; null: those of the system. */
  readonly ca: readonly string[] | null;
  /** From the question to the last byte of the answer, waiting for a free connection included. */
  readonly timeoutMs: number;
  /** Requests, and so connections, at one time. */
  readonly concurrencyMax: number;
  /** Requests that wait for one of those. */
  readonly waitingMax: number;
  readonly answerBytesMax?: number;
}

export interface HttpRequest {
  readonly method: 'GET' | 'POST';
  /** Path and query, encoded. */
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | null;
  /** Whose request it is: parties share the line fairly. */
  readonly party: string;
}

export interface HttpAnswer {
  readonly status: number;
  /** Lower case, without parameters; '': none given. */
  readonly contentType: string;
  readonly body: Buffer;
}

export type HttpErrorCode =
  /** Too many wait: nothing was sent. */
  | 'busy'
  | 'timeout'
  /** No connection could be made. */
  | 'connect'
  /** The connection broke before the answer was complete. */
  | 'broken'
  | 'too_large'
  /** What came is not HTTP. */
  | 'malformed'
  | 'closed';

/** The message names the cause and never holds anything of request or answer. */
export class HttpError extends Error {
  readonly code: HttpErrorCode;

  constructor(code: HttpErrorCode, detail: string) {
    super(detail);
    this.name = 'HttpError';
    this.code = code;
  }
}

/** Rises only. */
export interface HttpClientCounters {
  requests: number;
  errors: number;
  timeouts: number;
  /** Refused because too many waited. */
  busy: number;
}

const ANSWER_BYTES_MAX = 64 * 1024;
const HEADER_BYTES_MAX = 16 * 1024;
/** A connection that nobody needs is kept this long. */
const IDLE_MS_MAX = 30_000;
/** Codes of system and TLS errors that mean there never was a connection. */
const CONNECT_ERRORS = new Set([
  'ECONNREFUSED',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ETIMEDOUT',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EADDRNOTAVAIL',
  'EMFILE',
  'EPROTO',
]);

export class HttpClient {
  readonly counters: Readonly<HttpClientCounters>;
  readonly #counters: HttpClientCounters = { requests: 0, errors: 0, timeouts: 0, busy: 0 };
  readonly #options: HttpClientOptions;
  readonly #answerBytesMax: number;
  readonly #agent: HttpAgent | HttpsAgent;
  readonly #slots: FairSlots;
  #isClosed = false;
  #isRetired = false;

  constructor(options: HttpClientOptions) {
    this.#options = options;
    this.counters = this.#counters;
    this.#answerBytesMax = options.answerBytesMax ?? ANSWER_BYTES_MAX;
    this.#slots = new FairSlots({
      slotsMax: options.concurrencyMax,
      waitingMax: options.waitingMax,
    });
    const pool = {
      keepAlive: true,
      maxSockets: options.concurrencyMax,
      maxTotalSockets: options.concurrencyMax,
      maxFreeSockets: options.concurrencyMax,
      timeout: IDLE_MS_MAX,
    };
    this.#agent =
      options.url.protocol === 'https:'
        ? new HttpsAgent({
            ...pool,
            minVersion: 'TLSv1.2',
            // Said explicitly, so that no environment variable can switch it off.
            rejectUnauthorized: true,
            ...(options.ca === null ? {} : { ca: [...options.ca] }),
          })
        : new HttpAgent(pool);
  }

  get inFlight(): number {
    return this.#slots.taken;
  }

  get waiting(): number {
    return this.#slots.waiting;
  }

  /** Rejects with an HttpError. */
  async ask(request: HttpRequest): Promise<HttpAnswer> {
    const { timeoutMs } = this.#options;
    const dueAtMs = performance.now() + timeoutMs;
    try {
      if (this.#isClosed || this.#isRetired)
        throw new HttpError('closed', 'the HTTP client is closed');
      await this.#slots.enter(request.party, timeoutMs);
      try {
        this.#counters.requests += 1;
        return await this.#exchange(request, dueAtMs, true);
      } finally {
        this.#slots.leave();
        if (this.#isRetired && this.#slots.taken === 0) this.close();
      }
    } catch (error) {
      if (error instanceof NoSlotError) {
        this.#counters.busy += 1;
        throw new HttpError('busy', 'too many requests wait');
      }
      this.#counters.errors += 1;
      if (error instanceof HttpError && error.code === 'timeout') this.#counters.timeouts += 1;
      throw error;
    }
  }

  /** Takes nothing new, finishes what it has, then closes: another client takes its place. */
  retire(): void {
    this.#isRetired = true;
    if (this.#slots.taken === 0) this.close();
  }

  /** Breaks what is under way. */
  close(): void {
    this.#isClosed = true;
    this.#slots.clear();
    this.#agent.destroy();
  }

  #exchange(asked: HttpRequest, dueAtMs: number, mayRepeat: boolean): Promise<HttpAnswer> {
    const { url } = this.#options;
    const { promise, resolve, reject } = Promise.withResolvers<HttpAnswer>();
    const send = url.protocol === 'https:' ? requestHttps : requestHttp;
    const body = asked.body === null ? null : Buffer.from(asked.body);
    const request = send({
      agent: this.#agent,
      protocol: url.protocol,
      hostname: url.hostname.startsWith('[') ? url.hostname.slice(1, -1) : url.hostname,
      port: url.port,
      method: asked.method,
      path: asked.path,
      headers: { ...asked.headers, ...(body === null ? {} : { 'content-length': body.length }) },
      maxHeaderSize: HEADER_BYTES_MAX,
    });
    let isSettled = false;
    let hasAnswer = false;
    const settle = (): boolean => {
      if (isSettled) return false;
      isSettled = true;
      clearTimeout(timer);
      return true;
    };
    const fail = (error: HttpError): void => {
      if (!settle()) return;
      request.destroy();
      // A kept connection that the server closes in the moment of the question says nothing about
      // the server; asking twice does no harm, and once is enough.
      const isStale = error.code === 'broken' && request.reusedSocket && !hasAnswer;
      if (isStale && mayRepeat && !this.#isClosed) {
        this.#exchange(asked, dueAtMs, false).then(resolve, reject);
      } else reject(error);
    };
    const timer = setTimeout(
      () => fail(new HttpError('timeout', 'no complete answer in time')),
      Math.max(0, dueAtMs - performance.now()),
    );
    request.on('response', (response) => {
      hasAnswer = true;
      this.#read(response, fail, (answer) => {
        if (settle()) resolve(answer);
      });
    });
    request.on('error', (error) => fail(errorOf(error)));
    // Also without an error: when the server answers 101 and wants to speak something else.
    request.on('close', () => fail(new HttpError('broken', 'the connection ended too early')));
    request.end(body ?? undefined);
    return promise;
  }

  #read(
    response: IncomingMessage,
    fail: (error: HttpError) => void,
    done: (answer: HttpAnswer) => void,
  ): void {
    const chunks: Buffer[] = [];
    let bytes = 0;
    response.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes > this.#answerBytesMax) {
        fail(new HttpError('too_large', `the answer is over ${this.#answerBytesMax} bytes`));
      } else chunks.push(chunk);
    });
    response.on('error', (error) => fail(errorOf(error)));
    response.on('end', () => {
      if (!response.complete) fail(new HttpError('broken', 'the answer is not complete'));
      const type = response.headers['content-type'] ?? '';
      done({
        status: response.statusCode ?? 0,
        contentType: (type.split(';')[0] as string).trim().toLowerCase(),
        body: Buffer.concat(chunks, Math.min(bytes, this.#answerBytesMax)),
      });
    });
  }
}

function errorOf(error: Error): HttpError {
  const code = (error as NodeJS.ErrnoException).code ?? 'unknown error';
  if (code.startsWith('HPE_')) return new HttpError('malformed', `the answer is not HTTP: ${code}`);
  const isTls = code.startsWith('ERR_TLS') || code.includes('CERT') || code.startsWith('ERR_SSL');
  if (isTls || CONNECT_ERRORS.has(code)) return new HttpError('connect', code);
  return new HttpError('broken', `the connection broke: ${code}`);
}

/**
 * One HTTP service that is asked about clients: reads its files, sends the fields, judges the answer,
 * leaves a failing service alone for a while (circuit breaker) and says so in the log. Used by the
 * HTTP authenticator and the HTTP rule source. Whatever goes wrong is `unavailable`, never a yes.
 */
import { validateHeaderName, validateHeaderValue } from 'node:http';
import type { Clock, Log } from '../../core/ports.ts';
import { HttpClient, HttpError, type HttpRequest } from '../../drivers/http/http-client.ts';
import { AccessError, orProblem } from '../access-error.ts';
import { CircuitBreaker } from '../circuit-breaker.ts';
import { type Prepared, prepared } from '../prepared.ts';
import { BackendLog } from './backend-log.ts';
import { type HttpVerdict, judge } from './http-verdict.ts';
import { RequestFields } from './request-fields.ts';
import { ServiceFiles } from './service-files.ts';
import type { Lookup } from './template.ts';

/** As in the configuration; files absolute. */
export interface HttpServiceOptions {
  readonly url: string;
  readonly method: 'POST' | 'GET';
  readonly contentType: 'json' | 'form';
  /** `NAME=TEMPLATE` each; what is usual when absent. */
  readonly fields?: readonly string[] | undefined;
  /** Lines `Name: value`. */
  readonly headersFile?: string | undefined;
  readonly caFile?: string | undefined;
  readonly timeoutMs: number;
  readonly concurrencyMax: number;
  readonly waitingMax: number;
  readonly cacheS: number;
  readonly cacheEntriesMax: number;
}

export interface HttpBackendOptions {
  readonly service: HttpServiceOptions;
  /** Where it is in the configuration: `authentication.http`. */
  readonly name: string;
  readonly usualFields: readonly string[];
  readonly placeholders: readonly string[];
  readonly clock: Clock;
  readonly log: Log;
}

export type HttpBackendAnswer =
  | Exclude<HttpVerdict, { readonly kind: 'nonsense' }>
  /** Too many wait; nothing was sent. */
  | { readonly kind: 'busy' }
  | { readonly kind: 'unavailable' };

const FAILURES_MAX = 5;
const PAUSE_MS = 1000;
const PAUSE_MS_MAX = 10_000;
/** A proxy before the service says with these that it is away; another 5xx may be about one client. */
const AWAY = new Set([502, 503, 504]);
/** Belong to the request, not to the operator. */
const OWN_HEADERS = new Set([
  'connection',
  'content-length',
  'content-type',
  'expect',
  'host',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]);
const unavailable: HttpBackendAnswer = { kind: 'unavailable' };

export class HttpBackend {
  /** Placeholders the fields use. */
  readonly names: ReadonlySet<string>;
  /** Without credentials and query. */
  readonly display: string;
  readonly #options: HttpBackendOptions;
  readonly #url: URL;
  readonly #fields: RequestFields;
  readonly #breaker: CircuitBreaker;
  readonly #log: BackendLog;
  #client: HttpClient | null = null;
  /** What the client trusts. */
  #caSignature = '';
  #headers: Readonly<Record<string, string>> = {};

  /** Throws an AccessError when the options cannot be used. */
  constructor(options: HttpBackendOptions) {
    this.#options = options;
    const { service, name, clock } = options;
    const url = URL.parse(service.url);
    if (url === null || (url.protocol !== 'http:' && url.protocol !== 'https:')) {
      throw problem(`${name}.url`, 'expected a URL with http:// or https://');
    }
    if (url.hash !== '') throw problem(`${name}.url`, 'has a part after #');
    this.#url = url;
    this.display = `${url.origin}${url.pathname}`;
    this.#fields = orProblem(
      `${name}.fields`,
      () => new RequestFields(service.fields ?? options.usualFields, options.placeholders),
    );
    this.names = this.#fields.names;
    const nowMs = (): number => clock.monotonicMs();
    this.#breaker = new CircuitBreaker({
      failuresMax: FAILURES_MAX,
      pauseMs: PAUSE_MS,
      pauseMsMax: PAUSE_MS_MAX,
      nowMs,
    });
    const { log } = options;
    this.#log = new BackendLog({ log, clock, backend: name, at: this.display });
  }

  /** The service is left alone right now: to ask would only say `unavailable`. */
  get isResting(): boolean {
    return this.#breaker.refuses;
  }

  get inFlight(): number {
    return this.#client?.inFlight ?? 0;
  }

  get waiting(): number {
    return this.#client?.waiting ?? 0;
  }

  /** Reads the files; throws an AccessError. Asks nothing yet. */
  async open(): Promise<void> {
    (await this.prepare()).commit();
  }

  /** Reads them again; throws an AccessError. */
  async prepare(): Promise<Prepared> {
    const { service, name, log } = this.#options;
    const files = new ServiceFiles(name, log);
    const ca = files.authorities('caFile', service.caFile);
    const headers = await files.secret('headersFile', service.headersFile, readHeaders);
    files.check();
    return prepared(() => {
      this.#headers = this.#headersWith(headers ?? new Map());
      const signature = JSON.stringify(ca);
      if (this.#client !== null && this.#caSignature === signature) return;
      const { timeoutMs, concurrencyMax, waitingMax } = service;
      const before = this.#client;
      this.#caSignature = signature;
      this.#client = new HttpClient({ url: this.#url, ca, timeoutMs, concurrencyMax, waitingMax });
      before?.retire();
    });
  }

  close(): void {
    this.#client?.close();
    this.#client = null;
  }

  /** What tells this request from others: the fields as they would be sent. May hold a password. */
  render(lookup: Lookup): string {
    const { method, contentType } = this.#options.service;
    const isJson = method === 'POST' && contentType === 'json';
    return isJson ? this.#fields.json(lookup) : this.#fields.form(lookup);
  }

  /** Sends what `render` gave. Never rejects, and never takes longer than the timeout. */
  async ask(rendered: string, party: string): Promise<HttpBackendAnswer> {
    const client = this.#client;
    if (client === null || !this.#breaker.enter()) return unavailable;
    try {
      const answer = await client.ask(this.#request(rendered, party));
      const verdict = judge(answer);
      if (AWAY.has(answer.status)) this.#breaker.failed();
      else this.#breaker.succeeded();
      if (verdict.kind !== 'nonsense') {
        this.#log.answered();
        return verdict;
      }
      this.#log.failed(verdict.why);
      return unavailable;
    } catch (error) {
      return this.#failed(error);
    }
  }

  /** An answer that was understood, but not what came with it. */
  complain(why: string): void {
    this.#log.failed(why);
  }

  #failed(error: unknown): HttpBackendAnswer {
    if (!(error instanceof HttpError)) {
      this.#breaker.undecided();
      this.#log.failed('the request could not be made');
      return unavailable;
    }
    const { code, message } = error;
    if (code === 'busy') {
      this.#breaker.undecided();
      return { kind: 'busy' };
    }
    // Closed by a reload or a stop, or a strange answer about one client: the service itself may be
    // well, and nobody shall be able to have it taken for dead.
    if (code === 'timeout' || code === 'connect' || code === 'broken') this.#breaker.failed();
    else this.#breaker.undecided();
    this.#log.failed(`${code}: ${message}`);
    return unavailable;
  }

  #request(rendered: string, party: string): HttpRequest {
    const { method, contentType } = this.#options.service;
    const { pathname, search } = this.#url;
    const headers = this.#headers;
    if (method === 'GET') {
      const path = `${pathname}${search === '' ? '?' : `${search}&`}${rendered}`;
      return { method, path, headers, body: null, party };
    }
    const type = contentType === 'json' ? 'application/json' : 'application/x-www-form-urlencoded';
    const path = `${pathname}${search}`;
    return { method, path, headers: { ...headers, 'content-type': type }, body: rendered, party };
  }

  #headersWith(own: ReadonlyMap<string, string>): Readonly<Record<string, string>> {
    const { username, password } = this.#url;
    const headers: Record<string, string> = { accept: 'application/json' };
    if (username !== '' || password !== '') {
      const login = Buffer.from(`${decode(username)}:${decode(password)}`);
      headers.authorization = `Basic ${login.toString('base64')}`;
    }
    for (const [name, value] of own) headers[name] = value;
    return headers;
  }
}

function problem(where: string, message: string): AccessError {
  return new AccessError([{ where, message }]);
}

/** What is not percent-encoded as it should be stands for itself. */
function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** Lines `Name: value`; empty ones and those with # are left out. Messages hold no value. */
function readHeaders(text: string): Map<string, string> {
  const headers = new Map<string, string>();
  for (const [index, raw] of text.split('\n').entries()) {
    const line = raw.trim();
    if (line === '' || line.startsWith('#')) continue;
    const colon = line.indexOf(':');
    const name = line.slice(0, Math.max(colon, 0)).trim().toLowerCase();
    const value = line.slice(colon + 1).trim();
    try {
      if (colon < 1) throw new TypeError();
      validateHeaderName(name);
      validateHeaderValue(name, value);
    } catch {
      throw new Error(`line ${index + 1} is not \`Name: value\``);
    }
    if (OWN_HEADERS.has(name)) throw new Error(`line ${index + 1}: ${name} cannot be set`);
    headers.set(name, value);
  }
  return headers;
}

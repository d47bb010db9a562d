/**
 * The operator's door: the API, metrics and health over HTTP on an address of its own, by default only
 * this machine's. No CORS and no cookies. Made by the composition root, which hands in all it shows;
 * fastify is loaded when the door is opened.
 */
import type { Server as HttpServer } from 'node:http';
import type { Server as HttpsServer } from 'node:https';
import { isIP, type Socket } from 'node:net';
import type { SecureContextOptions } from 'node:tls';
import type { FastifyInstance, FastifyReply, FastifyRequest, FastifyServerOptions } from 'fastify';
import type { Log } from '../core/ports.ts';
import { isLoopbackAddress, parseIpAddress } from '../util/ip-address.ts';
import type { Api, ApiOptions, ApiSources, RegionParts } from './api/api.ts';
import { ApiError, type FieldError } from './api/api-error.ts';
import type { Drainable } from './api/drain-control.ts';
import type { BridgesView } from './bridges-view.ts';
import { fieldErrors, type ValidationFault } from './field-errors.ts';
import type { LinksView } from './links-view.ts';
import type { MetricSources } from './metric-sources.ts';
import { Probe, type ProbeOptions } from './probe.ts';
import { PROBLEM_TYPE, problem } from './problem.ts';
import { type Readiness, type ReadinessCheck, readinessChecks, warningsOf } from './readiness.ts';

export interface AdminOptions extends Omit<MetricSources, 'api'> {
  readonly host: string;
  /** 0: any free one. */
  readonly port: number;
  /** Certificate and key; null or absent: plain HTTP. */
  readonly tls?: SecureContextOptions | null | undefined;
  readonly log: Log;
  readonly readiness: () => Readiness;
  /** Moves clients elsewhere. Null or absent: nothing does. */
  readonly drain?: Drainable | null | undefined;
  /** Null or absent: no other region is linked. */
  readonly links?: LinksView | null | undefined;
  readonly bridges?: BridgesView | null | undefined;
  /** Null or absent: the node is alone. */
  readonly region?: RegionParts | null | undefined;
  readonly probe: ProbeOptions;
  /** Null or absent: metrics and health only. */
  readonly api?: ApiOptions | null | undefined;
  /** `/metrics` without a token also where other machines can ask; default false. */
  readonly metricsAnonymous?: boolean | undefined;
}

export interface AdminServer {
  /** `http(s)://host:port` with the port in use; null while not started. */
  readonly address: string | null;
  /** Throws when the address is taken, or a TokenFileError when the file of tokens is broken. */
  start(): Promise<void>;
  /** Reads the tokens again. Throws a TokenFileError and keeps what it had. */
  reload(): Promise<void>;
  /** Certificate and key for connections from now on; throws and keeps the old when they are bad. */
  setTls(tls: SecureContextOptions): void;
  stop(): Promise<void>;
}

/** Bounds of a door that few should use at one time. */
const CONNECTIONS_MAX = 64;
/** Of one address, where other machines can ask: none takes the whole door. */
const CONNECTIONS_PER_ADDRESS_MAX = 32;
/** Topics and client identifiers have up to 64 KiB, three times that when percent-encoded. */
const HEADER_BYTES_MAX = 256 * 1024;
const REQUEST_TIMEOUT_MS = 10_000;
const KEEP_ALIVE_TIMEOUT_MS = 30_000;
const BODY_BYTES_MAX = 1024;

const PATHS: readonly string[] = ['/metrics', '/health/live', '/health/ready', '/health/full'];

export function createAdminServer(options: AdminOptions): AdminServer {
  return new HttpAdminServer(options);
}

class HttpAdminServer implements AdminServer {
  readonly #options: AdminOptions;
  readonly #probe: Probe;
  #address: string | null = null;
  #api: Api | null = null;
  #server: HttpServer | HttpsServer | null = null;
  #close: (() => Promise<void>) | null = null;

  constructor(options: AdminOptions) {
    this.#options = options;
    this.#probe = new Probe(options.probe);
  }

  get address(): string | null {
    return this.#address;
  }

  async start(): Promise<void> {
    const { host, port, api: apiOptions, metricsAnonymous = false } = this.#options;
    const [{ fastify }, { Metrics }] = await Promise.all([
      import('fastify'),
      import('./metrics.ts'),
    ]);
    const shared = { ...this.#options, checks: () => this.#checks() };
    const api = apiOptions ? await openApi(apiOptions, shared) : null;
    const onlyThisMachine = isLoopback(host);
    const app = fastify(this.#serverOptions());
    const server = app.server as HttpServer | HttpsServer;
    server.maxConnections = CONNECTIONS_MAX;
    if (!onlyThisMachine) limitPerAddress(server);
    const sources = { ...this.#options, api: () => api?.metrics() ?? null };
    const metrics = new Metrics(sources);
    this.#api = api;
    this.#server = server;
    this.#guard(app, onlyThisMachine);
    app.get('/metrics', async (request, reply) => {
      if (!onlyThisMachine && !metricsAnonymous) await this.#admitToMetrics(request);
      return reply.type(metrics.contentType).send(await metrics.text());
    });
    app.get('/health/live', async () => ({ status: 'ok' }));
    app.get('/health/ready', (_request, reply) => this.#ready(reply));
    app.get('/health/full', (_request, reply) => this.#full(reply));
    api?.attach(app);
    this.#address = await app.listen({ host, port });
    metrics.start();
    this.#close = async () => {
      metrics.stop();
      api?.stop();
      await app.close();
    };
  }

  async stop(): Promise<void> {
    const close = this.#close;
    this.#close = null;
    this.#address = null;
    await close?.();
  }

  async reload(): Promise<void> {
    await this.#api?.loadTokens();
  }

  setTls(tls: SecureContextOptions): void {
    if (this.#server === null || !('setSecureContext' in this.#server)) return;
    this.#server.setSecureContext(tls);
  }

  #serverOptions(): FastifyServerOptions {
    const { tls } = this.#options;
    const limits = { maxHeaderSize: HEADER_BYTES_MAX };
    const secured = { ...limits, handshakeTimeout: REQUEST_TIMEOUT_MS, ...tls };
    return {
      ...(tls ? { https: secured } : { http: limits }),
      bodyLimit: BODY_BYTES_MAX,
      requestTimeout: REQUEST_TIMEOUT_MS,
      keepAliveTimeout: KEEP_ALIVE_TIMEOUT_MS,
      exposeHeadRoutes: false,
      forceCloseConnections: true,
      routerOptions: { maxParamLength: HEADER_BYTES_MAX },
      ajv: {
        customOptions: {
          // Nothing is guessed: what does not fit is refused by name.
          coerceTypes: false,
          removeAdditional: false,
          useDefaults: false,
          allErrors: true,
          allowUnionTypes: true,
        },
      },
      frameworkErrors: (error, _request, reply) => {
        fail(reply, error.statusCode ?? 400, error.message);
      },
      logger: false,
    } as FastifyServerOptions;
  }

  /** Where other machines can ask, what a node does is not for everybody. */
  async #admitToMetrics(request: FastifyRequest): Promise<void> {
    if (this.#api === null) throw new ApiError(401, 'set admin.metricsAnonymous to show this here');
    await this.#api.admit(request, 'viewer');
  }

  /** What holds for every request, and what errors look like. */
  #guard(app: FastifyInstance, onlyThisMachine: boolean): void {
    app.removeContentTypeParser('text/plain');
    app.addHook('onRequest', async (request, reply) => {
      reply.headers({
        'cache-control': 'no-store',
        'content-security-policy': "default-src 'none'",
        'x-content-type-options': 'nosniff',
      });
      // A page can point a name of its own at this machine, but it cannot choose the Host header.
      if (onlyThisMachine && !isOwnName(request)) {
        return fail(reply, 421, 'ask for this address by its number, or as localhost');
      }
      return undefined;
    });
    app.setNotFoundHandler((request, reply) => {
      const path = request.url.split('?', 1)[0] ?? '';
      const methods = PATHS.includes(path) ? ['GET'] : (this.#api?.methodsOf(path) ?? []);
      if (methods.length === 0) {
        const more = this.#api === null ? '' : ', and those of /api/v1/openapi.json';
        return fail(reply, 404, `there are ${PATHS.join(', ')}${more}`);
      }
      reply.header('allow', methods.join(', '));
      return fail(reply, 405, `only ${methods.join(' and ')} is possible here`);
    });
    app.setErrorHandler((error: HttpError, request, reply) => {
      const status = error.statusCode ?? 500;
      if (status >= 500 && !(error instanceof ApiError)) {
        this.#options.log.error({ err: error, path: request.url }, 'admin request failed');
        return fail(reply, 500, 'the request failed; the log has the cause');
      }
      if (status === 401) reply.header('www-authenticate', 'Bearer');
      if (error.retryAfterS) reply.header('retry-after', error.retryAfterS);
      if (error.validation !== undefined) return invalid(reply, fieldErrors(error.validation));
      const { errors = [] } = error;
      return fail(reply, status, error.message, errors.length === 0 ? {} : { errors });
    });
  }

  #checks(): ReadinessCheck[] {
    const { readiness, drain, cluster, cassandra } = this.#options;
    return readinessChecks(
      readiness(),
      drain?.drainProgress ?? null,
      cluster?.report() ?? null,
      cassandra?.report() ?? null,
    );
  }

  #ready(reply: FastifyReply): FastifyReply {
    const checks = this.#checks();
    const failed = checks.filter((check) => !check.ok);
    if (failed.length === 0) return reply.send({ status: 'ok', checks });
    const detail = failed.map(({ name, reason }) => `${name}: ${reason}`).join('; ');
    return fail(reply, 503, detail, { checks });
  }

  async #full(reply: FastifyReply): Promise<FastifyReply> {
    const { ok, url, steps, failed } = await this.#probe.check();
    const named = warningsOf(this.#checks());
    const warnings = named.length === 0 ? {} : { warnings: named };
    if (ok || failed === undefined) return reply.send({ status: 'ok', url, steps, ...warnings });
    const detail = `${failed.name}: ${failed.reason}`;
    return fail(reply, 503, detail, { url, steps, failed, ...warnings });
  }
}

/** Of a handler, of fastify, or of the validation of parameters and body. */
interface HttpError extends Error, Partial<Pick<ApiError, 'errors' | 'retryAfterS'>> {
  readonly statusCode?: number;
  readonly validation?: readonly ValidationFault[];
}

async function openApi(options: ApiOptions, sources: ApiSources): Promise<Api> {
  const { Api } = await import('./api/api.ts');
  const api = new Api(options, sources);
  await api.loadTokens();
  return api;
}

function limitPerAddress(server: HttpServer | HttpsServer): void {
  const open = new Map<string, number>();
  server.on('connection', (socket: Socket) => {
    const address = socket.remoteAddress ?? '';
    const count = (open.get(address) ?? 0) + 1;
    open.set(address, count);
    socket.once('close', () => {
      const left = open.get(address)! - 1;
      if (left === 0) open.delete(address);
      else open.set(address, left);
    });
    if (count > CONNECTIONS_PER_ADDRESS_MAX) socket.destroy();
  });
}

function invalid(reply: FastifyReply, errors: readonly FieldError[]): FastifyReply {
  const detail = errors.map(({ field, message }) => `${field} ${message}`.trim()).join('; ');
  return fail(reply, 400, detail, { errors });
}

function fail(
  reply: FastifyReply,
  status: number,
  detail: string,
  extensions: object = {},
): FastifyReply {
  return reply
    .code(status)
    .type(PROBLEM_TYPE)
    .send(problem(status, detail, extensions));
}

function isLoopback(host: string): boolean {
  const bytes = parseIpAddress(host);
  return bytes === null ? host === 'localhost' : isLoopbackAddress(bytes);
}

function isOwnName(request: FastifyRequest): boolean {
  const { host = '' } = request.headers;
  const name = host.startsWith('[') ? host.slice(1, host.indexOf(']')) : host.split(':', 1)[0]!;
  return name.toLowerCase() === 'localhost' || isIP(name) !== 0;
}

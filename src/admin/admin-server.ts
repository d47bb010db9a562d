/**
 * The operator's door: metrics and health over HTTP on an address of its own, by default only this
 * machine's. GET only, no CORS, nothing changes anything. Made by the composition root, which hands in
 * all it shows; fastify is loaded when the door is opened.
 */
import { isIP } from 'node:net';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { Log } from '../core/ports.ts';
import type { MetricSources } from './metric-sources.ts';
import { Probe, type ProbeOptions } from './probe.ts';
import { PROBLEM_TYPE, problem } from './problem.ts';
import { type Readiness, readinessChecks } from './readiness.ts';

export interface AdminOptions extends MetricSources {
  readonly host: string;
  /** 0: any free one. */
  readonly port: number;
  readonly log: Log;
  readonly readiness: () => Readiness;
  readonly probe: ProbeOptions;
}

export interface AdminServer {
  /** `http://host:port` with the port in use; null while not started. */
  readonly address: string | null;
  start(): Promise<void>;
  stop(): Promise<void>;
}

/** Bounds of a door that few should use at one time. */
const CONNECTIONS_MAX = 64;
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
  #close: (() => Promise<void>) | null = null;

  constructor(options: AdminOptions) {
    this.#options = options;
    this.#probe = new Probe(options.probe);
  }

  get address(): string | null {
    return this.#address;
  }

  async start(): Promise<void> {
    const { host, port } = this.#options;
    const [{ fastify }, { Metrics }] = await Promise.all([
      import('fastify'),
      import('./metrics.ts'),
    ]);
    const app = fastify({
      bodyLimit: BODY_BYTES_MAX,
      requestTimeout: REQUEST_TIMEOUT_MS,
      keepAliveTimeout: KEEP_ALIVE_TIMEOUT_MS,
      exposeHeadRoutes: false,
      forceCloseConnections: true,
      frameworkErrors: (error, _request, reply) => {
        fail(reply as unknown as FastifyReply, error.statusCode ?? 400, error.message);
      },
      logger: false,
    });
    app.server.maxConnections = CONNECTIONS_MAX;
    const metrics = new Metrics(this.#options);
    this.#guard(app, isLoopback(host));
    app.get('/metrics', async (_request, reply) => {
      return reply.type(metrics.contentType).send(await metrics.text());
    });
    app.get('/health/live', async () => ({ status: 'ok' }));
    app.get('/health/ready', (_request, reply) => this.#ready(reply));
    app.get('/health/full', (_request, reply) => this.#full(reply));
    this.#address = await app.listen({ host, port });
    metrics.start();
    this.#close = async () => {
      metrics.stop();
      await app.close();
    };
  }

  async stop(): Promise<void> {
    const close = this.#close;
    this.#close = null;
    this.#address = null;
    await close?.();
  }

  /** What holds for every request, and what errors look like. */
  #guard(app: FastifyInstance, onlyThisMachine: boolean): void {
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
      if (request.method === 'GET' || !PATHS.includes(path)) {
        return fail(reply, 404, `there are ${PATHS.join(', ')}`);
      }
      reply.header('allow', 'GET');
      return fail(reply, 405, 'only GET is possible here');
    });
    app.setErrorHandler((error: Error & { statusCode?: number }, request, reply) => {
      const status = error.statusCode ?? 500;
      if (status < 500) return fail(reply, status, error.message);
      this.#options.log.error({ err: error, path: request.url }, 'admin request failed');
      return fail(reply, 500, 'the request failed; the log has the cause');
    });
  }

  #ready(reply: FastifyReply): FastifyReply {
    const checks = readinessChecks(this.#options.readiness());
    const failed = checks.filter((check) => !check.ok);
    if (failed.length === 0) return reply.send({ status: 'ok', checks });
    const detail = failed.map(({ name, reason }) => `${name}: ${reason}`).join('; ');
    return fail(reply, 503, detail, { checks });
  }

  async #full(reply: FastifyReply): Promise<FastifyReply> {
    const { ok, url, steps, failed } = await this.#probe.check();
    if (ok || failed === undefined) return reply.send({ status: 'ok', url, steps });
    return fail(reply, 503, `${failed.name}: ${failed.reason}`, { url, steps, failed });
  }
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
  return host === 'localhost' || host === '::1' || host.startsWith('127.');
}

function isOwnName(request: FastifyRequest): boolean {
  const { host = '' } = request.headers;
  const name = host.startsWith('[') ? host.slice(1, host.indexOf(']')) : host.split(':', 1)[0]!;
  return name.toLowerCase() === 'localhost' || isIP(name) !== 0;
}

/**
 * The small HTTP listener of a probe that runs for ever: `/metrics` for Prometheus and `/health`, by
 * which a DNS service or a load balancer learns what devices see. Anybody may ask; nothing secret is
 * told, and nothing that is asked makes the probe work.
 */
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { RoundResult } from '../../client/probe/probe-step.ts';
import { bracket } from '../../config/address.ts';
import { safeJson } from '../ctl/terminal-text.ts';
import type { ProbeMetrics } from './probe-metrics.ts';
import { failureText } from './report.ts';

const CONNECTIONS_MAX = 64;
const HEADER_BYTES_MAX = 8192;
const REQUEST_MS_MAX = 5000;

export interface DoorOptions {
  readonly host: string;
  readonly port: number;
  readonly metrics: ProbeMetrics;
  readonly names: readonly string[];
  /** An answer older than that is none. */
  readonly freshMs: number;
}

export class ProbeDoor {
  readonly #options: DoorOptions;
  readonly #server: Server;
  #last: RoundResult | null = null;
  #lastMs = 0;

  private constructor(options: DoorOptions) {
    this.#options = options;
    const bounds = {
      maxHeaderSize: HEADER_BYTES_MAX,
      requestTimeout: REQUEST_MS_MAX,
      headersTimeout: REQUEST_MS_MAX,
    };
    this.#server = createServer(bounds, (request, response) => {
      void this.#answer(request, response);
    });
    this.#server.maxConnections = CONNECTIONS_MAX;
    this.#server.unref();
  }

  /** Rejects when the address cannot be listened on. */
  static async open(options: DoorOptions): Promise<ProbeDoor> {
    const door = new ProbeDoor(options);
    door.#server.listen(options.port, options.host);
    await once(door.#server, 'listening');
    return door;
  }

  /** With the port in use. */
  get url(): string {
    const { address, port } = this.#server.address() as AddressInfo;
    return `http://${bracket(address)}:${port}`;
  }

  add(round: RoundResult): void {
    this.#last = round;
    this.#lastMs = performance.now();
  }

  async close(): Promise<void> {
    const closed = once(this.#server, 'close');
    this.#server.close();
    this.#server.closeAllConnections();
    await closed;
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method = '', url = '' } = request;
    const path = url.split('?', 1)[0];
    // A body is not read, so the connection cannot be used again after one.
    request.resume();
    if (method !== 'GET' && method !== 'HEAD') {
      response.setHeader('allow', 'GET, HEAD');
      return end(request, response, 405, 'text/plain', 'GET and HEAD only\n');
    }
    if (path === '/metrics') {
      const { metrics } = this.#options;
      return end(request, response, 200, metrics.contentType, await metrics.text());
    }
    if (path !== '/health') return end(request, response, 404, 'text/plain', 'not found\n');
    const { status, body } = this.#health();
    response.setHeader('cache-control', 'no-store');
    end(request, response, status, 'application/json', `${safeJson(body)}\n`);
  }

  #health(): { readonly status: number; readonly body: object } {
    const { names, freshMs } = this.#options;
    const last = this.#last;
    if (last === null) return { status: 503, body: { status: 'waiting for the first round' } };
    const ageMs = Math.round(performance.now() - this.#lastMs);
    if (ageMs > freshMs) return { status: 503, body: { status: 'the last round is old', ageMs } };
    if (last.ok) return { status: 200, body: { status: 'ok', ageMs } };
    const failed = last.steps.filter(({ ok }) => !ok).map((step) => failureText(step, names));
    return { status: 503, body: { status: 'failed', ageMs, failed } };
  }
}

function end(
  request: IncomingMessage,
  response: ServerResponse,
  status: number,
  type: string,
  body: string,
): void {
  response.writeHead(status, { 'content-type': type, 'content-length': Buffer.byteLength(body) });
  response.end(request.method === 'HEAD' ? undefined : body);
}

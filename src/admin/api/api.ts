/**
 * The operator's API on a fastify instance: routes from the table, tokens, roles, audit and counters.
 * Made by `admin-server.ts`, which shows errors as problems; ports to the other rooms are handed in.
 */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { Limits } from '../../core/limits.ts';
import type { Clock, Log, Observer, Scheduler } from '../../core/ports.ts';
import type { Stats } from '../../core/stats.ts';
import type { BridgesView } from '../bridges-view.ts';
import type { CassandraView } from '../cassandra-view.ts';
import type { ClusterView } from '../cluster-view.ts';
import type { LinksView } from '../links-view.ts';
import type { ApiMetrics, ListenerMetrics } from '../metric-sources.ts';
import type { Readiness, ReadinessCheck } from '../readiness.ts';
import { AuditLog } from './audit-log.ts';
import { Call, type Caller, type QueryValue } from './call.ts';
import { DoorGuard, type GuardRates } from './door-guard.ts';
import { type Drainable, DrainControl } from './drain-control.ts';
import { openApiDocument } from './openapi.ts';
import type {
  AclPort,
  BansPort,
  ConfigPort,
  OperatorCore,
  QuotaUsePort,
  RegionDrainPort,
} from './ports.ts';
import { RecentRoundTrips } from './recent-round-trips.ts';
import type { Role } from './role.ts';
import type { ApiParts, ApiRoute } from './route.ts';
import { BASE_PATH, routeTable } from './route-table.ts';
import type { Properties } from './schema.ts';
import { TokenStore } from './token-store.ts';
import { TraceHub } from './trace-hub.ts';
import { Walks } from './walks.ts';

/** What the composition root hands in for the API. */
export interface ApiOptions {
  readonly core: OperatorCore;
  /** Puts an observer into the core while a trace runs; null takes it out. */
  readonly observe: (observer: Observer | null) => void;
  /** In force. */
  readonly limits: () => Limits;
  readonly clock: Clock;
  readonly scheduler: Pick<Scheduler, 'nextTurn'>;
  readonly bans: BansPort;
  readonly acl: AclPort;
  readonly quotas: QuotaUsePort;
  readonly config: ConfigPort;
  /** Made with the first token. */
  readonly tokensFile: string;
  /** CAUSEWAY_ADMIN_TOKEN. */
  readonly environmentToken?: string | undefined;
  /** For tests. */
  readonly rates?: GuardRates | undefined;
  readonly heartbeatMs?: number | undefined;
}

/** What the API shares with metrics and health. */
export interface ApiSources {
  readonly version: string;
  readonly stats: Stats;
  readonly listeners: () => readonly ListenerMetrics[];
  readonly readiness: () => Readiness;
  readonly checks: () => readonly ReadinessCheck[];
  /** Null or absent: clients cannot be moved. */
  readonly drain?: Drainable | null | undefined;
  readonly region?: RegionParts | null | undefined;
  readonly cluster?: ClusterView | null | undefined;
  readonly cassandra?: CassandraView | null | undefined;
  readonly links?: LinksView | null | undefined;
  readonly bridges?: BridgesView | null | undefined;
  readonly log: Log;
}

/** Of a node of a datacenter, where the drain of all of them moves clients too. */
export interface RegionParts {
  readonly drain: DrainControl;
  readonly regionDrain: RegionDrainPort;
}

const BODY_BYTES_MAX = 64 * 1024;

export class Api {
  readonly #parts: ApiParts;
  readonly #guard: DoorGuard;
  readonly #requests: Map<string, Map<number, number>> = new Map();
  /** Of requests under way. */
  readonly #callers: WeakMap<object, Caller> = new WeakMap();
  readonly #calls: WeakMap<object, Call> = new WeakMap();

  constructor(options: ApiOptions, sources: ApiSources) {
    const { clock, scheduler, tokensFile, environmentToken } = options;
    const wallMs = (): number => clock.wallMs();
    const tokens = new TokenStore({ file: tokensFile, environmentToken, wallMs });
    const openApi = JSON.stringify(openApiDocument(routeTable, sources.version));
    this.#guard = new DoorGuard(tokens, sources.log, options.rates);
    this.#parts = {
      version: sources.version,
      stats: sources.stats,
      listeners: sources.listeners,
      readiness: sources.readiness,
      checks: sources.checks,
      cluster: sources.cluster ?? null,
      cassandra: sources.cassandra ?? null,
      links: sources.links ?? null,
      bridges: sources.bridges ?? null,
      roundTrips: new RecentRoundTrips(),
      drain: drainOf(sources, clock),
      regionDrain: sources.region?.regionDrain ?? null,
      core: options.core,
      limits: options.limits,
      clock,
      bans: options.bans,
      acl: options.acl,
      quotas: options.quotas,
      config: options.config,
      tokens,
      audit: new AuditLog(sources.log),
      traces: new TraceHub({
        observe: options.observe,
        wallMs,
        isGood: (name) => tokens.isGood(name),
        heartbeatMs: options.heartbeatMs,
      }),
      walks: new Walks(clock, scheduler),
      openApi,
    };
  }

  /** Reads the tokens, at start and at reload. Throws a TokenFileError and keeps what it had. */
  loadTokens(): Promise<void> {
    return this.#parts.tokens.load();
  }

  metrics(): ApiMetrics {
    const { traces } = this.#parts;
    return {
      requests: this.#requests,
      refused: this.#guard.refused,
      traces: traces.running,
      traceEventsMissed: traces.missed,
    };
  }

  /** Throws an ApiError unless the request has a token that may do what asks for `role`. */
  async admit(request: FastifyRequest, role: Role): Promise<void> {
    const { authorization } = request.headers;
    await this.#guard.admit(authorization, request.ip, role);
  }

  attach(app: FastifyInstance): void {
    for (const route of routeTable) this.#add(app, route);
  }

  /** Methods that a path of the API takes; empty: there is no such path. */
  methodsOf(path: string): string[] {
    if (!path.startsWith(`${BASE_PATH}/`)) return [];
    const asked = path.slice(BASE_PATH.length).split('/');
    const fits = ({ path: template }: ApiRoute): boolean => {
      const levels = template.split('/');
      return (
        levels.length === asked.length &&
        levels.every((level, i) => level === asked[i] || (level.startsWith('{') && asked[i] !== ''))
      );
    };
    return routeTable.filter(fits).map(({ method }) => method);
  }

  /** Ends what is open. */
  stop(): void {
    this.#parts.traces.stop();
  }

  #add(app: FastifyInstance, route: ApiRoute): void {
    const { method, path, role, query, bodyBytesMax } = route;
    const parts = partsOf(route);
    const name = `${method} ${BASE_PATH}${path}`;
    app.route({
      method,
      url: `${BASE_PATH}${path.replaceAll('{', ':').replaceAll('}', '')}`,
      bodyLimit: bodyBytesMax ?? BODY_BYTES_MAX,
      onRequest: async (request) => {
        if (role === null) return;
        await this.#guard.admit(request.headers.authorization, request.ip, role, (caller) =>
          this.#callers.set(request, caller),
        );
      },
      preValidation: async (request) => {
        request.query = readQuery(request.query as Record<string, unknown>, query ?? {});
      },
      // Compiled when first asked for, not for every route at start: most nodes hear few of them.
      preHandler: async (request) => {
        for (const [part, schema] of parts) {
          const validate = request.compileValidationSchema(schema, part);
          if (validate(request[PROPERTIES[part]])) continue;
          throw new InvalidRequest(part, validate.errors ?? []);
        }
      },
      onResponse: async (request, reply) => this.#answered(route, name, request, reply),
      handler: async (request, reply) => {
        const call = new Call({
          caller: this.#callers.get(request) ?? NOBODY,
          route: name,
          params: request.params as Record<string, string>,
          query: request.query as Record<string, QueryValue>,
          body: request.body,
        });
        this.#calls.set(request, call);
        const answer = await route.handle(call, this.#parts);
        reply.code(answer.status);
        if (answer.stream !== undefined) {
          return reply.type('application/x-ndjson; charset=utf-8').send(answer.stream);
        }
        if (answer.body === undefined && answer.text === undefined) return reply.send();
        const text = answer.text ?? JSON.stringify(answer.body);
        return reply.type('application/json; charset=utf-8').send(text);
      },
    });
  }

  #answered(route: ApiRoute, name: string, request: FastifyRequest, reply: FastifyReply): void {
    const { statusCode: status } = reply;
    const byStatus = this.#requests.get(name) ?? new Map<number, number>();
    byStatus.set(status, (byStatus.get(status) ?? 0) + 1);
    this.#requests.set(name, byStatus);
    const caller = this.#callers.get(request);
    if (!route.changes || caller === undefined) return;
    const call = this.#calls.get(request);
    this.#parts.audit.add({
      atMs: this.#parts.clock.wallMs(),
      name: caller.name,
      role: caller.role,
      address: caller.address,
      method: route.method,
      path: `${BASE_PATH}${route.path}`,
      // What was refused before it was understood has none.
      target: call === undefined ? '' : (route.target?.(call) ?? ''),
      status,
    });
  }
}

type Part = 'params' | 'body' | 'querystring';

/** Where a request has it. */
const PROPERTIES = { params: 'params', body: 'body', querystring: 'query' } as const;

/** What of a request has a schema. */
function partsOf({ params, query, queryRequired, body }: ApiRoute): [Part, object][] {
  const parts: [Part, object][] = [];
  if (params !== undefined) parts.push(['params', strict(params, Object.keys(params))]);
  if (body !== undefined) parts.push(['body', body]);
  parts.push(['querystring', strict(query ?? {}, queryRequired ?? [])]);
  return parts;
}

/** Shown by the server as a problem with its fields, as fastify's own would be. */
class InvalidRequest extends Error {
  readonly statusCode = 400;
  readonly validation: readonly object[];
  readonly validationContext: Part;

  constructor(part: Part, errors: readonly object[]) {
    super(`${part} is not as it has to be`);
    this.name = 'InvalidRequest';
    this.validation = errors;
    this.validationContext = part;
  }
}

function drainOf({ region, drain, log }: ApiSources, clock: Clock): DrainControl | null {
  if (region) return region.drain;
  return drain ? new DrainControl(drain, clock, log) : null;
}

const NOBODY: Caller = { name: '', role: 'viewer', address: '' };

function strict(properties: Properties, required: readonly string[]): object {
  return { type: 'object', properties, required: [...required], additionalProperties: false };
}

/** Text of the query as the types its schema names; what does not fit stays text, and is refused. */
function readQuery(query: Record<string, unknown>, properties: Properties): object {
  const read: Record<string, unknown> = Object.create(null);
  for (const [name, value] of Object.entries(query)) {
    const type = Object.hasOwn(properties, name) ? properties[name]!.type : undefined;
    read[name] = typeof value === 'string' ? typed(value, type) : value;
  }
  return read;
}

function typed(text: string, type: unknown): unknown {
  if (type === 'integer' && /^\d{1,15}$/.test(text)) return Number(text);
  if (type === 'boolean' && (text === 'true' || text === 'false')) return text === 'true';
  return text;
}

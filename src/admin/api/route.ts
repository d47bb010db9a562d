/**
 * What one endpoint is: a row of the route table. fastify's routes, the OpenAPI document, role checks,
 * audit, metrics and the tests' matrix of roles are all made from these rows.
 */
import type { Readable } from 'node:stream';
import type { Limits } from '../../core/limits.ts';
import type { Clock } from '../../core/ports.ts';
import type { Stats } from '../../core/stats.ts';
import type { BridgesView } from '../bridges-view.ts';
import type { CassandraView } from '../cassandra-view.ts';
import type { ClusterView } from '../cluster-view.ts';
import type { LinksView } from '../links-view.ts';
import type { ListenerMetrics } from '../metric-sources.ts';
import type { Readiness, ReadinessCheck } from '../readiness.ts';
import type { AuditLog } from './audit-log.ts';
import type { Call } from './call.ts';
import type { DrainControl } from './drain-control.ts';
import type {
  AclPort,
  BansPort,
  ConfigPort,
  OperatorCore,
  QuotaUsePort,
  RegionDrainPort,
} from './ports.ts';
import type { RecentRoundTrips } from './recent-round-trips.ts';
import type { Role } from './role.ts';
import type { JsonSchema, Properties } from './schema.ts';
import type { TokenStore } from './token-store.ts';
import type { TraceHub } from './trace-hub.ts';
import type { Walks } from './walks.ts';

/** What handlers work with. */
export interface ApiParts {
  readonly version: string;
  readonly core: OperatorCore;
  readonly stats: Stats;
  readonly limits: () => Limits;
  readonly clock: Clock;
  readonly listeners: () => readonly ListenerMetrics[];
  readonly readiness: () => Readiness;
  /** As `/health/ready` has them. */
  readonly checks: () => readonly ReadinessCheck[];
  /** Null: the node is alone. */
  readonly cluster: ClusterView | null;
  /** Null: the node has no Cassandra. */
  readonly cassandra: CassandraView | null;
  /** Null: no other region is linked. */
  readonly links: LinksView | null;
  /** Null: the node has none. */
  readonly bridges: BridgesView | null;
  readonly roundTrips: RecentRoundTrips;
  /** Null: clients cannot be moved. */
  readonly drain: DrainControl | null;
  /** Null: the node is alone. */
  readonly regionDrain: RegionDrainPort | null;
  readonly bans: BansPort;
  readonly acl: AclPort;
  readonly quotas: QuotaUsePort;
  readonly config: ConfigPort;
  readonly tokens: TokenStore;
  readonly audit: AuditLog;
  readonly traces: TraceHub;
  readonly walks: Walks;
  /** The document as JSON. */
  readonly openApi: string;
}

export interface Answer {
  readonly status: number;
  /** To be made JSON of; absent: no body. */
  readonly body?: unknown;
  /** JSON that was made before, instead of a body. */
  readonly text?: string;
  /** Lines as they come, instead of a body. */
  readonly stream?: Readable;
}

export interface AnswerSpec {
  readonly description: string;
  /** Absent: no body. */
  readonly schema?: JsonSchema;
  /** Default `application/json`; problems have their own. */
  readonly contentType?: string;
}

export interface ApiRoute {
  readonly method: 'GET' | 'POST' | 'DELETE';
  /** Below `/api/v1`, with `{names}` for parameters. */
  readonly path: string;
  /** Null: no token is asked for. */
  readonly role: Role | null;
  /** Name of the operation in the document: unique. */
  readonly id: string;
  readonly summary: string;
  readonly description?: string;
  readonly params?: Properties;
  readonly query?: Properties;
  /** Names of `query` that must be given. */
  readonly queryRequired?: readonly string[];
  readonly body?: JsonSchema;
  readonly bodyBytesMax?: number;
  /** Successes, and failures of its own; those every endpoint can answer are added. */
  readonly answers: Readonly<Record<number, AnswerSpec>>;
  /** Changes something: every call is written to the audit log. */
  readonly changes: boolean;
  /** What a change is about, for the audit log. */
  readonly target?: (call: Call) => string;
  readonly handle: (call: Call, parts: ApiParts) => Answer | Promise<Answer>;
}

export const PROBLEM_404 = 'There is no such thing.';

/** Parameters that every list has. */
export const pageQuery: Properties = {
  limit: {
    type: 'integer',
    description: 'Most items in the answer; fewer may come before the end.',
    minimum: 1,
    maximum: 1000,
    default: 100,
  },
  cursor: {
    type: 'string',
    description: 'From the answer before; everything else must be as in the first request.',
    minLength: 1,
    maxLength: 64,
  },
};

export function ok(body: unknown): Answer {
  return { status: 200, body };
}

export const nothing: Answer = { status: 204 };

export function noBody(description: string): AnswerSpec {
  return { description };
}

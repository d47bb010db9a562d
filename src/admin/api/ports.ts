/**
 * What the API needs of the other rooms. The composition root adapts access, quota and config to these;
 * the API imports none of them. A port says no by throwing an ApiError.
 */
import type { RetainedSource, RouteMember } from '../../core/inspection.ts';
import type { Admin, PeerCertificate, SubscriptionRecord } from '../../core/ports.ts';
import type { FieldError } from './api-error.ts';

/** The core, with two walks that can be bounded more finely than the lists of `Admin`. */
export interface OperatorCore extends Admin {
  retainedWalk(filter: string): Pick<RetainedSource, 'done' | 'take'>;
  routeMembers(topic: string): Iterable<RouteMember>;
  /** Null: there is none. */
  subscription(clientId: string, filter: string): SubscriptionRecord | null;
}

export const banKinds = ['client', 'user', 'address', 'certificate'] as const;
export type BanKind = (typeof banKinds)[number];

export const banOrigins = ['operator', 'flapping', 'login'] as const;

export interface Ban {
  readonly id: string;
  readonly kind: BanKind;
  /** Client identifier, user, address or CIDR network, certificate fingerprint. */
  readonly value: string;
  /** Absent: whoever it is; else it holds only together with this user (null: with none). */
  readonly user?: string | null;
  /** An operator, or what the broker noticed by itself. */
  readonly origin: (typeof banOrigins)[number];
  readonly reason: string;
  /** Name of the operator's token; '' when the broker did it. */
  readonly by: string;
  /** Wall-clock ms. */
  readonly createdAtMs: number;
  /** Wall-clock ms; 0: never. */
  readonly expiresAtMs: number;
  /** Refusals since the start. */
  readonly hits: number;
}

export interface NewBan {
  readonly kind: BanKind;
  readonly value: string;
  readonly reason: string;
  readonly by: string;
  /** Null: until it is lifted. */
  readonly expiresInS: number | null;
}

export interface BansPort {
  list(): Iterable<Ban>;
  /** Holds at once, for those connected too; resolves when a restart keeps it. */
  add(ban: NewBan): Promise<Ban>;
  /** False: there is none with this id. */
  remove(id: string): Promise<boolean>;
}

export const aclActions = ['publish', 'subscribe', 'receive'] as const;
export type AclAction = (typeof aclActions)[number];

/** A client that may or may not exist, and what it would do. */
export interface AclQuestion {
  readonly user: string | null;
  readonly clientId: string;
  readonly action: AclAction;
  /** A filter when the action is `subscribe`. */
  readonly topic: string;
  readonly qos: 0 | 1 | 2;
  readonly retain: boolean;
  /** '': unknown. */
  readonly address: string;
  /** '': unknown. */
  readonly listener: string;
  readonly tenant: string;
  readonly claims: ReadonlyMap<string, string | readonly string[]>;
  /** Fields that are not given count as unknown. */
  readonly certificate: Partial<PeerCertificate> | null;
}

export interface AclAnswer {
  readonly allowed: boolean;
  /** The deciding rule as written; null: none matched, or there are no rules. */
  readonly rule: string | null;
  readonly file: string | null;
  readonly line: number | null;
  /** One sentence. */
  readonly reason: string;
}

export interface AclPort {
  explain(question: AclQuestion): Promise<AclAnswer>;
}

/** Use of one quota by one of those it is counted for. */
export interface QuotaUse {
  /** The quota's name in the configuration. */
  readonly name: string;
  readonly of: string;
  readonly per: 'client' | 'user' | 'tenant' | 'listener' | 'node';
  /** Whose use it is; '' for the node. */
  readonly subject: string;
  readonly used: number;
  readonly max: number;
  readonly action: string;
  /** How often the limit was met since the start. */
  readonly reached: number;
}

export interface QuotaUsePort {
  /** May be walked in slices. */
  use(): Iterable<QuotaUse>;
}

export interface ShownOption {
  /** `limits.connectionsMax`, `listeners.0.url`. */
  readonly path: string;
  /** As JSON; secrets masked. */
  readonly value: string | number | boolean | null | readonly (string | number | boolean)[];
  /** A file with its line, an environment variable, a flag, `default`. */
  readonly origin: string;
}

/** Numbers of what is in force after a reload; 0 also of what is not configured. */
export interface LoadedCounts {
  readonly passwordUsers: number;
  readonly scramUsers: number;
  readonly pskIdentities: number;
  readonly tokenKeys: number;
  readonly rules: number;
  readonly quotas: number;
}

/** What a reload did; `problems` that are not empty: nothing, everything stays as it was. */
export interface ReloadReport {
  readonly applied: readonly string[];
  readonly needsRestart: readonly string[];
  /** Absent when nothing was read. */
  readonly loaded?: LoadedCounts | undefined;
  readonly problems: readonly FieldError[];
}

export interface CertificateReport {
  /** Names of listeners (and `admin`) that have what the files hold now. */
  readonly reloaded: readonly string[];
  /** Those that keep what they had, and why. */
  readonly problems: readonly FieldError[];
}

export interface ConfigPort {
  /** In force, reloads included. */
  shown(): readonly ShownOption[];
  reload(): Promise<ReloadReport>;
  reloadCertificates(): Promise<CertificateReport>;
}

/** A node of the datacenter in the drain of all of them. */
export interface RegionDrainNode {
  readonly nodeId: string;
  readonly draining: boolean;
  readonly moved: number;
  readonly remaining: number;
}

export interface RegionDrainReport {
  /** Clients of the whole datacenter are sent elsewhere. */
  readonly draining: boolean;
  /** Of all nodes together; null: they are not drained. */
  readonly clientsPerS: number | null;
  readonly serverReference: string | null;
  readonly startedAtMs: number;
  readonly by: string | null;
  /** This one first; the others as they were heard of lately. */
  readonly nodes: readonly RegionDrainNode[];
}

/** Draining all nodes of a datacenter: what one is told holds for all, also for those that come later. */
export interface RegionDrainPort {
  report(): RegionDrainReport;
  /** False: this node has begun, and the others are told when Redis is back. */
  begin(
    options: { readonly clientsPerS: number; readonly serverReference: string | null },
    by: string,
  ): Promise<boolean>;
  /** As above; null: there was nothing to end. */
  end(by: string): Promise<boolean | null>;
}

/**
 * The effective configuration: what `load.ts` hands to the composition root once file, environment
 * and flags were read, merged, checked and frozen. Types only; `schema.ts` holds defaults, ranges and
 * texts of the same names.
 */
import type { Limits, QueueOverflow, SharedStrategy } from '../core/limits.ts';
import type { SteeringOptions } from '../geo/steering/steering-options.ts';
import type { QuotaOptions } from '../quota/quota-options.ts';
import type {
  AuthenticationConfig,
  AuthorizationConfig,
  BansConfig,
  ListenerAuthenticationConfig,
} from './access-config.ts';
import type { BridgeConfig } from './bridges-config.ts';
import type { CassandraConfig } from './cassandra-config.ts';
import type { ClusterConfig } from './cluster-config.ts';
import type { RegionsConfig } from './regions-config.ts';

export interface Config {
  readonly listeners: readonly ListenerConfig[];
  readonly allowAnonymousBeyondLoopback: boolean;
  /** For every TLS listener that has no section of its own. */
  readonly tls?: TlsConfig | undefined;
  /** Absolute once loaded. */
  readonly data: string;
  readonly store: StoreKind;
  /** Absent: this node is alone. */
  readonly cluster?: ClusterConfig | undefined;
  /** Absent: retained messages are on the nodes alone. */
  readonly cassandra?: CassandraConfig | undefined;
  /** Absent: this node is linked to no other region. */
  readonly regions?: RegionsConfig | undefined;
  /** To other brokers. */
  readonly bridges: readonly BridgeConfig[];
  /** Absent: every client is served where it comes. */
  readonly steering?: SteeringOptions | undefined;
  readonly admin: AdminConfig;
  readonly log: LogConfig;
  readonly authentication: AuthenticationConfig;
  readonly authorization: AuthorizationConfig;
  readonly quotas: readonly QuotaOptions[];
  readonly bans: BansConfig;
  readonly limits: Limits;
  readonly queueOverflow: QueueOverflow;
  readonly sharedSubscriptionStrategy: SharedStrategy;
  /** 0: no $SYS topics. */
  readonly sysIntervalS: number;
  readonly shutdownGraceMs: number;
}

export interface ListenerConfig {
  readonly url: string;
  /** The URL when none was given. */
  readonly name?: string | undefined;
  readonly tls?: TlsConfig | undefined;
  readonly websocket?: WebSocketConfig | undefined;
  readonly proxyProtocol?: ProxyProtocolConfig | undefined;
  /** Permissions of a Unix socket's file in octal, such as `0660`. */
  readonly unixMode?: string | undefined;
  readonly authentication?: ListenerAuthenticationConfig | undefined;
  readonly limits?: ListenerLimitsConfig | undefined;
}

export interface TlsConfig {
  /** PEM files; absolute once loaded; absent where pre-shared keys are all there is. */
  readonly certFile?: string | undefined;
  readonly keyFile?: string | undefined;
  readonly caFile?: string | undefined;
  /** Certificates that their authorities took back; absolute once loaded. */
  readonly crlFile?: string | undefined;
  readonly clientCertificate: ClientCertificate;
  readonly minVersion: TlsVersion;
  /** Clients may prove a key of `authentication.psk` instead of the server its certificate. */
  readonly psk: boolean;
  /** OpenSSL's list; Node's own when absent. */
  readonly ciphers?: string | undefined;
}

export interface WebSocketConfig {
  readonly allowedOrigins: readonly string[];
}

export interface ProxyProtocolConfig {
  readonly trustedAddresses: readonly string[];
}

/** Overrides of `limits` for the connections of one listener. */
export interface ListenerLimitsConfig {
  readonly connectionsMax?: number | undefined;
  readonly packetBytesMax?: number | undefined;
  readonly keepAliveMaxS?: number | undefined;
  readonly receiveMaximum?: number | undefined;
  readonly topicAliasMax?: number | undefined;
}

export interface AdminConfig {
  /** `http://HOST:PORT`, `https://…` or `off`. */
  readonly url: string;
  readonly tls?: AdminTlsConfig | undefined;
  /** Hashed API tokens; `api-tokens.json` in `data` when absent. */
  readonly tokensFile?: string | undefined;
  /** /metrics answers without a token beyond this machine too. */
  readonly metricsAnonymous: boolean;
  /** Other machines may reach it without TLS. */
  readonly allowPlainBeyondLoopback: boolean;
}

export interface AdminTlsConfig {
  readonly certFile: string;
  readonly keyFile: string;
}

export interface LogConfig {
  readonly level: LogLevel;
  readonly format: LogFormat;
}

export const storeKinds = ['embedded', 'memory'] as const;
export type StoreKind = (typeof storeKinds)[number];

export const clientCertificateModes = ['none', 'optional', 'required'] as const;
export type ClientCertificate = (typeof clientCertificateModes)[number];

export const tlsVersions = ['TLSv1.2', 'TLSv1.3'] as const;
export type TlsVersion = (typeof tlsVersions)[number];

export const logLevels = ['debug', 'info', 'warn', 'error'] as const;
export type LogLevel = (typeof logLevels)[number];

/** `auto`: pretty on a terminal, JSON otherwise. */
export const logFormats = ['auto', 'json', 'pretty'] as const;
export type LogFormat = (typeof logFormats)[number];

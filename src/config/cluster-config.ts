/**
 * What makes a node one of a datacenter, as it is once loaded. Types only; `cluster-schema.ts` holds
 * defaults, ranges and texts of the same names.
 */
import type { DegradedMode } from '../core/limits.ts';

export interface ClusterConfig {
  readonly redis: ClusterRedisConfig;
  /** A label for people; host name and peer port when absent. */
  readonly nodeId?: string | undefined;
  readonly peer: PeerConfig;
  readonly leaseMs: number;
  /** What becomes of acks without Redis and without any other node. */
  readonly degraded: DegradedMode;
  readonly retainedTombstoneS: number;
}

export interface ClusterRedisConfig {
  readonly url: string;
  readonly username?: string | undefined;
  readonly passwordFile?: string | undefined;
  readonly caFile?: string | undefined;
  readonly certFile?: string | undefined;
  readonly keyFile?: string | undefined;
  /** Before every key: several datacenters can share one Redis. */
  readonly keyPrefix: string;
  /** Replicas that must have a write before it counts; 0: the primary alone. */
  readonly replicasMin: number;
  /** How long appends are kept to be written again after a failover that lost them. */
  readonly rewriteMs: number;
}

export interface PeerConfig {
  /** HOST:PORT; port 0: any free one. Absent: the address this node reaches Redis from. */
  readonly listen?: string | undefined;
  /** HOST:PORT that other nodes dial; what is listened on when absent. */
  readonly advertise?: string | undefined;
  /** Shared by all nodes; the one kept in Redis when absent. */
  readonly secretFile?: string | undefined;
  readonly tls?: PeerTlsConfig | undefined;
  readonly bufferBytesMax: number;
  readonly linkGraceMs: number;
}

/** Both sides show a certificate of the authority. */
export interface PeerTlsConfig {
  readonly certFile: string;
  readonly keyFile: string;
  readonly caFile: string;
}

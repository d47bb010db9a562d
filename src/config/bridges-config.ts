/**
 * What makes bridges of a node to other brokers, as it is once loaded. Types only; `bridges-schema.ts`
 * holds defaults, ranges and texts of the same names.
 */
import type { RemoteTlsConfig } from './remote-broker-config.ts';

export const bridgeDirections = ['in', 'out', 'both'] as const;
export type BridgeDirection = (typeof bridgeDirections)[number];

export const bridgeRetains = ['keep', 'live', 'clear'] as const;
export type BridgeRetain = (typeof bridgeRetains)[number];

export const bridgeVersions = ['3.1', '3.1.1', '5'] as const;
export type BridgeVersion = (typeof bridgeVersions)[number];

export const bridgeNotifications = ['none', 'local', 'both'] as const;
export type BridgeNotifications = (typeof bridgeNotifications)[number];

export interface BridgeConfig {
  /** Of its session here: what waits belongs to that name. */
  readonly name: string;
  readonly url: string;
  readonly protocolVersion: BridgeVersion;
  readonly tls?: RemoteTlsConfig | undefined;
  /** At the other broker. */
  readonly clientId?: string | undefined;
  readonly username?: string | undefined;
  readonly passwordFile?: string | undefined;
  readonly cleanStart: boolean;
  readonly keepaliveS: number;
  readonly tryPrivate: boolean;
  readonly notifications: BridgeNotifications;
  /** Absent: `$SYS/broker/connection/CLIENTID/state`. */
  readonly notificationTopic?: string | undefined;
  /** Absent: as many as the other broker's MQTT suggests. */
  readonly inFlightMax?: number | undefined;
  /** Of what waits here for the other broker. */
  readonly budgetAgeS: number;
  readonly budgetBytes: number;
  readonly topics: readonly BridgeTopicConfig[];
}

export interface BridgeTopicConfig {
  readonly filter: string;
  readonly direction: BridgeDirection;
  /** Absent: none. */
  readonly localPrefix?: string | undefined;
  readonly remotePrefix?: string | undefined;
  /** At most. */
  readonly qos: 0 | 1 | 2;
  readonly retain: BridgeRetain;
}

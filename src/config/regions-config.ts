/**
 * What makes a node one of a region that is linked to others, as it is once loaded. Types only;
 * `regions-schema.ts` holds defaults, ranges and texts of the same names.
 */
import type { RemoteTlsConfig } from './remote-broker-config.ts';

export interface RegionsConfig {
  /** Of this region, as all others call it. */
  readonly name: string;
  /** Durable sessions are listed in Cassandra, and go on in the region their client connects to. */
  readonly roaming: boolean;
  /** They are listed there, and stay where they are: clients may be told where that is. */
  readonly directory: boolean;
  /** How long a CONNECT waits for the region that has its session. */
  readonly roamingWaitMs: number;
  /** Where this region fetches messages from. */
  readonly links: readonly RegionLinkConfig[];
  /** Which regions may fetch messages here. */
  readonly accept: readonly RegionAcceptConfig[];
}

export interface RegionLinkConfig {
  /** The other region. */
  readonly region: string;
  readonly url: string;
  readonly tls?: RemoteTlsConfig | undefined;
  readonly username?: string | undefined;
  readonly passwordFile?: string | undefined;
  /** Filters; nothing else is asked for over this link, and nothing else taken from it. */
  readonly allow: readonly string[];
  /** How long, and how much, the other region is asked to keep while the link is down. */
  readonly budgetAgeS: number;
  readonly budgetBytes: number;
}

export interface RegionAcceptConfig {
  /** The region the one who proves this to be is. */
  readonly region: string;
  /** User name, as authentication has it. */
  readonly user?: string | undefined;
  /** Common name of a client certificate. */
  readonly certificate?: string | undefined;
  /** Filters; nothing else is given to that region. */
  readonly topics: readonly string[];
  /** At most; a link may ask for less. */
  readonly budgetAgeMaxS: number;
  readonly budgetBytesMax: number;
}

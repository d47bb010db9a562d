// What the harness must know of a broker to measure it: how it comes onto this machine, how it is
// started for one run, and what it cannot do. One file per broker fills this in; `table.ts` lists
// them. A peer knows no scenario.

/**
 * What a run is about, for brokers whose limits have to follow it: `idle` looks at memory per
 * connection and wants per-client limits at their default, `retained` replays many messages to one
 * client at once, `traffic` is everything else.
 */
export type Profile = 'traffic' | 'idle' | 'retained';

/** How one run wants the broker. */
export interface LaunchOptions {
  /** Free loopback port to listen on. */
  readonly port: number;
  /** Another one, for metrics. */
  readonly adminPort: number;
  /** Fresh, empty folder of this run, for configuration and data. */
  readonly directory: string;
  /** Keep sessions and their messages on disk. */
  readonly durable: boolean;
  readonly profile: Profile;
  /** 4 = MQTT 3.1.1, 5 = MQTT 5. */
  readonly mqttVersion: 4 | 5;
  /** A configuration in the broker's own form, listeners included; only ours is ever given one. */
  readonly configuration: string | undefined;
}

/** How a broker is asked to collect garbage before its memory is read. */
export type Collector = 'inspector' | 'SIGUSR2' | 'none';

export interface Launch {
  readonly command: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  readonly collector: Collector;
}

/** What a scenario may need beyond plain MQTT. */
export type Feature = 'durable' | 'shared' | 'mqtt5';

export interface Peer {
  readonly name: string;
  /** Makes the broker available; answers why it cannot be had, or undefined. */
  prepare(): string | undefined;
  /** Version as the broker itself tells it. Called after `prepare` succeeded. */
  version(): string;
  /** Why the broker cannot do this, or undefined when it can. */
  lacks(feature: Feature): string | undefined;
  launch(options: LaunchOptions): Launch;
}

// What the harness and its load processes say to each other over the child process channel.
// Types only.

export interface Target {
  readonly host: string;
  readonly port: number;
  readonly mqttVersion: 4 | 5;
  readonly keepAliveS: number;
}

/** One client of a run. Clients of equal affinity live in one load process. */
export interface ClientSpec {
  readonly clientId: string;
  readonly affinity: number;
  readonly cleanStart: boolean;
  readonly filters: readonly string[];
  /** QoS asked for in SUBSCRIBE. */
  readonly qos: number;
  /** Topics this client publishes to in turn; all of one length. */
  readonly topics?: readonly string[];
  readonly localAddress?: string;
}

export interface PublishPlan {
  readonly qos: number;
  readonly retain: boolean;
  readonly payloadBytes: number;
  readonly countPerPublisher: number;
  /** QoS > 0 messages a publisher may have unacked. */
  readonly window: number;
  /** Messages a publisher may send in one turn of the loop. */
  readonly burst: number;
  /** Messages a second of this process, or 0 for as fast as the broker takes them. */
  readonly ratePerS: number;
  /** Gives up when nothing moved for so long. */
  readonly stallMs: number;
  /** Sends no more after so long, whatever is left. */
  readonly withinMs: number;
}

export interface StormPlan {
  readonly seconds: number;
  readonly concurrency: number;
  readonly target: Target;
  /** Tells this process' client ids and source addresses from those of others. */
  readonly process: number;
}

export type Request =
  | { kind: 'open'; group: string; target: Target; clients: ClientSpec[] }
  | { kind: 'subscribe'; group: string; qos: number }
  | { kind: 'publish'; group: string; plan: PublishPlan }
  | { kind: 'counters' }
  | { kind: 'clear' }
  | { kind: 'stats' }
  | { kind: 'close'; group: string }
  | { kind: 'storm'; plan: StormPlan };

export interface Counters {
  readonly received: number;
  readonly lastReceivedUs: number;
  readonly sent: number;
  readonly acked: number;
  readonly firstSentUs: number;
  readonly closed: ReadonlyMap<string, number>;
}

export interface Stats {
  readonly latency: Uint32Array;
  readonly ackLatency: Uint32Array;
  readonly lateness: Uint32Array;
  /** CPU this process used since the last `clear`. */
  readonly cpuS: number;
  /** Event loop delay since the last `clear`. */
  readonly loopDelayP99Ms: number;
  readonly loopDelayMaxMs: number;
}

export interface Opened {
  /** What kept clients from being ready, and how many. */
  readonly failures: ReadonlyMap<string, number>;
  readonly sessionsPresent: number;
}

export interface Stormed {
  readonly connected: number;
  readonly elapsedS: number;
  readonly failures: ReadonlyMap<string, number>;
  readonly connackUs: Uint32Array;
}

/** Answer to each request, by its kind. */
export interface Answers {
  readonly open: Opened;
  readonly subscribe: Opened;
  readonly publish: Counters;
  readonly counters: Counters;
  readonly clear: true;
  readonly stats: Stats;
  readonly close: true;
  readonly storm: Stormed;
}

export type Reply =
  | { readonly id: number; readonly value: Answers[keyof Answers] }
  | { readonly id: number; readonly failure: string };

// What the harness and its load processes say to each other over the child process channel.
// Types only.

export interface Target {
  readonly host: string;
  readonly port: number;
  readonly mqttVersion: 4 | 5;
  readonly keepAliveS: number;
}

/** What a client shows in CONNECT; without one it is anonymous. */
export interface Login {
  readonly username: string;
  /** Or a token. */
  readonly password: string;
}

/** Of a client that connects with TLS; PEM. */
export interface ClientTls {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
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
  readonly login?: Login;
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
  /** At a rate: sleeps so long between turns and leaves its core to others. Absent: spins. */
  readonly pauseMs?: number;
}

/** How connects are made one after the other. */
export interface StormOptions {
  readonly seconds: number;
  /** Most connects under way. */
  readonly concurrency: number;
  /** Connects a second, of all processes together; absent: as fast as they are answered. */
  readonly ratePerS?: number;
  /** Ends after so many, of all processes together; absent: by the time alone. */
  readonly count?: number;
  /** Shown in turn, beginning anew at the end. */
  readonly logins?: readonly Login[];
  readonly tls?: ClientTls;
  /** Third number of the source addresses 127.0.x.y; 1 when absent, and one more per process. */
  readonly network?: number;
  /** Source addresses taken in turn; 200 when absent. */
  readonly addresses?: number;
  /** How long an answer is waited for; 5 s when absent. */
  readonly attemptMs?: number;
}

export interface StormPlan extends StormOptions {
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
  | { kind: 'storm'; plan: StormPlan }
  | { kind: 'endStorms' };

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
  /** From the first attempt to the last CONNACK, whatever it said. */
  readonly elapsedS: number;
  /** Refusals (`CONNACK 0x87`) among them. */
  readonly failures: ReadonlyMap<string, number>;
  /** Until CONNACK with success. */
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
  readonly endStorms: true;
}

export type Reply =
  | { readonly id: number; readonly value: Answers[keyof Answers] }
  | { readonly id: number; readonly failure: string };

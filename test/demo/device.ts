/**
 * A device of the demo: says where it is, one message after the other, each until it is acknowledged, and
 * moves from region to region; its session, which gets orders, goes with it where sessions roam, else it begins
 * one in each. Used by demo.ts; knows where regions are reached, and nothing of what is done to them.
 */
import { Client } from '../../src/client/client.ts';
import { topicOf } from './orders.ts';

export interface DeviceEvents {
  readonly acked: (device: string, number: number) => void;
  /** It is connected again, so long after its connection was lost. */
  readonly back: (outageMs: number) => void;
  readonly ordered: (device: string, payload: string) => void;
  /** It was told that there is no session, and had one. */
  readonly forgotten: (device: string, region: string) => void;
}

export interface DeviceOptions {
  readonly name: string;
  /** Where each region is reached. */
  readonly doors: ReadonlyMap<string, number>;
  readonly everyMs: number;
  /** Its session outlives connections, and goes with it. */
  readonly roams: boolean;
  readonly events: DeviceEvents;
}

const ACK_MS_MAX = 8000;
const CONNECT_MS_MAX = 3000;
const EXPIRY_S = 3600;
const RETRY_MS = 300;
/** Messages in one region, at least and at most. */
const STAYS: readonly [number, number] = [15, 50];
/** Connects that failed before it tries the next region. */
const TRIES_MAX = 3;

export class Device {
  readonly name: string;
  region: string;
  moves = 0;
  /** Its connection was lost, or is not there yet. */
  isAway = true;
  readonly #options: DeviceOptions;
  #client: Client | null = null;
  #lostMs = 0;
  /** To its orders. */
  isSubscribed = false;
  #isOver = false;

  constructor(options: DeviceOptions, region: string) {
    this.#options = options;
    this.name = options.name;
    this.region = region;
  }

  /** Until `stop`; the message under way is acknowledged first. */
  async run(): Promise<void> {
    const { everyMs, events } = this.#options;
    let leftHere = between(...STAYS);
    for (let number = 1; !this.#isOver; number++) {
      while (!(await this.#say(number))) if (this.#isOver) return;
      events.acked(this.name, number);
      if (--leftHere === 0) {
        await this.#move();
        leftHere = between(...STAYS);
      }
      await pause(everyMs * (0.5 + Math.random()));
    }
    await this.#client?.disconnect().catch(() => {});
  }

  stop(): void {
    this.#isOver = true;
  }

  destroy(): void {
    this.#isOver = true;
    void this.#client?.destroy();
  }

  async #say(number: number): Promise<boolean> {
    if (this.#client === null && !(await this.#connect())) return false;
    const client = this.#client as Client | null;
    if (client === null) return false;
    const said = client.publish(`fleet/${this.name}`, `${this.name}:${number}`, { qos: 1 }).then(
      () => true,
      () => false,
    );
    if (await Promise.race([said, pause(ACK_MS_MAX).then(() => false)])) return true;
    this.#lost(client);
    return false;
  }

  async #connect(): Promise<boolean> {
    const { roams, events } = this.#options;
    for (let attempt = 1; !this.#isOver; attempt++) {
      const client = new Client({
        url: `mqtt://127.0.0.1:${this.#options.doors.get(this.region)}`,
        clientId: this.name,
        ...(roams
          ? { cleanStart: false, properties: { sessionExpiryIntervalS: EXPIRY_S } }
          : { cleanStart: true }),
        keepAliveS: 5,
        connectTimeoutMs: CONNECT_MS_MAX,
        onMessage: ({ payload }) => events.ordered(this.name, payload.toString()),
        onDisconnected: () => this.#lost(client),
      });
      try {
        const { sessionPresent } = await client.connect();
        if (roams) await this.#subscribe(client, sessionPresent);
        this.#client = client;
        this.isAway = false;
        if (this.#lostMs > 0) events.back(performance.now() - this.#lostMs);
        this.#lostMs = 0;
        return true;
      } catch {
        void client.destroy();
        if (attempt % TRIES_MAX === 0) this.#goElsewhere();
        await pause(RETRY_MS * (0.5 + Math.random()));
      }
    }
    return false;
  }

  /** Once: the session has it wherever it is. */
  async #subscribe(client: Client, isPresent: boolean): Promise<void> {
    if (isPresent && this.isSubscribed) return;
    if (this.isSubscribed) this.#options.events.forgotten(this.name, this.region);
    this.isSubscribed = false;
    await client.subscribe([{ filter: topicOf(this.name), qos: 1 }]);
    this.isSubscribed = true;
  }

  #lost(client: Client): void {
    if (this.#client !== client) return;
    this.#client = null;
    this.isAway = true;
    this.#lostMs = performance.now();
    void client.destroy();
  }

  /** In order: what it said is acknowledged. */
  async #move(): Promise<void> {
    const client = this.#client;
    this.#client = null;
    await client?.disconnect().catch(() => {});
    this.#goElsewhere();
  }

  #goElsewhere(): void {
    const others = [...this.#options.doors.keys()].filter((name) => name !== this.region);
    this.region = others[Math.floor(Math.random() * others.length)] ?? this.region;
    this.moves++;
  }
}

function between(low: number, high: number): number {
  return low + Math.floor(Math.random() * (high - low + 1));
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

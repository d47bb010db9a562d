/**
 * What headquarters of the demo send to devices, wherever these are: each device has a session that goes with it
 * from region to region. Counts what was acknowledged to headquarters, and what devices have of it. Used by demo.ts.
 */
import { Client } from '../../src/client/client.ts';

const EXPIRY_S = 3600;
const RETRY_MS_MAX = 1000;

export class Orders {
  /** Orders that came more than once, as QoS 1 allows. */
  again = 0;
  readonly #client: Client;
  readonly #owed: Set<string> = new Set();
  readonly #come: Set<string> = new Set();
  readonly #devices: readonly string[];
  #given = 0;
  #open = 0;
  #timer: NodeJS.Timeout | undefined;

  /** `port`: of the region headquarters are in. */
  constructor(port: number, devices: readonly string[]) {
    this.#devices = devices;
    this.#client = new Client({
      url: `mqtt://127.0.0.1:${port}`,
      clientId: 'headquarters',
      cleanStart: false,
      keepAliveS: 5,
      properties: { sessionExpiryIntervalS: EXPIRY_S },
      reconnect: { minMs: 200, maxMs: RETRY_MS_MAX, always: true },
    });
  }

  /** One after the other, to each device in turn. */
  async start(everyMs: number): Promise<void> {
    await this.#client.connect();
    this.#timer = setInterval(() => this.#give(), everyMs);
  }

  #give(): void {
    const number = ++this.#given;
    const device = this.#devices[number % this.#devices.length]!;
    this.#open++;
    this.#client
      .publish(topicOf(device), `${number}`, { qos: 1 })
      .then(() => this.#owed.add(`${device}:${number}`))
      .catch(() => {})
      .finally(() => this.#open--);
  }

  came(device: string, payload: string): void {
    const text = `${device}:${payload}`;
    if (this.#come.has(text)) this.again++;
    this.#come.add(text);
  }

  get owed(): number {
    return this.#owed.size;
  }

  /** All that was given is acknowledged, and there. */
  get isDone(): boolean {
    return this.#open === 0 && this.missing === 0;
  }

  get missing(): number {
    return [...this.#owed].filter((text) => !this.#come.has(text)).length;
  }

  /** No more are given; what was is still acknowledged. */
  stop(): void {
    clearInterval(this.#timer);
  }

  end(): void {
    this.stop();
    void this.#client.destroy();
  }
}

export function topicOf(device: string): string {
  return `orders/${device}`;
}

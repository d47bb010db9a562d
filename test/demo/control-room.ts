/**
 * A control room of the demo: one in each region, with a session that outlives its connections. It wants to
 * hear of every device wherever that is, and counts what has come and what came twice. Used by demo.ts.
 */
import { Client } from '../../src/client/client.ts';

const EXPIRY_S = 3600;
const RETRY_MS_MAX = 1000;

export class ControlRoom {
  readonly region: string;
  /** Messages that came more than once, as QoS 1 allows. */
  again = 0;
  readonly #client: Client;
  readonly #seen: Set<string> = new Set();

  constructor(region: string, port: number) {
    this.region = region;
    this.#client = new Client({
      url: `mqtt://127.0.0.1:${port}`,
      clientId: `control-room-${region}`,
      cleanStart: false,
      keepAliveS: 5,
      properties: { sessionExpiryIntervalS: EXPIRY_S },
      reconnect: { minMs: 200, maxMs: RETRY_MS_MAX, always: true },
      onMessage: ({ topic, payload }) => {
        if (!topic.startsWith('fleet/')) return;
        const text = payload.toString();
        if (this.#seen.has(text)) this.again++;
        this.#seen.add(text);
      },
    });
  }

  async start(): Promise<void> {
    await this.#client.connect();
    const filters = ['fleet/#', 'notice/#'];
    await this.#client.subscribe(filters.map((filter) => ({ filter, qos: 1 })));
  }

  /** Puts up a notice that every region shows to whoever comes. */
  post(text: string): void {
    this.#client.publish('notice/board', text, { qos: 1, retain: true }).catch(() => {});
  }

  get heard(): number {
    return this.#seen.size;
  }

  has(text: string): boolean {
    return this.#seen.has(text);
  }

  end(): void {
    void this.#client.destroy();
  }
}

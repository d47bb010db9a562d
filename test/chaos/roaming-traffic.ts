/**
 * Who publishes to the devices of a ledger of moves: a client at each node of each region, that goes to another
 * node of its region while its own is not there, and sends again what was not acknowledged. Used by
 * run-roaming-chaos.ts and tests of moves.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from '../../src/client/client.ts';
import { TcpProxy } from '../support/tcp-proxy.ts';
import type { MovingRegions } from './moving-regions.ts';
import { Prng } from './prng.ts';
import type { RoamingLedger } from './roaming-ledger.ts';

export interface TrafficOptions {
  readonly regions: MovingRegions;
  readonly names: readonly string[];
  readonly seed: number;
  /** Messages a second of each node's publisher. */
  readonly ratePerS: number;
  /** Whom messages are for. */
  readonly devices: readonly string[];
  readonly ledger: RoamingLedger;
}

const EXPIRY_S = 3600;
const OPEN_MAX = 500;
/** What a killed node had not answered is answered when it is back. */
const ANSWERED_MS = 20_000;

export class RoamingTraffic {
  readonly #options: TrafficOptions;
  /** By region, one to each node. */
  readonly #doors: Map<string, readonly TcpProxy[]> = new Map();
  readonly #clients: Client[] = [];
  readonly #publishing: Promise<void>[] = [];
  #isOver = false;

  private constructor(options: TrafficOptions) {
    this.#options = options;
  }

  static async open(options: TrafficOptions): Promise<RoamingTraffic> {
    const traffic = new RoamingTraffic(options);
    const { regions, names } = options;
    for (const name of names) {
      const doors: TcpProxy[] = [];
      for (let index = 0; index < regions.nodes(name); index++) {
        const door = await TcpProxy.start(1);
        door.retarget(() => regions.port(name, index));
        doors.push(door);
      }
      traffic.#doors.set(name, doors);
    }
    return traffic;
  }

  /** One that is there until the end, with a session that outlives its connections. */
  client(
    region: string,
    index: number,
    role: string,
    onMessage: (topic: string, payload: Buffer) => void = () => {},
  ): Client {
    const client = new Client({
      url: `mqtt://127.0.0.1:${this.#doors.get(region)![index]!.port}`,
      clientId: `${role}-${placeOf(region, index)}-${this.#options.seed}`,
      cleanStart: false,
      properties: { sessionExpiryIntervalS: EXPIRY_S },
      reconnect: { minMs: 50, maxMs: 300, always: true },
      onMessage: ({ topic, payload }) => onMessage(topic, payload),
    });
    this.#clients.push(client);
    return client;
  }

  begin(): void {
    for (const [region, doors] of this.#doors) {
      for (const index of doors.keys()) this.#publishing.push(this.#publish(region, index));
    }
  }

  /** All that was published is acknowledged, or nobody waits for it any more. */
  async stop(): Promise<void> {
    this.#isOver = true;
    await Promise.all(this.#publishing);
  }

  async #publish(region: string, index: number): Promise<void> {
    const { ratePerS, devices, seed, ledger } = this.#options;
    const client = this.client(region, index, 'publisher');
    const place = placeOf(region, index);
    await client.connect();
    const prng = new Prng(seed * 31 + place.length + region.charCodeAt(0));
    const counts: Map<string, number> = new Map();
    const open: Set<Promise<void>> = new Set();
    while (!this.#isOver) {
      if (open.size < OPEN_MAX) {
        const qos = prng.once(2) ? 1 : 2;
        const topic = `to/${devices[prng.between(0, devices.length - 1)]}/${place}/${qos}`;
        const seq = (counts.get(topic) ?? 0) + 1;
        counts.set(topic, seq);
        ledger.sent(topic, seq, qos);
        const acked = client.publish(topic, String(seq), { qos }).then(
          () => ledger.acked(topic, seq, qos),
          () => {},
        );
        const done = acked.finally(() => open.delete(done));
        open.add(done);
      }
      await sleep(1000 / ratePerS);
    }
    await Promise.race([Promise.all(open), sleep(ANSWERED_MS)]);
  }

  async end(): Promise<void> {
    this.#isOver = true;
    await Promise.all(this.#clients.map((client) => client.destroy()));
    for (const door of [...this.#doors.values()].flat()) await door.close();
  }
}

/** A node as it is called in topics: the first one of a region like the region. */
function placeOf(region: string, index: number): string {
  return index === 0 ? region : `${region}${index + 1}`;
}

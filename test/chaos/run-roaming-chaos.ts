/**
 * Moves between two regions under traffic and kills, with books (proof 2 of the regions): publishers at all
 * their nodes, devices that go to and fro, a collector of what devices publish.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from '../../src/client/client.ts';
import { TcpProxy } from '../support/tcp-proxy.ts';
import type { MovingFault, MovingRegions } from './moving-regions.ts';
import { Prng } from './prng.ts';
import { type Leave, RoamingDevice } from './roaming-device.ts';
import { RoamingLedger, type RoamingVerdict } from './roaming-ledger.ts';

export interface RoamingChaosOptions {
  readonly regions: MovingRegions;
  readonly names: readonly [string, string];
  readonly seed: number;
  readonly moves: number;
  /** Something is killed and started again after so many moves; 0: never. */
  readonly movesPerKill: number;
  /** Of those that the regions can suffer; all unless told. */
  readonly kinds?: readonly MovingFault[] | undefined;
  readonly devices: number;
  /** Messages a second of each node's publisher. */
  readonly ratePerS: number;
  /** Devices publish, too. */
  readonly devicesPublish: boolean;
  /** A device stays so long at most between two moves. */
  readonly stayMsMax?: number | undefined;
  readonly log: (line: string) => void;
}

export interface RoamingReport extends RoamingVerdict {
  readonly seed: number;
  readonly moves: number;
  readonly refused: number;
  readonly kills: number;
  readonly slowestMs: number;
  readonly medianMs: number;
}

/** Between two moves of one device. */
const STAY_MS_MAX = 60;
const SETTLE_MS = 90_000;
const PUBLISHER_EXPIRY_S = 3600;
/** A device of a datacenter goes to another node of it as often. */
const NEXT_DOOR_ONE_IN = 5;

export async function runRoamingChaos(options: RoamingChaosOptions): Promise<RoamingReport> {
  const run = new Run(options);
  try {
    return await run.whole();
  } finally {
    await run.end();
  }
}

class Run {
  readonly #options: RoamingChaosOptions;
  readonly #prng: Prng;
  readonly #ledger: RoamingLedger = new RoamingLedger();
  /** By region, one to each node. */
  readonly #doors: Map<string, readonly TcpProxy[]> = new Map();
  readonly #publishers: Client[] = [];
  readonly #devices: RoamingDevice[] = [];
  readonly #tookMs: number[] = [];
  #moves = 0;
  #refused = 0;
  #kills = 0;
  #isPublishing = true;

  constructor(options: RoamingChaosOptions) {
    this.#options = options;
    this.#prng = new Prng(options.seed);
  }

  async whole(): Promise<RoamingReport> {
    const { regions, names, devices, seed } = this.#options;
    for (const name of names) {
      const doors: TcpProxy[] = [];
      for (let index = 0; index < regions.nodes(name); index++) {
        const door = await TcpProxy.start(1);
        door.retarget(() => regions.port(name, index));
        doors.push(door);
      }
      this.#doors.set(name, doors);
    }
    await this.#collect(names[0]);
    for (let i = 0; i < devices; i++) {
      const device = new RoamingDevice(`${seed}-${i}`, this.#ledger, new Prng(seed + i));
      this.#devices.push(device);
      await device.move(names[i % 2]!, this.#port(names[i % 2]!, this.#prng)!, 'stay');
    }
    await regions.linksUp();
    // Links have subscribed to what devices want.
    await sleep(1500);
    const publishing = [...this.#doors].flatMap(([name, doors]) =>
      doors.map((_, index) => this.#publish(name, index)),
    );
    const moving = this.#devices.map((device, i) => this.#wander(device, new Prng(seed * 7 + i)));
    const killing = this.#kill();
    await Promise.all(moving);
    this.#isPublishing = false;
    await killing;
    await Promise.all(publishing);
    for (const device of this.#devices) await this.#bringBack(device);
    await this.#settle();
    const tookMs = this.#tookMs.sort((a, b) => a - b);
    return {
      ...this.#ledger.verdict(),
      seed,
      moves: this.#moves,
      refused: this.#refused,
      kills: this.#kills,
      slowestMs: Math.round(tookMs.at(-1) ?? 0),
      medianMs: Math.round(tookMs[tookMs.length >> 1] ?? 0),
    };
  }

  /** Of some node; null: all of the region is down. */
  #port(region: string, prng: Prng): number | null {
    const ports = this.#options.regions.ports(region);
    return ports.length > 1 ? prng.pick(ports) : (ports[0] ?? null);
  }

  /** What devices publish comes to a session that stays. */
  async #collect(region: string): Promise<void> {
    const collector = this.#client(region, 0, 'collector', (topic, payload) => {
      this.#ledger.delivered('collector', topic, Number(payload.toString()), 2);
    });
    await collector.connect();
    await collector.subscribe([{ filter: 'from/#', qos: 2 }]);
  }

  #client(
    region: string,
    index: number,
    role: string,
    onMessage: (topic: string, payload: Buffer) => void = () => {},
  ): Client {
    const client = new Client({
      url: `mqtt://127.0.0.1:${this.#doors.get(region)![index]!.port}`,
      clientId: `${role}-${placeOf(region, index)}-${this.#options.seed}`,
      cleanStart: false,
      properties: { sessionExpiryIntervalS: PUBLISHER_EXPIRY_S },
      reconnect: { minMs: 50, maxMs: 300, always: true },
      onMessage: ({ topic, payload }) => onMessage(topic, payload),
    });
    this.#publishers.push(client);
    return client;
  }

  async #publish(region: string, index: number): Promise<void> {
    const { ratePerS, devices, seed } = this.#options;
    const client = this.#client(region, index, 'publisher');
    const place = placeOf(region, index);
    await client.connect();
    const prng = new Prng(seed * 31 + place.length + region.charCodeAt(0));
    const counts: Map<string, number> = new Map();
    const open: Set<Promise<void>> = new Set();
    while (this.#isPublishing) {
      if (open.size < 500) {
        const qos = prng.once(2) ? 1 : 2;
        const topic = `to/${seed}-${prng.between(0, devices - 1)}/${place}/${qos}`;
        const seq = (counts.get(topic) ?? 0) + 1;
        counts.set(topic, seq);
        const acked = client.publish(topic, String(seq), { qos }).then(
          () => this.#ledger.acked(topic, seq, qos),
          () => {},
        );
        const done = acked.finally(() => open.delete(done));
        open.add(done);
      }
      await sleep(1000 / ratePerS);
    }
    // What a killed region had not answered is answered when it is back.
    await Promise.race([Promise.all(open), sleep(20_000)]);
  }

  async #wander(device: RoamingDevice, prng: Prng): Promise<void> {
    const { regions, moves, names, devicesPublish, stayMsMax = STAY_MS_MAX } = this.#options;
    const leaves: readonly Leave[] = ['stay', 'reset', 'disconnect'];
    while (this.#moves < moves) {
      const isNextDoor =
        device.region !== null && regions.nodes(device.region) > 1 && prng.once(NEXT_DOOR_ONE_IN);
      const other = device.region === names[0] ? names[1] : names[0];
      const to = isNextDoor ? device.region! : other;
      const port = this.#port(to, prng);
      if (port === null) {
        await sleep(20);
        continue;
      }
      this.#moves++;
      if (this.#moves % 500 === 0) this.#options.log(`${this.#moves} moves`);
      const tookMs = await device.move(to, port, prng.pick(leaves));
      if (tookMs === null) this.#refused++;
      else this.#tookMs.push(tookMs);
      for (let i = devicesPublish ? prng.between(0, 3) : 0; i > 0; i--) {
        device.publish();
        await sleep(2);
      }
      await sleep(prng.between(0, stayMsMax));
    }
  }

  async #bringBack(device: RoamingDevice): Promise<void> {
    const { names } = this.#options;
    for (let tries = 0; tries < 50; tries++) {
      const region = this.#prng.pick(names);
      const port = this.#port(region, this.#prng);
      if (port !== null && (await device.move(region, port, 'reset')) !== null) return;
      await sleep(100);
    }
  }

  async #kill(): Promise<void> {
    const { movesPerKill, moves, names, regions, kinds = regions.faults, log } = this.#options;
    if (movesPerKill === 0) return;
    for (let at = movesPerKill; at < moves; at += movesPerKill) {
      while (this.#moves < at) await sleep(10);
      const name = this.#prng.pick(names);
      const fault = kinds.length > 1 ? this.#prng.pick(kinds) : kinds[0]!;
      this.#ledger.isBlind = regions.isBlinding(fault);
      this.#kills++;
      log(`kill -9 (${fault}) in ${name} after ${this.#moves} moves`);
      log(`${await regions.inflict(fault, name, this.#prng)} is back`);
      await regions.linksUp();
      this.#ledger.isBlind = false;
      log('the regions see each other');
    }
  }

  async #settle(): Promise<void> {
    const untilMs = performance.now() + SETTLE_MS;
    let quietMs = 0;
    while (performance.now() < untilMs && quietMs < 2000) {
      await sleep(100);
      quietMs = this.#ledger.missing === 0 ? quietMs + 100 : 0;
    }
  }

  async end(): Promise<void> {
    this.#isPublishing = false;
    for (const device of this.#devices) device.end();
    await Promise.all(this.#publishers.map((client) => client.destroy()));
    for (const door of [...this.#doors.values()].flat()) await door.close();
  }
}

/** A node as it is called in topics: the first one of a region like the region. */
function placeOf(region: string, index: number): string {
  return index === 0 ? region : `${region}${index + 1}`;
}

export function describeRoaming(report: RoamingReport): string {
  const { seed, moves, refused, kills, acked, delivered, lost } = report;
  const { qos2Duplicates, qos1Duplicates, outOfOrder, ownedTwice, sessionsLost } = report;
  const { slowestMs, medianMs, examples } = report;
  return [
    `seed ${seed}: ${moves} moves (${refused} refused), ${kills} kills`,
    `acked ${acked}, delivered ${delivered}, lost ${lost}`,
    `QoS 2 twice ${qos2Duplicates}, QoS 1 twice ${qos1Duplicates}, out of order ${outOfOrder}`,
    `doubly owned ${ownedTwice}, sessions lost ${sessionsLost}`,
    `CONNACK after ${medianMs} ms (median), ${slowestMs} ms at most`,
    ...examples.map((example) => `  ${example}`),
  ].join('\n');
}

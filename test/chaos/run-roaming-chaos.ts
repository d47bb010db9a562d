/**
 * Moves between regions under traffic and kills, with books (proof 2 of the regions): publishers at all
 * their nodes, devices that go from one to another, a collector of what devices publish.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { MovingFault, MovingRegions } from './moving-regions.ts';
import { Prng } from './prng.ts';
import { type Leave, RoamingDevice } from './roaming-device.ts';
import { type Fork, RoamingLedger, type RoamingVerdict } from './roaming-ledger.ts';
import { RoamingTraffic } from './roaming-traffic.ts';

export interface RoamingChaosOptions {
  readonly regions: MovingRegions;
  readonly names: readonly string[];
  /** Devices go among these; unless told, among all. */
  readonly visited?: readonly string[] | undefined;
  readonly seed: number;
  readonly moves: number;
  /** Something is killed and started again after so many moves; 0: never. */
  readonly movesPerKill: number;
  /** Of those that the regions can suffer; all unless told. */
  readonly kinds?: readonly MovingFault[] | undefined;
  readonly devices: number;
  /** So many more come one after the other, and go on at once. */
  readonly newcomers?: number | undefined;
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
  /** 99 of 100 took no longer. */
  readonly p99Ms: number;
}

/** Between two moves of one device. */
const STAY_MS_MAX = 60;
/** Moves that take longer are told of. */
const SLOW_MS = 1000;
const SETTLE_MS = 90_000;
/** Links have subscribed to what a device wants. */
const LINKED_MS = 1500;
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
  readonly #devices: RoamingDevice[] = [];
  readonly #tookMs: number[] = [];
  #traffic: RoamingTraffic | null = null;
  #moves = 0;
  #refused = 0;
  #kills = 0;
  #isOver = false;

  constructor(options: RoamingChaosOptions) {
    this.#options = options;
    this.#prng = new Prng(options.seed);
  }

  async whole(): Promise<RoamingReport> {
    const { regions, names, devices, seed, ratePerS } = this.#options;
    const { visited = names } = this.#options;
    const ids = Array.from({ length: devices }, (_, i) => `${seed}-${i}`);
    this.#traffic = await RoamingTraffic.open({
      ...{ regions, names, seed, ratePerS },
      devices: ids,
      ledger: this.#ledger,
    });
    this.#ledger.onFork = (id, fork) => void this.#rejoined(id, fork);
    await this.#collect(names[0]!);
    for (const [i, id] of ids.entries()) {
      const device = new RoamingDevice(id, this.#ledger, new Prng(seed + i));
      this.#devices.push(device);
      const region = visited[i % visited.length]!;
      await device.move(region, this.#port(region, this.#prng)!, 'stay');
    }
    await regions.linksUp();
    await sleep(LINKED_MS);
    this.#traffic.begin();
    const moving = this.#devices.map((device, i) => this.#wander(device, new Prng(seed * 7 + i)));
    const killing = this.#kill();
    await this.#welcome(ids, moving);
    await Promise.all(moving);
    const stopping = this.#traffic.stop();
    await killing;
    await stopping;
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
      p99Ms: Math.round(tookMs[Math.floor(tookMs.length * 0.99)] ?? 0),
    };
  }

  /** Devices that come while the others move; somebody publishes to each once that is owed to it. */
  async #welcome(ids: string[], moving: Promise<void>[]): Promise<void> {
    const { newcomers = 0, moves, seed, names, visited = names } = this.#options;
    const first = ids.length;
    for (let i = first; i < first + newcomers; i++) {
      while (this.#moves < ((i - first) * moves) / newcomers) await sleep(10);
      const id = `${seed}-${i}`;
      const device = new RoamingDevice(id, this.#ledger, new Prng(seed + i));
      const port = this.#port(visited[i % visited.length]!, this.#prng);
      if (port === null) continue;
      this.#devices.push(device);
      await device.move(visited[i % visited.length]!, port, 'stay');
      moving.push(this.#wander(device, new Prng(seed * 7 + i)));
      void this.#known(device).then(() => ids.push(id));
    }
  }

  /** It has subscribed anew, and the regions have told each other. */
  async #rejoined(id: string, fork: Fork): Promise<void> {
    await this.#known(this.#devices.find((one) => one.id === id)!);
    if (fork.toMs === Number.POSITIVE_INFINITY)
      fork.toMs = performance.timeOrigin + performance.now();
  }

  /** A region that is dead, or has just come back, has not heard what is wanted of it. */
  async #known(device: RoamingDevice): Promise<void> {
    while (!this.#isOver) {
      await sleep(10);
      if (!device.isSubscribed || this.#ledger.isBlind) continue;
      const kills = this.#kills;
      const isLinked = await this.#options.regions.linksUp().then(
        () => true,
        () => false,
      );
      if (isLinked) await sleep(LINKED_MS);
      if (isLinked && device.isSubscribed && kills === this.#kills) return;
    }
  }

  /** Of some node; null: all of the region is down. */
  #port(region: string, prng: Prng): number | null {
    const ports = this.#options.regions.ports(region);
    return ports.length > 1 ? prng.pick(ports) : (ports[0] ?? null);
  }

  /** What devices publish comes to a session that stays. */
  async #collect(region: string): Promise<void> {
    const collector = this.#traffic!.client(region, 0, 'collector', (topic, payload) => {
      this.#ledger.delivered('collector', topic, Number(payload.toString()), 2);
    });
    await collector.connect();
    await collector.subscribe([{ filter: 'from/#', qos: 2 }]);
  }

  async #wander(device: RoamingDevice, prng: Prng): Promise<void> {
    const { regions, moves, names, devicesPublish, stayMsMax = STAY_MS_MAX } = this.#options;
    const { visited = names, log } = this.#options;
    const leaves: readonly Leave[] = ['stay', 'reset', 'disconnect'];
    while (this.#moves < moves) {
      const from = device.region;
      const isNextDoor = from !== null && regions.nodes(from) > 1 && prng.once(NEXT_DOOR_ONE_IN);
      const others = visited.filter((region) => region !== from);
      const to = isNextDoor ? from : others.length > 1 ? prng.pick(others) : others[0]!;
      const port = this.#port(to, prng);
      if (port === null) {
        await sleep(20);
        continue;
      }
      this.#moves++;
      if (this.#moves % 500 === 0) log(`${this.#moves} moves`);
      const tookMs = await device.move(to, port, prng.pick(leaves));
      if (tookMs === null) this.#refused++;
      else this.#tookMs.push(tookMs);
      if (tookMs !== null && tookMs > SLOW_MS) {
        log(`${device.id} from ${from} to ${to} after ${Math.round(tookMs)} ms`);
      }
      for (let i = devicesPublish ? prng.between(0, 3) : 0; i > 0; i--) {
        device.publish();
        await sleep(2);
      }
      await sleep(prng.between(0, stayMsMax));
    }
  }

  async #bringBack(device: RoamingDevice): Promise<void> {
    const { names, visited = names } = this.#options;
    for (let tries = 0; tries < 50; tries++) {
      const region = this.#prng.pick(visited);
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
    this.#isOver = true;
    for (const device of this.#devices) device.end();
    await this.#traffic?.end();
  }
}

export function describeRoaming(report: RoamingReport): string {
  const { seed, moves, refused, kills, acked, delivered, lost } = report;
  const { qos2Duplicates, qos1Duplicates, outOfOrder, ownedTwice, sessionsLost } = report;
  const { sessionsUnknown, notOwed, repeatsExcused } = report;
  const { slowestMs, medianMs, p99Ms, examples } = report;
  return [
    `seed ${seed}: ${moves} moves (${refused} refused), ${kills} kills`,
    `acked ${acked}, delivered ${delivered}, lost ${lost}`,
    `QoS 2 twice ${qos2Duplicates}, QoS 1 twice ${qos1Duplicates}, out of order ${outOfOrder}`,
    `doubly owned ${ownedTwice}, sessions lost ${sessionsLost}`,
    `not promised: sessions ${sessionsUnknown}, messages ${notOwed}, repeats ${repeatsExcused}`,
    `CONNACK after ${medianMs} ms (median), ${p99Ms} ms (p99), ${slowestMs} ms at most`,
    ...examples.map((example) => `  ${example}`),
  ].join('\n');
}

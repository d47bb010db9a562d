/**
 * P2, tried again and again in a run: a client subscribes to a filter nobody had, and at its SUBACK
 * another one publishes to it at another node. That node says in its PUBACK whether anything matched,
 * and the message has to come. Used by cluster-run.ts.
 */
import type { Prng } from '../chaos/prng.ts';
import type { Kernel } from './kernel.ts';
import { SimClient } from './sim-client.ts';
import type { SimLife, SimMachine, SimSite } from './sim-site.ts';

const EVERY_MS: readonly [number, number] = [50, 400];
const NO_MATCHING_SUBSCRIBERS = 0x10;
/** As fast as anything can be: what was to be told must have been told before. */
const DELAY_MS = 0.01;
const TRIALS_MAX = 60;
/** Digests travel with every heartbeat; a node that is just joining has none to compare. */
const REPAIR_MS = 3000;

export interface ProbeOptions {
  readonly probeEveryMs?: readonly [min: number, max: number];
  readonly probesMax?: number;
}

interface Trial {
  readonly number: number;
  readonly isDurable: boolean;
  readonly subscriber: SimClient;
  readonly at: SimLife;
  readonly atIncarnation: string;
  by: SimLife | null;
  byIncarnation: string;
  publishedMs: number;
  /** Of the PUBACK; -1: none came. */
  reasonCode: number;
}

/** One at each machine, connected while its node is ready. */
interface Speaker {
  readonly machine: SimMachine;
  readonly client: SimClient;
  life: SimLife | null;
  readonly waiting: Map<number, Trial>;
}

export class SubackProbes {
  /** Of which a PUBACK came. */
  answered = 0;
  readonly #kernel: Kernel;
  readonly #site: SimSite;
  readonly #plan: Prng;
  readonly #everyMs: readonly [number, number];
  readonly #trialsMax: number;
  readonly #speakers: Speaker[];
  readonly #trials: Trial[] = [];
  #isOver = false;

  constructor(kernel: Kernel, site: SimSite, plan: Prng, options: ProbeOptions = {}) {
    this.#everyMs = options.probeEveryMs ?? EVERY_MS;
    this.#trialsMax = options.probesMax ?? TRIALS_MAX;
    this.#kernel = kernel;
    this.#site = site;
    this.#plan = plan;
    this.#speakers = site.machines.map((machine) => {
      const client = new SimClient(site, `probe-at-${machine.name}`, DELAY_MS);
      const speaker: Speaker = { machine, client, life: null, waiting: new Map() };
      client.onPacket = ({ type, packetId, reasonCode }) => {
        if (type !== 'PUBACK') return;
        const trial = speaker.waiting.get(packetId);
        if (trial === undefined) return;
        speaker.waiting.delete(packetId);
        trial.reasonCode = reasonCode;
        this.answered++;
      };
      return speaker;
    });
  }

  begin(): void {
    this.#kernel.after(null, this.#plan.between(...this.#everyMs), () => {
      if (this.#isOver) return;
      this.begin();
      for (const speaker of this.#speakers) this.#connect(speaker);
      if (this.#trials.length < this.#trialsMax) this.#try();
    });
  }

  /** No new ones. */
  end(): void {
    this.#isOver = true;
  }

  #connect(speaker: Speaker): void {
    const { life } = speaker.machine;
    if (life === null || !life.isReady || speaker.client.isOpen) return;
    speaker.life = life;
    speaker.waiting.clear();
    speaker.client.connect(speaker.machine, { cleanStart: true, expiryS: 0 });
  }

  #try(): void {
    const { ready } = this.#site;
    if (ready.length < 2) return;
    const at = this.#plan.pick(ready);
    const machine = this.#site.machines.find(({ life }) => life === at)!;
    const number = this.#trials.length + 1;
    const isDurable = this.#plan.once(2);
    const subscriber = new SimClient(this.#site, `probe-${number}`, DELAY_MS);
    const trial: Trial = {
      number,
      isDurable,
      subscriber,
      at,
      atIncarnation: at.membership.incarnation,
      by: null,
      byIncarnation: '',
      publishedMs: 0,
      reasonCode: -1,
    };
    this.#trials.push(trial);
    subscriber.onPacket = ({ type, reasonCode }) => {
      if (type === 'CONNACK' && reasonCode === 0) subscriber.subscribe(`probe/${number}/+`, 1);
      else if (type === 'CONNACK') subscriber.cut();
      else if (type === 'SUBACK') this.#subscribed(trial);
    };
    subscriber.connect(machine, { cleanStart: true, expiryS: isDurable ? 3600 : 0 });
  }

  #subscribed(trial: Trial): void {
    const able = this.#speakers.filter(
      ({ life, machine, client }) =>
        life !== null &&
        life === machine.life &&
        life !== trial.at &&
        life.isReady &&
        client.isOpen &&
        client.connack?.reasonCode === 0,
    );
    if (able.length === 0) return;
    const speaker = this.#plan.pick(able);
    trial.by = speaker.life;
    trial.publishedMs = this.#kernel.nowMs;
    trial.byIncarnation = speaker.life!.membership.incarnation;
    const packetId = speaker.client.publish(`probe/${trial.number}/x`, `${trial.number}`, 1);
    speaker.waiting.set(packetId, trial);
  }

  /**
   * When all has settled: what did not come though it had to. `hasLostData`: Redis has; `driftsMs`: when
   * nodes were made to forget what they knew of each other.
   */
  missed(hasLostData: boolean, driftsMs: readonly number[]): string[] {
    const missed: string[] = [];
    for (const trial of this.#trials) {
      const { number, isDurable, subscriber, at, by, reasonCode, publishedMs } = trial;
      if (by === null || reasonCode === -1) continue;
      if (driftsMs.some((ms) => publishedMs >= ms && publishedMs < ms + REPAIR_MS)) continue;
      const names = `probe ${number} at ${at.node.name}, published at ${by.node.name}`;
      const isThere = subscriber.isOpen && at.membership.incarnation === trial.atIncarnation;
      if (reasonCode === NO_MATCHING_SUBSCRIBERS) {
        // Without its node's life a subscription of a connection is void.
        if (isThere || (isDurable && !hasLostData)) missed.push(`${names}: nothing matched`);
        continue;
      }
      const count = subscriber.taken.length;
      // Published once, on connections that lasted: nothing repeats it but links and queues.
      if (count > 1 && !hasLostData) missed.push(`${names}: came ${count} times`);
      if (!isThere || reasonCode !== 0 || count > 0) continue;
      const isHandedOver =
        by.node.isAlive &&
        by.membership.incarnation === trial.byIncarnation &&
        by.cluster.counters.linkLostMessages === 0;
      if (isDurable ? !hasLostData : isHandedOver) missed.push(`${names}: never came`);
    }
    return missed;
  }

  get clients(): readonly SimClient[] {
    return [
      ...this.#speakers.map(({ client }) => client),
      ...this.#trials.map(({ subscriber }) => subscriber),
    ];
  }
}

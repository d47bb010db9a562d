/**
 * What befalls a simulated datacenter: each fault by name, with what the seed decides of it. When the
 * store loses data it tells the books what may be missing. Used by cluster-run.ts.
 */

import { FrameType } from '../../src/cluster/ports.ts';
import { MessageMemory } from '../../src/store/embedded/message-codec.ts';
import { decodeEntry } from '../../src/store/redis/entry-codec.ts';
import type { Ledger } from '../chaos/ledger.ts';
import type { Prng } from '../chaos/prng.ts';
import { readPayload } from '../chaos/stage.ts';
import type { Kernel } from './kernel.ts';
import type { SimMachine, SimSite } from './sim-site.ts';

/** Nothing acked may be lost by any of these. */
export const safeFaults = [
  'kill',
  'pause',
  'suspend',
  'restart',
  'all_down',
  'redis_down',
  'redis_away',
  'redis_slow',
  'redis_replies',
  'redis_readonly',
  'redis_oom',
  'failover',
  'link_block',
  'link_cut',
  'link_stall',
  'clock_jump',
  'clock_rate',
  'drift',
  'storm',
] as const;

/** Redis loses what it had: what was queued only there may be missing, and is counted. */
export const lossyFaults = ['redis_flush', 'redis_empty'] as const;

/** Only for who names them: what seeds mean stays what it was. */
export const namedFaults = ['redis_kills'] as const;

export type SimFault = (typeof safeFaults | typeof lossyFaults | typeof namedFaults)[number];
export const simFaults: readonly SimFault[] = [...safeFaults, ...lossyFaults];

/** What must be known before the run begins: `failover` needs a Redis that remembers. */
export const FAILOVER_HISTORY_MS = 2000;
const REPLICA_MS: readonly [number, number] = [1, 40];
/** Functions whose first write may need memory. */
const HUNGRY = [
  'session_open_1',
  'session_save_1',
  'session_inbound_1',
  'session_append_1',
  'session_assert_1',
  'index_add_1',
  'due_add_1',
  'node_join_1',
  'node_renew_1',
];
/** What durable sessions are owed does not hang on these: until they are repaired nothing is lost. */
const DRIFTING: ReadonlySet<number> = new Set([FrameType.INTEREST, FrameType.GROUP]);

export interface FaultParts {
  readonly kernel: Kernel;
  readonly site: SimSite;
  readonly plan: Prng;
  readonly ledger: Ledger;
  /** Publishers hand over so many messages at once. */
  readonly storm: (messages: number) => void;
}

export class ClusterFaults {
  /** In words, for the report. */
  readonly happened: string[] = [];
  /** Redis has lost data: how often. */
  losses = 0;
  /** When all that was inflicted is over, virtual ms. */
  overMs = 0;
  /** When a frame was swallowed, virtual ms. */
  readonly driftsMs: number[] = [];
  readonly #parts: FaultParts;

  constructor(parts: FaultParts) {
    this.#parts = parts;
  }

  inflict(fault: SimFault): void {
    const { kernel, site, plan } = this.#parts;
    const machine = plan.pick(site.machines);
    const forMs = plan.between(50, 6000);
    // Nodes are stopped for twice as long.
    this.overMs = Math.max(this.overMs, kernel.nowMs + forMs * 2);
    this.happened.push(`${fault} ${machine.name} ${forMs} ms at ${Math.round(kernel.nowMs)}`);
    kernel.trace(null, `FAULT ${this.happened.at(-1)}`);
    if (fault.startsWith('redis_') || fault === 'failover') this.#redis(fault, machine, forMs);
    else if (fault.startsWith('link_')) this.#link(fault, machine, forMs);
    else this.#node(fault, machine, forMs);
  }

  // ------------------------------------------------------------------------------ nodes

  #node(fault: SimFault, machine: SimMachine, forMs: number): void {
    const { kernel, site, plan } = this.#parts;
    const { life } = machine;
    switch (fault) {
      case 'kill':
        this.#kill(machine, forMs);
        break;
      case 'all_down':
        for (const one of site.machines) this.#kill(one, plan.between(50, forMs));
        break;
      case 'restart':
        this.#restart(machine);
        break;
      case 'pause':
        if (life !== null) kernel.pause(life.node, forMs * 2);
        break;
      case 'suspend':
        if (life !== null) kernel.suspend(life.node, forMs * 2);
        break;
      case 'clock_jump':
        // Somebody sets it back, or NTP finds out how wrong it was.
        life?.node.clock.jumpWall(plan.between(-20_000, 20_000));
        break;
      case 'clock_rate':
        if (life === null) break;
        life.node.clock.rate = 1 + plan.between(-40, 40) / 1000;
        kernel.after(null, forMs, () => {
          life.node.clock.rate = 1;
        });
        break;
      case 'drift':
        this.#drift(machine);
        break;
      default:
        this.#parts.storm(plan.between(10, 40));
    }
  }

  #kill(machine: SimMachine, forMs: number): void {
    const { kernel, site } = this.#parts;
    site.kill(machine);
    kernel.after(null, forMs, () => {
      if (machine.life === null) site.start(machine);
    });
  }

  #restart(machine: SimMachine): void {
    const { kernel, site } = this.#parts;
    const { life } = machine;
    if (life === null) return;
    life.isReady = false;
    life.broker.drain({ clientsPerS: 1000, serverReference: null }, () => {});
    kernel.after(life.node, 500, () =>
      life.cluster.stop(() => {
        kernel.after(null, 0, () => {
          if (machine.life !== life) return;
          site.kill(machine);
          site.start(machine);
        });
      }),
    );
  }

  /** What a peer announces next is acked by the link, and never applied. */
  #drift(machine: SimMachine): void {
    const { life } = machine;
    if (life === null) return;
    let left = this.#parts.plan.between(1, 3);
    life.swallows = (_from, type) => {
      if (!DRIFTING.has(type)) return false;
      this.driftsMs.push(this.#parts.kernel.nowMs);
      left--;
      if (left === 0) life.swallows = null;
      return true;
    };
  }

  // ------------------------------------------------------------------------------ Redis

  #redis(fault: SimFault, { life }: SimMachine, forMs: number): void {
    const { kernel, plan } = this.#parts;
    const { redis } = this.#parts.site;
    switch (fault) {
      case 'redis_down':
        if (redis.isDown) break;
        redis.down();
        kernel.after(null, forMs, () => redis.up(true));
        break;
      case 'redis_kills':
        this.#killRedis(plan.between(2, 4));
        break;
      case 'redis_empty':
        if (redis.isDown) break;
        redis.down();
        kernel.after(null, forMs, () => {
          this.#dataLost();
          redis.up(false);
        });
        break;
      case 'redis_flush':
        this.#dataLost();
        redis.flushAll();
        break;
      case 'redis_away':
        life?.redis.partition();
        kernel.after(null, forMs, () => life?.redis.heal());
        break;
      case 'redis_slow':
        redis.slow(plan.between(5, 200));
        kernel.after(null, forMs, () => redis.slow(0));
        break;
      case 'redis_replies':
        life?.redis.loseReplies(plan.between(1, 20));
        break;
      case 'redis_readonly':
        redis.refuse('READONLY');
        kernel.after(null, forMs, () => redis.refuse(null));
        break;
      case 'redis_oom':
        redis.refuse('OOM', HUNGRY);
        kernel.after(null, forMs, () => redis.refuse(null));
        break;
      default:
        if (!redis.isDown) redis.rollBack(plan.between(0, redis.replicaMs));
    }
  }

  /**
   * kill -9 of a Redis that syncs each write, some times in a row: what it had executed is there again, also
   * what it had not answered; nodes find it again one after the other.
   */
  #killRedis(left: number): void {
    const { kernel, plan } = this.#parts;
    const { redis } = this.#parts.site;
    if (redis.isDown) return;
    redis.spreadMs = 1000;
    redis.down();
    kernel.after(null, plan.between(0, 1000), () => {
      redis.up(true);
      if (left > 1) kernel.after(null, plan.between(100, 700), () => this.#killRedis(left - 1));
      else redis.spreadMs = 0;
    });
  }

  /** What is in the queues now is nowhere else. */
  #dataLost(): void {
    const { ledger, site } = this.#parts;
    this.losses++;
    ledger.storeLost();
    const memory = new MessageMemory();
    for (const [key, value] of site.redis.db.values()) {
      if (!key.endsWith('}:q') || value.type !== 'list') continue;
      const clientId = key.slice(key.indexOf('{') + 1, -3);
      // Index 0 is a placeholder, and may still have what it was.
      for (const text of value.list.slice(1)) {
        if (text === '') continue;
        const { entry } = decodeEntry(Buffer.from(text, 'latin1'), 1, memory);
        const group = entry.sharedFilter?.split('/')[1];
        const { stream, seq } = readPayload(entry.message.payload);
        if (!Number.isInteger(stream)) continue;
        ledger.mayMiss(group === undefined ? clientId : `group ${group}`, stream, seq);
      }
    }
  }

  /** How long answers wait for replicas in a run with failovers. */
  static replicaMs(plan: Prng): number {
    return plan.between(...REPLICA_MS);
  }

  // ------------------------------------------------------------------------------ links

  #link(fault: SimFault, machine: SimMachine, forMs: number): void {
    const { kernel, plan } = this.#parts;
    const { machines, network } = this.#parts.site;
    const other = plan.pick(machines);
    if (other === machine) return;
    switch (fault) {
      case 'link_block':
        network.block(machine.address, other.address);
        if (plan.once(2)) network.block(other.address, machine.address);
        kernel.after(null, forMs, () => network.unblockAll());
        break;
      case 'link_stall':
        network.stall(machine.address, other.address, forMs / 4, plan.once(2));
        break;
      default:
        network.cut(machine.address, other.address, plan.pick(['both', 'half', 'silent'] as const));
    }
  }

  /** Nothing stays broken: the run comes to its end. */
  heal(): void {
    for (const { life } of this.#parts.site.machines) if (life !== null) life.swallows = null;
  }
}

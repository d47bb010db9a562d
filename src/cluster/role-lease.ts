/**
 * Named roles that one node of the datacenter has at a time, each time under a higher epoch (core Lease):
 * taken in Redis by a member, kept for as long as that incarnation lives, and had only while it may serve.
 * Driven by the bus; asks membership who and whether it is.
 */
import type { Incarnation } from '../core/cluster-ports.ts';
import type { Lease, Scheduler } from '../core/ports.ts';
import type { RedisPort } from '../drivers/redis/redis-port.ts';
import { type NodeKeys, nodeKeys, roleCall, roleTake } from './node-functions.ts';
import type { Membership } from './ports.ts';

interface Role {
  epoch: number;
  /** The life under which it was taken. */
  incarnation: Incarnation;
  isAsked: boolean;
  /** It is not asked for so many times. */
  rests: number;
  /** Answers since one that gave it: what Redis says once it is empty comes before this node knows why. */
  misses: number;
}

/** Until whoever had a role has seen that Redis is empty, too. */
const RESTS = 4;

export class RoleLease implements Lease {
  readonly #membership: Pick<Membership, 'incarnation' | 'state' | 'mayServe'>;
  readonly #redis: RedisPort;
  readonly #keys: NodeKeys;
  readonly #roles: Map<string, Role> = new Map();
  readonly #stop: () => void;
  /** Answers to what was asked before Redis was emptied mean nothing. */
  #era = 0;

  /** `intervalMs`: how often a role that is wanted is asked for, or confirmed. */
  constructor(
    membership: Pick<Membership, 'incarnation' | 'state' | 'mayServe'>,
    redis: RedisPort,
    scheduler: Scheduler,
    prefix: string,
    intervalMs: number,
  ) {
    this.#membership = membership;
    this.#redis = redis;
    this.#keys = nodeKeys(prefix);
    this.#stop = scheduler.every(intervalMs, () => this.#tick());
  }

  /** From now on this node takes the role when it is free. Roles are few, and named in the code. */
  want(role: string): void {
    if (this.#roles.has(role)) return;
    this.#roles.set(role, { epoch: 0, incarnation: '', isAsked: false, rests: 0, misses: RESTS });
    this.#tick();
  }

  held(role: string): boolean {
    return this.epoch(role) > 0;
  }

  /** 0: it is not had here. */
  epoch(role: string): number {
    return this.#membership.mayServe() ? this.keptEpoch(role) : 0;
  }

  /** The same, also while this node may not serve: nobody else gets the role as long as this life of it lasts. */
  keptEpoch(role: string): number {
    const own = this.#roles.get(role);
    if (own === undefined || own.incarnation !== this.#membership.incarnation) return 0;
    return own.epoch;
  }

  /**
   * Redis came back empty: whoever asks first has it, under a higher epoch. Who had it comes first, as it
   * has in memory what it had kept there (names of messages of links, docs/adr/0022).
   */
  emptied(): void {
    this.#era++;
    for (const role of this.#roles.values()) {
      role.rests = role.misses < RESTS ? 0 : RESTS;
      role.epoch = 0;
      role.isAsked = false;
    }
    this.#tick();
  }

  /** A member is gone: what it had is free. */
  freed(): void {
    if (this.#membership.state !== 'ready') return;
    for (const [name, role] of this.#roles) {
      if (!role.isAsked && role.rests <= 0 && role.epoch === 0) this.#ask(name, role);
    }
  }

  stop(): void {
    this.#stop();
    this.#roles.clear();
    this.#era++;
  }

  #tick(): void {
    if (this.#membership.state !== 'ready') {
      // Somebody else has them meanwhile.
      for (const role of this.#roles.values()) role.misses = RESTS;
      return;
    }
    for (const [name, role] of this.#roles) {
      if (role.isAsked || role.rests-- > 0) continue;
      role.rests = 0;
      this.#ask(name, role);
    }
  }

  #ask(name: string, role: Role): void {
    const { incarnation } = this.#membership;
    const era = this.#era;
    role.isAsked = true;
    const { keys, args } = roleCall(this.#keys, name, incarnation);
    this.#redis.call(roleTake, keys, args, (failure, reply) => {
      if (era !== this.#era) return;
      role.isAsked = false;
      // No answer says nothing new: what a living member has nobody else gets.
      if (failure !== null) return;
      role.epoch = Number(reply);
      role.misses = role.epoch > 0 ? 0 : role.misses + 1;
      role.incarnation = incarnation;
    });
  }
}

/** Alone there is nobody to share a role with. */
export const aloneLease: Lease = {
  held: () => true,
  epoch: () => 1,
};

/**
 * Whether nodes of a datacenter run: they learn of sessions when they start and from one another, so none
 * may run while sessions come from elsewhere. A node that was killed stays listed; who lives is told by
 * its counter (ADR 0010). Used by promote.ts.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { nodeKeys } from '../../cluster/node-functions.ts';
import type { RedisPort } from '../../drivers/redis/redis-port.ts';
import { MigrationError } from './migration.ts';
import { membersCall, membersReply, promoteMembers, type SeenMember } from './promote-functions.ts';
import { askRedis } from './redis-target.ts';

const LOOK_MS = 100;
/** What a node may be late beyond its lease. */
const MARGIN_MS = 1000;

export class MembersWatch {
  readonly #redis: RedisPort;
  readonly #prefix: string;
  readonly #leaseMs: number;
  /** Counters of nodes that were silent for longer than a lease. */
  #dead: ReadonlyMap<string, number> = new Map();

  constructor(redis: RedisPort, prefix: string, leaseMs: number) {
    this.#redis = redis;
    this.#prefix = prefix;
    this.#leaseMs = leaseMs;
  }

  /** Throws a MigrationError that names them. */
  async expectNobody(): Promise<void> {
    const first = await this.#list();
    const counters = new Map(first.map(({ incarnation, counter }) => [incarnation, counter]));
    const endMs = performance.now() + this.#leaseMs + MARGIN_MS;
    let listed = first;
    // The first beat seen refuses; the others have until the end to be named beside it.
    const alive = new Map<string, SeenMember>();
    while (
      alive.size > 0 ||
      !listed.every((one) => this.#dead.get(one.incarnation) === one.counter)
    ) {
      for (const one of listed) {
        if (counters.get(one.incarnation) !== one.counter) alive.set(one.incarnation, one);
      }
      const isOver = performance.now() >= endMs;
      if (alive.size > 0 && (isOver || listed.every((one) => alive.has(one.incarnation)))) {
        throw running([...alive.values()]);
      }
      if (isOver) {
        this.#dead = counters;
        return;
      }
      await delay(LOOK_MS);
      listed = await this.#list();
    }
  }

  #list(): Promise<SeenMember[]> {
    const call = membersCall(nodeKeys(this.#prefix));
    return askRedis(this.#redis, promoteMembers, call, membersReply);
  }
}

function running(members: readonly SeenMember[]): MigrationError {
  const names = [...new Set(members.map(({ nodeId }) => nodeId))].sort().join(', ');
  return new MigrationError(
    `nodes of the datacenter are running (${names}): they would put nothing into the queues of ` +
      'sessions that come now; stop them, run promote, and start them again',
  );
}

/**
 * One seed of membership: random faults over a simulated datacenter, then rest, in which all must come
 * together again. `runSeed` throws a SimulationFailure that says how. Used by membership.test.ts and
 * membership-run.ts.
 */
import { type Machine, MembershipWorld, type WorldOptions } from './membership-world.ts';

/** After the last fault all who run are ready members of each other within so long. */
export const SETTLE_MS = 20_000;
const FAULTS_FROM_MS = 6000;
const FAULTS_MS = 40_000;

export interface SeedResult {
  readonly counts: ReadonlyMap<string, number>;
  readonly settledMs: number;
  readonly events: number;
}

export function runSeed(seed: number, options: WorldOptions = {}): SeedResult {
  const nodes = 2 + (seed % 4);
  const world = new MembershipWorld(seed, nodes, options);
  const faults = new Faults(world);
  // Now and then faults begin before the nodes have found each other.
  world.run(world.kernel.chance.next() < 0.8 ? FAULTS_FROM_MS : 100);
  faults.begin(world.kernel.nowMs + FAULTS_MS);
  world.run(FAULTS_MS);
  faults.end();
  // Who was stopped has to find out first what it has missed.
  world.run(500);
  const settledMs = world.settle(SETTLE_MS) + 500;
  world.run(5000);
  world.settle(0);
  return { counts: world.counts, settledMs, events: world.kernel.steps };
}

class Faults {
  readonly #world: MembershipWorld;
  #untilMs = 0;
  #partitions = 0;
  #cuts = 0;
  /** Undo what is still broken. */
  readonly #repairs: Set<() => void> = new Set();

  constructor(world: MembershipWorld) {
    this.#world = world;
  }

  begin(untilMs: number): void {
    this.#untilMs = untilMs;
    this.#next();
  }

  /** Everything that was broken works again. */
  end(): void {
    for (const repair of [...this.#repairs]) repair();
    for (const machine of this.#world.machines) {
      if (machine.process.isRunning) this.#world.kernel.resume(machine.process.node);
      else this.#world.restart(machine);
    }
  }

  #next(): void {
    const { kernel } = this.#world;
    // Faults come in clusters: one of them alone is easily borne.
    const pauseMs = kernel.chance.next() < 0.5 ? 200 : 6000;
    kernel.after(null, kernel.chance.next() * pauseMs, () => {
      if (kernel.nowMs >= this.#untilMs) return;
      this.#one();
      this.#next();
    });
  }

  #one(): void {
    const world = this.#world;
    const { kernel, redis } = world;
    const { chance } = kernel;
    const machine = world.machines[chance.below(world.machines.length)]!;
    const other = world.machines[chance.below(world.machines.length)]!;
    const { node } = machine.process;
    switch (chance.below(17)) {
      case 0:
      case 1:
        this.#kill(machine, 5000 * chance.next());
        break;
      case 2:
      case 3:
        kernel.pause(node, this.#spanMs(100, 30_000));
        break;
      case 4:
        kernel.suspend(node, this.#spanMs(200, 20_000));
        break;
      case 5:
        // Set back in its sleep by as much as it slept, a clock tells nobody: not survived (ADR 0010).
        if (node.pausedUntilMs >= 0) break;
        kernel.trace(node, 'wall clock jumps');
        node.clock.jumpWall((chance.next() - 0.5) * 20_000);
        break;
      case 6:
      case 7:
        this.#leave(machine);
        break;
      case 8:
        if (redis.isDown || this.#partitions > 0) break;
        kernel.trace(null, 'Redis down');
        redis.down();
        this.#later(this.#spanMs(50, 15_000), () => {
          const keepsData = chance.next() < 0.6;
          kernel.trace(null, `Redis up${keepsData ? '' : ', empty'}`);
          redis.up(keepsData);
        });
        break;
      case 9:
        if (this.#partitions > 0) break;
        kernel.trace(null, 'FLUSHALL');
        redis.flushAll();
        break;
      case 10:
        this.#partition(chance.next() < 0.3 ? world.machines : [machine, other]);
        break;
      case 11:
        kernel.trace(node, 'loses replies');
        machine.process.redis.loseReplies(1 + chance.below(3));
        break;
      case 12: {
        const ms = this.#spanMs(50, 800);
        kernel.trace(null, `Redis slow by ${Math.round(ms)} ms`);
        redis.slow(ms);
        this.#later(this.#spanMs(500, 8000), () => redis.slow(0));
        break;
      }
      case 13:
        kernel.trace(null, 'Redis read-only');
        redis.refuse('READONLY');
        this.#later(this.#spanMs(100, 8000), () => redis.refuse(null));
        break;
      case 14:
      case 15:
        this.#reset(machine, other);
        break;
      default:
        this.#cut(machine, other);
    }
  }

  /** Short more often than long. */
  #spanMs(minMs: number, maxMs: number): number {
    const draw = this.#world.kernel.chance.next();
    return minMs + draw * draw * (maxMs - minMs);
  }

  #later(ms: number, repair: () => void): void {
    const once = (): void => {
      if (this.#repairs.delete(once)) repair();
    };
    this.#repairs.add(once);
    this.#world.kernel.after(null, ms, once);
  }

  #kill(machine: Machine, downMs: number): void {
    if (!machine.process.isRunning) return;
    this.#world.kill(machine);
    this.#later(downMs, () => {
      if (!machine.process.isRunning) this.#world.restart(machine);
    });
  }

  #leave(machine: Machine): void {
    const { process } = machine;
    const { kernel } = this.#world;
    if (!process.isRunning || process.node.pausedUntilMs >= 0) return;
    kernel.after(process.node, 0, () => {
      if (process.hasLeft) return;
      process.leave(() => {
        if (machine.process === process) this.#world.kill(machine);
      });
    });
    this.#later(4000 + 4000 * kernel.chance.next(), () => {
      if (process.isRunning || machine.process !== process) return;
      this.#world.kill(machine);
      this.#world.restart(machine);
    });
  }

  #partition(machines: readonly Machine[]): void {
    const world = this.#world;
    const isPartial = machines.length < world.machines.length;
    // What no rule survives (ADR 0010): a newcomer alone has Redis, and nobody and nothing tells it of
    // the others that have none: neither Redis, which was emptied, nor a link.
    if (isPartial && (this.#cuts > 0 || !world.isRegistered())) return;
    this.#partitions++;
    for (const machine of machines) world.setRedis(machine, false);
    this.#later(this.#spanMs(100, 15_000), () => {
      this.#partitions--;
      for (const machine of machines) world.setRedis(machine, true);
    });
  }

  /** A machine between the two, or before the one, ends connections and refuses others. */
  #reset(a: Machine, b: Machine): void {
    const world = this.#world;
    const { chance } = world.kernel;
    if (a === b || this.#partitions > 0 || this.#cuts > 0 || !world.isRegistered()) return;
    const isThere = a.process.isRunning && b.process.isRunning;
    // What stands still is not told that its connections have ended: its machine would accept others.
    if (!isThere || a.process.node.pausedUntilMs >= 0) return;
    this.#cuts++;
    const isAlone = chance.next() < 0.7;
    const others = isAlone ? world.machines.filter((one) => one !== a) : [b];
    for (const other of others) world.reset(a, other);
    // Its way to Redis leads through the same one.
    if (isAlone) {
      this.#partitions++;
      world.setRedis(a, false);
    }
    this.#later(this.#spanMs(100, 8000), () => {
      this.#cuts--;
      if (isAlone) {
        this.#partitions--;
        world.setRedis(a, true);
      }
      const resumes = chance.next() < 0.7;
      for (const other of others) {
        world.join(a.index, other.index, resumes);
        world.join(other.index, a.index, resumes);
      }
    });
  }

  #cut(a: Machine, b: Machine): void {
    if (a === b || this.#partitions > 0) return;
    const world = this.#world;
    this.#cuts++;
    const isOneWay = world.kernel.chance.next() < 0.3;
    world.cut(a.index, b.index);
    if (!isOneWay) world.cut(b.index, a.index);
    this.#later(this.#spanMs(100, 15_000), () => {
      this.#cuts--;
      const resumes = world.kernel.chance.next() < 0.7;
      world.join(a.index, b.index, resumes);
      if (!isOneWay) world.join(b.index, a.index, resumes);
    });
  }
}

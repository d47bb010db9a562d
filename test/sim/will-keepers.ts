/**
 * Clients with wills: they vanish, say goodbye, come back before or after the delay, at any node; and one
 * that watches. Each will of each connection comes exactly once or never, as the rule for what its client
 * did says (MQTT5-3.1.2.5, hard case 13). Used by cluster-run.ts.
 */
import type { Ledger } from '../chaos/ledger.ts';
import type { Prng } from '../chaos/prng.ts';
import type { Kernel } from './kernel.ts';
import { SimClient } from './sim-client.ts';
import type { SimLife, SimSite } from './sim-site.ts';

const KEEPERS = 3;
const TICK_MS = 50;
const STAYS_MS: readonly [number, number] = [200, 2500];
const AWAY_MS: readonly [number, number] = [10, 3000];
const DELAYS_S = [0, 0, 1, 3];
/** By then what was sent has come. */
const ARRIVES_MS = 5;

/** `open`: its connection lasts. */
type Due = 'open' | 'once' | 'never' | 'either';

interface Will {
  readonly name: string;
  readonly delayS: number;
  due: Due;
  /** Where it was given, and in which life. */
  readonly life: SimLife;
  readonly incarnation: string;
  wasAnswered: boolean;
  /** Virtual ms at which its connection ended. */
  endedMs: number;
  isGoodbye: boolean;
  /** Its client came back when the delay may have been over or not. */
  isDoubtful: boolean;
}

class Keeper {
  readonly client: SimClient;
  readonly wills: Will[] = [];
  nextMs = 0;

  constructor(client: SimClient) {
    this.client = client;
  }

  get latest(): Will | undefined {
    return this.wills.at(-1);
  }
}

/** Else the end of a connection may be noticed before what came with it. */
function canRead({ node, membership }: SimLife): boolean {
  return node.pausedUntilMs < 0 && membership.mayServe();
}

/** Its goodbye is on its way: taken over now it would have been none. */
function isHeard({ client, latest }: Keeper): boolean {
  if (latest?.isGoodbye !== true || !latest.life.node.isAlive) return false;
  return latest.life.broker.admin.client(client.clientId) !== null;
}

export class WillKeepers {
  readonly watch: SimClient;
  readonly #kernel: Kernel;
  readonly #site: SimSite;
  readonly #plan: Prng;
  readonly #keepers: Keeper[] = [];
  #isOver = false;
  #isStopped = false;

  constructor(kernel: Kernel, site: SimSite, plan: Prng) {
    this.#kernel = kernel;
    this.#site = site;
    this.#plan = plan;
    this.watch = new SimClient(site, 'will-watch');
    this.watch.onPacket = ({ type, reasonCode }) => {
      if (type !== 'CONNACK') return;
      if (reasonCode === 0) this.watch.subscribe('will/#', 2);
      else this.watch.cut();
    };
    for (let index = 0; index < KEEPERS; index++) {
      this.#keepers.push(new Keeper(new SimClient(site, `keeper-${index + 1}`)));
    }
  }

  get clients(): readonly SimClient[] {
    return [this.watch, ...this.#keepers.map(({ client }) => client)];
  }

  get isWatching(): boolean {
    return this.watch.isOpen && this.watch.count('SUBACK') > 0;
  }

  begin(): void {
    if (this.#isStopped) return;
    if (!this.watch.isOpen && this.#site.ready.length > 0) {
      this.watch.connect(this.#machine(), { expiryS: 3600 });
    }
    if (this.watch.count('SUBACK') > 0 || this.#keepers.some(({ wills }) => wills.length > 0)) {
      for (const keeper of this.#keepers) this.#tick(keeper);
    }
    this.#kernel.after(null, TICK_MS, () => this.begin());
  }

  /** Nobody comes any more; whoever is there stays, and the watch goes on. */
  end(): void {
    this.#isOver = true;
  }

  stop(): void {
    this.#isStopped = true;
  }

  #machine() {
    const life = this.#plan.pick(this.#site.ready);
    return this.#site.machines.find((machine) => machine.life === life)!;
  }

  #tick(keeper: Keeper): void {
    const { nowMs } = this.#kernel;
    const will = keeper.latest;
    if (will !== undefined && will.due === 'open') {
      if (!will.wasAnswered) this.#answered(keeper, will);
      if (!keeper.client.isOpen) {
        // The node ended it: killed, fenced, drained. Its will is due.
        this.#ended(will, will.wasAnswered ? 'once' : 'either', nowMs);
        keeper.nextMs = nowMs + this.#plan.between(...AWAY_MS);
        return;
      }
    }
    if (this.#isOver || nowMs < keeper.nextMs || isHeard(keeper)) return;
    if (keeper.client.isOpen) this.#leave(keeper, nowMs);
    else if (this.#site.ready.length > 0) this.#come(keeper, nowMs);
  }

  #answered(keeper: Keeper, will: Will): void {
    const { connack } = keeper.client;
    if (connack === null) return;
    if (connack.reasonCode !== 0) {
      // Perhaps it was opened all the same, and given back.
      this.#ended(will, 'either', this.#kernel.nowMs);
      keeper.client.cut();
      return;
    }
    will.wasAnswered = true;
    const before = keeper.wills.at(-2);
    if (before?.isDoubtful !== true || before.due !== 'either') return;
    // Back before the delay was over: it is void [MQTT5-3.1.3-9].
    const isBack = this.#kernel.nowMs < before.endedMs + before.delayS * 1000;
    if (isBack && connack.sessionPresent) before.due = 'never';
  }

  #ended(will: Will, due: Due, nowMs: number): void {
    will.due = due;
    will.endedMs = nowMs;
  }

  #leave({ client, latest }: Keeper, nowMs: number): void {
    const will = latest!;
    if (!will.wasAnswered || this.#plan.once(2)) {
      client.cut();
      this.#ended(will, will.wasAnswered ? 'once' : 'either', nowMs);
    } else {
      client.leave();
      will.isGoodbye = true;
      this.#ended(will, canRead(will.life) ? 'never' : 'either', nowMs);
      this.#kernel.after(null, ARRIVES_MS, () => {
        if (!canRead(will.life)) will.due = 'either';
      });
    }
    const keeper = this.#keepers.find((one) => one.client === client)!;
    keeper.nextMs = nowMs + this.#plan.between(...AWAY_MS);
  }

  #come(keeper: Keeper, nowMs: number): void {
    const { client, wills } = keeper;
    const machine = this.#machine();
    const life = machine.life!;
    const delayS = this.#plan.pick(DELAYS_S);
    const before = keeper.latest;
    if (before?.due === 'once' && before.delayS > 0 && this.#count(before.name) === 0) {
      before.due = 'either';
      before.isDoubtful = true;
    }
    const name = `${client.clientId}:${wills.length + 1}`;
    wills.push({
      name,
      delayS,
      due: 'open',
      life,
      incarnation: life.membership.incarnation,
      wasAnswered: false,
      endedMs: 0,
      isGoodbye: false,
      isDoubtful: false,
    });
    client.connect(machine, {
      expiryS: 3600,
      will: {
        topic: `will/${client.clientId}`,
        payload: name,
        qos: 2,
        properties: [['willDelayInterval', delayS]],
      },
    });
    keeper.nextMs = nowMs + this.#plan.between(...STAYS_MS);
  }

  // ------------------------------------------------------------------------------ the verdict

  #dueNow(will: Will, hasLostData: boolean): Due {
    if (will.due === 'never' && will.isGoodbye) {
      // Whether the goodbye was read before its node died nobody knows.
      const isSame =
        will.life.node.isAlive && will.life.membership.incarnation === will.incarnation;
      return isSame ? 'never' : 'either';
    }
    return hasLostData && will.due === 'once' ? 'either' : will.due;
  }

  #count(name: string): number {
    return this.watch.taken.filter((payload) => payload === name).length;
  }

  /** All wills that have to come have come. */
  isSettled(hasLostData: boolean): boolean {
    return this.#keepers.every(({ wills }) =>
      wills.every(
        (will) => this.#dueNow(will, hasLostData) !== 'once' || this.#count(will.name) > 0,
      ),
    );
  }

  judge(ledger: Ledger, hasLostData: boolean): void {
    for (const { wills } of this.#keepers) {
      for (const will of wills) {
        const count = this.#count(will.name);
        const due = this.#dueNow(will, hasLostData);
        const what = `will ${will.name} (delay ${will.delayS} s) of ${will.life.node.name}`;
        if (count > 1 && !hasLostData) ledger.fault(`${what} came ${count} times`);
        if (due === 'once' && count === 0) ledger.fault(`${what} never came`);
        if ((due === 'never' || due === 'open') && count > 0) ledger.fault(`${what} came: ${due}`);
      }
    }
  }
}

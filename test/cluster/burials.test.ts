// Who buries a silent member, and when: the lowest of the living first, and one burial at a time.
import t from 'tap';
import { Burials } from '../../src/cluster/burials.ts';
import { CutLinks } from '../../src/cluster/cut-links.ts';
import { MemberWatch } from '../../src/cluster/member-watch.ts';
import { type ListedNode, nodeKeys } from '../../src/cluster/node-functions.ts';
import type { RedisArgument, RedisDone } from '../../src/drivers/redis/redis-port.ts';
import { quietLog } from './link/mesh-world.ts';

const LEASE_MS = 3000;
const MARGIN_MS = 1000;

function node(incarnation: string, counter: number): ListedNode {
  return { incarnation, counter, nodeId: '', address: '', release: '', protocol: 1 };
}

/** One node that looks at a list of others. */
class Churchyard {
  readonly watch: MemberWatch = new MemberWatch(LEASE_MS + MARGIN_MS);
  readonly cuts: CutLinks = new CutLinks(LEASE_MS, MARGIN_MS);
  readonly burials: Burials;
  /** Incarnation, counter, force. */
  readonly asked: (readonly RedisArgument[])[] = [];
  readonly #answers: RedisDone[] = [];
  readonly #self: string;
  timesSoon = 0;

  constructor(self: string) {
    this.#self = self;
    const redis = {
      call: (_fn: unknown, _keys: unknown, args: readonly RedisArgument[], done: RedisDone) => {
        this.asked.push(args.slice(0, 3));
        this.#answers.push(done);
      },
    };
    this.burials = new Burials({
      ...{ redis, keys: nodeKeys('cw:'), watch: this.watch, self: () => self },
      ...{ leaseMs: LEASE_MS, marginMs: MARGIN_MS, cuts: this.cuts, log: quietLog },
      askSoon: () => this.timesSoon++,
    });
  }

  list(nowMs: number, ...nodes: readonly ListedNode[]): void {
    this.watch.listed(nodes, this.#self, nowMs, nowMs);
  }

  answer(): void {
    for (const done of this.#answers.splice(0)) done(null, 1);
  }
}

t.test('the lowest buries as soon as lease and margin are over', async (t) => {
  const yard = new Churchyard('a');
  yard.list(0, node('b', 1), node('c', 1));
  yard.list(3999, node('b', 1), node('c', 2));
  yard.burials.buryDead(3999);
  t.same(yard.asked, []);
  yard.burials.buryDead(4000);
  t.same(yard.asked, [['b', 1, 0]]);
});

t.test('another waits for those below it that live, and not for more than three', async (t) => {
  for (const [self, below, afterMs] of [
    ['b', ['a'], 4200],
    ['c', ['a', 'b'], 4400],
    ['h', ['a', 'b', 'c', 'd', 'e'], 4600],
  ] as const) {
    const yard = new Churchyard(self);
    yard.list(0, node('0', 1), ...below.map((one) => node(one, 1)));
    yard.list(3000, node('0', 1), ...below.map((one) => node(one, 2)));
    yard.burials.buryDead(afterMs - 1);
    t.same(yard.asked, [], `${self} waits`);
    yard.burials.buryDead(afterMs);
    t.same(yard.asked, [['0', 1, 0]], `${self} after ${afterMs} ms: the dead are no patience`);
  }
});

t.test('a process that is gone is buried when a quarter of both is over', async (t) => {
  const yard = new Churchyard('b');
  yard.list(0, node('0', 1), node('a', 1));
  yard.cuts.ended('0');
  yard.cuts.ended('a');
  yard.list(900, node('0', 1), node('a', 1));
  yard.burials.buryGone(1500);
  t.same(yard.asked, [], 'nobody refuses');
  yard.cuts.refused('0');
  yard.burials.buryGone(1199);
  t.same(yard.asked, [], 'the one below is first');
  yard.burials.buryGone(1200);
  t.same(yard.asked, [['0', 1, 0]]);
  yard.answer();
  yard.cuts.refused('a');
  yard.list(1100, node('0', 1), node('a', 2));
  yard.burials.buryGone(2000);
  t.same(yard.asked.length, 2, 'one that renews lives');
  yard.answer();
  yard.cuts.heard('0');
  yard.burials.buryGone(3000);
  t.same(yard.asked.slice(2), [['a', 2, 0]], 'one that is heard lives');
});

t.test('nothing is asked while a burial is under way; then the next list comes soon', async (t) => {
  const yard = new Churchyard('a');
  yard.list(0, node('b', 1), node('c', 1));
  yard.list(3000, node('b', 1), node('c', 2));
  yard.burials.buryDead(4000);
  yard.burials.buryDead(8000);
  t.equal(yard.asked.length, 1);
  t.equal(yard.timesSoon, 0);
  yard.answer();
  t.equal(yard.timesSoon, 1);
  yard.burials.buryDead(8000);
  t.same(yard.asked.slice(1), [
    ['b', 1, 0],
    ['c', 2, 0],
  ]);
});

t.test(
  'one that lives is evicted by force, and so is one that came back from the dead',
  async (t) => {
    const yard = new Churchyard('a');
    yard.list(0, node('b', 7));
    yard.burials.evict('b');
    t.same(yard.asked, [['b', 7, 1]]);
    yard.answer();
    t.equal(yard.timesSoon, 0, 'the next renewal tells');
    yard.list(1);
    yard.list(2, node('b', 7));
    yard.burials.buryDead(2);
    t.same(yard.asked.slice(1), [['b', 0, 1]]);
  },
);

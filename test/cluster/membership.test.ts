/**
 * Membership and fencing (ADR 0010), rule by rule in a simulated datacenter: hard cases 1 to 5 of DESIGN §6.
 * Random faults over many seeds are in membership-seeds.test.ts.
 */
import t from 'tap';
import { evictsNow } from '../../src/cluster/broken-links.ts';
import { OwnLease } from '../../src/cluster/own-lease.ts';
import { aloneLease } from '../../src/cluster/role-lease.ts';
import {
  LEASE_MS,
  LINK_GRACE_MS,
  MARGIN_MS,
  type Machine,
  MembershipWorld,
  type Process,
  ROLE,
  type WorldOptions,
} from './membership-world.ts';

const RENEWAL_MS = LEASE_MS / 6;

/** Nodes that have found each other. */
function together(seed: number, nodes: number, options: WorldOptions = {}): MembershipWorld {
  const world = new MembershipWorld(seed, nodes, options);
  world.settle(10_000);
  world.run(2000);
  return world;
}

function machine(world: MembershipWorld, index: number): Machine {
  return world.machines[index]!;
}

function process(world: MembershipWorld, index: number): Process {
  return machine(world, index).process;
}

/** Virtual ms until it is so. */
function until(world: MembershipWorld, withinMs: number, isSo: () => boolean): number {
  const startMs = world.kernel.nowMs;
  world.kernel.run(() => isSo() || world.kernel.nowMs > startMs + withinMs);
  return isSo() ? world.kernel.nowMs - startMs : Number.POSITIVE_INFINITY;
}

function ids(world: MembershipWorld): string[] {
  return world.machines.map((one) => one.process.membership.incarnation);
}

t.test(
  'the first waits for whoever an emptied Redis may have forgotten; others do not',
  async (t) => {
    const world = new MembershipWorld(1, 1);
    const [first] = world.running;
    t.equal(first!.membership.state, 'out');
    const waitedMs = until(world, 10_000, () => first!.membership.state === 'ready');
    t.ok(waitedMs >= (LEASE_MS + MARGIN_MS) / 1.05, `${waitedMs}`);
    t.ok(waitedMs < LEASE_MS + MARGIN_MS + 2 * RENEWAL_MS, `${waitedMs}`);
    t.ok(first!.membership.mayServe());

    const more = together(2, 2);
    more.kill(machine(more, 1));
    more.run(10_000);
    const again = more.restart(machine(more, 1));
    const joinedMs = until(more, 10_000, () => again.membership.state === 'ready');
    t.ok(joinedMs < RENEWAL_MS * 1.1 + 200, `a joiner is ready after ${joinedMs} ms`);
    t.equal(again.membership.members.length, 1);
    t.match(again.membership.members[0], { nodeId: 'n0', address: 'sim:0', release: 'test' });
  },
);

t.test('a joiner does not serve before everybody has counted it in', async (t) => {
  const world = together(3, 3);
  world.kill(machine(world, 2));
  world.run(10_000);
  // One of the two cannot be reached: it is alive, so the joiner waits.
  world.cut(2, 0);
  world.cut(0, 2);
  const joiner = world.restart(machine(world, 2));
  world.run(10_000);
  t.equal(joiner.membership.state, 'joining');
  t.notOk(joiner.membership.mayServe());
  t.equal(process(world, 0).membership.state, 'ready', 'nobody is evicted for a joiner');
  t.equal(process(world, 1).membership.state, 'ready');
  world.join(2, 0, true);
  world.join(0, 2, true);
  t.ok(world.settle(2000) < 2000);
});

t.test('a lease counts from when the renewal was sent, however late the answer', async (t) => {
  const world = together(4, 2, { drift: 0 });
  const a = process(world, 0);
  world.cut(0, 1);
  world.cut(1, 0);
  world.redis.slow(600);
  world.run(1500);
  t.ok(a.membership.mayServe(), 'slow answers keep it alive');
  const executed = world.redis.calls.get('node_renew_1')!;
  world.redis.down();
  const endMs = until(world, 6000, () => !a.membership.mayServe());
  t.ok(endMs < LEASE_MS - 600, `over ${endMs} ms after Redis went, well within a lease`);
  t.equal(world.redis.calls.get('node_renew_1'), executed);
});

t.test(
  'a killed node whose machine is gone, too, is buried within lease, margin and a renewal, by one',
  async (t) => {
    for (let seed = 10; seed < 20; seed++) {
      const world = together(seed, 4, { drift: 0 });
      const [, dead] = ids(world);
      world.kill(machine(world, 1), 0);
      const others = world.running;
      const buriedMs = until(world, 10_000, () => others.every((one) => !one.hasMember(dead!)));
      t.ok(buriedMs <= LEASE_MS + MARGIN_MS + 2 * RENEWAL_MS, `${buriedMs}`);
      t.ok(buriedMs >= LEASE_MS - RENEWAL_MS, `not before its lease must be over: ${buriedMs}`);
      t.equal(world.redis.calls.get('node_bury_1'), 1);
      t.equal(world.counts.get('died'), 3);
      world.run(5000);
      t.equal(world.counts.get('fenced') ?? 0, 0, 'nobody else notices');
    }
  },
);

t.test('a killed node whose machine refuses others is buried soon', async (t) => {
  for (let seed = 10; seed < 20; seed++) {
    const world = together(seed, 4, { drift: 0 });
    const [, dead] = ids(world);
    world.kill(machine(world, 1), 1);
    const others = world.running;
    const buriedMs = until(world, 10_000, () => others.every((one) => !one.hasMember(dead!)));
    t.ok(buriedMs <= 1300, `${buriedMs}`);
    t.equal(world.counts.get('died'), 3);
    world.run(5000);
    t.equal(world.counts.get('fenced') ?? 0, 0, 'nobody else notices');
    t.ok(world.running.every(({ membership }) => membership.mayServe()));
  }
});

t.test('somebody in between refuses in the name of a node that lives', async (t) => {
  const world = together(6, 2);
  const [a, b] = [process(world, 0), process(world, 1)];
  const [own] = ids(world);
  world.reset(machine(world, 0), machine(world, 1));
  world.run(1800);
  t.ok(b.hasMember(own!), 'it renews');
  t.ok(a.membership.mayServe());
});

t.test('and keeps it from Redis as well', async (t) => {
  const world = together(7, 2);
  const [a, b] = [process(world, 0), process(world, 1)];
  const [own] = ids(world);
  world.reset(machine(world, 0), machine(world, 1));
  world.setRedis(machine(world, 0), false);
  const overMs = until(world, 2000, () => !a.membership.mayServe());
  t.ok(b.hasMember(own!), `it knows by itself, after ${overMs} ms`);
  until(world, 2000, () => !b.hasMember(own!));
  t.notOk(a.membership.mayServe());
  t.ok(b.membership.mayServe());
  t.equal(a.membership.state, 'ready', 'until Redis says so');
});

t.test('a connection that ends and is there again leaves nothing behind', async (t) => {
  const world = together(8, 2);
  const [a, b] = [process(world, 0), process(world, 1)];
  world.reset(machine(world, 0), machine(world, 1));
  world.run(300);
  world.join(0, 1, true);
  world.join(1, 0, true);
  world.run(1000);
  const asked = world.redis.calls.get('node_renew_1')!;
  world.run(5000);
  const renewals = world.redis.calls.get('node_renew_1')! - asked;
  t.ok(renewals <= 2 * 11, `${renewals} renewals of two in ten times a sixth of a lease`);
  world.redis.down();
  world.run(2000);
  t.ok(a.membership.mayServe() && b.membership.mayServe(), 'the lease is as long as ever');
});

t.test('a node that is started again at once is another one', async (t) => {
  const world = together(5, 2);
  const other = process(world, 0);
  const [, before] = ids(world);
  world.kill(machine(world, 1));
  world.run(100);
  const again = world.restart(machine(world, 1));
  until(world, 2000, () => other.membership.members.length === 2);
  const names = other.membership.members.map((member) => member.nodeId);
  t.strictSame(names, ['n1', 'n1'], 'a label says nothing');
  t.not(again.membership.incarnation, before);
  t.ok(world.settle(6000) < 6000);
  t.notOk(other.hasMember(before!));
});

t.test('a node that leaves is gone at once', async (t) => {
  const world = together(6, 3);
  let isLeft = false;
  process(world, 2).leave(() => {
    isLeft = true;
  });
  t.equal(process(world, 2).membership.state, 'left');
  t.notOk(process(world, 2).membership.mayServe());
  const others = [process(world, 0), process(world, 1)];
  const goneMs = until(world, 3000, () =>
    others.every(({ membership }) => membership.members.length === 1),
  );
  t.ok(goneMs < 1.2 * RENEWAL_MS, `${goneMs}`);
  t.ok(isLeft);
});

t.test('a node that leaves while Redis is away does not wait for it for ever', async (t) => {
  const world = together(7, 2);
  world.redis.down();
  world.run(500);
  let isLeft = false;
  process(world, 1).leave(() => {
    isLeft = true;
  });
  t.ok(until(world, 10_000, () => isLeft) <= LEASE_MS * 1.1 + 2 * RENEWAL_MS);
});

t.test(
  'a stopped node that wakes does not serve, and lives on as another (hard case 2)',
  async (t) => {
    for (let seed = 30; seed < 40; seed++) {
      const world = together(seed, 3);
      const woken = process(world, 0);
      const before = woken.membership.incarnation;
      world.kernel.pause(woken.node, 8000);
      // The very first thing that happens to it: a socket that has bytes.
      let mayServe: boolean | null = null;
      world.run(7990);
      world.kernel.after(woken.node, 10, () => {
        mayServe ??= woken.membership.mayServe();
      });
      t.notOk(process(world, 1).hasMember(before), 'the others have buried it');
      t.ok(world.settle(5000) < 5000);
      t.equal(mayServe, false);
      t.not(woken.membership.incarnation, before);
      t.ok(woken.log.includes('fenced') && woken.log.includes('lost'));
    }
  },
);

t.test('a short stop changes nothing', async (t) => {
  const world = together(8, 3);
  const before = ids(world);
  for (const { node } of world.running) world.kernel.pause(node, 1500);
  world.run(4000);
  t.strictSame(ids(world), before);
  t.equal(world.counts.get('fenced') ?? 0, 0);
});

t.test(
  'a machine that slept finds out before it serves, though its clock stood still',
  async (t) => {
    for (let seed = 50; seed < 60; seed++) {
      const world = together(seed, 2);
      const woken = process(world, 1);
      let mayServe: boolean | null = null;
      world.kernel.suspend(woken.node, 6000);
      world.run(5990);
      world.kernel.after(woken.node, 10, () => {
        mayServe ??= woken.membership.mayServe();
      });
      t.ok(world.settle(5000) < 5000);
      t.equal(mayServe, false);
    }
  },
);

t.test('a wall clock that jumps costs a question, not the incarnation', async (t) => {
  const world = together(9, 2);
  const before = ids(world);
  const jumping = process(world, 0);
  machine(world, 0).clock.jumpWall(3_600_000);
  t.notOk(jumping.membership.mayServe());
  t.ok(until(world, 1000, () => jumping.membership.mayServe()) < 150);
  machine(world, 0).clock.jumpWall(-7_200_000);
  t.ok(jumping.membership.mayServe(), 'a sleep does not set clocks back');
  world.run(5000);
  t.strictSame(ids(world), before);
});

t.test('who alone loses Redis is renewed by its peers (hard case 3)', async (t) => {
  const world = together(60, 3);
  const before = ids(world);
  world.setRedis(machine(world, 1), false);
  world.run(30_000);
  t.ok(process(world, 1).membership.mayServe());
  t.notOk(process(world, 1).membership.hasRedis);
  t.equal(world.counts.get('fenced') ?? 0, 0);
  world.setRedis(machine(world, 1), true);
  world.run(5000);
  t.ok(process(world, 1).membership.hasRedis);
  t.strictSame(ids(world), before);
});

t.test(
  'Redis away for all and all links up: nobody is fenced, and nobody buried after',
  async (t) => {
    for (let seed = 100; seed < 130; seed++) {
      const world = together(seed, 2 + (seed % 4));
      const before = ids(world);
      if (seed % 3 === 0) world.redis.down();
      else if (seed % 3 === 1) for (const one of world.machines) world.setRedis(one, false);
      else world.redis.refuse('OOM');
      world.run(20_000 + (seed % 7) * 3000);
      const serving = world.running.filter(({ membership }) => membership.mayServe());
      t.equal(serving.length, before.length);
      if (seed % 3 === 0) world.redis.up(true);
      else if (seed % 3 === 1) for (const one of world.machines) world.setRedis(one, true);
      else world.redis.refuse(null);
      world.run(10_000);
      t.strictSame(ids(world), before);
      t.equal(world.counts.get('fenced') ?? 0, 0, `seed ${seed}`);
      t.equal(world.counts.get('died') ?? 0, 0);
    }
  },
);

t.test('Redis away and a member silent: all are fenced, and go on when it is back', async (t) => {
  const world = together(61, 3);
  const before = ids(world);
  world.redis.down();
  world.run(8000);
  world.kernel.pause(process(world, 2).node, 20_000);
  const others = [process(world, 0), process(world, 1)];
  const fencedMs = until(world, 10_000, () =>
    others.every(({ membership }) => membership.state === 'fenced'),
  );
  t.ok(fencedMs < LEASE_MS * 1.06 + RENEWAL_MS, `${fencedMs}`);
  t.notOk(others[0]!.membership.mayServe());
  world.kernel.resume(process(world, 2).node);
  world.run(3000);
  t.equal(others[0]!.membership.state, 'fenced', 'what was said meanwhile is not known');
  world.redis.up(true);
  t.ok(world.settle(2000) < 2000);
  t.strictSame(ids(world), before, 'nobody could bury anybody');
});

t.test('an emptied Redis is filled again under the same incarnations (hard case 1)', async (t) => {
  for (let seed = 70; seed < 80; seed++) {
    const world = together(seed, 4);
    const before = ids(world);
    if (seed % 2 === 0) {
      world.redis.flushAll();
    } else {
      world.redis.down();
      world.run(700);
      world.redis.up(false);
    }
    world.run(3000);
    t.ok(world.isSettled());
    t.strictSame(ids(world), before);
    t.equal(world.counts.get('emptied'), 4);
    const lowest = [...before].sort()[0];
    const asserters = world.running.filter((one) => one.asserted);
    const names = asserters.map((one) => one.membership.incarnation);
    t.ok(names.includes(lowest!), 'the lowest asserts what nobody owns');
    t.ok(names.length < 4, 'of the others only who was back before a lower one');
    t.equal(world.counts.get('fenced') ?? 0, 0);
    t.equal(world.counts.get('died') ?? 0, 0);
  }
});

t.test('who was to assert and died is replaced', async (t) => {
  const world = together(81, 3);
  const lowest = [...ids(world)].sort()[0];
  const asserter = world.machines.find((one) => one.process.membership.incarnation === lowest)!;
  world.kill(asserter);
  world.redis.flushAll();
  world.run(1000);
  t.ok(
    world.running.some((one) => one.asserted),
    'nobody waits for one that is not back',
  );
  world.run(7000);
  t.ok(world.isSettled());
});

t.test('a dead incarnation does not come back with an emptied Redis', async (t) => {
  const world = together(82, 3);
  const woken = process(world, 1);
  const before = woken.membership.incarnation;
  world.kernel.pause(woken.node, 10_000);
  world.run(7000);
  world.redis.flushAll();
  t.ok(world.settle(12_000) < 12_000);
  t.not(woken.membership.incarnation, before);
  t.equal(world.counts.get('lost'), 1);
});

t.test('one broken link between two live nodes: one of them goes (hard case 4)', async (t) => {
  for (let seed = 90; seed < 100; seed++) {
    const world = together(seed, 2 + (seed % 3));
    const before = ids(world);
    world.cut(0, 1);
    if (seed % 2 === 0) world.cut(1, 0);
    const oneIsGone = (): boolean =>
      !process(world, 0).hasMember(before[1]!) || !process(world, 1).hasMember(before[0]!);
    const goneMs = until(world, 20_000, oneIsGone);
    t.ok(goneMs >= LINK_GRACE_MS && goneMs <= LINK_GRACE_MS + LEASE_MS, `${goneMs}`);
    world.run(10_000);
    t.equal(world.counts.get('lost'), 1, 'and one only');
    const states = [process(world, 0), process(world, 1)].map(({ membership }) => membership.state);
    t.strictSame(states.sort(), ['joining', 'ready']);
    world.join(0, 1, true);
    world.join(1, 0, true);
    t.ok(world.settle(3000) < 3000);
  }
});

t.test('the node whose links are all broken is the one to go', async (t) => {
  for (let seed = 140; seed < 150; seed++) {
    const world = together(seed, 4);
    const before = ids(world);
    for (const other of [1, 2, 3]) {
      world.cut(0, other);
      world.cut(other, 0);
    }
    world.run(12_000);
    t.strictSame(ids(world).slice(1), before.slice(1));
    t.not(ids(world)[0], before[0]);
    t.equal(process(world, 0).membership.state, 'joining');
  }
});

t.test('a lease takes no proof from before a sleep, not even of the same instant', async (t) => {
  let nowMs = 1000;
  let sleptMs = 0;
  const lease = new OwnLease(
    { monotonicMs: () => nowMs, wallMs: () => 1e12 + nowMs + sleptMs },
    LEASE_MS,
    MARGIN_MS,
  );
  t.notOk(lease.isValid(), 'nothing is proven yet');
  lease.sample();
  lease.prove(nowMs, lease.era);
  t.equal(lease.endMs, nowMs + LEASE_MS);
  nowMs += LEASE_MS - 1;
  t.ok(lease.isValid());
  const { era } = lease;
  const askedMs = nowMs;
  sleptMs = 10_000;
  t.notOk(lease.isValid());
  lease.prove(askedMs - 1, era);
  t.notOk(lease.isValid());
  lease.prove(askedMs, era);
  t.notOk(lease.isValid(), 'asked at the moment at which the clock stood');
  lease.prove(askedMs, lease.era);
  t.ok(lease.isValid(), 'asked after it woke');
  nowMs += 500;
  sleptMs += MARGIN_MS / 5;
  t.ok(lease.isValid(), 'clocks are set a little now and then');
  lease.prove(nowMs - 5000, lease.era);
  t.equal(lease.endMs, askedMs + LEASE_MS, 'an older proof takes nothing back');
  nowMs += LEASE_MS;
  t.notOk(lease.isValid());
});

t.test('of two equals the lower acts first, of others who has fewer broken links', async (t) => {
  const at = (forMs: number, downCount: number, isLower: boolean): boolean =>
    evictsNow({ forMs, downCount, isLower }, 2000, 3000);
  t.notOk(at(1999, 1, true));
  t.ok(at(2000, 1, true));
  t.notOk(at(2499, 1, false));
  t.ok(at(2500, 1, false));
  t.notOk(at(2999, 2, true));
  t.ok(at(3000, 2, true));
  t.ok(at(4500, 9, false), 'never later than that');
});

t.test('a role has one holder at a time, under rising epochs', async (t) => {
  const world = together(120, 3);
  world.run(2000);
  const holders = (): Process[] => world.running.filter(({ roles }) => roles.held(ROLE));
  t.equal(holders().length, 1);
  const [holder] = holders();
  const epoch = holder!.roles.epoch(ROLE);
  t.ok(epoch > 0);
  world.run(5000);
  t.equal(holder!.roles.epoch(ROLE), epoch, 'kept for as long as it lives');

  world.kernel.pause(holder!.node, 10_000);
  world.run(8000);
  const [next] = holders().filter((one) => one !== holder);
  t.ok(next!.roles.epoch(ROLE) > epoch);
  world.kernel.resume(holder!.node);
  t.notOk(holder!.roles.held(ROLE), 'it knows at once');
  t.equal(holder!.roles.keptEpoch(ROLE), epoch, 'but not who has it');
  world.run(3000);
  t.equal(holder!.roles.keptEpoch(ROLE), 0);

  for (let i = 0; i < 4; i++) {
    const nextEpoch = next!.roles.epoch(ROLE);
    world.redis.flushAll();
    world.run(5000);
    t.strictSame(holders(), [next], 'who had it knows what it had kept there');
    t.ok(next!.roles.epoch(ROLE) > nextEpoch, 'epochs rise over an emptied Redis');
  }
  world.redis.flushAll();
  next!.kill();
  world.run(15_000);
  const [last] = holders();
  t.ok(last !== undefined && last !== next, 'and when it is dead somebody else has it');
  last!.roles.stop();
  t.equal(holders().length, 0);
  t.ok(aloneLease.held('anything') && aloneLease.epoch('anything') === 1);
});

t.test('Redis time runs on between answers', async (t) => {
  const world = together(121, 2, { drift: 0 });
  const { membership, node } = process(world, 0);
  const trueMs = (): number => 1_800_000_000_000 + world.kernel.nowMs;
  t.ok(Math.abs(membership.redisTimeMs() - trueMs()) < 10);
  node.clock.jumpWall(1e9);
  world.redis.down();
  world.run(5000);
  t.ok(Math.abs(membership.redisTimeMs() - trueMs()) < 10, 'whatever the wall clock says');
});

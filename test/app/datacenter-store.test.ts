// A node that leaves a datacenter: what it has read is written while it still is a member.
import t from 'tap';
import { DatacenterStore } from '../../src/app/datacenter-store.ts';
import { MemoryStore } from '../../src/store/memory/memory-store.ts';
import { textMessage } from '../contract/store-recorder.ts';
import { World } from '../store/redis/redis-world.ts';

/** Virtual time goes on until it is there; promises in between. */
async function passUntil(world: World, isReached: () => boolean): Promise<void> {
  for (let i = 0; i < 1000 && !isReached(); i++) {
    world.pass(10);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

for (const { what, isAway } of [
  { what: 'what waits for Redis is written before it leaves', isAway: false },
  { what: 'a Redis that is away is not waited for', isAway: true },
]) {
  t.test(what, async (t) => {
    const world = new World(1);
    const node = world.join('node');
    world.take(node, 1, 'c');
    const waiting: number[] = [];
    const store = new DatacenterStore(node.store, new MemoryStore(), () => {
      waiting.push(node.store.waitingMessages);
      return Promise.resolve();
    });
    if (isAway) {
      world.redis.down();
      world.pass(100);
    }
    node.act(() => node.node.enqueue(1, textMessage('last')));
    world.pass(0);
    t.equal(node.store.waitingMessages, 1);
    let isStopped = false;
    void store.stop().then(() => {
      isStopped = true;
    });
    await passUntil(world, () => isStopped);
    t.ok(isStopped);
    t.strictSame(waiting, [isAway ? 1 : 0]);
  });
}

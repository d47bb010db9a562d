/**
 * The model of Redis as a RedisPort: order, what is known of calls that fail, and each fault it can be
 * put to. What its functions do is compared with Redis in test/store/redis/functions-model.test.ts.
 */
import t from 'tap';
import type { RedisFailure, RedisReply } from '../../src/drivers/redis/redis-port.ts';
import {
  indexAdd,
  indexCall,
  indexScan,
  scanCall,
} from '../../src/store/redis/functions/client-index.ts';
import { dueTake, dueTakeCall } from '../../src/store/redis/functions/due.ts';
import { Kernel } from './kernel.ts';
import { ModelRedis, type ModelRedisClient, type ModelRedisOptions } from './model-redis.ts';

const WALL_MS = 1_800_000_000_000;

class World {
  readonly kernel: Kernel;
  readonly server: ModelRedis;
  readonly heard: string[] = [];

  constructor(seed: number, options: ModelRedisOptions = {}) {
    const kernel = new Kernel(seed);
    this.kernel = kernel;
    this.server = new ModelRedis(
      {
        nowMs: () => WALL_MS + kernel.nowMs,
        after: (delayMs, task) => void kernel.after(null, delayMs, task),
        chance: () => kernel.chance.next(),
      },
      { delayMs: [0.1, 20], ...options },
    );
  }

  client(name: string): ModelRedisClient {
    const node = this.kernel.node(name);
    const client = this.server.connect(name, (ms, task) => {
      this.kernel.after(node, ms, task);
    });
    client.listen({
      redisUp: (isOther) => this.heard.push(`${name} up${isOther ? ' other' : ''}`),
      redisDown: (why) => this.heard.push(`${name} down: ${why}`),
    });
    return client;
  }

  run(ms: number): void {
    this.kernel.run(this.kernel.nowMs + ms);
  }
}

/** Adds ids one by one and notes what becomes of each. */
function add(client: ModelRedisClient, ids: readonly string[], notes: string[]): void {
  for (const id of ids) {
    const call = indexCall('p:x:{1}', [id]);
    let isInside = true;
    client.call(indexAdd, call.keys, call.args, (failure) => {
      if (isInside) throw new Error('answered from inside the call');
      notes.push(failure === null ? id : `${id} ${failure.outcome} ${failure.code}`);
    });
    isInside = false;
  }
}

function stored(server: ModelRedis): string[] {
  const value = server.db.values().get('p:x:{1}');
  return value?.type === 'set' ? [...value.set] : [];
}

const IDS = Array.from({ length: 30 }, (_, i) => `c${i}`);

t.test('calls of a client are executed and answered in their order, whatever the delays', (t) => {
  const world = new World(1);
  const [a, b] = [world.client('a'), world.client('b')];
  t.equal(a.isUp, false);
  const early: string[] = [];
  add(a, ['early'], early);
  world.run(200);
  t.same(early, ['early not_done DOWN'], 'before it is connected');
  t.same([...world.heard].sort(), ['a up', 'b up']);
  const [ofA, ofB]: [string[], string[]] = [[], []];
  add(a, IDS, ofA);
  add(
    b,
    IDS.map((id) => `${id}b`),
    ofB,
  );
  world.run(1000);
  t.same(ofA, IDS);
  t.same(ofB.length, 30);
  t.same(
    stored(world.server).filter((id) => !id.endsWith('b')),
    IDS,
  );
  t.not(stored(world.server).indexOf('c0b'), 30, 'two clients mix');
  t.equal(world.server.calls.get('index_add_1'), 60);
  t.end();
});

t.test('a reply that is lost: executed, and its caller does not know', (t) => {
  const world = new World(2);
  const client = world.client('a');
  world.run(200);
  client.loseReplies(10);
  const notes: string[] = [];
  add(client, IDS, notes);
  world.run(1000);
  t.same(stored(world.server), IDS.slice(0, 10), 'what was behind it was never executed');
  t.same(notes.length, 30, 'each is answered once');
  t.ok(notes.slice(10).every((note) => note.endsWith(' unknown LOST')));
  t.ok(notes.includes('c9 unknown LOST'));
  t.same(world.heard, ['a up', 'a down: the connection broke', 'a up']);
  add(client, ['again'], notes);
  world.run(200);
  t.equal(notes.at(-1), 'again');
  t.end();
});

t.test('a partition: silence, then it is given up; the others go on', (t) => {
  const world = new World(3, { silenceMs: 500 });
  const [a, b] = [world.client('a'), world.client('b')];
  world.run(200);
  const notes: string[] = [];
  a.partition();
  add(a, ['x'], notes);
  add(b, ['y'], notes);
  world.run(300);
  t.same(notes, ['y']);
  a.heal();
  world.run(300);
  t.same(notes, ['y', 'x'], 'healed before anybody noticed: it goes on');
  a.partition();
  add(a, ['z'], notes);
  world.run(600);
  t.equal(notes.at(-1), 'z unknown LOST');
  add(a, ['zz'], notes);
  world.run(100);
  t.equal(notes.at(-1), 'zz not_done DOWN');
  a.heal();
  world.run(500);
  t.ok(a.isUp);
  t.notOk(stored(world.server).includes('z'), 'what was given up is not executed later');
  t.same(
    world.heard.filter((each) => each.startsWith('a')),
    ['a up', 'a down: no answer in time', 'a up'],
  );
  t.end();
});

t.test('a server that is down, restarted, emptied, failed over', (t) => {
  const world = new World(4, { historyMs: 10_000 });
  const client = world.client('a');
  const notes: string[] = [];
  world.run(200);
  add(client, ['one'], notes);
  world.run(100);
  world.server.down();
  add(client, ['two'], notes);
  world.run(300);
  t.same(notes, ['one', 'two unknown LOST']);
  world.server.up(true);
  world.run(300);
  t.same(stored(world.server), ['one']);
  t.equal(world.heard.at(-1), 'a up other');
  add(client, ['three'], notes);
  world.run(2000);
  add(client, ['four'], notes);
  world.run(100);
  world.server.rollBack(1000);
  world.run(300);
  t.same(stored(world.server), ['one', 'three'], 'the last second is missing');
  t.equal(notes.at(-1), 'four', 'though it was acknowledged');
  t.equal(world.heard.at(-1), 'a up other');
  world.server.flushAll();
  t.same(stored(world.server), []);
  add(client, ['five'], notes);
  world.run(100);
  t.equal(notes.at(-1), 'five', 'the connection noticed nothing');
  t.throws(() => world.server.rollBack(20_000), /that far/);
  t.end();
});

t.test('refusals, slowness, too many calls, planted bugs', (t) => {
  const world = new World(5, { callsMax: 3 });
  const client = world.client('a');
  const notes: string[] = [];
  world.run(200);
  world.server.refuse('OOM', ['index_add_1']);
  add(client, ['x'], notes);
  const failures: (RedisFailure | null)[] = [];
  const call = scanCall('p:x:{1}', '0', 10);
  client.call(indexScan, call.keys, call.args, (failure) => failures.push(failure));
  world.run(100);
  t.same(notes, ['x refused OOM']);
  t.same(failures, [null], 'what only reads is not refused');
  world.server.refuse(null);
  add(client, ['a', 'b', 'c', 'd'], notes);
  world.run(200);
  t.same(notes.slice(1), ['a', 'b', 'c', 'd not_done BUSY'], 'in their order too');
  world.server.slow(200);
  add(client, ['e'], notes);
  world.run(390);
  t.equal(notes.length, 5);
  world.run(100);
  t.equal(notes.at(-1), 'e');
  world.server.slow(0);
  world.server.override('index_add_1', () => 1);
  add(client, ['f'], notes);
  world.run(100);
  t.notOk(stored(world.server).includes('f'));
  t.end();
});

t.test('a node that is stopped or killed', (t) => {
  const world = new World(6);
  const node = world.kernel.node('n');
  const client = world.server.connect('n', (ms, task) => {
    world.kernel.after(node, ms, task);
  });
  const notes: string[] = [];
  world.run(200);
  add(client, ['x'], notes);
  world.kernel.pause(node, 1000);
  world.run(500);
  t.same([stored(world.server), notes], [['x'], []], 'executed, and heard of when it goes on');
  world.run(600);
  t.same(notes, ['x']);
  add(client, ['y'], notes);
  world.kernel.kill(node);
  client.close();
  world.run(500);
  t.same([stored(world.server), notes], [['x', 'y'], ['x']], 'what a dead process had sent counts');
  t.end();
});

t.test('keys of one call are of one shard, and are declared', (t) => {
  const world = new World(7, { shards: 4 });
  const client = world.client('a');
  world.run(200);
  const tags = Array.from({ length: 100 }, (_, i) => `${i}`);
  t.same([...new Set(tags.map((tag) => client.shardOf(tag)))].sort(), [0, 1, 2, 3]);
  const other = tags.find((tag) => client.shardOf(tag) !== client.shardOf('1'))!;
  t.throws(() => client.call(dueTake, ['t:{1}', `t:{${other}}`], [1], () => {}), /2 shards/);
  const replies: RedisReply[] = [];
  for (const tag of tags) {
    const call = dueTakeCall(`t:{${tag}}`, 5);
    client.call(dueTake, call.keys, call.args, (_failure, reply) => replies.push(reply));
  }
  world.run(2000);
  t.equal(replies.length, 100);
  t.throws(
    () => world.server.db.transact((db) => db.list('other').length, ['k'], [], 0),
    /declared/,
  );
  t.end();
});

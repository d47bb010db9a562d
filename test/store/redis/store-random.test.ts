/**
 * The shared store under random interleavings: three nodes append to the same sessions, sessions change
 * owners and begin anew, owners read and settle, connections break, Redis goes and comes back. Whatever
 * the order: a position has one message for ever, a message one position, each writer's are in order,
 * each append is told once, and what was said to be queued was settled by an owner or is there. A failure
 * prints its seed: CAUSEWAY_SEED=n repeats it. The last tests break the queue, and must be found.
 */
import t from 'tap';
import type { QueueEntry } from '../../../src/core/queue-entry.ts';
import { textMessage, textOf } from '../../contract/store-recorder.ts';
import type { ModelDb, ModelReply, Twin } from '../../sim/model-db.ts';
import { TWINS } from '../../sim/model-functions.ts';
import { givenSeed } from '../../support/seed.ts';
import { World, type WorldNode } from './redis-world.ts';

const RUNS = 60;
const STEPS = 250;
const SESSIONS = 3;

interface Life {
  readonly sid: string;
  /** What was ever seen at a position. */
  readonly at: Map<number, string>;
  readonly settled: Set<string>;
}

class Run {
  readonly world: World;
  readonly nodes: WorldNode[];
  readonly #seed: number;
  readonly #lives: Map<string, Life> = new Map();
  /** The life a session has now, and who has it. */
  readonly #current: { life: Life; owner: WorldNode; epoch: number }[] = [];
  readonly #sent: Map<
    string,
    { readonly life: Life; readonly writer: string; readonly n: number }
  > = new Map();
  /** What each node knows of each session. */
  readonly #bound: Map<string, Life> = new Map();
  #isBegun = false;
  #count = 0;
  #publisherSeq = 0;
  #enqueued = 0;
  problem = '';

  constructor(seed: number, override: [string, Twin] | null = null) {
    this.#seed = seed;
    this.world = new World(seed, { shards: 2, delayMs: [0.1, 2] });
    if (override !== null) this.world.redis.override(override[0], override[1]);
    this.nodes = ['a', 'b', 'c'].map((name) => this.world.join(name));
    for (let i = 0; i < SESSIONS; i++) this.#take(i, this.nodes[i]!, false);
    this.#isBegun = true;
  }

  #below(bound: number): number {
    return this.world.kernel.chance.below(bound);
  }

  #pick<T>(items: readonly T[]): T {
    return items[this.#below(items.length)]!;
  }

  #take(session: number, node: WorldNode, cleanStart: boolean): void {
    const answer = this.world.answer(node, `c${session}`, { cleanStart });
    if (answer.kind !== 'opened') return;
    const { sid, epoch } = answer.record;
    let life = this.#lives.get(sid);
    if (life === undefined) {
      life = { sid, at: new Map(), settled: new Set() };
      this.#lives.set(sid, life);
    }
    this.#current[session] = { life, owner: node, epoch };
    const bind = (to: WorldNode): void => {
      to.store.bind(session, `c${session}`, sid, epoch);
      this.#bound.set(`${to.node.incarnation}/${session}`, this.#lives.get(sid)!);
    };
    bind(node);
    // Others hear of it a little later.
    for (const other of this.nodes) {
      if (other === node) continue;
      const later = (): void => {
        if (this.#current[session]!.epoch === epoch) bind(other);
      };
      if (this.#isBegun) other.act(later, this.#below(5));
      else bind(other);
    }
  }

  #enqueue(node: WorldNode): void {
    const session = this.#below(SESSIONS);
    const isShared = this.#below(5) === 0;
    this.#enqueued++;
    if (!isShared) {
      node.act(() => {
        // Named when it happens: acts of about the same time come in any order.
        const text = this.#name(node, session, node.node.incarnation);
        node.node.enqueue(session, textMessage(text));
      });
      return;
    }
    // A QoS 2 publisher: the same message may be replayed by another node, but nothing overtakes it.
    const identity = { publisherSid: '00000000000000cc', publisherSeq: ++this.#publisherSeq };
    let message = textMessage('');
    const append = (by: WorldNode, make: () => boolean): void => {
      let isDone = false;
      by.act(() => {
        if (make()) by.node.enqueue(session, message, { qos: 2 }, identity);
        isDone = true;
      });
      this.world.until(() => isDone && by.store.waitingMessages === 0);
    };
    let life: Life | null = null;
    append(node, () => {
      message = textMessage(this.#name(node, session, 'publisher'));
      life = this.#boundTo(node, session);
      return true;
    });
    if (this.#below(2) === 0) return;
    const other = this.#pick(this.nodes);
    append(other, () => {
      const isSame = this.#boundTo(other, session) === life;
      if (isSame) this.#enqueued++;
      return isSame;
    });
  }

  #name(node: WorldNode, session: number, writer: string): string {
    const text = `${writer}/${++this.#count}`;
    this.#sent.set(text, { life: this.#boundTo(node, session), writer, n: this.#count });
    return text;
  }

  #boundTo(node: WorldNode, session: number): Life {
    return this.#bound.get(`${node.node.incarnation}/${session}`)!;
  }

  #seen(life: Life, entries: readonly QueueEntry[]): void {
    for (const { seq, message } of entries) {
      const text = textOf(message);
      const before = life.at.get(seq);
      if (before !== undefined && before !== text) this.#wrong(`${seq} was ${before}, is ${text}`);
      life.at.set(seq, text);
    }
  }

  #wrong(what: string): void {
    if (this.problem === '') this.problem = `seed ${this.#seed}: ${what}`;
  }

  #readSome(): void {
    const session = this.#below(SESSIONS);
    const { life, owner, epoch } = this.#current[session]!;
    owner.act(() =>
      owner.store.read(session, 1, 1 + this.#below(30), 1e6, (entries) => {
        const now = this.#current[session]!;
        if (now.epoch !== epoch) return;
        this.#seen(life, entries);
        for (const entry of entries) {
          if (this.#below(3) === 0) continue;
          life.settled.add(textOf(entry.message));
          owner.store.settle(session, entry);
        }
      }),
    );
  }

  #fault(): void {
    const { redis } = this.world;
    const node = this.#pick(this.nodes);
    switch (this.#below(6)) {
      case 0:
        node.port.loseReplies(1 + this.#below(4));
        break;
      case 1:
        node.port.reset('a fault');
        break;
      case 2:
        node.port.partition();
        this.world.kernel.after(null, this.#below(3000), () => node.port.heal());
        break;
      case 3:
        redis.down();
        this.world.kernel.after(null, this.#below(200), () => redis.up(true));
        break;
      case 4:
        redis.refuse('OOM', ['session_append_1']);
        this.world.kernel.after(null, this.#below(50), () => redis.refuse(null));
        break;
      default:
        redis.slow(this.#below(5));
    }
  }

  go(): void {
    for (let step = 0; step < STEPS && this.problem === ''; step++) {
      const dice = this.#below(100);
      if (dice < 55) this.#enqueue(this.#pick(this.nodes));
      else if (dice < 80) this.#readSome();
      else if (dice < 86) this.#take(this.#below(SESSIONS), this.#pick(this.nodes), false);
      else if (dice < 87) this.#take(this.#below(SESSIONS), this.#pick(this.nodes), true);
      else if (dice < 92) this.#fault();
      else this.world.pass(this.#below(10));
      if (this.#below(4) === 0) this.world.pass(this.#below(3));
    }
    this.#end();
  }

  #end(): void {
    const { world } = this;
    world.redis.refuse(null);
    world.redis.slow(0);
    world.pass(3500);
    for (const { port } of this.nodes) port.heal();
    if (world.redis.isDown) world.redis.up(true);
    world.until(() =>
      this.nodes.every(({ port, node }) => port.isUp && node.store.waitingMessages === 0),
    );
    world.pass(1000);
    const told = this.nodes.flatMap(({ node }) => node.told);
    if (told.length !== this.#enqueued) this.#wrong(`${told.length} told of ${this.#enqueued}`);
    const queued = new Set<string>();
    for (const { append, seq, why } of told) {
      if (why === 'gone') continue;
      const text = textOf(append.message);
      if (why !== null) this.#wrong(`${text}: ${why}`);
      queued.add(text);
      if (seq !== null && seq > 0) this.#sentAt(text, seq);
    }
    for (let session = 0; session < SESSIONS; session++) this.#check(session, queued);
  }

  #sentAt(text: string, seq: number): void {
    const { life } = this.#sent.get(text)!;
    const before = life.at.get(seq);
    if (before !== undefined && before !== text) this.#wrong(`${text} was told to be at ${seq}`);
    life.at.set(seq, text);
  }

  #check(session: number, queued: ReadonlySet<string>): void {
    const node = this.#pick(this.nodes);
    this.#take(session, node, false);
    const { life } = this.#current[session]!;
    const left = this.world.read(node, session);
    this.#seen(life, left);
    const positions = new Map<string, number>();
    for (const [seq, text] of life.at) {
      if (positions.has(text)) this.#wrong(`${text} is at ${seq} and ${positions.get(text)}`);
      positions.set(text, seq);
    }
    const lasts = new Map<string, number>();
    for (const [, text] of [...life.at].toSorted(([a], [b]) => a - b)) {
      const { writer, n } = this.#sent.get(text)!;
      if (n < (lasts.get(writer) ?? 0)) this.#wrong(`${text} is behind a later one`);
      lasts.set(writer, n);
    }
    const there = new Set(left.map((entry) => textOf(entry.message)));
    for (const text of queued) {
      if (this.#sent.get(text)!.life !== life) continue;
      if (!there.has(text) && !life.settled.has(text)) this.#wrong(`${text} is lost`);
    }
  }
}

t.test('random interleavings', async (t) => {
  const given = givenSeed();
  const seeds = given === null ? Array.from({ length: RUNS }, (_, i) => i + 1) : [given];
  let appends = 0;
  let retries = 0;
  let dedupes = 0;
  for (const seed of seeds) {
    const run = new Run(seed);
    run.go();
    if (run.problem !== '') t.fail(run.problem);
    for (const { store } of run.nodes) {
      appends += store.counters.appends;
      retries += store.counters.retries;
      dedupes += store.counters.dedupes;
    }
  }
  t.comment(`${appends} appends, ${retries} retries, ${dedupes} dropped as repetitions`);
  if (given === null) t.ok(appends > 5000 && retries > 100 && dedupes > 20);
});

t.test('a queue that keeps repetitions is found', async (t) => {
  const forgetful: Twin = (db: ModelDb, keys, args, nowMs): ModelReply => {
    // As if it had never heard of the writer.
    for (const key of keys) if (key.endsWith(':d')) db.hash(key).clear();
    return TWINS.get('session_append_1')!(db, keys, args, nowMs);
  };
  let found = 0;
  for (let seed = 1; seed <= 20 && found === 0; seed++) {
    const run = new Run(seed, ['session_append_1', forgetful]);
    run.go();
    if (/ is at .* and /.test(run.problem)) found = seed;
  }
  t.ok(found > 0);
});

t.test('a queue that loses what it has acknowledged is found', async (t) => {
  let calls = 0;
  const lossy: Twin = (db, keys, args, nowMs): ModelReply => {
    const answer = TWINS.get('session_append_1')!(db, keys, args, nowMs);
    const queue = db.list(keys[1]!);
    // The body of one that nobody has settled vanishes.
    if (++calls === 40 && queue.length > 1) db.setList(keys[1]!, [...queue.slice(0, -1), '']);
    return answer;
  };
  let found = 0;
  for (let seed = 1; seed <= 5 && found === 0; seed++) {
    calls = 0;
    const run = new Run(seed, ['session_append_1', lossy]);
    run.go();
    if (/ is lost/.test(run.problem)) found = seed;
  }
  t.ok(found > 0);
});

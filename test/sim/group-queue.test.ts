/**
 * Hard case 14 in the simulated datacenter: the queue of a shared subscription is handed on while the node
 * that does it dies, is paused or loses its way to Redis. What the members were given in the end: QoS 1 at
 * least once, QoS 2 once.
 */
import t from 'tap';
import type { SharedAppend } from '../../src/core/shared-append.ts';
import { Prng } from '../chaos/prng.ts';
import { Scene } from './scene.ts';
import { describeCounts, failuresOf, noCounts } from './seed-outcome.ts';
import { OF_GROUPS } from './seed-plan.ts';
import type { SimClient } from './sim-client.ts';
import type { SimLife } from './sim-site.ts';

const FILTER = '$share/g/x/#';
const MESSAGES = 60;
const SEEDS = 12;
const FAULTY_SEEDS = 40;
const faults = ['kill', 'pause', 'partition'] as const;

t.setTimeout(870_000);

interface Outcome {
  readonly lost: readonly string[];
  readonly twice: readonly string[];
}

/** What is done to a node before it starts; null: nothing. */
type Sabotage = ((life: SimLife) => void) | null;

async function handedOn(seed: number, sabotage: Sabotage): Promise<Outcome> {
  const scene = await Scene.begin(seed, sabotage === null ? {} : { sabotage });
  const plan = new Prng(seed);
  const one = await scene.subscriber('one', 0, FILTER, 2);
  const two = await scene.subscriber('two', 1, FILTER, 2);
  one.cut();
  two.cut();
  await scene.pass(3000);
  const publisher = await scene.connected('pub', 2);
  for (let index = 0; index < MESSAGES; index++) {
    publisher.publish('x/1', `one-${index}`, 1);
    publisher.publish('x/2', `two-${index}`, 2);
    await scene.pass(2);
  }
  await scene.until('acked', () => publisher.count('PUBCOMP') === MESSAGES);
  one.connect(scene.machine(0), { receiveMaximum: 20 });
  await scene.pass(plan.between(0, 60) / 2);
  const fault = faults[seed % faults.length]!;
  const life = scene.life(0);
  if (fault === 'kill') scene.site.kill(scene.machine(0));
  else if (fault === 'pause') scene.kernel.pause(life.node, plan.between(100, 6000));
  else life.redis.partition();
  await scene.pass(plan.between(0, 20));
  two.connect(scene.machine(1), { receiveMaximum: 20 });
  await scene.pass(plan.between(0, 4000));
  if (fault === 'partition') life.redis.heal();
  // A node that wakes up may have to send its clients away.
  for (let round = 0; round < 4; round++) {
    await cameBack(scene, one, 2);
    await cameBack(scene, two, 1);
    await scene.pass(3000);
  }
  const taken = [...one.taken, ...two.taken];
  const wanted = ['one', 'two'].flatMap((name) =>
    Array.from({ length: MESSAGES }, (_, index) => `${name}-${index}`),
  );
  const seen = new Set<string>();
  const twice: string[] = [];
  for (const text of taken) {
    if (seen.has(text) && text.startsWith('two')) twice.push(text);
    seen.add(text);
  }
  return { lost: wanted.filter((text) => !seen.has(text)), twice };
}

/** Again and again until its session is open. */
async function cameBack(scene: Scene, client: SimClient, index: number): Promise<void> {
  for (let tries = 0; tries < 30; tries++) {
    if (client.isOpen && client.connack?.reasonCode === 0) return;
    client.connect(scene.machine(index), { receiveMaximum: 20 });
    await scene.pass(1000);
  }
  throw new Error(`${client.clientId} never came back`);
}

t.test('nothing is lost, and no QoS 2 message comes twice', async (t) => {
  for (let seed = 1; seed <= SEEDS; seed++) {
    const outcome = await handedOn(seed, null);
    t.strictSame(outcome, { lost: [], twice: [] }, `seed ${seed}`);
  }
});

t.test(
  `${FAULTY_SEEDS} seeds of faults, with nobody else but members who come and go`,
  async (t) => {
    const sum = noCounts();
    const reports = await failuresOf(1, FAULTY_SEEDS, sum, OF_GROUPS);
    t.comment(describeCounts(sum));
    for (const report of reports) t.fail(report);
    t.equal(reports.length, 0, 'runs that are not clean');
    t.ok(sum.faults >= FAULTY_SEEDS && sum.delivered > 30 * FAULTY_SEEDS, 'there was much to do');
  },
);

t.test('it is noticed when', async (t) => {
  const found = async (sabotage: Sabotage): Promise<number> => {
    let seeds = 0;
    for (let seed = 1; seed <= SEEDS; seed++) {
      const { lost, twice } = await handedOn(seed, sabotage);
      if (lost.length + twice.length > 0) seeds++;
    }
    return seeds;
  };

  await t.test('the queues of members take what they had', async (t) => {
    const anew = (append: SharedAppend): SharedAppend => {
      const { publisherSid, publisherSeq } = append.identity;
      if (publisherSid?.startsWith('g') !== true) return append;
      Object.assign(append, { identity: { publisherSid: null, publisherSeq } });
      return append;
    };
    const seeds = await found(({ cluster }) => {
      const { sessions } = cluster.bus;
      const enqueue = sessions.enqueue.bind(sessions);
      sessions.enqueue = (number, append) => enqueue(number, anew(append));
    });
    t.ok(seeds > 0, `${seeds} of ${SEEDS}`);
  });

  await t.test('nobody remembers whom a message was given to', async (t) => {
    const seeds = await found(({ cluster: { bus } }) => {
      const open = bus.open.bind(bus);
      bus.open = (request, done) =>
        open(request, (answer) => {
          const isQueue = request.clientId.charCodeAt(0) === 0 && answer.kind === 'opened';
          done(isQueue ? { kind: 'opened', record: { ...answer.record, pending: [] } } : answer);
        });
    });
    t.ok(seeds > 0, `${seeds} of ${SEEDS}`);
  });
});

/** What a SUBACK waits for (docs/adr/0011, DESIGN P2), first the lines alone, then with nodes around. */
import t from 'tap';
import { Barrier } from '../../src/cluster/barrier.ts';
import { FrameType } from '../../src/cluster/ports.ts';
import { Answer, FakeSite, incarnationOf } from './fake-site.ts';

class Streams {
  readonly sent: Map<string, number> = new Map();
  readonly got: Map<string, number> = new Map();
  serves = true;
  readonly barrier: Barrier = new Barrier(this, () => this.serves);

  position(peer: string): number {
    return this.sent.get(peer) ?? 0;
  }

  applied(peer: string): number {
    return this.got.get(peer) ?? 0;
  }

  send(peer: string): void {
    this.sent.set(peer, this.position(peer) + 1);
  }

  apply(peer: string, position: number): void {
    this.got.set(peer, position);
    this.barrier.progressed(peer);
  }

  wait(): Answer {
    const answer = new Answer();
    this.barrier.wait(answer);
    return answer;
  }
}

function twoPeers(): Streams {
  const streams = new Streams();
  streams.barrier.count('a');
  streams.barrier.count('b');
  return streams;
}

t.test('an answer waits until every counted member has applied its position', async (t) => {
  const streams = twoPeers();
  streams.send('a');
  streams.send('b');
  const first = streams.wait();
  streams.send('a');
  const second = streams.wait();
  t.equal(first.unsafeCount, 1);
  t.equal(first.told, 0);
  streams.apply('a', 1);
  t.equal(first.told, 0, 'b has not');
  streams.apply('b', 1);
  t.equal(first.told, 1);
  t.equal(first.unsafeCount, 0);
  t.equal(second.told, 0);
  streams.apply('a', 2);
  t.equal(second.told, 1);
  streams.apply('a', 3);
  t.equal(first.told + second.told, 2, 'each is told once');
  t.equal(streams.barrier.answersWaiting, 0);
});

t.test('nothing to wait for: nothing is counted, and nobody is told from inside', async (t) => {
  const streams = twoPeers();
  streams.send('a');
  streams.apply('a', 1);
  const answer = streams.wait();
  t.equal(answer.unsafeCount, 0);
  t.equal(answer.told, 0);
});

t.test('a member that is not counted in is not waited for', async (t) => {
  const streams = new Streams();
  streams.send('a');
  t.equal(streams.wait().unsafeCount, 0);
});

t.test('a member that dies stops counting; one that lives goes on', async (t) => {
  const streams = twoPeers();
  streams.send('a');
  streams.send('b');
  const answer = streams.wait();
  streams.barrier.drop('a');
  t.equal(answer.told, 0);
  streams.barrier.drop('b');
  t.equal(answer.told, 1);
  t.equal(answer.failed, false);
});

t.test('what else an answer waits for is left alone', async (t) => {
  const streams = twoPeers();
  streams.send('a');
  const answer = new Answer();
  answer.unsafeCount = 2;
  streams.barrier.wait(answer);
  t.equal(answer.unsafeCount, 3);
  streams.apply('a', 1);
  t.equal(answer.unsafeCount, 2);
  t.equal(answer.told, 0);
});

t.test('hard case 2: nothing leaves while the lease may be over', async (t) => {
  const streams = twoPeers();
  streams.send('a');
  const behind = streams.wait();
  streams.serves = false;
  streams.apply('a', 1);
  const idle = streams.wait();
  t.equal(behind.told, 0, 'others may have buried this node and counted somebody in');
  t.equal(idle.unsafeCount, 1);
  streams.barrier.unfenced();
  t.equal(behind.told, 0, 'not yet');
  streams.serves = true;
  streams.barrier.unfenced();
  t.equal(behind.told, 1);
  t.equal(idle.told, 1);
  t.equal(behind.failed, false);
});

t.test('a node that was buried fails every answer, held ones too', async (t) => {
  const streams = twoPeers();
  streams.send('a');
  const waiting = streams.wait();
  streams.serves = false;
  const held = new Answer();
  streams.barrier.count('c');
  streams.barrier.wait(held);
  const outcomes: boolean[] = [];
  streams.barrier.whenApplied((isApplied) => outcomes.push(isApplied));
  streams.barrier.fail();
  t.equal(waiting.told, 1);
  t.equal(waiting.failed, true);
  t.equal(held.failed, true);
  t.strictSame(outcomes, [false]);
  t.equal(streams.barrier.isCounted('a'), false);
});

t.test('a waiting that ends before its time is told once', async (t) => {
  const streams = twoPeers();
  streams.send('a');
  let times = 0;
  const end = streams.barrier.whenApplied(() => times++);
  t.equal(times, 0);
  end();
  t.equal(times, 1);
  streams.apply('a', 1);
  end();
  t.equal(times, 1);
});

t.test('an answer may ask for more from where it is told', async (t) => {
  const streams = twoPeers();
  streams.send('a');
  const next = new Answer();
  const answer = {
    unsafeCount: 0,
    failed: false,
    waiter: {
      messageSafe: () => {
        streams.send('a');
        streams.barrier.wait(next);
      },
    },
  };
  streams.barrier.wait(answer);
  streams.apply('a', 1);
  t.equal(next.told, 0);
  streams.apply('a', 2);
  t.equal(next.told, 1);
});

t.test('ten thousand answers in a line cost what they are', async (t) => {
  const streams = twoPeers();
  const answers: Answer[] = [];
  for (let i = 0; i < 10_000; i++) {
    streams.send('a');
    streams.send('b');
    answers.push(streams.wait());
  }
  streams.apply('b', 10_000);
  for (let i = 1; i <= 10_000; i++) streams.apply('a', i);
  t.ok(answers.every(({ told }) => told === 1));
});

// ---------------------------------------------------------------------------------- with nodes

t.test(
  'a SUBACK waits for the nodes there are, and not for one that is being joined',
  async (t) => {
    const site = new FakeSite();
    const [a, b] = [site.node(), site.node()];
    site.network.cut(a.incarnation, b.incarnation);
    a.remote.want('x', 2);
    const answer = new Answer();
    a.cluster.bus.awaitApplied(answer);
    site.time.settle();
    t.equal(answer.told, 0);
    site.network.mend(a.incarnation, b.incarnation);
    site.time.settle();
    t.equal(answer.told, 1);
    t.strictSame(b.routesOf(a), ['x,2']);

    // c registers and cannot be reached: nobody's SUBACK hangs on it.
    const c = site.make();
    site.network.cut(a.incarnation, incarnationOf(3));
    site.register(c);
    site.time.settle();
    a.remote.want('y', 2);
    const quick = new Answer();
    a.cluster.bus.awaitApplied(quick);
    site.time.settle();
    t.equal(quick.unsafeCount, 0);
    t.equal(c.isReady, false, 'it is not ready without the tables of a');
    site.network.mend(a.incarnation, c.incarnation);
    site.time.settle();
    t.equal(c.isReady, true);
    t.strictSame(c.routesOf(a), ['x,2', 'y,2']);
  },
);

t.test('hard case 4: a SUBACK never hangs on a member that was evicted', async (t) => {
  const site = new FakeSite();
  const [a, b] = [site.node(), site.node()];
  site.network.cut(a.incarnation, b.incarnation);
  a.remote.want('x', 2);
  const answer = new Answer();
  a.cluster.bus.awaitApplied(answer);
  site.time.pass(1000);
  t.equal(answer.told, 0);
  site.bury(b.incarnation);
  t.equal(answer.told, 1);
  t.equal(answer.failed, false);
});

t.test('the barrier holds over a lost link session until its tables are applied', async (t) => {
  const site = new FakeSite();
  const [a, b] = [site.node(), site.node()];
  site.network.cut(a.incarnation, b.incarnation);
  a.remote.want('x', 2);
  const answer = new Answer();
  a.cluster.bus.awaitApplied(answer);
  site.time.settle();
  a.mesh.giveUp(b.incarnation);
  site.time.settle();
  t.equal(answer.told, 0);
  site.network.mend(a.incarnation, b.incarnation);
  site.time.settle();
  t.equal(answer.told, 1);
  t.strictSame(b.routesOf(a), ['x,2']);
  t.equal(site.network.count(FrameType.COUNTED_IN, a.incarnation, b.incarnation), 2);
});

t.test('an answer that waited while the node was fenced leaves when it goes on', async (t) => {
  const site = new FakeSite();
  const [a, b] = [site.node(), site.node()];
  a.remote.want('x', 2);
  const answer = new Answer();
  a.cluster.bus.awaitApplied(answer);
  a.membership.serves = false;
  site.time.settle();
  t.strictSame(b.routesOf(a), ['x,2']);
  t.equal(answer.told, 0);
  a.membership.serves = true;
  site.time.pass(100);
  t.equal(answer.told, 1, 'also when membership never had to say that it was fenced');
  t.ok(a.remote.unfencedTimes > 0, 'and the core is told');
});

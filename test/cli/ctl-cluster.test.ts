// `causeway ctl cluster` and `ctl drain` against a node's real API: what is printed, what clients see,
// and exit codes.
import t, { type Test } from 'tap';
import type { AdminOptions } from '../../src/admin/admin-server.ts';
import type { Drainable } from '../../src/admin/api/drain-control.ts';
import { UsageError } from '../../src/cli/command.ts';
import { loadCommand } from '../../src/cli/commands.ts';
import { cassandraPairs } from '../../src/cli/ctl/cassandra-text.ts';
import { clusterPairs, clusterRows } from '../../src/cli/ctl/cluster-text.ts';
import { ApiDoor } from '../admin/api-door.ts';
import { FakeCassandra } from '../admin/fake-cassandra.ts';
import { FakeCluster, fakeLink } from '../admin/fake-cluster.ts';
import { FakeApi, TOKEN } from './fake-api.ts';
import type { Outcome } from './run.ts';
import { runMany } from './run-many.ts';

const HOSTILE = 'b\x1b[2J\u202e';

async function openDoor(t: Test, admin: Partial<AdminOptions> = {}) {
  const door = await ApiDoor.open(t, { admin });
  const env = {
    CAUSEWAY_API_URL: door.server.address!,
    CAUSEWAY_API_TOKEN: door.tokens.get('operator')!,
  };
  const ctl = (...lines: (readonly string[])[]): Promise<Outcome[]> =>
    runMany(
      lines.map((line) => ['ctl', ...line]),
      { env },
    );
  return { door, ctl };
}

t.test('the datacenter: pairs and a table for people, the answer for programs', async (t) => {
  const cluster = new FakeCluster();
  const { ctl } = await openDoor(t, { cluster });
  cluster.change({
    links: [
      fakeLink({ nodeId: HOSTILE }),
      fakeLink({ nodeId: HOSTILE, direction: 'in', isUp: false, unackedFrames: 0 }),
      fakeLink({ peer: 'c3'.repeat(16), nodeId: 'gone', isUp: false, roundTripMs: -1 }),
    ],
    members: [{ ...cluster.current.members[0]!, nodeId: HOSTILE }],
  });
  cluster.redis.roundTrips[2] = 50;
  const [shown, document] = (await ctl(['cluster'], ['cluster', '--json'])) as [Outcome, Outcome];
  t.equal(shown.code, 0, shown.stderr);
  t.equal(
    shown.stdout,
    `node          a (a1a1a1a1)
state         ready since 2023-11-14T22:13:20.000Z
              the node is a member and serves clients
lease         2500 ms left
redis         up
  server      10.0.0.9:6379  Redis 8.0.1  up
  round trip  p50 0.375 ms, p99 0.498 ms
  waiting     4 calls, 6 messages
  P1          holds: appendfsync is always
  P4          does not hold: appendonly is no
degraded      no (mode park)
sessions      8 owned here, 9 known
answers held  7
route drifts  0

NODE              INCARNATION  ADDRESS        RELEASE     PROTOCOL  STATE  SINCE                     OUT   IN    LAG  LAG BYTES  RTT MS  HELD  SESSIONS  RECONNECTS  DROPPED
a *               a1a1a1a1     10.0.0.1:7883  1.2.3-test         1  ready  2023-11-14T22:13:20.000Z  -     -       -          -       -     7         8           -        -
b\\x1b[2J\\u{202e}  b2b2b2b2     10.0.0.2:7883  0.9.0              1  ready  2023-11-14T22:13:20.000Z  up    down    3        800     0.5     6         5           2        4
gone              c3c3c3c3     -              0.9.0              -  -      -                         down  -       3        400       -     -         -           1        2
`,
  );
  const parsed = JSON.parse(document.stdout);
  t.match(parsed, { node: { nodeId: 'a' }, links: [{}, {}, {}], routeDrifts: 0 });
  t.notMatch(document.stdout, /[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]/, 'safe on a terminal as well');
});

t.test('what is wrong is said', async (t) => {
  const cluster = new FakeCluster();
  cluster.change({
    node: { state: 'joining', sinceMs: 0, reason: '', waitsFor: ['b', 'c'] },
    redis: { isUp: false, problem: 'READONLY', servers: [], promises: [] },
    degraded: { mode: 'local', isActive: true, reason: 'Redis is away', journaledMessages: 5 },
  });
  cluster.counters.redisLostMessages = 17;
  const { ctl } = await openDoor(t, { cluster });
  const [{ stdout, code }] = (await ctl(['cluster'])) as [Outcome];
  t.equal(code, 0);
  for (const line of [
    /^state +joining$/m,
    /^ +the node is joining its datacenter$/m,
    /^waits for +b, c$/m,
    /^redis +away: READONLY$/m,
    /^ {2}lost +17 messages in all$/m,
    /^degraded +Redis is away \(mode local, 5 messages in the journal\)$/m,
  ]) {
    t.match(stdout, line);
  }
  const server = { server: 'h:1', version: '', state: 'waiting', problem: 'ECONNREFUSED' };
  t.match(
    clusterPairs({ redis: { servers: [server] } }).find(([name]) => name === '  server'),
    ['  server', 'h:1  Redis -  waiting: ECONNREFUSED'],
  );
  t.equal(clusterRows(undefined).length, 1, 'an answer of another release breaks nothing');
});

t.test('a node alone says so', async (t) => {
  const { ctl } = await openDoor(t);
  const [{ code, stderr, stdout }] = (await ctl(['cluster'])) as [Outcome];
  t.equal(code, 4);
  t.match(stderr, /this node is alone/);
  t.equal(stdout, '');
});

t.test('draining until nobody is left', async (t) => {
  // Half a second goes by each time it is asked how far it is.
  const drain: Drainable = {
    drain: (options, done) => world.broker.drain(options, done),
    endDrain: () => world.broker.endDrain(),
    get drainProgress() {
      world.time.pass(500);
      return world.broker.drainProgress;
    },
  };
  const { door, ctl } = await openDoor(t, { drain });
  const { world } = door;
  for (let i = 0; i < 30; i++) world.connected(5, `c${i}`);
  const [waited, shown, again, stopped, twice] = (await ctl(
    ['drain', '--rate', '20', '--to', 'b.example:1883', '--wait'],
    ['drain', '--show'],
    ['drain', '--wait', '--json'],
    ['drain', '--stop'],
    ['drain', '--stop'],
  )) as [Outcome, Outcome, Outcome, Outcome, Outcome];
  t.equal(waited.code, 0, waited.stderr);
  t.strictSame(waited.stdout.trimEnd().split('\n'), [
    '10 moved, 20 left',
    '20 moved, 10 left',
    '30 moved, 0 left',
    'nobody is left',
  ]);
  t.match(shown.stdout, /^serverReference +b\.example:1883$/m);
  t.match(shown.stdout, /^drained +true$/m);
  t.match(JSON.parse(again.stdout), { drained: true, moved: 0, clientsPerS: 100 }, 'once, as JSON');
  t.strictSame([stopped.code, stopped.stdout], [0, 'clients may come again\n']);
  t.equal(twice.code, 4, 'there is nothing to end');
  t.equal(world.stats.clientsMoved, 30);
  world.connected(5, 'back');
});

t.test('waiting ends with an error when the drain is not this one any more', async (t) => {
  let asked = 0;
  const state = { draining: true, drained: false, moved: 1, remaining: 2, startedAtMs: 5 };
  const answers = [
    { draining: false, startedAtMs: 0 },
    { ...state, startedAtMs: 6 },
  ];
  const api = await FakeApi.start(({ method }) =>
    method === 'POST' ? { body: state } : { body: answers[asked++] },
  );
  t.teardown(() => api.close());
  const env = { CAUSEWAY_API_URL: api.url, CAUSEWAY_API_TOKEN: TOKEN };
  const wait = ['ctl', 'drain', '--wait'];
  for (const { code, stdout, stderr } of await runMany([wait, wait], { env })) {
    t.equal(code, 5);
    t.equal(stdout, '1 moved, 2 left\n');
    t.match(stderr, /somebody else has ended this drain, or begun another/);
  }
  const bodies = api.asked.filter(({ method }) => method === 'POST').map(({ body }) => body);
  t.strictSame(bodies, [{}, {}], 'the node has the defaults');
});

t.test('command lines that make no sense', async (t) => {
  const command = await loadCommand('ctl');
  const cases: [string[], string][] = [
    [['drain', '--rate', '0'], '--rate is 1 to 100000 clients a second'],
    [['drain', '--rate', '100001'], '--rate is 1 to 100000'],
    [['drain', '--rate', 'fast'], '--rate is 1 to 100000'],
    [['drain', '--to', ''], '--to needs a value'],
    [['drain', '--to', 'x'.repeat(1025)], '--to is a name of at most 1024'],
    [['drain', '--stop', '--wait'], 'drain --stop takes no --wait'],
    [['drain', '--show', '--rate', '1'], 'drain --show takes no --rate'],
    [['drain', 'now'], 'unexpected argument "now"'],
    [['cluster', '--wait'], 'cluster takes no --wait'],
  ];
  for (const [args, message] of cases) {
    await t.rejects(command!.run(args), UsageError, args.join(' '));
    await command!
      .run(args)
      .catch((error: Error) => t.ok(error.message.startsWith(message), error.message));
  }
});

t.test(
  'Cassandra: pairs for people, also below those of the datacenter, the answer for programs',
  async (t) => {
    const cassandra = new FakeCassandra();
    const { ctl } = await openDoor(t, { cluster: new FakeCluster(), cassandra });
    const [shown, document, both] = (await ctl(
      ['cassandra'],
      ['cassandra', '--json'],
      ['cluster'],
    )) as [Outcome, Outcome, Outcome];
    t.equal(shown.code, 0, shown.stderr);
    t.equal(
      shown.stdout,
      `cassandra      up  dc1, keyspace causeway
  waiting      3 topics, the oldest for 4500 ms
  last round   2023-11-14T22:13:20.000Z
  compared by  this node
  found        0 taken over, 0 written again, 0 damaged
`,
    );
    t.match(JSON.parse(document.stdout), { state: 'up', retained: { writes: 0 } });
    t.match(both.stdout, /^redis .*^cassandra +up .*^NODE/ms);
    const { ctl: alone } = await openDoor(t);
    const [none] = (await alone(['cassandra'])) as [Outcome];
    t.match(none, { code: 4, stderr: /no Cassandra/ });
  },
);

t.test('Cassandra in trouble', async (t) => {
  const { current } = new FakeCassandra();
  const lines = cassandraPairs({
    ...current,
    state: 'down',
    reasons: [HOSTILE],
    warning: 'kept by the nodes',
    isFilling: true,
    round: { progress: 0.427, rowsRead: 3 },
    isComparing: false,
    waitingTopics: 0,
    lastRoundMs: 0,
    retained: { takenOver: 1, rewritten: 2, damaged: 3 },
  });
  t.strictSame(lines.slice(2), [
    ['  warning', 'kept by the nodes'],
    ['  waiting', 'nothing'],
    ['  last round', '-'],
    ['  compared by', 'another node: 42 % of the ring, no listener is open before'],
    ['  found', '1 taken over, 2 written again, 3 damaged'],
  ]);
  t.equal(lines[1]?.[1]?.includes('\x1b'), false, 'safe for a terminal');
  t.strictSame(cassandraPairs(null).length, 5, 'an answer that is none');
});

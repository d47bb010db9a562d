/** Digests of routes: equal for equal tables, and drift that is found, counted and repaired (hard case 6). */
import t from 'tap';
import {
  encodeHeartbeat,
  encodeTablesBegin,
  encodeTablesEnd,
} from '../../src/cluster/link/frame-codec.ts';
import { FrameType } from '../../src/cluster/ports.ts';
import { addText, beginHash, endHash, HashWords } from '../../src/cluster/route-hash.ts';
import { RouteTable } from '../../src/cluster/route-table.ts';
import { SeededRandom } from '../core/manual-time.ts';
import { FakeSite, LEASE_MS } from './fake-site.ts';

function filled(order: readonly number[]): RouteTable {
  const table = new RouteTable();
  for (const i of order) {
    table.setInterest(`f/${i}`, i % 2 === 0 ? 1 : 2);
    table.setGroup('g', `f/${i}`, i + 1);
    table.setOwned(`c${i}`, 'sid', i, 1);
  }
  return table;
}

t.test('a digest depends on what is held and not on how it came to be', async (t) => {
  const table = filled([0, 1, 2, 3, 4]);
  const other = filled([4, 2, 0, 3, 1]);
  t.equal(table.digest, other.digest);
  t.equal(table.items, 15);
  const before = table.digest;
  table.setInterest('x', 1);
  table.setInterest('x', 2);
  table.setGroup('h', 'x', 4);
  table.setOwned('x', 'sid', 1, 1);
  table.setOwned('x', 'sid', 1, 2);
  t.not(table.digest, before);
  table.setInterest('x', 0);
  table.setGroup('h', 'x', 0);
  table.removeOwned('x');
  table.removeOwned('x');
  t.equal(table.digest, before);
  t.equal(table.items, 15);
  table.clear();
  t.equal(table.digest, 0);
});

t.test('every single difference shows', async (t) => {
  const base = filled([0, 1, 2]).digest;
  const changes: ((table: RouteTable) => void)[] = [
    (table) => table.setInterest('f/0', 2),
    (table) => table.setInterest('f/00', 1),
    (table) => table.setGroup('g', 'f/0', 7),
    (table) => table.setGroup('gf', '/0', 1),
    (table) => table.setOwned('c0', 'sid', 0, 2),
    (table) => table.setOwned('c0', 'sid', 2 ** 40, 1),
    (table) => table.setOwned('c0', 'dis', 0, 1),
    (table) => table.removeOwned('c0'),
  ];
  const digests = new Set([base]);
  for (const change of changes) {
    const table = filled([0, 1, 2]);
    change(table);
    digests.add(table.digest);
  }
  t.equal(digests.size, changes.length + 1);
});

t.test('hashes are spread over 53 bits', async (t) => {
  const seen = new Set<number>();
  const ones = new Array(53).fill(0);
  const random = new SeededRandom(3);
  const count = 20_000;
  for (let i = 0; i < count; i++) {
    const words = new HashWords();
    beginHash(words, 1);
    addText(words, `devices/${i}/${random.hex(2)}`);
    endHash(words);
    const { value } = words;
    seen.add(value);
    let rest = value;
    for (let bit = 0; bit < 53; bit++) {
      ones[bit] += rest % 2;
      rest = Math.floor(rest / 2);
    }
  }
  t.equal(seen.size, count, 'no two alike');
  for (const one of ones) t.ok(Math.abs(one / count - 0.5) < 0.03);
});

t.test('nodes that hold the same find no drift, whatever happens', async (t) => {
  const site = new FakeSite();
  const nodes = [site.node(), site.node(), site.node()];
  const random = new SeededRandom(11);
  let epoch = 1;
  for (let step = 0; step < 400; step++) {
    const node = nodes[random.below(3)]!;
    const filter = `f/${random.below(20)}`;
    const clientId = `c${random.below(8)}`;
    const owned = node.remote.sessions.get(clientId);
    const isOwned = owned?.owner === node.incarnation;
    switch (random.below(8)) {
      case 0:
        node.remote.want(filter, random.below(3) as 0 | 1 | 2);
        break;
      case 1:
        node.remote.wantGroup('g', filter, random.below(3));
        break;
      case 2: {
        epoch++;
        // As a takeover: the one before is asked to let go.
        const before = nodes.find(({ remote, incarnation }) => {
          return remote.sessions.get(clientId)?.owner === incarnation;
        });
        const kept = before?.remote.sessions.get(clientId);
        before?.remote.letGo(clientId, epoch, () => {});
        node.remote.owns({
          ...(kept ?? site.image(node, clientId, epoch)),
          epoch,
          owner: node.incarnation,
        });
        break;
      }
      case 3:
        if (isOwned) node.remote.change(clientId, [filter]);
        break;
      case 4:
        if (isOwned) node.remote.owns({ ...owned, owner: null });
        break;
      case 5:
        if (isOwned) {
          node.cluster.bus.announceEnd(clientId, owned.sid, owned.epoch);
          node.remote.sessions.delete(clientId);
        }
        break;
      case 6:
        if (random.below(4) === 0) {
          const other = nodes[random.below(3)]!;
          if (other !== node) node.mesh.giveUp(other.incarnation);
        }
        break;
      default:
        site.time.pass(random.below(400));
    }
  }
  site.time.pass(2 * LEASE_MS);
  for (const node of nodes) {
    t.equal(node.cluster.counters.routeDrifts, 0);
    for (const other of nodes) {
      if (other === node) continue;
      const wanted = [...other.remote.own].map(String).sort();
      t.strictSame(node.routesOf(other), wanted);
      for (const image of other.remote.ownedSessions()) {
        t.strictSame(node.remote.sessions.get(image.clientId), image);
      }
    }
  }
});

t.test('route_drift_total: an announcement that got lost is found and repaired', async (t) => {
  for (const type of [FrameType.INTEREST, FrameType.GROUP, FrameType.IMAGE, FrameType.CHANGE]) {
    const site = new FakeSite();
    const [a, b] = [site.node(), site.node()];
    a.remote.want('kept', 2);
    a.remote.owns(site.image(a, 'c0', 3));
    site.time.settle();
    site.network.swallow = (from, _to, what) => from === a.incarnation && what === type;
    a.remote.want('lost', 2);
    a.remote.wantGroup('g', 'lost', 2);
    a.remote.owns(site.image(a, 'c1', 3, 'x'));
    a.remote.change('c0', ['y']);
    site.time.settle();
    site.network.swallow = null;
    site.time.pass(LEASE_MS);
    t.equal(b.cluster.counters.routeDrifts, 1, `frame ${type}`);
    t.ok(b.logged.includes('routes of a peer have drifted'));
    t.strictSame(b.routesOf(a), ['kept,2', 'lost,2']);
    t.equal(b.remote.remoteGroups.get(`${a.incarnation} g/lost`), 2);
    t.equal(b.remote.sessions.get('c1')?.subscriptions.length, 1);
    t.equal(b.remote.sessions.get('c0')?.subscriptions.length, 1);
    t.equal(b.cluster.state().nodes[1]?.drifts, 1);
    site.time.pass(3 * LEASE_MS);
    t.equal(b.cluster.counters.routeDrifts, 1, 'and it is over');
  }
});

t.test('a removal that got lost is repaired by tables that do not repeat it', async (t) => {
  const site = new FakeSite();
  const [a, b] = [site.node(), site.node()];
  a.remote.want('x', 2);
  a.remote.wantGroup('g', 'x', 2);
  a.remote.owns(site.image(a, 'c', 3, 'q'));
  site.time.settle();
  site.network.swallow = (from) => from === a.incarnation;
  a.remote.want('x', 0);
  a.remote.wantGroup('g', 'x', 0);
  a.remote.owns({ ...a.remote.sessions.get('c')!, owner: null });
  site.time.settle();
  site.network.swallow = null;
  site.time.pass(LEASE_MS);
  t.strictSame(b.routesOf(a), []);
  t.equal(b.remote.remoteGroups.size, 0);
  t.equal(b.remote.sessions.get('c')?.owner, null, 'it was asked for');
});

t.test('a request for tables that got lost is made again', async (t) => {
  const site = new FakeSite();
  const [a, b] = [site.node(), site.node()];
  site.network.swallow = (from, _to, what) =>
    (from === a.incarnation && what === FrameType.INTEREST) || what === FrameType.NEED_TABLES;
  a.remote.want('x', 2);
  site.time.pass(LEASE_MS);
  site.network.swallow = null;
  t.strictSame(b.routesOf(a), []);
  site.time.pass(12_000);
  t.strictSame(b.routesOf(a), ['x,2']);
});

t.test('nothing is compared while tables are coming', async (t) => {
  const site = new FakeSite();
  const [a, b] = [site.node(), site.node()];
  a.remote.want('x', 2);
  site.time.settle();
  const arrives = (type: number, frame: Buffer): void => {
    b.mesh.events.frame(a.incarnation, type, frame, 5, frame.length);
  };
  const times = { sentMs: 1, echoMs: 1, position: 1 };
  const other = encodeHeartbeat({ ...times, hasRedis: true, linksUp: 1, items: 1, digest: 5 });
  arrives(FrameType.TABLES_BEGIN, encodeTablesBegin());
  arrives(FrameType.HEARTBEAT, other);
  t.equal(b.cluster.counters.routeDrifts, 0);
  arrives(FrameType.TABLES_END, encodeTablesEnd(1));
  arrives(FrameType.HEARTBEAT, other);
  t.equal(b.cluster.counters.routeDrifts, 1);
});

t.test(
  'what the store has told the core and nobody the bus goes with the next tables',
  async (t) => {
    const site = new FakeSite();
    const [a, b] = [site.node(), site.node()];
    a.remote.owns(site.image(a, 'c', 3, 'q'));
    site.time.settle();
    // Fenced by Redis: the core gave it up.
    a.remote.sessions.set('c', { ...a.remote.sessions.get('c')!, owner: null });
    const c = site.node();
    site.time.pass(LEASE_MS);
    t.equal(c.cluster.state().nodes.find(({ nodeId }) => nodeId === 'node0')?.sessionsOwned, 0);
    t.equal(b.cluster.state().nodes.find(({ nodeId }) => nodeId === 'node0')?.sessionsOwned, 0);
    t.equal(b.cluster.counters.routeDrifts, 0);
  },
);

/**
 * Packet identifiers of a session of the datacenter that comes from another region (ADR 0023): what was
 * sent there is sent under the identifier it had, by whoever owns the session, until it is settled; and
 * turns of identifiers hold over owners. The datacenter is fake-datacenter.ts.
 */
import t from 'tap';
import { makeMessage } from '../../src/core/message.ts';
import { RoamingState, SHARE_IDS } from '../../src/core/roaming-state.ts';
import { moveIdentity, type SentAs, SharedAppend } from '../../src/core/shared-append.ts';
import type { FakeClient, Received } from './fake-client.ts';
import { FakeDatacenter, type FakeNode } from './fake-datacenter.ts';

const durable = { clean: false, expiryS: 0xffff_ffff };
const BORN = 1_790_000_000_123_456;

interface Scene {
  readonly site: FakeDatacenter;
  readonly a: FakeNode;
  readonly b: FakeNode;
}

async function two(): Promise<Scene> {
  const site = new FakeDatacenter();
  const a = await site.node();
  const b = await site.node();
  return { site, a, b };
}

function connect({ site }: Scene, node: FakeNode): FakeClient {
  const client = node.world.client(5, 'sub');
  client.connect(durable);
  site.time.settle();
  client.accepted();
  return client;
}

/** A message of QoS 2, called by the position it comes from. */
function moved(from: number, sentAs: SentAs | null, qos: 1 | 2 = 2): SharedAppend {
  const message = makeMessage(from, 'x', Buffer.from(`${from}`), { qos });
  const append = new SharedAppend(message, qos, false, null, null, moveIdentity(BORN, from));
  append.sentAs = sentAs;
  return append;
}

/** Publications as `text@id`, with `!` for DUP, and PUBREL as `rel@id`. */
function shown(received: readonly Received[]): string[] {
  const texts: string[] = [];
  for (const packet of received) {
    if (packet.type === 'publish') {
      const { payload, packetId, dup } = packet.publish;
      texts.push(`${payload}@${packetId}${dup ? '!' : ''}`);
    } else if (packet.type === 'pubrel') texts.push(`rel@${packet.packetId}`);
    else texts.push(packet.type);
  }
  return texts;
}

/** Of all that is in the queue. */
function positions({ site }: Scene): number[] {
  return site.rows.get('sub')!.queue.map(({ seq }) => seq);
}

/** As a node that has fetched it from another region saves it. */
function saveTurns({ site }: Scene, fromSeq: number, turn: number): void {
  const state = new RoamingState('eu', fromSeq - 1);
  state.beginTurn(fromSeq, turn);
  const row = site.rows.get('sub')!;
  row.record = { ...row.record!, roaming: state.record() };
}

function subscribed(scene: Scene, node: FakeNode): FakeClient {
  const client = connect(scene, node);
  client.subscribe('x', 2);
  scene.site.time.settle();
  client.receive();
  return client;
}

function gone({ site }: Scene, client: FakeClient): void {
  client.sink.close();
  site.time.settle();
}

function page(): SharedAppend[] {
  return [
    moved(40, { packetId: 41, isReleased: true }),
    moved(41, { packetId: 42, isReleased: false }),
    moved(44, { packetId: 60_000, isReleased: false }, 1),
    moved(45, null),
  ];
}

for (const by of ['its owner', 'another node'] as const) {
  t.test(`what was sent elsewhere keeps its identifier, appended by ${by}`, async (t) => {
    const scene = await two();
    const { site, a, b } = scene;
    const first = connect(scene, a);
    for (const append of page()) (by === 'its owner' ? a : b).takeOver('sub', append);
    site.time.settle();
    t.strictSame(shown(first.receive()), ['rel@41', '41@42!', '44@60000!', '45@5']);
    first.ack('pubcomp', 41);
    first.ack('pubrec', 42);
    site.time.settle();
    t.strictSame(shown(first.receive()), ['rel@42']);
    gone(scene, first);
    t.strictSame(positions(scene), [2, 3, 4]);
    const again = connect(scene, b);
    t.strictSame(
      shown(again.receive()),
      ['rel@42', '44@60000!', '45@5!'],
      'the next owner reads it with the queue',
    );
    again.ack('pubcomp', 42);
    again.ack('puback', 60_000);
    again.ack('pubrec', 5);
    site.time.settle();
    t.strictSame(shown(again.receive()), ['rel@5']);
    again.ack('pubcomp', 5);
    site.time.settle();
    t.strictSame(positions(scene), []);
    b.takeOver('sub', moved(46, null));
    site.time.settle();
    t.strictSame(shown(again.receive()), ['46@6']);
    t.equal(b.world.stats.inflightMessages, 1);
  });
}

t.test('what came released is marked so in the queue: its bounds spare it', async (t) => {
  const scene = await two();
  connect(scene, scene.a);
  for (const append of page()) scene.b.takeOver('sub', append);
  scene.site.time.settle();
  const marks = scene.site.rows.get('sub')!.queue.map(({ isReleased }) => isReleased);
  t.strictSame(marks, [true, false, false, false]);
});

t.test('an identifier that is on its way is not given a second time', async (t) => {
  const scene = await two();
  const { site, a } = scene;
  const client = connect(scene, a);
  a.takeOver('sub', moved(1, null));
  site.time.settle();
  t.strictSame(shown(client.receive()), ['1@2']);
  a.takeOver('sub', moved(2, { packetId: 2, isReleased: false }));
  site.time.settle();
  t.strictSame(client.receive(), [], 'the client would take it for the first');
  client.ack('pubrec', 2);
  site.time.settle();
  t.strictSame(shown(client.receive()), ['rel@2']);
  client.ack('pubcomp', 2);
  site.time.settle();
  t.strictSame(shown(client.receive()), ['2@2!']);
});

t.test('PUBREC for what only Redis has is not answered with a release', async (t) => {
  const scene = await two();
  const { site, a, b } = scene;
  const first = subscribed(scene, a);
  gone(scene, first);
  saveTurns(scene, 1, 1);
  const client = connect(scene, a);
  client.receive();
  const held: (() => void)[] = [];
  const reads = a.read.bind(a);
  a.read = (...asked: Parameters<FakeNode['read']>) => void held.push(() => reads(...asked));
  b.takeOver('sub', moved(40, { packetId: 41, isReleased: false }));
  site.time.settle();
  t.equal(held.length, 1, 'it is known to be there, and not what it is');
  client.ack('pubrec', 41);
  site.time.settle();
  t.strictSame(client.receive(), [], 'a PUBREL would make the repetition look new');
  held[0]!();
  site.time.settle();
  t.strictSame(shown(client.receive()), ['40@41!']);
  client.ack('pubrec', 41);
  site.time.settle();
  t.strictSame(shown(client.receive()), ['rel@41']);
  client.ack('pubrec', 43);
  site.time.settle();
  t.match(client.receive(), [{ type: 'pubrel', packetId: 43, reasonCode: 0x92 }], 'nobody has it');
});

t.test('turns of identifiers hold for every owner, and are saved with the session', async (t) => {
  const scene = await two();
  const { site, a, b } = scene;
  const first = subscribed(scene, a);
  a.takeOver('sub', moved(1, null));
  site.time.settle();
  t.strictSame(shown(first.receive()), ['1@2'], 'all identifiers, of a session that stays');
  gone(scene, first);
  saveTurns(scene, 2, 2);
  const own = 2 * SHARE_IDS + 3;
  const second = connect(scene, a);
  a.takeOver('sub', moved(2, null));
  site.time.settle();
  t.strictSame(shown(second.receive()), ['1@2!', `2@${own}`]);
  second.subscribe('y', 1);
  site.time.settle();
  gone(scene, second);
  t.strictSame(site.rows.get('sub')!.record!.roaming!.turns, [
    [0, -1],
    [2, 2],
  ]);
  const third = connect(scene, b);
  t.strictSame(shown(third.receive()), ['1@2!', `2@${own}!`]);
  third.ack('pubrec', 2);
  third.ack('pubrec', own);
  third.ack('pubcomp', 2);
  third.ack('pubcomp', own);
  site.time.settle();
  gone(scene, third);
  const back = connect(scene, a);
  b.takeOver('sub', moved(3, null));
  site.time.settle();
  t.strictSame(shown(back.receive()), [`3@${own + 1}`], 'also where it was before');
});

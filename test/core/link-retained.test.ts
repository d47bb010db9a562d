// Retained changes at nodes alone that have links: one version on all ways, and the newest wins (ADR 0022).
import t from 'tap';
import { LinkProperties } from '../../src/core/link-properties.ts';
import { RegionLinks } from '../../src/core/region-links.ts';
import { CLEARED, type RetainedVersion } from '../../src/core/retained-version.ts';
import { PublishView } from '../../src/wire/publish.ts';
import { type FakeClient, type ReceivedPublish, subscribeBytes } from './fake-client.ts';
import { FakeDisk, FakeStore } from './fake-store.ts';
import { ManualTime } from './manual-time.ts';
import { World, type WorldOptions } from './world.ts';

const TOPIC = 'kept/x';
const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const names = ['eu', 'us', 'ap'];

/** A node alone, with a link of another region that wants everything. */
class Region {
  readonly world: World;
  readonly links: RegionLinks;
  readonly publisher: FakeClient;
  readonly #fetcher: FakeClient;
  #packetId = 0;

  private constructor(world: World, links: RegionLinks) {
    this.world = world;
    this.links = links;
    this.#fetcher = world.connected(5, '$link/af');
    this.#fetcher.send(subscribeBytes(5, 9, ['#'], 2));
    this.publisher = world.connected(5, 'publisher');
    this.settle();
    this.#fetcher.receive();
  }

  static async start(name: string, options: WorldOptions = {}): Promise<Region> {
    const links = new RegionLinks(name, Buffer.alloc(16, 1 + names.indexOf(name)));
    const terms = { region: 'af', user: 'af', certificate: null, topics: ['#'] };
    links.revise([{ ...terms, budgetAgeMs: DAY_MS, budgetBytes: 2 ** 20 }]);
    links.admits = () => true;
    links.budgetAgeMaxMs = DAY_MS;
    return new Region(await World.start({ ...options, links }), links);
  }

  settle(): void {
    this.world.settle();
    if (this.world.store instanceof FakeStore) this.world.store.commit();
    this.world.settle();
  }

  /** What leaves over the link when a client publishes. */
  publish(payload: string, topic: string = TOPIC): ReceivedPublish {
    this.publisher.publish(topic, payload, { qos: 1, id: ++this.#packetId, retain: true });
    return this.left();
  }

  left(): ReceivedPublish {
    this.settle();
    const found = this.#fetcher.receive().find(({ type }) => type === 'publish');
    if (found?.type !== 'publish') throw new Error('nothing has left');
    this.#fetcher.ack('puback', found.publish.packetId);
    this.settle();
    return found.publish;
  }

  /** Another region's message; when it is safe here. */
  bring(message: ReceivedPublish): () => boolean {
    const properties = readOf(message);
    const view = new PublishView();
    view.qos = 1;
    view.retain = true;
    view.topicBuffer = Buffer.from(
      `\0${String.fromCharCode(message.topic.length)}${message.topic}`,
    );
    view.topicEnd = view.topicBuffer.length;
    view.payloadBuffer = Buffer.from(message.payload);
    view.payloadEnd = view.payloadBuffer.length;
    view.propertyBuffer = message.properties;
    view.propertyEnd = message.properties.length;
    let isSafe = false;
    const mark = properties.mark();
    const settled = (failed: boolean): void => {
      isSafe = !failed;
    };
    this.world.broker.linkInlet.publish(view, message.topic, properties.end, mark, 0, settled);
    return () => isSafe;
  }

  get kept(): string {
    return this.world.broker.admin.retainedMessage(TOPIC)?.payload.toString() ?? '';
  }
}

function readOf({ properties }: ReceivedPublish): LinkProperties {
  const read = new LinkProperties();
  if (!read.read(properties, 0, properties.length)) throw new Error('no properties of a link');
  return read;
}

function versionOf(message: ReceivedPublish): RetainedVersion {
  const { version } = readOf(message);
  if (version === null) throw new Error('it has no version');
  return version;
}

t.test(
  'one version on all ways: what comes late over one of them is older everywhere',
  async (t) => {
    const [eu, us, ap] = await Promise.all(names.map((name) => Region.start(name)));
    const first = ap!.publish('1');
    const second = ap!.publish('2');
    t.ok(versionOf(second).timeUs > versionOf(first).timeUs);
    // Straight from ap, and over us.
    us!.bring(first);
    const detour = us!.left();
    t.strictSame(versionOf(detour), versionOf(first));
    t.equal(readOf(detour).path, 'ap,us');
    eu!.bring(second);
    eu!.left();
    eu!.bring(detour);
    t.equal(eu!.left().payload, '1', 'subscribers get it all the same');
    t.equal(eu!.kept, '2');
    us!.bring(second);
    us!.left();
    t.strictSame([us!.kept, ap!.kept], ['2', '2']);
    // Who writes next stands above it, whatever its clock says.
    us!.world.time.wallOffsetMs -= 30_000;
    const third = us!.publish('3');
    t.ok(versionOf(third).timeUs > versionOf(second).timeUs);
    ap!.bring(third);
    eu!.bring(third);
    t.strictSame([eu!.kept, us!.kept, ap!.kept], ['3', '3', '3']);
  },
);

t.test('a change of QoS 0 travels with QoS 1, and is one of QoS 0 in every region', async (t) => {
  const us = await Region.start('us');
  const time = new ManualTime();
  const eu = await Region.start('eu', { time, store: new FakeStore(time, new FakeDisk()) });
  const subscriber = eu.world.connected(5, 'subscriber');
  subscriber.send(subscribeBytes(5, 1, ['kept/#'], 2));
  eu.settle();
  subscriber.receive();
  us.publisher.publish(TOPIC, 'on', { retain: true });
  const change = us.left();
  t.equal(change.qos, 1);
  t.ok(versionOf(change).timeUs > 0);
  const isSafe = eu.bring(change);
  eu.world.settle();
  t.notOk(isSafe(), 'it is acknowledged when it is on disk');
  t.match(eu.left(), { qos: 1, payload: 'on' }, 'so it does over the next link');
  t.ok(isSafe());
  t.match(subscriber.publishes(), [{ qos: 0, payload: 'on' }]);
  const late = eu.world.connected(5, 'late');
  late.send(subscribeBytes(5, 1, ['kept/#'], 2));
  eu.settle();
  t.match(late.publishes(), [{ qos: 0, payload: 'on', retain: true }]);
  us.publisher.publish(TOPIC, '', { retain: true });
  const clear = us.left();
  t.equal(clear.qos, 1);
  eu.bring(clear);
  eu.left();
  t.equal(eu.kept, '');
  const plain = us.publish('off');
  t.notOk(readOf(plain).isQos0);
  us.publisher.publish(TOPIC, 'not retained');
  t.equal(us.left().qos, 0);
});

t.test('a clear has a version, also of what is not there', async (t) => {
  const disk = new FakeDisk();
  const time = new ManualTime();
  const eu = await Region.start('eu', { time, store: new FakeStore(time, disk) });
  const us = await Region.start('us', { time });
  const first = us.publish('1');
  time.nowMs += 5;
  const cleared = us.publish('');
  t.equal(versionOf(cleared).writer, us.links.writer + CLEARED);
  eu.bring(cleared);
  eu.settle();
  t.strictSame([...disk.tombstones.keys()], [TOPIC]);
  eu.bring(first);
  t.equal(eu.kept, '');
  // The same after a crash.
  time.forget();
  const next = await Region.start('eu', { time, store: new FakeStore(time, disk) });
  next.bring(first);
  t.equal(next.left().payload, '1');
  t.equal(next.kept, '');
  // A client here replaces it; the other way round likewise.
  const later = next.publish('2');
  t.ok(versionOf(later).timeUs > versionOf(cleared).timeUs);
  t.equal(disk.tombstones.size, 0);
  const none = next.publish('', 'kept/none');
  t.ok(versionOf(none).timeUs > 0);
});

t.test('clears are remembered as long as something older may come', async (t) => {
  const disk = new FakeDisk();
  const time = new ManualTime();
  const eu = await Region.start('eu', { time, store: new FakeStore(time, disk) });
  eu.publish('1');
  eu.publish('');
  const pass = (ms: number): void => {
    time.jump(ms);
    eu.settle();
  };
  pass(DAY_MS + HOUR_MS - 5000);
  t.equal(disk.tombstones.size, 1);
  pass(10_000);
  t.equal(disk.tombstones.size, 0);
});

t.test('what expires does not come back by an older change', async (t) => {
  const time = new ManualTime();
  const eu = await Region.start('eu', { time });
  const us = await Region.start('us', { time });
  const old = us.publish('old');
  time.nowMs += 5;
  eu.publisher.publish(TOPIC, 'short', { qos: 1, id: 9, retain: true, expiryS: 1 });
  eu.left();
  time.jump(2000);
  eu.settle();
  t.equal(eu.kept, '');
  eu.bring(old);
  t.equal(eu.kept, '');
});

t.test('a version ahead of its time is not taken over', async (t) => {
  const eu = await Region.start('eu');
  const us = await Region.start('us');
  us.world.time.wallOffsetMs += 61_000;
  eu.bring(us.publish('1'));
  t.equal(eu.kept, '');
  us.world.time.wallOffsetMs -= 31_000;
  const ahead = us.publish('2');
  t.ok(versionOf(ahead).timeUs > eu.world.time.wallMs() * 1000 + 60_000_000, 'never falls');
});

t.test('the other region is answered when the disk has it', async (t) => {
  const time = new ManualTime();
  const disk = new FakeDisk();
  const eu = await Region.start('eu', { time, store: new FakeStore(time, disk) });
  const us = await Region.start('us');
  for (const payload of ['1', '']) {
    const isSafe = eu.bring(us.publish(payload));
    eu.world.time.settle();
    t.notOk(isSafe());
    eu.settle();
    // Its copy for the next link is durable, too.
    t.ok(isSafe());
    eu.left();
  }
});

t.test('limits hold for what links bring', async (t) => {
  const eu = await Region.start('eu', { limits: { retainedMessagesMax: 1 } });
  const us = await Region.start('us');
  eu.bring(us.publish('1'));
  eu.bring(us.publish('2', 'kept/y'));
  t.equal(eu.world.stats.retainedMessages, 1);
  eu.bring(us.publish('3'));
  t.equal(eu.kept, '3');
});

/**
 * The promises P1, P4 and P5 in small: random publishers, durable subscribers, acks, disconnects,
 * slow sockets, late commits and crashes, from a seed. A ledger of what was acked is held against what
 * came: QoS 1 at least once, QoS 2 exactly once, first deliveries in order, and nothing left at the end.
 */
import fc from 'fast-check';
import t from 'tap';
import type { FakeClient, Received, Version } from './fake-client.ts';
import { FakeSink } from './fake-sink.ts';
import { FakeDisk, FakeStore } from './fake-store.ts';
import { ManualTime, SeededRandom } from './manual-time.ts';
import { World } from './world.ts';

interface Options {
  readonly isDurable: boolean;
  readonly crashes: boolean;
  readonly steps: number;
  /** The store says "durable" and keeps nothing: the ledger must notice. */
  readonly isLying?: boolean;
}

/** A connection that may be down, and may block. */
abstract class Peer {
  readonly id: string;
  readonly version: Version;
  protected client: FakeClient | null = null;
  protected isOpen = false;

  constructor(id: string, version: Version) {
    this.id = id;
    this.version = version;
  }

  get isDown(): boolean {
    return this.client === null || this.client.sink.ended || this.client.sink.destroyed;
  }

  connect(world: World, room: number, receiveMaximum: number): void {
    this.client?.sink.close();
    this.isOpen = false;
    this.client = world.client(this.version, this.id, new FakeSink(room));
    this.client.connect({
      clean: false,
      receiveMaximum,
      ...(this.version === 5 ? { expiryS: 100_000 } : {}),
    });
  }

  /** The socket breaks, or the client says goodbye; the session stays. */
  drop(isGoodbye: boolean): void {
    if (isGoodbye && !this.isDown) this.client!.disconnect();
    this.client?.sink.close();
    this.client = null;
    this.isOpen = false;
  }

  /** A broker that was killed does not know what it had sent. */
  protected wasLost = false;

  /** The broker is gone, and with it the socket; nobody is told. */
  lose(): void {
    this.wasLost = true;
    if (this.client !== null) this.client.sink.handler = null;
    this.client = null;
    this.isOpen = false;
  }

  drain(bytes: number): void {
    this.client?.sink.drain(bytes);
  }

  read(): void {
    if (this.client === null) return;
    for (const packet of this.client.receive()) {
      if (packet.type === 'connack') {
        if (packet.packet.reasonCode !== 0) throw new Error(`${this.id}: refused`);
        this.isOpen = true;
        this.opened(packet.packet.sessionPresent);
      } else if (packet.type === 'disconnect') {
        throw new Error(`${this.id}: closed with ${packet.reasonCode}`);
      } else {
        this.received(packet);
      }
    }
  }

  /** Ends the session for good. */
  end(world: World): void {
    this.drop(false);
    const client = world.client(this.version, this.id);
    client.connect({ clean: true });
    world.settle();
    client.disconnect();
    client.sink.close();
  }

  protected abstract opened(isPresent: boolean): void;
  protected abstract received(packet: Received): void;
}

const WINDOW = 12;

class Publisher extends Peer {
  /** In order: not acked for good. */
  readonly open: {
    readonly n: number;
    readonly qos: 1 | 2;
    readonly id: number;
    isReleased: boolean;
  }[] = [];
  readonly acked: { readonly n: number; readonly qos: number }[] = [];
  sent = 0;
  #nextId = 1;

  publish(qos: 1 | 2): void {
    if (!this.isOpen || this.isDown || this.open.length >= WINDOW) return;
    // The id comes round again when the message of before is done.
    do this.#nextId = (this.#nextId % (WINDOW + 3)) + 1;
    while (this.open.some((one) => one.id === this.#nextId));
    const message = { n: ++this.sent, qos, id: this.#nextId, isReleased: false };
    this.open.push(message);
    this.#send(message, false);
  }

  #send(message: { n: number; qos: 1 | 2; id: number }, dup: boolean): void {
    const { n, qos, id } = message;
    this.client!.publish(`from/${this.id}`, `${this.id} ${n} ${qos}`, { qos, id, dup });
  }

  protected opened(): void {
    for (const message of this.open) {
      if (message.isReleased) this.client!.ack('pubrel', message.id);
      else this.#send(message, true);
    }
  }

  protected received(packet: Received): void {
    if (!('packetId' in packet) || !('reasonCode' in packet)) return;
    const index = this.open.findIndex((one) => one.id === packet.packetId);
    const message = this.open[index];
    if (message === undefined) {
      if (packet.type === 'pubcomp' || packet.type === 'pubrec') return;
      throw new Error(`${this.id}: ${packet.type} ${packet.packetId} for nothing`);
    }
    // 0x92: a PUBREL was repeated that had been answered.
    if (packet.reasonCode >= 0x80 && packet.reasonCode !== 0x92) {
      throw new Error(`${this.id}: ${packet.type} says ${packet.reasonCode}`);
    }
    if (packet.type === 'pubrec') {
      if (!message.isReleased) this.acked.push(message);
      message.isReleased = true;
      if (!this.isDown) this.client!.ack('pubrel', message.id);
      return;
    }
    if (packet.type === 'puback') this.acked.push(message);
    this.open.splice(index, 1);
  }
}

class Subscriber extends Peer {
  readonly counts = new Map<string, number>();
  /** By publisher, the numbers of first deliveries. */
  readonly firsts = new Map<string, number[]>();
  readonly #received = new Set<number>();
  #owed: { readonly type: 'puback' | 'pubrec' | 'pubcomp'; readonly id: number }[] = [];

  protected opened(isPresent: boolean): void {
    this.#owed = [];
    if (!isPresent) {
      if (this.counts.size > 0) throw new Error(`${this.id}: the session is gone`);
      this.client!.subscribe('from/#', 2);
    }
  }

  protected received(packet: Received): void {
    if (packet.type === 'pubrel') {
      this.#received.delete(packet.packetId);
      this.#owed.push({ type: 'pubcomp', id: packet.packetId });
      return;
    }
    if (packet.type !== 'publish') return;
    const { payload, packetId, qos } = packet.publish;
    if (qos === 1) {
      this.#count(payload);
      this.#owed.push({ type: 'puback', id: packetId });
      return;
    }
    if (!this.#received.has(packetId)) {
      this.#received.add(packetId);
      this.#count(payload);
    } else if (!packet.publish.dup && !this.wasLost) {
      throw new Error(`${this.id}: id ${packetId} is in use and comes without DUP`);
    }
    this.#owed.push({ type: 'pubrec', id: packetId });
  }

  #count(payload: string): void {
    const times = (this.counts.get(payload) ?? 0) + 1;
    this.counts.set(payload, times);
    if (times > 1) return;
    const [publisher, n] = payload.split(' ');
    const firsts = this.firsts.get(publisher!) ?? [];
    firsts.push(Number(n));
    this.firsts.set(publisher!, firsts);
  }

  /** Sends some of the acks it owes, in order. */
  ack(count: number): void {
    for (const { type, id } of this.#owed.splice(0, count)) {
      if (this.isDown) return;
      this.client!.ack(type, id);
    }
  }
}

class Run {
  readonly #random: SeededRandom;
  readonly #options: Options;
  readonly #time = new ManualTime();
  readonly #disk = new FakeDisk();
  readonly publishers: Publisher[] = [];
  readonly subscribers: Subscriber[] = [];
  #world!: World;

  constructor(seed: number, options: Options) {
    this.#random = new SeededRandom(seed);
    this.#options = options;
    for (let i = 0; i < 3; i++) {
      this.publishers.push(new Publisher(`p${i}`, i === 0 ? 4 : 5));
      this.subscribers.push(new Subscriber(`s${i}`, i === 0 ? 4 : 5));
    }
  }

  async start(): Promise<void> {
    const limits = { outboxBytesMax: 16 * 1024 };
    const time = this.#time;
    this.#world = this.#options.isDurable
      ? await World.durable({ time, disk: this.#disk, limits })
      : await World.start({ time, limits });
    if (!this.#options.isLying) return;
    this.#world.store.append = (_session, entry) => {
      entry.durable = true;
      return 0;
    };
  }

  get #peers(): readonly Peer[] {
    return [...this.publishers, ...this.subscribers];
  }

  #commit(): void {
    if (this.#world.store instanceof FakeStore) this.#world.store.commit();
  }

  async play(): Promise<void> {
    const random = this.#random;
    // Everybody subscribes before anything is published.
    for (const peer of this.#peers) peer.connect(this.#world, Number.POSITIVE_INFINITY, 20);
    for (let i = 0; i < 4; i++) {
      this.#world.settle();
      this.#commit();
      this.#world.settle();
      for (const peer of this.#peers) peer.read();
    }
    for (let step = 0; step < this.#options.steps; step++) {
      const peer = this.#peers[random.below(this.#peers.length)]!;
      switch (random.below(16)) {
        case 0:
          if (!peer.isDown) peer.drop(random.below(2) === 0);
          break;
        case 1:
        case 2:
          if (peer.isDown) {
            const room = random.below(3) === 0 ? random.below(400) : Number.POSITIVE_INFINITY;
            peer.connect(this.#world, room, 1 + random.below(30));
          }
          break;
        case 3:
          // A takeover by the same client.
          if (random.below(4) === 0) peer.connect(this.#world, Number.POSITIVE_INFINITY, 20);
          break;
        case 4:
        case 5:
          this.#commit();
          break;
        case 6:
        case 7:
          this.#world.time.turn();
          break;
        case 8:
          peer.drain(random.below(2000));
          break;
        case 9:
          this.#world.time.pass(random.below(400));
          break;
        case 10:
          if (this.#options.crashes && random.below(12) === 0) await this.#crash();
          break;
        default:
          for (const publisher of this.publishers) {
            if (random.below(2) === 0) publisher.publish(random.below(2) === 0 ? 1 : 2);
          }
      }
      if (random.below(3) > 0) this.#read(random.below(6));
    }
    await this.#finish();
  }

  #read(acks: number): void {
    for (const peer of this.#peers) peer.read();
    for (const subscriber of this.subscribers) subscriber.ack(acks);
  }

  /** Power is cut: only the disk stays. */
  async #crash(): Promise<void> {
    for (const peer of this.#peers) peer.lose();
    this.#time.forget();
    await this.start();
  }

  async #finish(): Promise<void> {
    for (let i = 0; i < 400; i++) {
      for (const peer of this.#peers) {
        if (peer.isDown) peer.connect(this.#world, Number.POSITIVE_INFINITY, 20);
        peer.drain(Number.POSITIVE_INFINITY);
      }
      this.#world.settle();
      this.#commit();
      this.#world.settle();
      this.#read(1000);
    }
    const { stats } = this.#world;
    const left = {
      queued: stats.queuedMessages,
      bytes: stats.queuedBytes,
      open: stats.inflightMessages,
    };
    if (left.queued + left.bytes + left.open + stats.parkedAcks !== 0) {
      throw new Error(`left: ${JSON.stringify(left)}, ${stats.parkedAcks} parked`);
    }
    this.#check();
    for (const peer of this.#peers) peer.end(this.#world);
    this.#world.time.pass(1000);
    this.#commit();
    const leftovers = this.#world.leftovers();
    if (Object.keys(leftovers).length > 0) throw new Error(JSON.stringify(leftovers));
    if (this.#disk.sessions.size > 0) throw new Error('sessions are left on disk');
    if (this.#world.errors.length > 0) throw new Error(JSON.stringify(this.#world.errors));
  }

  #check(): void {
    for (const publisher of this.publishers) {
      if (publisher.open.length > 0) throw new Error(`${publisher.id}: unanswered messages`);
      for (const subscriber of this.subscribers) {
        for (const { n, qos } of publisher.acked) {
          const times = subscriber.counts.get(`${publisher.id} ${n} ${qos}`) ?? 0;
          const where = `${subscriber.id}: ${publisher.id} ${n} at QoS ${qos} came ${times} times`;
          if (times === 0 || (qos === 2 && times > 1)) throw new Error(where);
        }
        const firsts = subscriber.firsts.get(publisher.id) ?? [];
        for (let i = 1; i < firsts.length; i++) {
          if (firsts[i]! < firsts[i - 1]!) {
            throw new Error(`${subscriber.id}: ${publisher.id} out of order: ${firsts.join(' ')}`);
          }
        }
      }
    }
  }
}

const kinds: { readonly [name: string]: Options & { readonly runs: number } } = {
  'in memory': { isDurable: false, crashes: false, steps: 400, runs: 150 },
  'with a store': { isDurable: true, crashes: false, steps: 400, runs: 150 },
  'with a store and crashes': { isDurable: true, crashes: true, steps: 500, runs: 200 },
};

for (const [name, options] of Object.entries(kinds)) {
  t.test(`acked means delivered, QoS 2 once, in order: ${name}`, async (t) => {
    let delivered = 0;
    await fc.assert(
      fc.asyncProperty(fc.nat(), async (seed) => {
        const run = new Run(seed, options);
        await run.start();
        await run.play();
        for (const subscriber of run.subscribers) delivered += subscriber.counts.size;
      }),
      { numRuns: options.runs },
    );
    t.ok(delivered > options.runs * 100, `${delivered} deliveries were checked`);
  });
}

t.test('the ledger notices a store that keeps nothing', async (t) => {
  const found: string[] = [];
  for (let seed = 1; seed <= 5; seed++) {
    const run = new Run(seed, { isDurable: true, crashes: true, steps: 500, isLying: true });
    await run.start();
    await run.play().catch((error: Error) => found.push(error.message));
  }
  t.equal(found.length, 5);
  t.ok(
    found.every((message) => /came \d times|the session is gone|out of order/.test(message)),
    found.join('\n'),
  );
});

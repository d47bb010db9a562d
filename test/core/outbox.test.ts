/**
 * core/outbox: every outlet gets exactly its bytes in order, whatever sockets block, drain or close
 * when, and memory a socket still holds is never written again.
 */
import fc from 'fast-check';
import t from 'tap';
import { Outbox } from '../../src/core/outbox.ts';
import { Outlet, type OutletOwner } from '../../src/core/outlet.ts';
import { Stats } from '../../src/core/stats.ts';
import { FakeSink } from './fake-sink.ts';
import { ManualTime } from './manual-time.ts';

class Line {
  readonly sink: FakeSink;
  readonly outlet: Outlet;
  readonly expected: Buffer[] = [];
  drainedCount = 0;
  isClosed = false;

  constructor(outbox: Outbox, copies: boolean) {
    this.sink = new FakeSink(0, copies);
    const owner: OutletOwner = { outletDrained: () => this.drainedCount++ };
    this.outlet = new Outlet(this.sink, owner);
    this.sink.handler = {
      onBytes: () => {},
      onClosed: () => {},
      onDrained: () => outbox.drained(this.outlet),
    };
  }
}

const LINES = 20;

const action = fc.oneof(
  {
    weight: 10,
    arbitrary: fc.record({
      kind: fc.constant('fan' as const),
      lines: fc.uniqueArray(fc.nat(LINES - 1), { minLength: 1, maxLength: LINES }),
      bytes: fc.oneof(fc.integer({ min: 1, max: 200 }), fc.integer({ min: 1, max: 70_000 })),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant('giant' as const),
      lines: fc.uniqueArray(fc.nat(LINES - 1), { minLength: 1, maxLength: 3 }),
      bytes: fc.integer({ min: 200_000, max: 700_000 }),
    }),
  },
  {
    weight: 8,
    arbitrary: fc.record({
      kind: fc.constant('drain' as const),
      lines: fc.uniqueArray(fc.nat(LINES - 1), { minLength: 1, maxLength: LINES }),
      bytes: fc.oneof(fc.nat(500), fc.nat(300_000)),
    }),
  },
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant('turn' as const),
      lines: fc.constant([]),
      bytes: fc.constant(0),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('close' as const),
      lines: fc.uniqueArray(fc.nat(LINES - 1), { minLength: 1, maxLength: 1 }),
      bytes: fc.constant(0),
    }),
  },
);

t.test('each outlet gets its bytes, all of them and in order', async (t) => {
  fc.assert(
    fc.property(
      fc.array(action, { minLength: 1, maxLength: 60 }),
      fc.array(fc.boolean(), { minLength: LINES, maxLength: LINES }),
      (actions, copying) => {
        const time = new ManualTime();
        const stats = new Stats();
        const outbox = new Outbox(time, time, stats);
        const lines = copying.map((copies) => new Line(outbox, copies));
        let counter = 0;
        for (const { kind, lines: indexes, bytes } of actions) {
          if (kind === 'turn') {
            time.turn();
            continue;
          }
          if (kind === 'fan' || kind === 'giant') {
            // One packet, encoded once, for several receivers.
            const packet = Buffer.alloc(bytes, ++counter & 0xff);
            const start = outbox.reserve(bytes);
            packet.copy(outbox.chunk, start);
            outbox.position = start + bytes;
            for (const index of indexes) {
              outbox.append(lines[index]!.outlet, start, outbox.position);
              if (!lines[index]!.isClosed) lines[index]!.expected.push(packet);
            }
            continue;
          }
          for (const index of indexes) {
            const line = lines[index]!;
            if (kind === 'drain') {
              line.sink.drain(bytes);
              continue;
            }
            line.isClosed = true;
            outbox.flushOutlet(line.outlet);
            outbox.discard(line.outlet);
          }
        }
        time.settle();
        for (const line of lines) if (!line.isClosed) line.sink.drain();
        time.settle();
        for (const [index, line] of lines.entries()) {
          const taken = line.sink.taken();
          const expected = Buffer.concat(line.expected);
          if (line.isClosed) {
            // Cut off, but nothing foreign in it.
            if (!expected.subarray(0, taken.length).equals(taken)) {
              throw new Error(`closed line ${index} got foreign bytes`);
            }
            continue;
          }
          if (!taken.equals(expected)) {
            throw new Error(
              `line ${index}: ${taken.length} of ${expected.length} bytes, or others`,
            );
          }
          if (line.outlet.pendingBytes !== 0) throw new Error('bytes still count as pending');
          if (line.outlet.blocked || line.outlet.backlog !== null) throw new Error('still blocked');
        }
        if (stats.outboxBytes !== 0) throw new Error(`${stats.outboxBytes} bytes are counted`);
      },
    ),
    { numRuns: 250 },
  );
  t.pass('bytes are where they belong');
});

t.test('what says who is there stays here while the node may not serve', async (t) => {
  const time = new ManualTime();
  const stats = new Stats();
  const bus = { may: true, mayServe: () => bus.may };
  const outbox = new Outbox(time, time, stats, bus);
  const line = new Line(outbox, false);
  const { outlet, sink } = line;
  const say = (byte: number, isPromise: boolean): void => {
    outbox.appendBytes(outlet, Buffer.from([byte]));
    if (isPromise) outlet.isPromising = true;
  };
  sink.room = Number.POSITIVE_INFINITY;
  say(1, true);
  time.turn();
  t.same([...sink.taken()], [1]);
  bus.may = false;
  say(2, false);
  time.turn();
  t.same([...sink.taken()], [2], 'other things are as true as ever');
  say(3, false);
  say(4, true);
  time.turn();
  say(5, false);
  time.turn();
  t.same([...sink.taken()], [], 'what is behind it stays behind it');
  t.ok(outlet.isFenced);
  t.equal(stats.outboxBytes, 3);
  outbox.drained(outlet);
  t.ok(outlet.isFenced, 'not yet');
  bus.may = true;
  outbox.drained(outlet);
  t.same([...sink.taken()], [3, 4, 5]);
  t.notOk(outlet.isFenced);
  t.notOk(outlet.blocked);
  t.equal(stats.outboxBytes, 0);
  // The socket was full when it was said, and takes more when the lease is over.
  sink.room = 0;
  say(6, false);
  time.turn();
  say(7, true);
  time.turn();
  bus.may = false;
  sink.drain(1);
  t.same([...sink.taken()], [6]);
  t.ok(outlet.isFenced);
  bus.may = true;
  outbox.drained(outlet);
  t.same([...sink.taken()], []);
  sink.drain();
  t.same([...sink.taken()], [7]);
  t.equal(stats.outboxBytes, 0);
  t.notOk(outlet.isPromising);
});

t.test('neighbouring pieces are one write, scattered ones too', async (t) => {
  const time = new ManualTime();
  const outbox = new Outbox(time, time, new Stats());
  const a = new Line(outbox, false);
  const b = new Line(outbox, false);
  for (const line of [a, b]) line.sink.room = Number.POSITIVE_INFINITY;
  for (let i = 0; i < 10; i++)
    outbox.appendBytes(i % 2 === 0 ? a.outlet : b.outlet, Buffer.from([i]));
  t.equal(a.sink.writes, 0, 'nothing leaves before the end of the turn');
  time.turn();
  t.equal(a.sink.writes, 1);
  t.same([...a.sink.taken()], [0, 2, 4, 6, 8]);
  t.same([...b.sink.taken()], [1, 3, 5, 7, 9]);
});

t.test('a socket that blocks for long costs a bounded number of chunks', async (t) => {
  const time = new ManualTime();
  const stats = new Stats();
  const outbox = new Outbox(time, time, stats);
  const lines = Array.from({ length: 100 }, () => new Line(outbox, false));
  const chunks = new Set<Buffer>();
  for (const line of lines) {
    // Each blocks on a chunk of its own.
    outbox.appendBytes(line.outlet, Buffer.alloc(10, 1));
    time.turn();
    chunks.add(outbox.chunk);
  }
  t.ok(chunks.size <= 17, `${chunks.size} chunks for 100 blocked sockets`);
  for (const line of lines) line.sink.drain();
  t.ok(lines.every((line) => line.sink.taken().equals(Buffer.alloc(10, 1))));
  t.equal(stats.outboxBytes, 0);
  t.ok(lines.every((line) => line.drainedCount === 1));
});

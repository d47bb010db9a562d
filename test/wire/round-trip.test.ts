/** decode(encode(x)) = x for random packets, and streams cut anywhere give the same packets. */
import assert from 'node:assert/strict';
import { Buffer } from 'node:buffer';
import fc from 'fast-check';
import t from 'tap';
import { packetEnd } from '../../src/wire/framing.ts';
import { PacketType } from '../../src/wire/packet-type.ts';
import { sentArb } from './arbitraries.ts';
import { encodePacket, packetRanges } from './decode-packet.ts';
import { observe } from './observe.ts';

t.test('decode(encode(x)) is x', async (t) => {
  const counts = new Map<string, number>();
  fc.assert(
    fc.property(sentArb, ({ version, sender, packet }) => {
      const bytes = encodePacket(version, packet);
      assert.equal(packetEnd(bytes, 0, bytes.length, bytes.length), bytes.length);
      const { decoded, error } = observe(version, sender, bytes);
      assert.equal(error, null);
      assert.deepEqual(decoded, packet);
      counts.set(packet.type, (counts.get(packet.type) ?? 0) + 1);
    }),
    { numRuns: 2000 },
  );
  for (const name of Object.keys(PacketType)) {
    t.ok((counts.get(name) ?? 0) > 10, `${name} took part: ${counts.get(name)}`);
  }
});

/** Feeds chunks as a socket would and returns the packets framing finds, as hex. */
function receive(chunks: readonly Buffer[], packetBytesMax: number): string[] {
  const packets: string[] = [];
  let pending: Buffer = Buffer.alloc(0);
  for (const chunk of chunks) {
    pending = Buffer.concat([pending, chunk]);
    let start = 0;
    while (start < pending.length) {
      const end = packetEnd(pending, start, pending.length, packetBytesMax);
      if (end === -1 || end > pending.length) break;
      packets.push(pending.toString('hex', start, end));
      start = end;
    }
    pending = pending.subarray(start);
  }
  assert.equal(pending.length, 0);
  return packets;
}

t.test('any chunking of a stream gives the same packets', async (t) => {
  let packetCount = 0;
  fc.assert(
    fc.property(
      fc.array(sentArb, { minLength: 1, maxLength: 6 }),
      fc.array(fc.integer({ min: 1, max: 300 }), { minLength: 1, maxLength: 40 }),
      (sent, sizes) => {
        const packets = sent.map(({ version, packet }) => encodePacket(version, packet));
        const stream = Buffer.concat(packets);
        const largest = Math.max(...packets.map((packet) => packet.length));
        const chunks: Buffer[] = [];
        for (let start = 0, i = 0; start < stream.length; i++) {
          const end = start + sizes[i % sizes.length]!;
          chunks.push(stream.subarray(start, end));
          start = end;
        }
        const expected = packets.map((packet) => packet.toString('hex'));
        assert.deepEqual(receive(chunks, largest), expected);
        assert.deepEqual(
          packetRanges(stream).map(([start, end]) => stream.toString('hex', start, end)),
          expected,
        );
        packetCount += packets.length;
      },
    ),
    { numRuns: 300 },
  );
  t.ok(packetCount >= 300, `${packetCount} packets`);
});

t.test(
  'every prefix of a stream gives the true end of its first packet or asks for more',
  async (t) => {
    let known = 0;
    fc.assert(
      fc.property(sentArb, ({ version, packet }) => {
        const bytes = encodePacket(version, packet);
        for (let length = 0; length <= Math.min(bytes.length, 300); length++) {
          const end = packetEnd(bytes, 0, length, bytes.length);
          assert.ok(end === bytes.length || (end === -1 && length < 5), `${end} of ${length}`);
          if (end !== -1) known++;
        }
      }),
      { numRuns: 200 },
    );
    t.ok(known > 0, `${known} prefixes were enough`);
  },
);

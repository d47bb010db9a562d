/**
 * PUBLISH against the table-driven property decoder, and the ways the broker forwards one: to other
 * versions, with another QoS, expiry, alias or subscription identifiers, from where it lies.
 */
import assert from 'node:assert/strict';
import { Buffer } from 'node:buffer';
import fc from 'fast-check';
import t from 'tap';
import { DECODE_LIMITS_DEFAULT } from '../../src/wire/decode-limits.ts';
import { packetEnd } from '../../src/wire/framing.ts';
import { PacketType } from '../../src/wire/packet-type.ts';
import { decodeProperties } from '../../src/wire/properties.ts';
import {
  decodePublish,
  PublishView,
  publishRemaining,
  topicText,
  writePublish,
} from '../../src/wire/publish.ts';
import { Reader } from '../../src/wire/reader.ts';
import { publishArb, versionArb } from './arbitraries.ts';
import { decodePacket, encodePacket, type PlainPublish } from './decode-packet.ts';
import { bytes } from './fixtures/fixture.ts';
import { reasonCodeOf } from './reason-code-of.ts';

const PUBLISH = PacketType.PUBLISH << 4;

/** Properties as they are, damaged: repeated, of another packet, with a byte changed or cut off. */
const propertyArb = fc.oneof(
  { weight: 6, arbitrary: publishArb(5, 'server').map(({ properties }) => properties) },
  {
    weight: 5,
    arbitrary: fc.constantFrom(
      ...[
        '01 00',
        '01 01',
        '01 02',
        '02 00000000',
        '02 0000003C',
        "03 0001'a'",
        '03 0001 FF',
        "08 0001'r'",
        "08 0001'#'",
        '08 0000',
        '09 0002 0000',
        '0B 01',
        '0B 00',
        '0B FFFFFF7F',
        '0B 8000',
        '23 0001',
        '23 0000',
        "26 0001'a' 0001'b'",
        '26 0001 00 0000',
        '11 00000001',
        '7F 00',
        '81 00',
        '8200',
      ].map((text) => bytes(text)),
    ),
  },
);

const blockArb = fc
  .tuple(
    fc.array(propertyArb, { maxLength: 5 }),
    fc.option(fc.tuple(fc.nat(), fc.nat({ max: 255 })), { nil: null }),
    fc.nat({ max: 3 }),
  )
  .map(([properties, damage, cut]) => {
    const block = Buffer.concat(properties);
    if (damage !== null && block.length > 0) block[damage[0] % block.length] = damage[1];
    return cut === 3 && block.length > 0 ? block.subarray(0, -1) : block;
  });

function prefixed(block: Buffer): Buffer {
  const length = block.length;
  assert.ok(length < 16_384);
  const prefix = length < 128 ? [length] : [(length & 127) | 128, length >> 7];
  return Buffer.concat([Buffer.from(prefix), block]);
}

t.test('properties of a PUBLISH are what the property table says', async (t) => {
  let refused = 0;
  let taken = 0;
  const limits = { ...DECODE_LIMITS_DEFAULT, userPropertiesMax: 5 };
  fc.assert(
    fc.property(blockArb, fc.boolean(), (block, fromServer) => {
      const body = Buffer.concat([bytes("0001't'"), prefixed(block), bytes("'payload'")]);
      const reader = new Reader(body, 3, body.length);
      let expected: ReturnType<typeof decodeProperties> | null = null;
      const expectedCode = reasonCodeOf(() => {
        expected = decodeProperties(reader, PacketType.PUBLISH, limits);
      });
      const view = new PublishView();
      const code = reasonCodeOf(() => {
        decodePublish(view, 5, PUBLISH, body, 0, body.length, limits.userPropertiesMax, fromServer);
      });
      const values = expected as ReturnType<typeof decodeProperties> | null;
      if (values === null) {
        refused++;
        // With several faults in one block each decoder may name another.
        assert.notEqual(code, null, `the table refuses this with ${expectedCode}`);
        return;
      }
      if (!fromServer && values.subscriptionIds.length > 0) {
        assert.equal(code, 0x82);
        return;
      }
      taken++;
      assert.equal(code, null);
      assert.equal(view.messageExpiryS, values.messageExpiryS);
      assert.equal(view.topicAlias, values.topicAlias === -1 ? 0 : values.topicAlias);
      assert.deepEqual(view.subscriptionIds ?? [], values.subscriptionIds);
      assert.equal(body.toString('latin1', view.payloadStart, view.payloadEnd), 'payload');
      // What is forwarded means the same as what came, less what is not.
      const { propertyBuffer, propertyStart, propertyEnd } = view;
      const kept = prefixed(propertyBuffer.subarray(propertyStart, propertyEnd));
      const forwarded = decodeProperties(
        new Reader(kept, 0, kept.length),
        PacketType.PUBLISH,
        limits,
      );
      const own = { messageExpiryS: -1, topicAlias: -1, subscriptionIds: [] };
      assert.deepEqual(forwarded, { ...values, ...own });
    }),
    { numRuns: 4000 },
  );
  t.ok(refused > 500 && taken > 500, `${refused} refused, ${taken} taken`);
});

interface Forward {
  version: 3 | 4 | 5;
  qos: 0 | 1 | 2;
  retain: boolean;
  packetId: number;
  expiryS: number;
  topicAlias: number;
  subscriptionIds: number[];
  sendTopic: boolean;
}

const forwardArb: fc.Arbitrary<Forward> = fc.record({
  version: versionArb,
  qos: fc.constantFrom(0, 1, 2),
  retain: fc.boolean(),
  packetId: fc.integer({ min: 1, max: 65_535 }),
  expiryS: fc.constantFrom(-1, 0, 60, 0xffff_ffff),
  topicAlias: fc.constantFrom(0, 1, 65_535),
  subscriptionIds: fc.array(fc.constantFrom(1, 128, 268_435_455), { maxLength: 3 }),
  sendTopic: fc.boolean(),
});

t.test('a PUBLISH is forwarded in every form from the bytes it came in', async (t) => {
  let forwards = 0;
  fc.assert(
    fc.property(
      versionArb.chain((version) => fc.tuple(fc.constant(version), publishArb(version, 'client'))),
      fc.array(forwardArb, { minLength: 1, maxLength: 3 }),
      ([fromVersion, publish], targets) => {
        fc.pre(publish.topic !== '');
        const packet = encodePacket(fromVersion, { type: 'PUBLISH', packet: publish });
        const buf = Buffer.concat([Buffer.alloc(7, 0xff), packet, Buffer.alloc(9, 0xff)]);
        const end = 7 + packet.length;
        const body = 7 + (packet.length < 130 ? 2 : packet.length < 16_387 ? 3 : 4);
        const view = new PublishView();
        decodePublish(view, fromVersion, packet[0]!, buf, body, end, 100);
        assert.equal(topicText(view), publish.topic);
        for (const target of targets) {
          forward(view, publish, target);
          forwards++;
        }
      },
    ),
    { numRuns: 1000 },
  );
  t.ok(forwards > 900, `${forwards} forwards`);
});

function forward(view: PublishView, publish: PlainPublish, target: Forward): void {
  const { version, qos, retain, packetId, expiryS, topicAlias } = target;
  const isNew = version === 5;
  const alias = isNew ? topicAlias : 0;
  const sendTopic = target.sendTopic || alias === 0;
  const ids = isNew && target.subscriptionIds.length > 0 ? target.subscriptionIds : null;
  const topicBytes = sendTopic ? view.topicEnd - view.topicStart - 2 : 0;
  const firstByte = PUBLISH | (qos << 1) | Number(retain);
  const expiry = isNew ? expiryS : -1;
  const remaining = publishRemaining(view, version, qos, topicBytes, expiry, alias, ids);
  const out = Buffer.alloc(remaining + 8, 0xee);
  const start = 2;
  const end = writePublish(
    out,
    start,
    view,
    version,
    firstByte,
    packetId,
    remaining,
    expiry,
    alias,
    ids,
    sendTopic,
  );
  assert.equal(packetEnd(out, start, end, 1e9), end, 'the announced length is the written one');
  assert.equal(out[end], 0xee, 'nothing behind is written');
  const { packet } = decodePacket(version, 'server', out, start, end);
  assert.deepEqual(packet, {
    qos,
    retain,
    dup: false,
    packetId: qos === 0 ? 0 : packetId,
    topic: sendTopic ? publish.topic : '',
    payload: publish.payload,
    messageExpiryS: expiry,
    topicAlias: alias,
    subscriptionIds: ids ?? [],
    properties: isNew ? publish.properties : Buffer.alloc(0),
  });
}

t.test('a PUBLISH is decoded without copying it', async (t) => {
  const buf = bytes("32 14 0003'a/b' 0007 07 26 0001'k' 0001'v' 'hello'");
  const view = new PublishView();
  decodePublish(view, 5, buf[0]!, buf, 2, buf.length, 10);
  t.equal(view.topicBuffer, buf);
  t.equal(view.payloadBuffer, buf);
  t.equal(view.propertyBuffer, buf);
  t.equal(buf.toString('latin1', view.topicStart, view.topicEnd), '\0\x03a/b');
  t.equal(buf.toString('latin1', view.payloadStart, view.payloadEnd), 'hello');
  t.equal(view.propertyEnd - view.propertyStart, 7);
});

t.test('what one PUBLISH set, the next does not have', async (t) => {
  const view = new PublishView();
  const full = bytes("3D 0F 0001't' 0007 08 02 0000003C 23 0001 'p'");
  decodePublish(view, 5, full[0]!, full, 2, full.length, 10);
  t.match(view, {
    qos: 2,
    retain: true,
    dup: true,
    packetId: 7,
    messageExpiryS: 60,
    topicAlias: 1,
  });
  for (const version of [4, 5] as const) {
    const bare = version === 5 ? bytes("30 04 0001't' 00") : bytes("30 03 0001't'");
    decodePublish(view, version, bare[0]!, bare, 2, bare.length, 10);
    t.match(view, { qos: 0, retain: false, dup: false, packetId: 0 });
    t.match(view, { messageExpiryS: -1, topicAlias: 0 });
    t.equal(view.propertyEnd, view.propertyStart);
    t.equal(view.payloadEnd, view.payloadStart);
  }
});

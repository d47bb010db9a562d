/** Packet borders, fixed header flags and variable byte integers. */
import { Buffer } from 'node:buffer';
import fc from 'fast-check';
import t from 'tap';
import {
  bodyStart,
  checkFixedHeaderFlags,
  checkShortestLength,
  packetEnd,
} from '../../src/wire/framing.ts';
import { PacketType, packetTypeName } from '../../src/wire/packet-type.ts';
import { readVarint, VARINT_MAX, varintSize, writeVarint } from '../../src/wire/varint.ts';
import { reasonCodeOf } from './reason-code-of.ts';

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(' ', ''), 'hex');

t.test('the end of a packet is known with its fixed header', async (t) => {
  t.equal(packetEnd(hex(''), 0, 0, 100), -1);
  t.equal(packetEnd(hex('C0'), 0, 1, 100), -1);
  t.equal(packetEnd(hex('C000'), 0, 2, 100), 2);
  t.equal(packetEnd(hex('3005'), 0, 2, 100), 7, 'beyond the bytes there are');
  t.equal(packetEnd(hex('FF FF 30 05'), 2, 4, 100), 9);
  t.equal(packetEnd(hex('30 80'), 0, 2, 1000), -1);
  t.equal(packetEnd(hex('30 80 01'), 0, 3, 1000), 131);
  t.equal(packetEnd(hex('30 FF FF FF'), 0, 4, 1e9), -1);
  t.equal(packetEnd(hex('30 FF FF FF 7F'), 0, 5, 1e9), 5 + VARINT_MAX);
  t.equal(packetEnd(hex('30 80 01'), 0, 2, 1000), -1, 'a byte beyond the end is not looked at');
});

t.test(
  'a length of more than four bytes is malformed as soon as its fourth is there',
  async (t) => {
    t.equal(
      reasonCodeOf(() => packetEnd(hex('30 FFFFFFFF'), 0, 5, 1e9)),
      0x81,
    );
    t.equal(
      reasonCodeOf(() => packetEnd(hex('30 80808080 01'), 0, 6, 1e9)),
      0x81,
    );
    t.equal(packetEnd(hex('30 FFFFFFFF'), 0, 4, 1e9), -1);
  },
);

t.test('a packet that is too large is refused from its header alone', async (t) => {
  t.equal(packetEnd(hex('30 08'), 0, 2, 10), 10, 'fixed header included');
  t.equal(
    reasonCodeOf(() => packetEnd(hex('30 09'), 0, 2, 10)),
    0x95,
  );
  t.equal(packetEnd(hex('30 80 01'), 0, 3, 131), 131);
  t.equal(
    reasonCodeOf(() => packetEnd(hex('30 80 01'), 0, 3, 130)),
    0x95,
  );
  t.equal(
    reasonCodeOf(() => packetEnd(hex('10 FFFFFF7F'), 0, 5, 65_536)),
    0x95,
  );
});

t.test('the body starts behind the length', async (t) => {
  t.equal(bodyStart(hex('C000'), 0), 2);
  t.equal(bodyStart(hex('30 80 01'), 0), 3);
  t.equal(bodyStart(hex('00 30 FFFFFF7F'), 1), 6);
});

t.test('[MQTT5-1.5.5-1] a padded length can be told', async (t) => {
  t.doesNotThrow(() => checkShortestLength(hex('C000'), 0));
  t.doesNotThrow(() => checkShortestLength(hex('30 8001'), 0));
  t.doesNotThrow(() => checkShortestLength(hex('30 FFFFFF7F'), 0));
  t.equal(
    reasonCodeOf(() => checkShortestLength(hex('30 8000'), 0)),
    0x81,
  );
  t.equal(
    reasonCodeOf(() => checkShortestLength(hex('30 85808000'), 0)),
    0x81,
  );
  t.equal(packetEnd(hex('30 85808000'), 0, 5, 100), 10, 'framing itself tolerates it');
});

t.test('[MQTT5-2.1.3-1] reserved header flags', async (t) => {
  const two: readonly number[] = [PacketType.PUBREL, PacketType.SUBSCRIBE, PacketType.UNSUBSCRIBE];
  for (let firstByte = 0; firstByte < 256; firstByte++) {
    const type = firstByte >> 4;
    const flags = firstByte & 15;
    const isRight = flags === (two.includes(type) ? 2 : 0);
    const isValid = type === PacketType.PUBLISH || (type !== 0 && isRight);
    const isResent = two.includes(type) && flags === 0x0a;
    const found = [3, 4, 5].map((version) =>
      reasonCodeOf(() => checkFixedHeaderFlags(firstByte, version as 3 | 4 | 5)),
    );
    const expected = isValid ? null : 0x81;
    const name = `${packetTypeName(type)} ${flags}`;
    t.strictSame(found, [isResent ? null : expected, expected, expected], name);
    t.equal(
      reasonCodeOf(() => checkFixedHeaderFlags(firstByte)),
      expected,
      'version 5 if not said',
    );
  }
});

t.test('variable byte integers at the borders of their sizes', async (t) => {
  const borders: readonly [value: number, bytes: string][] = [
    [0, '00'],
    [127, '7f'],
    [128, '8001'],
    [16_383, 'ff7f'],
    [16_384, '808001'],
    [2_097_151, 'ffff7f'],
    [2_097_152, '80808001'],
    [VARINT_MAX, 'ffffff7f'],
  ];
  for (const [value, text] of borders) {
    const out = Buffer.alloc(6, 0xee);
    t.equal(writeVarint(out, 1, value), 1 + text.length / 2, text);
    t.equal(out.toString('hex', 1, 1 + varintSize(value)), text);
    t.equal(out[1 + varintSize(value)], 0xee, 'nothing behind is written');
    t.equal(readVarint(out, 1, 5), value);
    t.equal(
      reasonCodeOf(() => readVarint(out, 1, varintSize(value))),
      0x81,
      'cut off',
    );
  }
});

t.test('variable byte integers come back', async (t) => {
  const out = Buffer.alloc(4);
  fc.assert(
    fc.property(fc.integer({ min: 0, max: VARINT_MAX }), (value) => {
      const end = writeVarint(out, 0, value);
      return end === varintSize(value) && readVarint(out, 0, end) === value;
    }),
  );
  t.pass('for random values');
});

t.test('variable byte integers that are too long or padded', async (t) => {
  for (const text of ['80', '8000', 'ff8000', 'ffffff00', 'ffffffff', '8080808001', '80808000']) {
    t.equal(
      reasonCodeOf(() => readVarint(hex(text), 0, text.length / 2)),
      0x81,
      text,
    );
  }
});

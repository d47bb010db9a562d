/** What fixtures do not show: limits, views, direct writes, and packets larger than a scratch area. */
import { Buffer } from 'node:buffer';
import t from 'tap';
import {
  ACK_BYTES,
  ACK_REASON_BYTES,
  AckView,
  decodeAck,
  encodeAck,
  writeAck,
  writeAckReason,
} from '../../src/wire/ack.ts';
import { encodeAuth } from '../../src/wire/auth.ts';
import { encodeConnack } from '../../src/wire/connack.ts';
import { decodeConnect, encodeConnect, peekProtocolVersion } from '../../src/wire/connect.ts';
import { DECODE_LIMITS_DEFAULT, type DecodeLimits } from '../../src/wire/decode-limits.ts';
import { encodeDisconnect } from '../../src/wire/disconnect.ts';
import { bodyStart } from '../../src/wire/framing.ts';
import { PacketType } from '../../src/wire/packet-type.ts';
import { PINGREQ, PINGRESP } from '../../src/wire/ping.ts';
import { PROPERTIES, propertyEnd, type UserProperty } from '../../src/wire/properties.ts';
import { encodeSuback } from '../../src/wire/suback.ts';
import { encodeSubscribe } from '../../src/wire/subscribe.ts';
import { encodeUnsuback } from '../../src/wire/unsuback.ts';
import { encodeUnsubscribe } from '../../src/wire/unsubscribe.ts';
import { writeVarint } from '../../src/wire/varint.ts';
import { decodePacket, encodePacket, type Packet } from './decode-packet.ts';
import { fixtures } from './fixtures/all.ts';
import { bytes } from './fixtures/fixture.ts';
import { reasonCodeOf } from './reason-code-of.ts';

const ACK_TYPES = [
  PacketType.PUBACK,
  PacketType.PUBREC,
  PacketType.PUBREL,
  PacketType.PUBCOMP,
] as const;

function pairs(count: number): UserProperty[] {
  return Array.from({ length: count }, (_, index) => ['k', `${index}`]);
}

function decode(packet: Buffer, limits: DecodeLimits, sender: 'client' | 'server'): Packet {
  return decodePacket(5, sender, packet, 0, packet.length, limits);
}

t.test(
  'user properties beyond their limit are refused in every packet that has them',
  async (t) => {
    const limits = { ...DECODE_LIMITS_DEFAULT, userPropertiesMax: 3 };
    const make: Record<string, (userProperties: UserProperty[]) => Buffer> = {
      CONNECT: (userProperties) => {
        const { packet } = decode(
          bytes("10 0F 0004'MQTT'05 02 003C 00 0002'c1'"),
          limits,
          'client',
        );
        return encodeConnect({
          ...(packet as Parameters<typeof encodeConnect>[0]),
          userProperties,
        });
      },
      CONNACK: (userProperties) =>
        encodeConnack(5, { sessionPresent: false, reasonCode: 0, userProperties }),
      PUBLISH: (userProperties) => {
        const properties = Buffer.concat(
          userProperties.map(([name, value]) => bytes(`26 0001'${name}' 0001'${value}'`)),
        );
        const packet = {
          qos: 0 as const,
          retain: false,
          dup: false,
          packetId: 0,
          topic: 't',
          payload: Buffer.alloc(0),
          messageExpiryS: -1,
          topicAlias: 0,
          subscriptionIds: [],
          properties,
        };
        return encodePacket(5, { type: 'PUBLISH', packet });
      },
      PUBACK: (userProperties) => encodeAck(5, PacketType.PUBACK, 1, 0, null, userProperties),
      PUBREC: (userProperties) => encodeAck(5, PacketType.PUBREC, 1, 0, null, userProperties),
      PUBREL: (userProperties) => encodeAck(5, PacketType.PUBREL, 1, 0, null, userProperties),
      PUBCOMP: (userProperties) => encodeAck(5, PacketType.PUBCOMP, 1, 0, null, userProperties),
      SUBSCRIBE: (userProperties) => {
        const options = { noLocal: false, retainAsPublished: false, retainHandling: 0 } as const;
        const subscriptions = [{ filter: 'a', qos: 0 as const, ...options }];
        return encodeSubscribe(5, {
          packetId: 1,
          subscriptionId: 0,
          userProperties,
          subscriptions,
        });
      },
      SUBACK: (userProperties) => encodeSuback(5, 1, [0], null, userProperties),
      UNSUBSCRIBE: (userProperties) =>
        encodeUnsubscribe(5, { packetId: 1, userProperties, filters: ['a'] }),
      UNSUBACK: (userProperties) => encodeUnsuback(5, 1, [0], null, userProperties),
      DISCONNECT: (userProperties) => encodeDisconnect(5, { reasonCode: 0, userProperties }),
      AUTH: (userProperties) =>
        encodeAuth({ reasonCode: 0x18, authenticationMethod: 'M', userProperties }),
    };
    const withUserProperties = PROPERTIES.find(({ name }) => name === 'userProperties')!.packets;
    for (const [name, type] of Object.entries(PacketType)) {
      t.equal((withUserProperties & (1 << type)) !== 0, name in make, `${name} is covered`);
    }
    for (const [name, encode] of Object.entries(make)) {
      const sender = ['CONNACK', 'SUBACK', 'UNSUBACK'].includes(name) ? 'server' : 'client';
      t.doesNotThrow(() => decode(encode(pairs(3)), limits, sender), `${name} at the limit`);
      const code = reasonCodeOf(() => decode(encode(pairs(4)), limits, sender));
      t.equal(code, 0x97, `${name} beyond it`);
    }
  },
);

t.test('user properties of a will have the same limit', async (t) => {
  const connect = (count: number): Buffer => {
    const properties = Buffer.concat(Array(count).fill(bytes("26 0001'k' 0001'v'")));
    const will = {
      topic: 'w',
      payload: Buffer.alloc(0),
      qos: 0 as const,
      retain: false,
      delayIntervalS: 0,
      messageExpiryS: -1,
      properties,
    };
    const { packet } = decode(
      bytes("10 0F 0004'MQTT'05 02 003C 00 0002'c1'"),
      DECODE_LIMITS_DEFAULT,
      'client',
    );
    return encodeConnect({ ...(packet as Parameters<typeof encodeConnect>[0]), will });
  };
  const limits = { ...DECODE_LIMITS_DEFAULT, userPropertiesMax: 2 };
  t.doesNotThrow(() => decode(connect(2), limits, 'client'));
  t.equal(
    reasonCodeOf(() => decode(connect(3), limits, 'client')),
    0x97,
  );
});

t.test('topic filters and their answers have a limit', async (t) => {
  const limits = { ...DECODE_LIMITS_DEFAULT, filtersMax: 2 };
  const filters = ['a', 'b', 'c'];
  const options = { qos: 0, noLocal: false, retainAsPublished: false, retainHandling: 0 } as const;
  const subscriptions = filters.map((filter) => ({ filter, ...options }));
  const base = { packetId: 1, userProperties: [] };
  for (const version of [3, 4, 5] as const) {
    const refusal = (packet: Buffer, sender: 'client' | 'server'): number | null =>
      reasonCodeOf(() => decodePacket(version, sender, packet, 0, packet.length, limits));
    const subscribe = { ...base, subscriptionId: 0, subscriptions };
    t.equal(refusal(encodeSubscribe(version, subscribe), 'client'), 0x97, `SUBSCRIBE v${version}`);
    subscribe.subscriptions = subscriptions.slice(0, 2);
    t.equal(refusal(encodeSubscribe(version, subscribe), 'client'), null);
    t.equal(refusal(encodeUnsubscribe(version, { ...base, filters }), 'client'), 0x97);
    t.equal(refusal(encodeUnsubscribe(version, { ...base, filters: ['a', 'b'] }), 'client'), null);
    t.equal(refusal(encodeSuback(version, 1, [0, 1, 2]), 'server'), 0x97);
    t.equal(refusal(encodeSuback(version, 1, [0, 1]), 'server'), null);
  }
  const unsuback = encodeUnsuback(5, 1, [0, 0, 0]);
  t.equal(
    reasonCodeOf(() => decode(unsuback, limits, 'server')),
    0x97,
  );
});

t.test('the version a CONNECT asks for can be seen before it is decoded', async (t) => {
  const peek = (text: string): number => {
    const buf = bytes(`FF ${text} 05`);
    return peekProtocolVersion(buf, 1, buf.length - 1);
  };
  t.equal(peek("0006'MQIsdp'03"), 3);
  t.equal(peek("0004'MQTT'04 02"), 4);
  t.equal(peek("0004'MQTT'05"), 5);
  t.equal(peek("0004'MQTT'06"), 6);
  t.equal(peek("0004'MQTT'84"), 0x84);
  t.equal(peek("0004'MQTT'"), 0, 'the level is beyond the end');
  t.equal(peek("0004'MQT'"), 0);
  t.equal(peek("0004'mqtt'04"), 0);
  t.equal(peek("0003'MQT'05"), 0);
  t.equal(peek(''), 0);
  for (const fixture of fixtures) {
    if (!('decoded' in fixture) || fixture.decoded.type !== 'CONNECT') continue;
    const start = bodyStart(fixture.bytes, 0);
    const version = peekProtocolVersion(fixture.bytes, start, fixture.bytes.length);
    t.equal(version, fixture.decoded.packet.protocolVersion, fixture.name);
  }
});

t.test('decoded buffers are copies of their own', async (t) => {
  const packet = bytes("10 19 0004'MQTT'04 C6 003C 0002'c1' 0001'w' 0001'p' 0001'u' 0002'pw'");
  const { will, password } = decodeConnect(packet, 2, packet.length);
  t.not(will?.payload.buffer, packet.buffer);
  t.equal(will?.payload.buffer.byteLength, 1, 'a session keeps its own bytes and no pool');
  t.equal(password?.buffer.byteLength, 2);
});

t.test('an acknowledgement view is overwritten whole', async (t) => {
  const view = new AckView();
  const long = bytes("40 10 0007 87 0C 1F 0002'no' 26 0001'a' 0001'b'");
  decodeAck(view, PacketType.PUBACK, 5, long, 2, long.length);
  t.match(view, {
    packetId: 7,
    reasonCode: 0x87,
    reasonString: 'no',
    userProperties: [['a', 'b']],
  });
  const short = bytes('40 02 0102');
  decodeAck(view, PacketType.PUBACK, 5, short, 2, 4);
  t.strictSame(
    { ...view },
    { packetId: 258, reasonCode: 0, reasonString: null, userProperties: [] },
  );
  t.equal(view.userProperties, new AckView().userProperties, 'nothing is allocated');
});

t.test('acknowledgements written in place are the encoded ones', async (t) => {
  for (const version of [3, 4, 5] as const) {
    for (const type of ACK_TYPES) {
      for (const packetId of [1, 255, 256, 65_535]) {
        const out = Buffer.alloc(8, 0xee);
        t.equal(writeAck(out, 1, type, packetId), 1 + ACK_BYTES);
        t.strictSame(out.subarray(1, 5), encodeAck(version, type, packetId, 0));
        t.equal(out[5], 0xee, 'nothing behind is written');
        out.fill(0xee);
        const end = writeAckReason(out, 1, version, type, packetId, 0x92);
        t.equal(end, 1 + (version === 5 ? ACK_REASON_BYTES : ACK_BYTES));
        t.strictSame(out.subarray(1, end), encodeAck(version, type, packetId, 0x92));
        t.equal(out[end], 0xee);
        const success = writeAckReason(out, 1, version, type, packetId, 0);
        t.strictSame(out.subarray(1, success), encodeAck(version, type, packetId, 0));
      }
    }
  }
});

t.test(
  'a refusal in CONNACK has no session and an old client gets a code of its version',
  async (t) => {
    const refusal = { sessionPresent: true, reasonCode: 0x87, reasonString: 'no' };
    t.equal(encodeConnack(5, refusal).toString('hex'), '2008008705 1f00026e6f'.replace(' ', ''));
    t.equal(encodeConnack(4, refusal).toString('hex'), '20020005');
    t.equal(encodeConnack(3, { sessionPresent: true, reasonCode: 0 }).toString('hex'), '20020000');
    t.equal(encodeConnack(4, { sessionPresent: true, reasonCode: 0 }).toString('hex'), '20020100');
  },
);

t.test('old clients get none of what version 5 added', async (t) => {
  const more = ['why', pairs(2)] as const;
  t.equal(encodeAck(4, PacketType.PUBREC, 1, 0x97, ...more).toString('hex'), '50020001');
  t.equal(encodeSuback(4, 1, [0x87, 2, 0x8f], ...more).toString('hex'), '90050001800280');
  t.equal(encodeUnsuback(4, 1, [0x11], ...more).toString('hex'), 'b0020001');
  t.equal(encodeDisconnect(4, { reasonCode: 0x8e, reasonString: 'why' }).toString('hex'), 'e000');
  t.equal(PINGREQ.toString('hex'), 'c000');
  t.equal(PINGRESP.toString('hex'), 'd000');
});

t.test('packets far larger than usual', async (t) => {
  const filters = Array.from({ length: 40 }, (_, index) => `${index}/`.padEnd(65_535, 'x'));
  const userProperties: UserProperty[] = [['n'.repeat(65_535), '€'.repeat(21_845)]];
  const packet = encodeUnsubscribe(5, { packetId: 9, userProperties, filters });
  t.equal(packet.length, 1 + 4 + 2 + 3 + (1 + 2 * 65_537) + 40 * 65_537);
  t.strictSame(decode(packet, DECODE_LIMITS_DEFAULT, 'client'), {
    type: 'UNSUBSCRIBE',
    packet: { packetId: 9, userProperties, filters },
  });
  const small = encodeUnsubscribe(4, { packetId: 9, userProperties: [], filters: ['a'] });
  t.equal(small.toString('hex'), 'a2050009000161', 'the next packet starts afresh');
});

t.test('packets that end around the size of the scratch area', async (t) => {
  const header = Buffer.alloc(4);
  for (let count = 16_360; count <= 16_400; count++) {
    const codes = Array.from({ length: count }, (_, index) => index % 3);
    header[0] = PacketType.SUBACK << 4;
    const headerEnd = writeVarint(header, 1, count + 2);
    const suback = [header.subarray(0, headerEnd), bytes('0102'), Buffer.from(codes)];
    const isSuback = encodeSuback(4, 0x102, codes).equals(Buffer.concat(suback));
    t.ok(isSuback, `${count} codes, one byte at a time`);

    header[0] = (PacketType.UNSUBSCRIBE << 4) | 2;
    writeVarint(header, 1, count + 2);
    const filter = Buffer.alloc(count - 2, 'x');
    const length = Buffer.from([filter.length >> 8, filter.length]);
    const expected = [header.subarray(0, headerEnd), bytes('0102'), length, filter];
    const packet = { packetId: 0x102, userProperties: [], filters: [filter.toString()] };
    const isUnsubscribe = encodeUnsubscribe(4, packet).equals(Buffer.concat(expected));
    t.ok(isUnsubscribe, `a filter of ${filter.length}`);
  }
});

t.test('a string of more than 65535 bytes is our own mistake', async (t) => {
  const filters = ['€'.repeat(21_846)];
  t.throws(() => encodeUnsubscribe(4, { packetId: 1, userProperties: [], filters }), /too long/);
});

t.test('property blocks of every length around the sizes of their prefix', async (t) => {
  for (const length of [0, 1, 119, 120, 121, 122, 16_375, 16_376, 16_377, 16_378, 16_379, 16_380]) {
    const reasonString = 'r'.repeat(length);
    const packet = encodeSuback(5, 1, [0], reasonString);
    const decoded = decode(packet, DECODE_LIMITS_DEFAULT, 'server').packet;
    t.match(decoded, { reasonString, reasonCodes: [0] }, `${length}`);
  }
});

t.test('the property table is the one of the specification', async (t) => {
  const ids = PROPERTIES.map(({ id }) => id);
  t.strictSame(
    ids,
    [...ids].sort((a, b) => a - b),
  );
  t.equal(new Set(ids).size, 27);
  const samples: Record<string, string> = {
    byte: '01',
    u16: '0001',
    u32: '00000001',
    string: "0002'ab'",
    binary: '0003 000000',
    varint: '8001',
    pair: "0001'a' 0002'bc'",
  };
  for (const { id, type, name } of PROPERTIES) {
    const value = bytes(samples[type]!);
    const block = Buffer.concat([Buffer.from([0, id]), value, Buffer.from([0xff])]);
    t.equal(propertyEnd(block, 1, block.length), 2 + value.length, name);
  }
});

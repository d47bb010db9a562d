/** Reason codes, their names, who may send which, and the return codes of MQTT 3.1.1. */
import t from 'tap';
import { PacketType, packetTypeName } from '../../src/wire/packet-type.ts';
import { ProtocolError } from '../../src/wire/protocol-error.ts';
import {
  connackReturnCode,
  hasConnackReturnCode,
  isAckReasonCodeAllowed,
  isReasonCodeAllowed,
  ReasonCode,
  reasonName,
  reasonOfReturnCode,
  type Sender,
} from '../../src/wire/reason-code.ts';

/** MQTT 5 table 2-6, column "packets", by code; C and S where only one side may send it. */
const TABLE: readonly [code: number, packets: string][] = [
  [0x00, 'CONNACK PUBACK PUBREC PUBREL PUBCOMP UNSUBACK AUTH/S DISCONNECT SUBACK'],
  [0x01, 'SUBACK'],
  [0x02, 'SUBACK'],
  [0x04, 'DISCONNECT/C'],
  [0x10, 'PUBACK PUBREC'],
  [0x11, 'UNSUBACK'],
  [0x18, 'AUTH'],
  [0x19, 'AUTH/C'],
  [0x80, 'CONNACK PUBACK PUBREC SUBACK UNSUBACK DISCONNECT'],
  [0x81, 'CONNACK DISCONNECT'],
  [0x82, 'CONNACK DISCONNECT'],
  [0x83, 'CONNACK PUBACK PUBREC SUBACK UNSUBACK DISCONNECT'],
  [0x84, 'CONNACK'],
  [0x85, 'CONNACK'],
  [0x86, 'CONNACK'],
  [0x87, 'CONNACK PUBACK PUBREC SUBACK UNSUBACK DISCONNECT/S'],
  [0x88, 'CONNACK'],
  [0x89, 'CONNACK DISCONNECT/S'],
  [0x8a, 'CONNACK'],
  [0x8b, 'DISCONNECT/S'],
  [0x8c, 'CONNACK'],
  [0x8d, 'DISCONNECT/S'],
  [0x8e, 'DISCONNECT/S'],
  [0x8f, 'SUBACK UNSUBACK DISCONNECT/S'],
  [0x90, 'CONNACK PUBACK PUBREC DISCONNECT'],
  [0x91, 'PUBACK PUBREC SUBACK UNSUBACK'],
  [0x92, 'PUBREL PUBCOMP'],
  [0x93, 'DISCONNECT'],
  [0x94, 'DISCONNECT'],
  [0x95, 'CONNACK DISCONNECT'],
  [0x96, 'DISCONNECT'],
  [0x97, 'CONNACK PUBACK PUBREC SUBACK DISCONNECT'],
  [0x98, 'DISCONNECT'],
  [0x99, 'CONNACK PUBACK PUBREC DISCONNECT'],
  [0x9a, 'CONNACK DISCONNECT/S'],
  [0x9b, 'CONNACK DISCONNECT/S'],
  [0x9c, 'CONNACK DISCONNECT/S'],
  [0x9d, 'CONNACK DISCONNECT/S'],
  [0x9e, 'SUBACK DISCONNECT/S'],
  [0x9f, 'CONNACK DISCONNECT/S'],
  [0xa0, 'DISCONNECT/S'],
  [0xa1, 'SUBACK DISCONNECT/S'],
  [0xa2, 'SUBACK DISCONNECT/S'],
];

const ACKS = ['PUBACK', 'PUBREC', 'PUBREL', 'PUBCOMP'];
const SERVER_ONLY = ['CONNACK', 'SUBACK', 'UNSUBACK'];

function isInTable(code: number, name: string, sender: Sender): boolean {
  const packets = TABLE.find(([listed]) => listed === code)?.[1].split(' ') ?? [];
  if (packets.includes(`${name}/${sender === 'client' ? 'C' : 'S'}`)) return true;
  return packets.includes(name) && !(SERVER_ONLY.includes(name) && sender === 'client');
}

t.test('every packet allows the codes the specification lists for its sender', async (t) => {
  for (let type = 0; type < 16; type++) {
    const name = packetTypeName(type);
    for (const sender of ['client', 'server'] as const) {
      const wrong: number[] = [];
      for (let code = 0; code < 256; code++) {
        if (isReasonCodeAllowed(type, code, sender) !== isInTable(code, name, sender)) {
          wrong.push(code);
        }
        if (
          ACKS.includes(name) &&
          isAckReasonCodeAllowed(type, code) !== isInTable(code, name, sender)
        ) {
          wrong.push(code);
        }
      }
      t.strictSame(wrong, [], `${name} of a ${sender}`);
    }
  }
});

t.test('the table has every code of the specification, and names', async (t) => {
  t.strictSame(
    [...new Set(Object.values(ReasonCode))].sort((a, b) => a - b),
    TABLE.map(([code]) => code),
  );
  t.equal(reasonName(0x81), 'MALFORMED_PACKET');
  t.equal(reasonName(0), 'SUCCESS');
  t.equal(reasonName(0xa2), 'WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED');
  t.equal(reasonName(0x7), '0x07', 'unknown');
  t.equal(packetTypeName(PacketType.CONNECT), 'CONNECT');
  t.equal(packetTypeName(PacketType.AUTH), 'AUTH');
  t.equal(packetTypeName(0), 'RESERVED');
  t.equal(packetTypeName(16), 'UNKNOWN');
});

t.test('[MQTT311-3.2.2-6] return codes of MQTT 3.1.1', async (t) => {
  const expected: readonly [reason: number, returnCode: number][] = [
    [ReasonCode.UNSUPPORTED_PROTOCOL_VERSION, 1],
    [ReasonCode.CLIENT_IDENTIFIER_NOT_VALID, 2],
    [ReasonCode.SERVER_UNAVAILABLE, 3],
    [ReasonCode.SERVER_BUSY, 3],
    [ReasonCode.QUOTA_EXCEEDED, 3],
    [ReasonCode.USE_ANOTHER_SERVER, 3],
    [ReasonCode.BAD_USER_NAME_OR_PASSWORD, 4],
    [ReasonCode.NOT_AUTHORIZED, 5],
    [ReasonCode.BANNED, 5],
  ];
  for (const [reason, returnCode] of expected) {
    t.equal(connackReturnCode(reason), returnCode, reasonName(reason));
    t.ok(hasConnackReturnCode(reason), reasonName(reason));
  }
  for (let code = 0x80; code < 256; code++) {
    const returnCode = connackReturnCode(code);
    t.ok(returnCode >= 1 && returnCode <= 5, 'a refusal never becomes an acceptance');
    if (!hasConnackReturnCode(code)) t.equal(returnCode, 3);
  }
  t.notOk(hasConnackReturnCode(ReasonCode.MALFORMED_PACKET), 'closed without CONNACK');
  for (let code = 1; code <= 5; code++) {
    t.equal(connackReturnCode(reasonOfReturnCode(code)), code);
  }
  t.equal(reasonOfReturnCode(0), 0);
  t.equal(reasonOfReturnCode(6), -1);
});

t.test('a protocol error is cheap and leaves the stack depth as it was', async (t) => {
  const depth = Error.stackTraceLimit;
  const error = new ProtocolError(0x82, 'no');
  t.ok(error instanceof Error);
  t.equal(error.reasonCode, 0x82);
  t.equal(error.message, 'no');
  t.equal(error.name, 'ProtocolError');
  t.notOk(error.stack?.includes('\n'), 'no stack frames');
  t.equal(Error.stackTraceLimit, depth);
  t.ok(new Error('other').stack?.includes('\n'), 'others keep theirs');
});

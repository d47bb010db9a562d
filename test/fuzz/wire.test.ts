/** The short form of the codec fuzzer, and proof that it finds what it is there to find. */
import t from 'tap';
import { PacketType } from '../../src/wire/packet-type.ts';
import { seedOr } from '../support/seed.ts';
import { decodePacket } from '../wire/decode-packet.ts';
import { describe, fuzzWire } from './wire.ts';

const CASES = 8000;

t.test('a known seed', async (t) => {
  const report = fuzzWire({ seed: 1, caseCount: CASES });
  t.equal(report.failure, null, describe(report));
  t.equal(report.caseCount, CASES);
  for (const name of Object.keys(PacketType)) {
    t.ok((report.decoded.get(name) ?? 0) > 20, `${name} decoded ${report.decoded.get(name)}`);
    t.ok((report.refused.get(name) ?? 0) > 20, `${name} refused ${report.refused.get(name)}`);
  }
});

t.test('another seed, for some seconds', async (t) => {
  const seed = seedOr(1001);
  const report = fuzzWire({ seed, caseCount: CASES, durationMs: 10_000 });
  t.equal(report.failure, null, describe(report));
  t.ok(report.caseCount > 100, `${report.caseCount} cases of seed ${seed}`);
});

t.test('another error than a protocol error is found, and again from its seed', async (t) => {
  const decode: typeof decodePacket = (version, sender, buf, start, end, limits) => {
    const packet = decodePacket(version, sender, buf, start, end, limits);
    if (packet.type === 'SUBSCRIBE' && packet.packet.subscriptions.length === 2) {
      throw new TypeError('planted');
    }
    return packet;
  };
  const { failure } = fuzzWire({ seed: 2, caseCount: CASES, decode });
  t.match(failure?.error, { message: 'planted' });
  const again = fuzzWire({ seed: 2, firstCase: failure?.caseNumber ?? 0, caseCount: 1, decode });
  t.equal(again.failure?.hex, failure?.hex);
});

t.test('reading beyond the end is found', async (t) => {
  const decode: typeof decodePacket = (version, sender, buf, start, end, limits) => {
    const packet = decodePacket(version, sender, buf, start, end, limits);
    if (packet.type === 'PUBACK') packet.packet.reasonCode = buf[end] ?? 0;
    return packet;
  };
  const { failure } = fuzzWire({ seed: 3, caseCount: CASES, decode });
  t.match(failure?.error, { message: /outside the packet/ });
});

t.test('a view where a copy is due is found', async (t) => {
  const decode: typeof decodePacket = (version, sender, buf, start, end, limits) => {
    const packet = decodePacket(version, sender, buf, start, end, limits);
    if (packet.type === 'CONNECT' && packet.packet.password !== null) {
      packet.packet.password = buf.subarray(end - packet.packet.password.length, end);
    }
    return packet;
  };
  const { failure } = fuzzWire({ seed: 4, caseCount: CASES, decode });
  t.match(failure?.error, { message: /outside the packet/ });
});

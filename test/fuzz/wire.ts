/**
 * Fuzzes the codecs with damaged packets and plain noise. Each case follows from a seed and its
 * number alone, so any failure is repeated with `node test/fuzz/wire.ts --seed S --case N`.
 * Without arguments it runs for a minute from a new seed; `npm run fuzz` gives it longer.
 */
import assert from 'node:assert/strict';
import { Buffer } from 'node:buffer';
import { parseArgs } from 'node:util';
import type { DecodeLimits } from '../../src/wire/decode-limits.ts';
import { bodyStart, packetEnd } from '../../src/wire/framing.ts';
import { packetTypeName } from '../../src/wire/packet-type.ts';
import { ProtocolError } from '../../src/wire/protocol-error.ts';
import type { ProtocolVersion } from '../../src/wire/protocol-version.ts';
import type { Sender } from '../../src/wire/reason-code.ts';
import { writeVarint } from '../../src/wire/varint.ts';
import { encodePacket, type Packet } from '../wire/decode-packet.ts';
import { fixtures } from '../wire/fixtures/all.ts';
import { type Decode, observe } from '../wire/observe.ts';

export interface WireFuzzOptions {
  readonly seed: number;
  /** First case, and how many; the run ends early when its time is up. */
  readonly firstCase?: number;
  readonly caseCount: number;
  readonly durationMs?: number;
  /** Stands in for the real decoders, to see the fuzzer find what it should. */
  readonly decode?: Decode;
}

export interface WireFuzzFailure {
  readonly seed: number;
  readonly caseNumber: number;
  readonly version: ProtocolVersion;
  readonly sender: Sender;
  readonly hex: string;
  readonly error: unknown;
}

export interface WireFuzzReport {
  caseCount: number;
  /** Packets by type name. */
  readonly decoded: Map<string, number>;
  readonly refused: Map<string, number>;
  failure: WireFuzzFailure | null;
}

const LIMITS: DecodeLimits = { userPropertiesMax: 4, filtersMax: 4 };
const PACKET_BYTES_MAX = 4096;

/** Bytes at which decoders change their minds: borders, lengths, property identifiers, UTF-8. */
const INTERESTING = [
  0x00, 0x01, 0x02, 0x03, 0x04, 0x08, 0x09, 0x0b, 0x10, 0x11, 0x15, 0x16, 0x18, 0x1f, 0x21, 0x22,
  0x23, 0x26, 0x27, 0x2b, 0x2f, 0x7f, 0x80, 0x81, 0xbf, 0xc0, 0xed, 0xf4, 0xfe, 0xff,
];

/** Damage to a valid packet leads deeper than damage to one that is refused anyway. */
const validFixtures = fixtures.filter((fixture) => 'decoded' in fixture);
const invalidFixtures = fixtures.filter((fixture) => 'error' in fixture);

/** mulberry32: whole numbers below `below`, from a seed. */
function randomFrom(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

interface Case {
  readonly version: ProtocolVersion;
  readonly sender: Sender;
  readonly bytes: Buffer;
}

/** Case `caseNumber` of a seed. */
function makeCase(seed: number, caseNumber: number): Case {
  const random = randomFrom(seed ^ Math.imul(caseNumber + 1, 0x9e3779b1));
  const corpus = random(4) === 0 ? invalidFixtures : validFixtures;
  const fixture = corpus[random(corpus.length)]!;
  const otherVersion = random(8) === 0;
  const version = otherVersion
    ? ((3 + random(3)) as ProtocolVersion)
    : fixture.versions[random(fixture.versions.length)]!;
  const sender = random(16) === 0 ? 'server' : fixture.sender;
  if (random(10) === 0) return { version, sender, bytes: noise(random) };

  let body = Buffer.from(fixture.bytes.subarray(bodyStart(fixture.bytes, 0)));
  let firstByte = fixture.bytes[0]!;
  for (let count = random(4); count > 0; count--) body = mutate(body, random);
  if (random(20) === 0) firstByte ^= 1 << random(8);
  const header = Buffer.alloc(5);
  header[0] = firstByte;
  const claimed = random(12) === 0 ? random(body.length + 5) : body.length;
  const headerEnd = writeVarint(header, 1, claimed);
  return { version, sender, bytes: Buffer.concat([header.subarray(0, headerEnd), body]) };
}

function noise(random: (below: number) => number): Buffer {
  const bytes = Buffer.alloc(2 + random(40));
  for (let i = 0; i < bytes.length; i++) {
    bytes[i] = random(2) === 0 ? random(256) : INTERESTING[random(INTERESTING.length)]!;
  }
  // Half of it gets a length that holds, so that it reaches a decoder.
  if (random(2) === 0) bytes[1] = bytes.length - 2;
  return bytes;
}

function mutate(body: Buffer<ArrayBuffer>, random: (below: number) => number): Buffer<ArrayBuffer> {
  const at = random(body.length + 1);
  const to = Math.min(body.length, at + 1 + random(6));
  const before = body.subarray(0, at);
  switch (random(7)) {
    case 0: {
      if (at < body.length) body[at] = body[at]! ^ (1 << random(8));
      return body;
    }
    case 1: {
      if (at < body.length) body[at] = INTERESTING[random(INTERESTING.length)]!;
      return body;
    }
    case 2: {
      const added = Buffer.from([INTERESTING[random(INTERESTING.length)]!, random(256)]);
      return Buffer.concat([before, added.subarray(0, 1 + random(2)), body.subarray(at)]);
    }
    case 3:
      return Buffer.concat([before, body.subarray(to)]);
    case 4:
      return Buffer.concat([before, body.subarray(at, to), body.subarray(at)]);
    case 5: {
      const other = fixtures[random(fixtures.length)]!.bytes;
      const from = random(other.length);
      const piece = other.subarray(from, from + 1 + random(20));
      return Buffer.concat([before, piece, body.subarray(random(2) === 0 ? at : to)]);
    }
    default:
      return Buffer.from(before);
  }
}

/** Runs cases until they are done, time is up or one fails. */
export function fuzzWire(options: WireFuzzOptions): WireFuzzReport {
  const { seed, firstCase = 0, caseCount, durationMs = Number.POSITIVE_INFINITY } = options;
  const report: WireFuzzReport = {
    caseCount: 0,
    decoded: new Map(),
    refused: new Map(),
    failure: null,
  };
  const endsAtMs = performance.now() + durationMs;
  for (let number = firstCase; number < firstCase + caseCount; number++) {
    if (performance.now() >= endsAtMs) break;
    const { version, sender, bytes } = makeCase(seed, number);
    try {
      check(version, sender, bytes, report, options.decode);
    } catch (error) {
      const hex = bytes.toString('hex');
      report.failure = { seed, caseNumber: number, version, sender, hex, error };
      return report;
    }
    report.caseCount++;
  }
  return report;
}

/** Takes the bytes as a stream: every packet in them up to the first that is refused. */
function check(
  version: ProtocolVersion,
  sender: Sender,
  stream: Buffer,
  report: WireFuzzReport,
  decode: Decode | undefined,
): void {
  let start = 0;
  while (start < stream.length) {
    const end = endOf(stream, start);
    if (end === -1 || end > stream.length) return;
    const packet = stream.subarray(start, end);
    const name = packetTypeName(packet[0]! >> 4);
    const { decoded } = observe(version, sender, packet, LIMITS, decode);
    const counts = decoded === null ? report.refused : report.decoded;
    counts.set(name, (counts.get(name) ?? 0) + 1);
    if (decoded === null) return;
    checkBounds(decoded, packet.length);
    const again = encodePacket(versionOf(decoded, version), decoded);
    const outcome = observe(versionOf(decoded, version), sender, again, LIMITS, decode);
    assert.equal(outcome.error, null, 'what was decoded is refused when it is encoded again');
    assert.deepEqual(outcome.decoded, decoded, 'what was decoded changes when it is encoded again');
    start = end;
  }
}

/** Framing's answer, which must be the same when there is more behind and when there is not. */
function endOf(stream: Buffer, start: number): number {
  try {
    const end = packetEnd(stream, start, stream.length, PACKET_BYTES_MAX);
    assert.ok(end === -1 || (end > start + 1 && end - start <= PACKET_BYTES_MAX));
    const alone = Buffer.from(stream.subarray(start));
    const endAlone = packetEnd(alone, 0, alone.length, PACKET_BYTES_MAX);
    assert.equal(endAlone === -1 ? -1 : endAlone + start, end);
    return end;
  } catch (error) {
    if (!(error instanceof ProtocolError)) throw error;
    return -1;
  }
}

/** A CONNECT carries its version itself, whatever was said before. */
function versionOf(decoded: Packet, version: ProtocolVersion): ProtocolVersion {
  return decoded.type === 'CONNECT' ? decoded.packet.protocolVersion : version;
}

/** Nothing decoded is larger than its packet or beyond its limit. */
function checkBounds(decoded: Packet, packetBytes: number): void {
  const { packet } = decoded;
  if (packet === null) return;
  if ('userProperties' in packet && packet.userProperties !== undefined) {
    assert.ok(packet.userProperties.length <= LIMITS.userPropertiesMax);
  }
  if ('subscriptions' in packet) assert.ok(packet.subscriptions.length <= LIMITS.filtersMax);
  if ('filters' in packet) assert.ok(packet.filters.length <= LIMITS.filtersMax);
  for (const value of Object.values(packet)) {
    if (typeof value === 'string' || Buffer.isBuffer(value)) assert.ok(value.length <= packetBytes);
  }
}

/** One paragraph for people, with the command that repeats a failure. */
export function describe(report: WireFuzzReport): string {
  const sum = (counts: Map<string, number>): number =>
    [...counts.values()].reduce((total, count) => total + count, 0);
  const { failure } = report;
  const total = `${report.caseCount} cases: ${sum(report.decoded)} packets decoded, ${sum(report.refused)} refused`;
  if (failure === null) return total;
  return [
    total,
    `FAILED: v${failure.version} from a ${failure.sender}: ${failure.hex}`,
    String(failure.error instanceof Error ? failure.error.stack : failure.error),
    `again: node test/fuzz/wire.ts --seed ${failure.seed} --case ${failure.caseNumber}`,
  ].join('\n');
}

if (import.meta.main) {
  const { values } = parseArgs({
    options: {
      seed: { type: 'string' },
      case: { type: 'string' },
      seconds: { type: 'string', default: '60' },
    },
  });
  const seed = Number(values.seed ?? Math.floor(Math.random() * 2 ** 31));
  const only = values.case === undefined ? null : Number(values.case);
  console.log(`fuzz wire: seed ${seed}`);
  const report = fuzzWire({
    seed,
    firstCase: only ?? 0,
    caseCount: only === null ? Number.MAX_SAFE_INTEGER : 1,
    durationMs: Number(values.seconds) * 1000,
  });
  console.log(describe(report));
  if (report.failure !== null) process.exitCode = 1;
}

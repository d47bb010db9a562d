/**
 * Decodes one packet several times in different surroundings and insists on one answer: a decoder
 * that looks past its end, keeps a view where a copy is due, or throws something else shows here.
 */
import assert from 'node:assert/strict';
import { Buffer } from 'node:buffer';
import { DECODE_LIMITS_DEFAULT, type DecodeLimits } from '../../src/wire/decode-limits.ts';
import { ProtocolError } from '../../src/wire/protocol-error.ts';
import type { ProtocolVersion } from '../../src/wire/protocol-version.ts';
import type { Sender } from '../../src/wire/reason-code.ts';
import { decodePacket, type Packet } from './decode-packet.ts';

export type Outcome =
  | { readonly decoded: Packet; readonly error: null }
  | { readonly decoded: null; readonly error: ProtocolError };

export type Decode = typeof decodePacket;

/** What stands around the packet in the read buffer: bytes before, bytes after, their value. */
const SURROUNDINGS: readonly [before: number, after: number, fill: number][] = [
  [0, 0, 0x00],
  [3, 70_000, 0x00],
  [1, 70_000, 0xff],
  [2, 9, 0x61],
];

/** The one outcome of decoding `packet`; throws when surroundings make a difference. */
export function observe(
  version: ProtocolVersion,
  sender: Sender,
  packet: Buffer,
  limits: DecodeLimits = DECODE_LIMITS_DEFAULT,
  decode: Decode = decodePacket,
): Outcome {
  let first: Outcome | null = null;
  for (const [index, [before, after, fill]] of SURROUNDINGS.entries()) {
    const buf = Buffer.alloc(before + packet.length + after, fill);
    packet.copy(buf, before);
    const outcome = attempt(version, sender, buf, before, before + packet.length, limits, decode);
    // The read buffer is used again, each time for something else: what still looks into it differs.
    buf.fill(0xa0 + index);
    first ??= outcome;
    assert.deepEqual(
      outcome.decoded,
      first.decoded,
      'bytes outside the packet changed its meaning',
    );
    assert.equal(outcome.error?.message, first.error?.message, 'bytes outside changed the error');
    assert.equal(outcome.error?.reasonCode, first.error?.reasonCode, 'bytes outside: reason code');
  }
  assert(first !== null);
  return first;
}

function attempt(
  version: ProtocolVersion,
  sender: Sender,
  buf: Buffer,
  start: number,
  end: number,
  limits: DecodeLimits,
  decode: Decode,
): Outcome {
  try {
    return { decoded: decode(version, sender, buf, start, end, limits), error: null };
  } catch (error) {
    if (!(error instanceof ProtocolError)) throw error;
    return { decoded: null, error };
  }
}

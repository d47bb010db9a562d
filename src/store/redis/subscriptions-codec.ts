/**
 * The subscriptions of a session as one value: `rec` in its hash (ADR 0013). Nothing at all is what a
 * session has that was never saved.
 *
 *   version · count · (flags · subscription id · filter)… · checksum
 */
import type { SubscriptionRecord } from '../../core/ports.ts';
import { EMPTY_BUFFER } from '../../util/bytes.ts';
import { RecordDamage } from '../embedded/damage.ts';
import { SEAL_BYTES, seal } from '../embedded/seal.ts';
import { VARINT_BYTES_MAX, writeVarint } from '../embedded/varint.ts';
import { openVersioned } from './record-version.ts';

const VERSION = 1;

const QOS_BITS = 0x03;
const NO_LOCAL = 0x04;
const RETAIN_AS_PUBLISHED = 0x08;
const RETAIN_HANDLING_SHIFT = 4;
const KNOWN_BITS = 0x3f;

export function encodeSubscriptions(records: readonly SubscriptionRecord[]): Buffer {
  if (records.length === 0) return EMPTY_BUFFER;
  let bytes = 1 + VARINT_BYTES_MAX + SEAL_BYTES;
  for (const { filter } of records) bytes += 1 + 2 * VARINT_BYTES_MAX + Buffer.byteLength(filter);
  const out = Buffer.allocUnsafe(bytes);
  out[0] = VERSION;
  let pos = writeVarint(out, 1, records.length);
  for (const record of records) {
    out[pos++] =
      record.qos |
      (record.noLocal ? NO_LOCAL : 0) |
      (record.retainAsPublished ? RETAIN_AS_PUBLISHED : 0) |
      (record.retainHandling << RETAIN_HANDLING_SHIFT);
    pos = writeVarint(out, pos, record.subscriptionId);
    pos = writeVarint(out, pos, Buffer.byteLength(record.filter));
    pos += out.write(record.filter, pos, 'utf8');
  }
  return out.subarray(0, seal(out, 0, pos));
}

/** Throws RecordDamage, or NewerRecord. */
export function decodeSubscriptions(value: Buffer): SubscriptionRecord[] {
  if (value.length === 0) return [];
  const cursor = openVersioned(value, VERSION);
  const count = cursor.varint();
  if (count > cursor.end - cursor.pos) throw new RecordDamage('more subscriptions than bytes');
  const records: SubscriptionRecord[] = [];
  for (let i = 0; i < count; i++) {
    const flags = cursor.u8();
    const qos = flags & QOS_BITS;
    const retainHandling = (flags >> RETAIN_HANDLING_SHIFT) & 0x03;
    if (qos === 3 || retainHandling === 3 || (flags & ~KNOWN_BITS) !== 0) {
      throw new RecordDamage('subscription flags are unknown');
    }
    const subscriptionId = cursor.varint();
    records.push({
      filter: cursor.string(),
      qos: qos as 0 | 1 | 2,
      noLocal: (flags & NO_LOCAL) !== 0,
      retainAsPublished: (flags & RETAIN_AS_PUBLISHED) !== 0,
      retainHandling: retainHandling as 0 | 1 | 2,
      subscriptionId,
    });
  }
  cursor.expectEnd();
  return records;
}

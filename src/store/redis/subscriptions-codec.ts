/**
 * The subscriptions of a session as one value: `rec` in its hash (ADR 0013). Nothing at all is what a
 * session has that was never saved.
 *
 *   version · count · (flags · subscription id · filter)… · checksum
 *
 * A session that goes from region to region (docs/adr/0023) has the turns of its packet identifiers behind
 * them, and a version of its own, as an older release would give its entries other identifiers:
 *
 *   … · count · (position · share + 1)… · checksum
 */
import type { SubscriptionRecord } from '../../core/ports.ts';
import type { Turn } from '../../core/roaming-record.ts';
import { EMPTY_BUFFER } from '../../util/bytes.ts';
import { RecordDamage } from '../embedded/damage.ts';
import { SEAL_BYTES, seal } from '../embedded/seal.ts';
import { type Cursor, VARINT_BYTES_MAX, writeVarint } from '../embedded/varint.ts';
import { openVersioned } from './record-version.ts';

const VERSION = 1;
/** With turns. */
const ROAMING_VERSION = 2;

const QOS_BITS = 0x03;
const NO_LOCAL = 0x04;
const RETAIN_AS_PUBLISHED = 0x08;
const RETAIN_HANDLING_SHIFT = 4;
const KNOWN_BITS = 0x3f;

export interface SavedSubscriptions {
  readonly subscriptions: SubscriptionRecord[];
  /** Empty: it has never been in another region. */
  readonly turns: Turn[];
}

export function encodeSubscriptions(
  records: readonly SubscriptionRecord[],
  turns: readonly Turn[] = [],
): Buffer {
  if (records.length === 0 && turns.length === 0) return EMPTY_BUFFER;
  let bytes = 1 + (2 + 2 * turns.length) * VARINT_BYTES_MAX + SEAL_BYTES;
  for (const { filter } of records) bytes += 1 + 2 * VARINT_BYTES_MAX + Buffer.byteLength(filter);
  const out = Buffer.allocUnsafe(bytes);
  out[0] = turns.length === 0 ? VERSION : ROAMING_VERSION;
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
  if (turns.length > 0) {
    pos = writeVarint(out, pos, turns.length);
    for (const [seq, turn] of turns) {
      pos = writeVarint(out, pos, seq);
      // -1: all identifiers.
      pos = writeVarint(out, pos, turn + 1);
    }
  }
  return out.subarray(0, seal(out, 0, pos));
}

/** Throws RecordDamage, or NewerRecord. */
export function decodeSubscriptions(value: Buffer): SavedSubscriptions {
  const subscriptions: SubscriptionRecord[] = [];
  if (value.length === 0) return { subscriptions, turns: [] };
  const cursor = openVersioned(value, ROAMING_VERSION, VERSION);
  const count = cursor.varint();
  if (count > cursor.end - cursor.pos) throw new RecordDamage('more subscriptions than bytes');
  for (let i = 0; i < count; i++) {
    const flags = cursor.u8();
    const qos = flags & QOS_BITS;
    const retainHandling = (flags >> RETAIN_HANDLING_SHIFT) & 0x03;
    if (qos === 3 || retainHandling === 3 || (flags & ~KNOWN_BITS) !== 0) {
      throw new RecordDamage('subscription flags are unknown');
    }
    const subscriptionId = cursor.varint();
    subscriptions.push({
      filter: cursor.string(),
      qos: qos as 0 | 1 | 2,
      noLocal: (flags & NO_LOCAL) !== 0,
      retainAsPublished: (flags & RETAIN_AS_PUBLISHED) !== 0,
      retainHandling: retainHandling as 0 | 1 | 2,
      subscriptionId,
    });
  }
  const turns = value[0] === ROAMING_VERSION ? readTurns(cursor) : [];
  cursor.expectEnd();
  return { subscriptions, turns };
}

function readTurns(cursor: Cursor): Turn[] {
  const count = cursor.varint();
  if (count > cursor.end - cursor.pos) throw new RecordDamage('more turns than bytes');
  const turns: Turn[] = [];
  for (let i = 0; i < count; i++) turns.push([cursor.varint(), cursor.varint() - 1]);
  return turns;
}

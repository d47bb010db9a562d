/**
 * A session's record and its inbound QoS 2 ids as bytes. The record is JSON (it is written when
 * something changes about the session, not per message) with the will's message behind it.
 *
 *   JSON length varint · JSON · will message, if the JSON says so · checksum
 */
import type { SessionRecord, SubscriptionRecord } from '../../core/ports.ts';
import type { RoamingRecord } from '../../core/roaming-record.ts';
import { RecordDamage } from './damage.ts';
import { MessageMemory, messageBytesMax, readMessage, writeMessage } from './message-codec.ts';
import { openSealed, SEAL_BYTES, seal } from './seal.ts';
import { VARINT_BYTES_MAX, writeVarint } from './varint.ts';

interface StoredRecord {
  readonly clientId: string;
  readonly identity: string | null;
  /** Absent in records of the first release. */
  readonly tenant?: string;
  readonly protocolVersion: 3 | 4 | 5;
  readonly expiryIntervalS: number;
  readonly disconnectedAtMs: number;
  /** filter, qos, noLocal, retainAsPublished, retainHandling, subscriptionId */
  readonly subscriptions: readonly [string, 0 | 1 | 2, boolean, boolean, 0 | 1 | 2, number][];
  readonly will: { readonly delayS: number; readonly dueAtMs: number } | null;
  /** Absent where sessions stay in their region. */
  readonly roaming?: RoamingRecord;
}

export function encodeSession(record: SessionRecord): Buffer {
  const { will } = record;
  const stored: StoredRecord = {
    clientId: record.clientId,
    identity: record.identity,
    tenant: record.tenant,
    protocolVersion: record.protocolVersion,
    expiryIntervalS: record.expiryIntervalS,
    disconnectedAtMs: record.disconnectedAtMs,
    subscriptions: record.subscriptions.map((subscription) => [
      subscription.filter,
      subscription.qos,
      subscription.noLocal,
      subscription.retainAsPublished,
      subscription.retainHandling,
      subscription.subscriptionId,
    ]),
    will: will === null ? null : { delayS: will.delayS, dueAtMs: will.dueAtMs },
    ...(record.roaming === undefined ? null : { roaming: record.roaming }),
  };
  const json = Buffer.from(JSON.stringify(stored));
  const willBytes = will === null ? 0 : messageBytesMax(will.message);
  const out = Buffer.allocUnsafe(VARINT_BYTES_MAX + json.length + willBytes + SEAL_BYTES);
  let pos = writeVarint(out, 0, json.length);
  pos += json.copy(out, pos);
  if (will !== null) pos = writeMessage(out, pos, will.message, 0);
  return out.subarray(0, seal(out, 0, pos));
}

export function decodeSession(value: Buffer, sessionNumber: number): SessionRecord {
  const cursor = openSealed(value);
  const json = cursor.bytes(cursor.varint());
  let stored: StoredRecord;
  try {
    stored = JSON.parse(json.toString('utf8')) as StoredRecord;
  } catch {
    throw new RecordDamage('session record is no JSON');
  }
  const will =
    stored.will === null
      ? null
      : { ...stored.will, message: readMessage(cursor, 0, new MessageMemory()) };
  cursor.expectEnd();
  return {
    sessionNumber,
    clientId: stored.clientId,
    identity: stored.identity,
    tenant: stored.tenant ?? '',
    protocolVersion: stored.protocolVersion,
    expiryIntervalS: stored.expiryIntervalS,
    disconnectedAtMs: stored.disconnectedAtMs,
    subscriptions: stored.subscriptions.map(
      ([filter, qos, noLocal, retainAsPublished, retainHandling, subscriptionId]) =>
        ({
          filter,
          qos,
          noLocal,
          retainAsPublished,
          retainHandling,
          subscriptionId,
        }) satisfies SubscriptionRecord,
    ),
    will,
    ...(stored.roaming === undefined ? null : { roaming: stored.roaming }),
  };
}

export function encodeNumbers(numbers: Iterable<number>, count: number): Buffer {
  const out = Buffer.allocUnsafe((count + 1) * VARINT_BYTES_MAX + SEAL_BYTES);
  let pos = writeVarint(out, 0, count);
  for (const value of numbers) pos = writeVarint(out, pos, value);
  return out.subarray(0, seal(out, 0, pos));
}

export function decodeNumbers(value: Buffer): number[] {
  const cursor = openSealed(value);
  const count = cursor.varint();
  const numbers: number[] = [];
  for (let i = 0; i < count; i++) numbers.push(cursor.varint());
  cursor.expectEnd();
  return numbers;
}

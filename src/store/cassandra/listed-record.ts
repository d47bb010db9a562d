/**
 * The blob of one session in the directory (docs/adr/0023). The client identifier is its key.
 *
 *   format, 1 · home region (length, bytes) · epoch varint · session record as the embedded store has it,
 *   without a will
 */
import type { SessionRecord } from '../../core/ports.ts';
import type { ListedSession } from '../../core/session-directory.ts';
import { RecordDamage } from '../embedded/damage.ts';
import { decodeSession, encodeSession } from '../embedded/session-codec.ts';
import { Cursor, VARINT_BYTES_MAX, writeVarint } from '../embedded/varint.ts';

const FORMAT = 1;

export function encodeListed(home: string, epoch: number, record: SessionRecord): Buffer {
  const head = Buffer.alloc(2 + home.length + VARINT_BYTES_MAX);
  head[0] = FORMAT;
  head[1] = home.length;
  head.write(home, 2, 'latin1');
  const end = writeVarint(head, 2 + home.length, epoch);
  // The will is the home's to publish; of what is on its way only the home knows.
  const listed = { ...record, will: null };
  if (record.roaming === undefined) {
    return Buffer.concat([head.subarray(0, end), encodeSession(listed)]);
  }
  const roaming = {
    ...record.roaming,
    leaving: null,
    sources: [],
    taken: [],
    streams: [],
    ids: [],
  };
  return Buffer.concat([head.subarray(0, end), encodeSession({ ...listed, roaming })]);
}

/** `timeUs`: the cell's timestamp. Throws RecordDamage. */
export function decodeListed(clientId: string, blob: Buffer, timeUs: number): ListedSession {
  const cursor = new Cursor(blob, 0, blob.length);
  const format = cursor.u8();
  if (format !== FORMAT) throw new RecordDamage(`format ${format} of a listed session is unknown`);
  const home = cursor.bytes(cursor.u8()).toString('latin1');
  const epoch = cursor.varint();
  const record = decodeSession(cursor.bytes(cursor.end - cursor.pos), 0);
  if (record.clientId !== clientId) throw new RecordDamage('a listed session is of another client');
  const { expiryIntervalS } = record;
  return { home, listing: { epoch, timeUs, expiryIntervalS }, record };
}

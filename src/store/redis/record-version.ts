/**
 * The first byte of every value the shared store writes. Two releases may run side by side in one
 * datacenter: a record of a newer one is whole, and is left for those who can read it.
 */
import { RecordDamage } from '../embedded/damage.ts';
import { openSealed } from '../embedded/seal.ts';
import type { Cursor } from '../embedded/varint.ts';

/** The record is sound, but of a release that this one does not know. */
export class NewerRecord extends Error {}

/** A cursor behind the version byte, `oldest` up to `version`; throws RecordDamage or NewerRecord. */
export function openVersioned(value: Buffer, version: number, oldest: number = version): Cursor {
  const cursor = openSealed(value);
  const found = cursor.u8();
  if (found > version) throw new NewerRecord(`a record of version ${found}`);
  if (found < oldest) throw new RecordDamage('record has an unknown version');
  return cursor;
}

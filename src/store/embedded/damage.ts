/**
 * What decoders of stored records throw: the bytes are not what the store once wrote. Whoever reads
 * a record catches it and moves the record aside; it never reaches the core.
 */
export class RecordDamage extends Error {}

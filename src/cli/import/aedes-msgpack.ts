/**
 * Reads one msgpack value, as msgpack-lite writes them into the databases of aedes. Nothing is written
 * in it here. It knows no packet; maps come as Map, so that no key of a database is a property.
 */
import type { Buffer } from 'node:buffer';

export type MsgpackValue =
  | null
  | boolean
  | number
  | string
  | Buffer
  | readonly MsgpackValue[]
  | ReadonlyMap<string, MsgpackValue>;

/** The bytes are not one msgpack value, or hold something no packet has. */
export class MsgpackDamage extends Error {
  override readonly name: string = 'MsgpackDamage';
}

/** Packets are maps of texts, with properties and pairs of texts in them. */
const DEPTH_MAX = 8;
/** Buffer and typed arrays that msgpack-lite has given types of their own. */
const BINARY_EXTENSIONS: ReadonlySet<number> = new Set([0x11, 0x12, 0x19, 0x1a, 0x1b, 0x1d]);

export function decodeMsgpack(bytes: Buffer): MsgpackValue {
  const reader = new MsgpackReader(bytes);
  const value = reader.value(0);
  if (!reader.isAtEnd) throw new MsgpackDamage('bytes are left behind the value');
  return value;
}

class MsgpackReader {
  readonly #bytes: Buffer;
  #pos = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get isAtEnd(): boolean {
    return this.#pos === this.#bytes.length;
  }

  value(depth: number): MsgpackValue {
    if (depth > DEPTH_MAX) throw new MsgpackDamage('nested too deeply');
    const type = this.#unsigned(1);
    if (type < 0x80) return type;
    if (type < 0x90) return this.#map(type & 0x0f, depth);
    if (type < 0xa0) return this.#array(type & 0x0f, depth);
    if (type < 0xc0) return this.#text(type & 0x1f);
    if (type >= 0xe0) return type - 0x100;
    switch (type) {
      case 0xc0:
        return null;
      case 0xc2:
        return false;
      case 0xc3:
        return true;
      case 0xc4:
      case 0xc5:
      case 0xc6:
        return this.#take(this.#unsigned(1 << (type - 0xc4)));
      case 0xc7:
      case 0xc8:
      case 0xc9:
        return this.#extension(this.#unsigned(1 << (type - 0xc7)));
      case 0xca:
        return this.#take(4).readFloatBE(0);
      case 0xcb:
        return this.#take(8).readDoubleBE(0);
      case 0xcc:
      case 0xcd:
      case 0xce:
        return this.#unsigned(1 << (type - 0xcc));
      case 0xcf:
        return Number(this.#take(8).readBigUInt64BE(0));
      case 0xd0:
      case 0xd1:
      case 0xd2: {
        const width = 1 << (type - 0xd0);
        return this.#take(width).readIntBE(0, width);
      }
      case 0xd3:
        return Number(this.#take(8).readBigInt64BE(0));
      case 0xd4:
      case 0xd5:
      case 0xd6:
      case 0xd7:
      case 0xd8:
        return this.#extension(1 << (type - 0xd4));
      case 0xd9:
      case 0xda:
      case 0xdb:
        return this.#text(this.#unsigned(1 << (type - 0xd9)));
      case 0xdc:
      case 0xdd:
        return this.#array(this.#unsigned(2 << (type - 0xdc)), depth);
      case 0xde:
      case 0xdf:
        return this.#map(this.#unsigned(2 << (type - 0xde)), depth);
      default:
        throw new MsgpackDamage('a type that is not known');
    }
  }

  #take(byteCount: number): Buffer {
    const end = this.#pos + byteCount;
    if (end > this.#bytes.length) throw new MsgpackDamage('cut short');
    const bytes = this.#bytes.subarray(this.#pos, end);
    this.#pos = end;
    return bytes;
  }

  #unsigned(width: number): number {
    return this.#take(width).readUIntBE(0, width);
  }

  #text(byteCount: number): string {
    return this.#take(byteCount).toString('utf8');
  }

  #extension(byteCount: number): Buffer {
    const type = this.#unsigned(1);
    if (!BINARY_EXTENSIONS.has(type)) throw new MsgpackDamage(`extension type ${type}`);
    return this.#take(byteCount);
  }

  #array(count: number, depth: number): MsgpackValue[] {
    const items: MsgpackValue[] = [];
    for (let i = 0; i < count; i++) items.push(this.value(depth + 1));
    return items;
  }

  #map(count: number, depth: number): Map<string, MsgpackValue> {
    const map = new Map<string, MsgpackValue>();
    for (let i = 0; i < count; i++) {
      const key = this.value(depth + 1);
      if (typeof key !== 'string') throw new MsgpackDamage('a key is no text');
      map.set(key, this.value(depth + 1));
    }
    return map;
  }
}

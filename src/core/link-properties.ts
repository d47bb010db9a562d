/**
 * What travels with a message from region to region (docs/adr/0022): three user properties, always all and
 * in this order, before those of the publisher, so that nothing a client writes is taken for one. Data plane.
 *
 *   causeway-id       REGION.INCARNATION.NUMBER.TIME: where and when it was published, and its number there
 *   causeway-path     regions it has been in, with commas between
 *   causeway-version  TIME.WRITER of a retained change, or empty
 */
import { copyBytes, EMPTY_BUFFER, readU16, writeU16 } from '../util/bytes.ts';
import { PropertyId } from '../wire/properties.ts';
import { NUMBER_BYTES, nameText, readNumber, writeNumber } from './link-names.ts';
import type { Publication } from './publication.ts';
import type { RegionLinks } from './region-links.ts';
import type { MessageOrigin, RegionMark } from './region-mark.ts';
import type { RetainedVersion } from './retained-version.ts';

const ID = Buffer.from('causeway-id');
const PATH = Buffer.from('causeway-path');
const VERSION = Buffer.from('causeway-version');
/** Each: property id, and two lengths. */
const OVERHEAD = 5;
const DOT = 0x2e;
/** Where number and time go. */
const PLACES = `${'A'.repeat(NUMBER_BYTES)}.${'A'.repeat(NUMBER_BYTES)}`;
const BLOCK_BYTES_MIN = 1024;

/**
 * The property blocks of publications for links: what travels besides, then their own properties. Each lies in
 * `bytes` up to `end`, until the next is written.
 */
export class LinkBlocks {
  bytes: Buffer = Buffer.allocUnsafeSlow(BLOCK_BYTES_MIN);
  end = 0;
  readonly #links: RegionLinks;
  /** Of a message that was published here, and is no retained change with a version. */
  readonly #plain: Buffer;
  /** Where its number is in there, with its time after a dot. */
  readonly #numberAt: number;

  constructor(links: RegionLinks) {
    this.#links = links;
    const id = links.prefix + PLACES;
    this.#plain = Buffer.alloc(blockBytes(id, links.region, null));
    writeBlock(this.#plain, 0, id, links.region, null);
    this.#numberAt = OVERHEAD + ID.length + links.prefix.length;
  }

  write(publication: Publication, timeMs: number): void {
    const { mark, view } = publication;
    const { propertyBuffer, propertyStart, propertyEnd } = view;
    const own = propertyEnd - propertyStart;
    const origin = mark?.origin ?? null;
    const version = mark?.version ?? null;
    let pos = 0;
    if (origin === null && version === null) {
      pos = this.#plain.length;
      this.#reserve(pos + own);
      const out = this.bytes;
      out.set(this.#plain, 0);
      const time = writeNumber(out, this.#numberAt, this.#links.takeNumber()) + 1;
      writeNumber(out, time, timeMs);
    } else {
      const id = origin?.id ?? this.#links.name(timeMs);
      const { region } = this.#links;
      const path = origin === null ? region : `${origin.path},${region}`;
      this.#reserve(blockBytes(id, path, version) + own);
      pos = writeBlock(this.bytes, 0, id, path, version);
    }
    if (own > 0) propertyBuffer.copy(this.bytes, pos, propertyStart, propertyEnd);
    this.end = pos + own;
  }

  #reserve(bytes: number): void {
    if (this.bytes.length < bytes) this.bytes = Buffer.allocUnsafeSlow(bytes);
  }
}

function versionText(version: RetainedVersion | null): string {
  return version === null ? '' : `${version.timeUs}.${version.writer}`;
}

function blockBytes(id: string, path: string, version: RetainedVersion | null): number {
  const names = ID.length + PATH.length + VERSION.length;
  return 3 * OVERHEAD + names + id.length + path.length + versionText(version).length;
}

/** The three properties; what they say is ASCII. */
function writeBlock(
  out: Buffer,
  start: number,
  id: string,
  path: string,
  version: RetainedVersion | null,
): number {
  let pos = writePair(out, start, ID, id);
  pos = writePair(out, pos, PATH, path);
  return writePair(out, pos, VERSION, versionText(version));
}

function writePair(out: Buffer, start: number, name: Buffer, value: string): number {
  const pos = writeHead(out, start, name, value.length);
  return pos + out.write(value, pos, 'latin1');
}

/** The same for another node of this region, which is not on the path; null: there is nothing to tell. */
export function markBytes(mark: RegionMark | null): Buffer | null {
  if (mark === null || mark.origin === null) return null;
  const { id, path } = mark.origin;
  const out = Buffer.allocUnsafe(blockBytes(id, path, mark.version));
  writeBlock(out, 0, id, path, mark.version);
  return out;
}

function writeHead(out: Buffer, start: number, name: Buffer, valueBytes: number): number {
  out[start] = PropertyId.USER_PROPERTY;
  let pos = writeU16(out, start + 1, name.length);
  pos += name.copy(out, pos);
  return writeU16(out, pos, valueBytes);
}

/** Read from a property block; used again and again. */
export class LinkProperties {
  /** Region and incarnation, as all names of one life of a node begin. */
  source = '';
  number = 0;
  /** Wall-clock ms of when it was published, there. */
  timeMs = 0;
  path = '';
  version: RetainedVersion | null = null;
  /** Where the publisher's own properties begin. */
  end = 0;
  readonly #source: LastText = new LastText();
  readonly #path: LastText = new LastText();

  /** What is kept of it beyond the next one. */
  origin(): MessageOrigin {
    return new NamedOrigin(this.source, this.number, this.timeMs, this.path);
  }

  /** False: the block does not begin with what a link writes. */
  read(buffer: Buffer, start: number, end: number): boolean {
    const id = fieldOf(buffer, start, end, ID);
    if (id === -1) return false;
    const idEnd = id + 2 + readU16(buffer, id);
    const path = fieldOf(buffer, idEnd, end, PATH);
    if (path === -1) return false;
    const pathEnd = path + 2 + readU16(buffer, path);
    const version = fieldOf(buffer, pathEnd, end, VERSION);
    if (version === -1) return false;
    const versionEnd = version + 2 + readU16(buffer, version);
    if (!this.#readName(buffer, id + 2, idEnd)) return false;
    this.path = this.#path.of(buffer, path + 2, pathEnd);
    this.version =
      versionEnd === version + 2 ? null : readVersion(buffer.latin1Slice(version + 2, versionEnd));
    this.end = versionEnd;
    return true;
  }

  #readName(buffer: Buffer, start: number, end: number): boolean {
    const time = end - NUMBER_BYTES;
    const number = time - 1 - NUMBER_BYTES;
    if (number - start < 2 || buffer[time - 1] !== DOT || buffer[number - 1] !== DOT) return false;
    this.number = readNumber(buffer, number);
    this.timeMs = readNumber(buffer, time);
    this.source = this.#source.of(buffer, start, number - 1);
    return this.number >= 0 && this.timeMs >= 0;
  }
}

/** Its name is wanted only where it goes on to other regions or nodes. */
class NamedOrigin implements MessageOrigin {
  readonly path: string;
  readonly #source: string;
  readonly #number: number;
  readonly #timeMs: number;

  constructor(source: string, number: number, timeMs: number, path: string) {
    this.#source = source;
    this.#number = number;
    this.#timeMs = timeMs;
    this.path = path;
  }

  get id(): string {
    return nameText(this.#source, this.#number, this.#timeMs);
  }
}

/** Text that is mostly the same as before: then it is the same string. ASCII. */
class LastText {
  #bytes: Buffer = EMPTY_BUFFER;
  #text = '';

  of(buffer: Buffer, start: number, end: number): string {
    const bytes = this.#bytes;
    if (bytes.length === end - start) {
      let i = 0;
      while (i < bytes.length && bytes[i] === buffer[start + i]) i++;
      if (i === bytes.length) return this.#text;
    }
    this.#bytes = copyBytes(buffer, start, end);
    this.#text = buffer.latin1Slice(start, end);
    return this.#text;
  }
}

/** Where the value of the property at `pos` has its length; -1: another property is there. */
function fieldOf(buffer: Buffer, pos: number, end: number, name: Buffer): number {
  const value = pos + 3 + name.length;
  if (value + 2 > end || buffer[pos] !== PropertyId.USER_PROPERTY) return -1;
  if (readU16(buffer, pos + 1) !== name.length) return -1;
  for (let i = 0; i < name.length; i++) if (buffer[pos + 3 + i] !== name[i]) return -1;
  return value + 2 + readU16(buffer, value) <= end ? value : -1;
}

function readVersion(text: string): RetainedVersion | null {
  const dot = text.indexOf('.');
  if (dot <= 0) return null;
  const timeUs = Number(text.slice(0, dot));
  const writer = Number(text.slice(dot + 1));
  const isGood = Number.isSafeInteger(timeUs) && timeUs > 0 && Number.isSafeInteger(writer);
  return isGood && writer >= 0 ? { timeUs, writer } : null;
}

/** When a message with such properties was published (wall-clock ms); 0: it has none. */
export function publishedAtMs(properties: Buffer): number {
  const value = fieldOf(properties, 0, properties.length, ID);
  if (value === -1) return 0;
  const end = value + 2 + readU16(properties, value);
  const timeMs = readNumber(properties, end - NUMBER_BYTES);
  return timeMs < 0 ? 0 : timeMs;
}

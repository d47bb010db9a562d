/**
 * What travels with a message from region to region (docs/adr/0022): three user properties, always all and
 * in this order, before those of the publisher, so that nothing a client writes is taken for one. Data plane.
 *
 *   causeway-id       REGION.INCARNATION.NUMBER.TIME: where and when it was published, and its number there
 *   causeway-path     regions it has been in, with commas between
 *   causeway-version  TIME.WRITER of a retained change, or empty
 */
import { readU16, writeU16 } from '../util/bytes.ts';
import { PropertyId } from '../wire/properties.ts';
import { NUMBER_BYTES, readNumber } from './link-names.ts';
import type { Publication } from './publication.ts';
import type { RegionLinks } from './region-links.ts';
import type { RegionMark } from './region-mark.ts';
import type { RetainedVersion } from './retained-version.ts';

const ID = Buffer.from('causeway-id');
const PATH = Buffer.from('causeway-path');
const VERSION = Buffer.from('causeway-version');
/** Each: property id, and two lengths. */
const OVERHEAD = 5;
const DOT = 0x2e;

/** The property block of a publication for a link: what travels besides, then its own properties. */
export function linkProperties(
  publication: Publication,
  links: RegionLinks,
  timeMs: number,
): Buffer {
  const { mark, view } = publication;
  const id = mark?.origin?.id ?? links.name(timeMs);
  const before = mark?.origin?.path ?? '';
  const path = before === '' ? links.region : `${before},${links.region}`;
  const { propertyBuffer, propertyStart, propertyEnd } = view;
  const own = propertyEnd - propertyStart;
  const out = Buffer.allocUnsafe(blockBytes(id, path, mark?.version ?? null) + own);
  const pos = writeBlock(out, 0, id, path, mark?.version ?? null);
  propertyBuffer.copy(out, pos, propertyStart, propertyEnd);
  return out;
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
  /** The whole name. */
  id = '';
  /** Region and incarnation, as all names of one life of a node begin. */
  source = '';
  number = 0;
  /** Wall-clock ms of when it was published, there. */
  timeMs = 0;
  path = '';
  version: RetainedVersion | null = null;
  /** Where the publisher's own properties begin. */
  end = 0;

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
    this.path = buffer.latin1Slice(path + 2, pathEnd);
    this.version = readVersion(buffer.latin1Slice(version + 2, versionEnd));
    this.end = versionEnd;
    return true;
  }

  #readName(buffer: Buffer, start: number, end: number): boolean {
    const time = end - NUMBER_BYTES;
    const number = time - 1 - NUMBER_BYTES;
    if (number - start < 2 || buffer[time - 1] !== DOT || buffer[number - 1] !== DOT) return false;
    this.number = readNumber(buffer, number);
    this.timeMs = readNumber(buffer, time);
    this.id = buffer.latin1Slice(start, end);
    this.source = buffer.latin1Slice(start, number - 1);
    return this.number >= 0 && this.timeMs >= 0;
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

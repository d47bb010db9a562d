/**
 * What travels with a message from region to region, as the first user property of its copy (docs/adr/0022).
 * Written by the fan-out for sessions that are links, read by geo/ and taken off again. Data plane.
 *
 *   causeway-id  REGION.INCARNATION.NUMBER.TIME: where and when it was published, and its number there;
 *                /PATH: regions it has been in, with commas between, unless that one alone;
 *                /VERSION: TIME.WRITER of a retained change that has one, always behind a path; with .0 behind
 *                it when it was published with QoS 0 and travels with more (`isRaised`); may be empty
 *                /PLACES: where it belongs for sessions on their way, if not as its origin has said last
 *                (docs/adr/0023): client in base64url, a colon and region, with commas between; behind a version
 */
import { copyBytes, EMPTY_BUFFER, readU16, writeU16 } from '../util/bytes.ts';
import { PropertyId } from '../wire/properties.ts';
import { NUMBER_BYTES, nameText, readNumber, writeNumber } from './link-names.ts';
import type { Publication } from './publication.ts';
import type { RegionLinks } from './region-links.ts';
import type { MessageOrigin, RegionMark } from './region-mark.ts';
import type { RetainedVersion } from './retained-version.ts';

const ID = Buffer.from('causeway-id');
/** The property's id, and two lengths. */
const OVERHEAD = 5;
const DOT = 0x2e;
const SLASH = 0x2f;
/** Where number and time go. */
const PLACES = `${'A'.repeat(NUMBER_BYTES)}.${'A'.repeat(NUMBER_BYTES)}`;
/** Number and time, with their dots, at the end of a name. */
const PLACES_BYTES = 2 * (1 + NUMBER_BYTES);
const BLOCK_BYTES_MIN = 1024;
/** Behind a version. */
const QOS_0 = '.0';
/** What does not fit is judged anew. */
const PLACES_TEXT_MAX = 32_768;

/**
 * A retained change is state, and a link that loses one leaves regions apart until the next: it travels with
 * QoS 1 at least. Without a version it is none.
 */
export function isRaised({ view, mark }: Publication): boolean {
  return view.qos === 0 && view.retain && mark !== null && mark.version !== null;
}

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
  /** `bytes` begin with `#plain` and this time, whatever number. */
  #plainMs = -1;

  constructor(links: RegionLinks) {
    this.#links = links;
    const value = links.prefix + PLACES;
    this.#plain = Buffer.alloc(blockBytes(value));
    writeBlock(this.#plain, 0, value);
    this.#numberAt = OVERHEAD + ID.length + links.prefix.length;
  }

  write(publication: Publication, timeMs: number): void {
    const { mark, view } = publication;
    const { propertyBuffer, propertyStart, propertyEnd } = view;
    const own = propertyEnd - propertyStart;
    const origin = mark?.origin ?? null;
    const version = mark?.version ?? null;
    let pos = 0;
    const placed = mark?.placed;
    if (origin === null && version === null && placed === undefined) {
      pos = this.#plain.length;
      this.#reserve(pos + own);
      const out = this.bytes;
      if (this.#plainMs === -1) out.set(this.#plain, 0);
      const time = writeNumber(out, this.#numberAt, this.#links.takeNumber()) + 1;
      if (this.#plainMs !== timeMs) writeNumber(out, time, timeMs);
      this.#plainMs = timeMs;
    } else {
      this.#plainMs = -1;
      let value = this.#valueOf(origin, version, timeMs) + (isRaised(publication) ? QOS_0 : '');
      if (placed !== undefined) value = withPlaces(value, placed, this.#links.region);
      this.#reserve(blockBytes(value) + own);
      pos = writeBlock(this.bytes, 0, value);
    }
    if (own > 0) propertyBuffer.copy(this.bytes, pos, propertyStart, propertyEnd);
    this.end = pos + own;
  }

  #valueOf(origin: MessageOrigin | null, version: RetainedVersion | null, timeMs: number): string {
    const { region } = this.#links;
    if (origin === null) return valueText(this.#links.name(timeMs), region, version);
    const path = origin.path === '' ? region : `${origin.path},${region}`;
    return valueText(origin.id, path, version);
  }

  #reserve(bytes: number): void {
    if (this.bytes.length >= bytes) return;
    this.bytes = Buffer.allocUnsafeSlow(bytes);
    this.#plainMs = -1;
  }
}

function regionOf(name: string): string {
  return name.slice(0, name.indexOf('.'));
}

function valueText(id: string, path: string, version: RetainedVersion | null): string {
  if (version !== null) return `${id}/${path}/${version.timeUs}.${version.writer}`;
  return path === regionOf(id) ? id : `${id}/${path}`;
}

/** Path and version may be missing before them. */
function withPlaces(value: string, placed: ReadonlyMap<string, string>, region: string): string {
  const slashes = value.split('/').length - 1;
  const base = slashes === 0 ? `${value}/${region}/` : slashes === 1 ? `${value}/` : value;
  let places = '';
  for (const [clientId, to] of placed) {
    const place = `${Buffer.from(clientId).toString('base64url')}:${to}`;
    if (places.length + place.length >= PLACES_TEXT_MAX) break;
    places += places === '' ? place : `,${place}`;
  }
  return `${base}/${places}`;
}

function readPlaces(text: string): ReadonlyMap<string, string> {
  const placed = new Map<string, string>();
  for (const place of text.split(',')) {
    const end = place.indexOf(':');
    if (end <= 0) continue;
    placed.set(Buffer.from(place.slice(0, end), 'base64url').toString(), place.slice(end + 1));
  }
  return placed;
}

function blockBytes(value: string): number {
  return OVERHEAD + ID.length + value.length;
}

/** What it says is ASCII. */
function writeBlock(out: Buffer, start: number, value: string): number {
  out[start] = PropertyId.USER_PROPERTY;
  let pos = writeU16(out, start + 1, ID.length);
  pos += ID.copy(out, pos);
  pos = writeU16(out, pos, value.length);
  return pos + out.write(value, pos, 'latin1');
}

/** The same for another node of this region, which is not on the path; null: there is nothing to tell. */
export function markBytes(mark: RegionMark | null): Buffer | null {
  if (mark === null || mark.origin === null) return null;
  const { id, path } = mark.origin;
  const value = valueText(id, path, mark.version);
  const out = Buffer.allocUnsafe(blockBytes(value));
  writeBlock(out, 0, value);
  return out;
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
  /** It was published with QoS 0, whatever it came with. */
  isQos0 = false;
  /** See `RegionMark`; null: none are said. */
  placed: ReadonlyMap<string, string> | null = null;
  /** Where the publisher's own properties begin. */
  end = 0;
  readonly #source: LastText = new LastText();
  readonly #path: LastText = new LastText();
  /** Of the source. */
  #region = '';

  /** What is kept of it beyond the next one. */
  origin(): MessageOrigin {
    return new NamedOrigin(this.source, this.number, this.timeMs, this.path);
  }

  /** So is this. */
  mark(): RegionMark {
    const { version, placed } = this;
    const origin = this.origin();
    if (placed !== null) return { origin, version, placed, ...(this.isQos0 && { isQos0: true }) };
    return this.isQos0 ? { origin, version, isQos0: true } : { origin, version };
  }

  /** False: the block does not begin with what a link writes. */
  read(buffer: Buffer, start: number, end: number): boolean {
    const length = lengthAt(buffer, start, end);
    if (length === -1) return false;
    const value = length + 2;
    const valueEnd = value + readU16(buffer, length);
    const nameEnd = this.#readName(buffer, value, valueEnd);
    if (nameEnd === -1) return false;
    this.end = valueEnd;
    this.version = null;
    this.isQos0 = false;
    this.placed = null;
    if (nameEnd === valueEnd) {
      this.path = this.#region;
      return true;
    }
    const pathEnd = slashIn(buffer, nameEnd + 1, valueEnd);
    this.path = this.#path.of(buffer, nameEnd + 1, pathEnd);
    if (pathEnd < valueEnd) {
      const versionEnd = slashIn(buffer, pathEnd + 1, valueEnd);
      const text = buffer.latin1Slice(pathEnd + 1, versionEnd);
      if (versionEnd < valueEnd) {
        this.placed = readPlaces(buffer.latin1Slice(versionEnd + 1, valueEnd));
      }
      this.isQos0 = text.endsWith(QOS_0) && text.indexOf('.') < text.length - QOS_0.length;
      this.version = readVersion(this.isQos0 ? text.slice(0, -QOS_0.length) : text);
    }
    return true;
  }

  /** Where it ends; -1: it is none. */
  #readName(buffer: Buffer, start: number, end: number): number {
    // Mostly of the source that the one before had.
    let dot = this.#source.endIn(buffer, start, end);
    if (dot === -1 || buffer[dot] !== DOT) {
      dot = slashIn(buffer, start, end) - PLACES_BYTES;
      if (dot - start < 1 || buffer[dot] !== DOT) return -1;
      this.source = this.#source.of(buffer, start, dot);
      this.#region = regionOf(this.source);
    }
    const time = dot + 2 + NUMBER_BYTES;
    const nameEnd = dot + PLACES_BYTES;
    if (nameEnd > end || buffer[time - 1] !== DOT) return -1;
    if (nameEnd < end && buffer[nameEnd] !== SLASH) return -1;
    this.number = readNumber(buffer, dot + 1);
    this.timeMs = readNumber(buffer, time);
    return this.number >= 0 && this.timeMs >= 0 ? nameEnd : -1;
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

  /** Where it ends, if it is what begins there; else -1. */
  endIn(buffer: Buffer, start: number, end: number): number {
    const bytes = this.#bytes;
    const { length } = bytes;
    if (length === 0 || length > end - start) return -1;
    for (let i = 0; i < length; i++) if (bytes[i] !== buffer[start + i]) return -1;
    return start + length;
  }

  of(buffer: Buffer, start: number, end: number): string {
    if (this.endIn(buffer, start, end) === end) return this.#text;
    this.#bytes = copyBytes(buffer, start, end);
    this.#text = buffer.latin1Slice(start, end);
    return this.#text;
  }
}

/** Where the value of a link's property at `pos` has its length; -1: another property is there. */
function lengthAt(buffer: Buffer, pos: number, end: number): number {
  const at = pos + 3 + ID.length;
  if (at + 2 > end || buffer[pos] !== PropertyId.USER_PROPERTY) return -1;
  if (readU16(buffer, pos + 1) !== ID.length) return -1;
  for (let i = 0; i < ID.length; i++) if (buffer[pos + 3 + i] !== ID[i]) return -1;
  return at + 2 + readU16(buffer, at) <= end ? at : -1;
}

/** The first slash from `start` on; `end`: there is none. */
function slashIn(buffer: Buffer, start: number, end: number): number {
  let pos = start;
  while (pos < end && buffer[pos] !== SLASH) pos++;
  return pos;
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
export function publishedAtMs(buffer: Buffer, start: number, end: number): number {
  const length = lengthAt(buffer, start, end);
  if (length === -1) return 0;
  const value = length + 2;
  const valueEnd = value + readU16(buffer, length);
  // Mostly there is no path behind the name, which has its dots from the end then.
  if (valueEnd - value < PLACES_BYTES) return 0;
  const isName =
    buffer[valueEnd - PLACES_BYTES] === DOT && buffer[valueEnd - 1 - NUMBER_BYTES] === DOT;
  const nameEnd = isName ? valueEnd : slashIn(buffer, value, valueEnd);
  const timeMs = readNumber(buffer, nameEnd - NUMBER_BYTES);
  return timeMs < 0 ? 0 : timeMs;
}

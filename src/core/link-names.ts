/**
 * How links write things (docs/adr/0022): client identifiers of links, filters with the regions they are
 * wanted for, and numbers in names of messages. Pure; data plane.
 */

const LINK_ID = '$link/';
const ROAM = '$roam/';
/** What a region asks about sessions that move to it (docs/adr/0023). */
export const ASK_TOPIC = '$roam/ask';
export const ANSWER_TOPIC = '$roam/answer';
/** In its place among what is published: where messages belong from here on. */
export const MOVED_TOPIC = '$roam/moved';
const LINK_FILTER = '$link/';
const REGION = /^[a-z0-9][a-z0-9-]{0,31}$/;
/** Region and incarnation: one life of one node, as names of its messages begin. */
const SOURCE = /^[a-z0-9][a-z0-9-]{0,31}\.[A-Za-z0-9_-]{22}$/;
/** More than any path that is of use. */
const REGIONS_MAX = 32;

/** Nobody but a link may have such an identifier. */
export function isLinkId(clientId: string): boolean {
  return clientId.startsWith(LINK_ID);
}

/** What links say of sessions, and no client. */
export function isRoamTopic(topic: string): boolean {
  return topic.startsWith(ROAM);
}

export function linkIdOf(region: string): string {
  return LINK_ID + region;
}

export function regionOfLinkId(clientId: string): string | null {
  if (!isLinkId(clientId)) return null;
  const region = clientId.slice(LINK_ID.length);
  return REGION.test(region) ? region : null;
}

/** A life of a node, and not a region as a whole. */
export function isSource(origin: string): boolean {
  return origin.includes('.');
}

/** Of one life of a node; of a region it is that region. */
export function regionOfSource(origin: string): string {
  const end = origin.indexOf('.');
  return end === -1 ? origin : origin.slice(0, end);
}

/** What another region says to be a life of one of its nodes. */
export function isSourceOf(text: unknown, region: string): text is string {
  return typeof text === 'string' && SOURCE.test(text) && regionOfSource(text) === region;
}

/** A filter of a link. */
export interface LinkFilter {
  /** Regions behind the one that asks, with commas between; '': it asks for itself. */
  readonly via: string;
  readonly filter: string;
}

/** `$link/a,b/x/#`: what a link wants for others; null: that is no such thing. */
export function parseLinkFilter(text: string): LinkFilter | null {
  if (!text.startsWith(LINK_FILTER)) return { via: '', filter: text };
  const end = text.indexOf('/', LINK_FILTER.length);
  if (end === -1 || end === text.length - 1) return null;
  const via = text.slice(LINK_FILTER.length, end);
  const regions = via.split(',');
  if (regions.length > REGIONS_MAX || !regions.every((region) => REGION.test(region))) return null;
  return { via, filter: text.slice(end + 1) };
}

export function linkFilter(via: string, filter: string): string {
  return via === '' ? filter : `${LINK_FILTER}${via}/${filter}`;
}

/** Whether a list with commas has this region. */
export function hasRegion(list: string, region: string): boolean {
  for (let at = list.indexOf(region); at !== -1; at = list.indexOf(region, at + 1)) {
    const end = at + region.length;
    const begins = at === 0 || list.charCodeAt(at - 1) === 0x2c;
    if (begins && (end === list.length || list.charCodeAt(end) === 0x2c)) return true;
  }
  return false;
}

const DIGITS = Buffer.from('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_');
const VALUES = valuesOf(DIGITS);
export const NUMBER_BYTES = 8;
/** Two numbers with a dot between, while they are written. */
const DIGITS_OUT = Buffer.alloc(2 * NUMBER_BYTES + 1);

function valuesOf(digits: Buffer): Uint8Array {
  const values = new Uint8Array(256).fill(0xff);
  for (let i = 0; i < digits.length; i++) values[digits[i]!] = i;
  return values;
}

/** 48 bits as 8 digits of base64url. */
export function writeNumber(out: Buffer, pos: number, value: number): number {
  let high = Math.floor(value / 0x100_0000);
  let low = value % 0x100_0000;
  for (let i = 3; i >= 0; i--) {
    out[pos + i] = DIGITS[high & 63]!;
    out[pos + 4 + i] = DIGITS[low & 63]!;
    high >>>= 6;
    low >>>= 6;
  }
  return pos + NUMBER_BYTES;
}

/** A message's name, from what it begins with. */
export function nameText(source: string, number: number, timeMs: number): string {
  const out = DIGITS_OUT;
  out[writeNumber(out, 0, number)] = 0x2e;
  const end = writeNumber(out, NUMBER_BYTES + 1, timeMs);
  return `${source}.${out.latin1Slice(0, end)}`;
}

/** -1: these are no such digits. */
export function readNumber(from: Buffer, pos: number): number {
  let high = 0;
  let low = 0;
  // What is no digit has bits that none has.
  let bits = 0;
  for (let i = 0; i < 4; i++) {
    const first = VALUES[from[pos + i]!]!;
    const second = VALUES[from[pos + 4 + i]!]!;
    bits |= first | second;
    high = (high << 6) | first;
    low = (low << 6) | second;
  }
  return bits > 63 ? -1 : (high & 0xff_ffff) * 0x100_0000 + low;
}

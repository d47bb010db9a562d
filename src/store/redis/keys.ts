/**
 * Names of keys in Redis (ADR 0013). All keys of one client carry one hash tag, made of its id, so that
 * a function may touch them together in a Redis Cluster; whatever a client calls itself, its keys are
 * its own. Indexes are spread over a fixed number of tags. Knows neither commands nor values.
 */

export interface SessionKeys {
  readonly meta: string;
  readonly queue: string;
  readonly marks: string;
  readonly inbound: string;
  readonly writers: string;
  readonly end: string;
}

export const CLIENT_INDEXES = 64;
export const DUE_INDEXES = 16;

/** Throws a RangeError: a tag in the prefix would put all keys on one shard, or a client's on several. */
export function checkPrefix(prefix: string): void {
  for (let i = 0; i < prefix.length; i++) {
    const unit = prefix.charCodeAt(i);
    if (unit === OPEN_BRACE || unit === CLOSE_BRACE || isControl(unit)) {
      throw new RangeError('a key prefix has no braces and no control characters');
    }
  }
}

/** The hash tag of a client's keys, without braces: what `RedisPort.shardOf` is asked with. */
export function sessionTag(clientId: string): string {
  // An empty tag is none: Redis would then hash each key as a whole. `%` alone is nobody's escape.
  return clientId === '' ? '%' : escapeClientId(clientId);
}

export function sessionKeys(prefix: string, clientId: string): SessionKeys {
  const stem = `${prefix}s:{${sessionTag(clientId)}}:`;
  return {
    meta: `${stem}m`,
    queue: `${stem}q`,
    marks: `${stem}x`,
    inbound: `${stem}i`,
    writers: `${stem}d`,
    end: `${stem}e`,
  };
}

/** For functions that make or end a session, in the order they expect. */
export function allOf(keys: SessionKeys): string[] {
  return [keys.meta, keys.queue, keys.marks, keys.inbound, keys.writers, keys.end];
}

/** The set that has the client's id when it has a durable session. */
export function clientIndexKey(prefix: string, clientId: string): string {
  return clientIndexKeyAt(prefix, hashOf(clientId) % CLIENT_INDEXES);
}

/** `at`: 0 to CLIENT_INDEXES - 1. */
export function clientIndexKeyAt(prefix: string, at: number): string {
  return `${prefix}x:{${at}}`;
}

/** The sorted set that says when the client's session should be looked at. */
export function dueKey(prefix: string, clientId: string): string {
  return dueKeyAt(prefix, hashOf(clientId) % DUE_INDEXES);
}

/** `at`: 0 to DUE_INDEXES - 1. */
export function dueKeyAt(prefix: string, at: number): string {
  return `${prefix}t:{${at}}`;
}

/** The set of clients whose sessions a node has opened. */
export function ownedKey(prefix: string, incarnation: string): string {
  return `${prefix}o:{${incarnation}}`;
}

/** Different for different ids, and without braces and control characters. */
export function escapeClientId(clientId: string): string {
  let escaped = '';
  let from = 0;
  for (let i = 0; i < clientId.length; i++) {
    const unit = clientId.charCodeAt(i);
    if (!isEscaped(clientId, i, unit)) continue;
    escaped += clientId.slice(from, i);
    escaped += unit > 0xff ? `%u${unit.toString(16)}` : `%${unit.toString(16).padStart(2, '0')}`;
    from = i + 1;
  }
  return from === 0 ? clientId : escaped + clientId.slice(from);
}

const PERCENT = 0x25;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;

function isControl(unit: number): boolean {
  return unit < 0x20 || (unit >= 0x7f && unit < 0xa0);
}

function isEscaped(text: string, at: number, unit: number): boolean {
  if (unit < 0xa0) {
    return unit === PERCENT || unit === OPEN_BRACE || unit === CLOSE_BRACE || isControl(unit);
  }
  // Half a surrogate pair: as UTF-8 all of them would be the same.
  if (unit < 0xd800 || unit > 0xdfff) return false;
  if (unit < 0xdc00) return !isLow(text.charCodeAt(at + 1));
  return at === 0 || !isHigh(text.charCodeAt(at - 1));
}

function isHigh(unit: number): boolean {
  return unit >= 0xd800 && unit < 0xdc00;
}

function isLow(unit: number): boolean {
  return unit >= 0xdc00 && unit <= 0xdfff;
}

/** FNV-1a of the UTF-16 units: every node and release must agree on it. */
function hashOf(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    hash = Math.imul(hash ^ (unit & 0xff), 0x01000193);
    hash = Math.imul(hash ^ (unit >> 8), 0x01000193);
  }
  return hash >>> 0;
}

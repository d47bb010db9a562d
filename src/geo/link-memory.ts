/**
 * What is noted of a link, so that the next life, or holder, goes on with the session it has at the other
 * region (docs/adr/0022): that there is one, and the filters it was subscribed to. Used by `region-link.ts`
 * and `link-holder.ts`.
 */
import { parseLinkFilter } from '../core/link-names.ts';
import type { LinkNotes } from './link-notes.ts';

/** What is known of the session at the other region. */
export interface LinkMemory {
  hadSession: boolean;
  /** What may be left of it is of a link that was given up. */
  startsClean: boolean;
  readonly filters: Set<string>;
}

export const EMPTY: Buffer = Buffer.alloc(0);
export const HAD_SESSION: Buffer = Buffer.from([1]);
export const STARTS_CLEAN: Buffer = Buffer.from([2]);
const SESSION_PREFIX = 'l/';
const FILTER_PREFIX = 's/';

export function sessionKey(region: string): string {
  return SESSION_PREFIX + region;
}

export function filterKey(region: string, filter: string): string {
  return `${FILTER_PREFIX}${region}/${filter}`;
}

/** Notes it all again: what was noted is lost. */
export function noteAgain(region: string, memory: LinkMemory, notes: LinkNotes): void {
  if (memory.hadSession) notes.putNote(sessionKey(region), HAD_SESSION);
  else if (memory.startsClean) notes.putNote(sessionKey(region), STARTS_CLEAN);
  for (const filter of memory.filters) notes.putNote(filterKey(region, filter), EMPTY);
}

/** Takes a note of an earlier life; false: it is none of a link. */
export function recall(
  key: string,
  value: Buffer,
  memoryOf: (region: string) => LinkMemory,
): boolean {
  if (key.startsWith(SESSION_PREFIX)) {
    const memory = memoryOf(key.slice(SESSION_PREFIX.length));
    memory.hadSession = HAD_SESSION.equals(value);
    memory.startsClean = STARTS_CLEAN.equals(value);
    return true;
  }
  if (!key.startsWith(FILTER_PREFIX)) return false;
  const end = key.indexOf('/', FILTER_PREFIX.length);
  const filter = key.slice(end + 1);
  if (end === -1 || parseLinkFilter(filter) === null) return true;
  memoryOf(key.slice(FILTER_PREFIX.length, end)).filters.add(filter);
  return true;
}

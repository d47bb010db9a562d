/**
 * The serving side of a retained catch-up: walks what this node has, tombstones first, and hands it out
 * in pages to whoever asks (docs/adr/0012, RETAINED_WANT). A page that was lost with its link is handed
 * out again. Used by retained-sync.ts.
 */
import type { Incarnation, RemoteSide } from '../core/cluster-ports.ts';
import { OLDEST } from '../core/retained-version.ts';
import type { Tombstones } from '../core/tombstones.ts';
import { encodeRetainedPage, type RetainedChange } from './link/message-codec.ts';

/** No client may write here: tells since when the serving node knows every change. */
export const SINCE_TOPIC = '$causeway/since';
/** Tells when the last whole round began that the telling node knows (RetainedRounds). */
export const ROUND_TOPIC = '$causeway/round';
/** Asks whether all that was told before is on a disk (the version: which question), and answers that. */
export const SYNC_TOPIC = '$causeway/sync';
export const SYNCED_TOPIC = '$causeway/synced';

const CHANGES_PER_PAGE_MAX = 1000;
const PAGE_BYTES_MAX = 1024 * 1024;

interface Serving {
  readonly changes: Iterator<RetainedChange>;
  /** The page that was asked for last, and under which cursor. */
  cursor: string;
  frame: Buffer;
  next: string | null;
}

export class RetainedPages {
  readonly #remote: () => RemoteSide;
  readonly #tombstones: Tombstones;
  readonly #wallMs: () => number;
  readonly #servings: Map<Incarnation, Serving> = new Map();
  #nextCursor = 1;

  constructor(remote: () => RemoteSide, tombstones: Tombstones, wallMs: () => number) {
    this.#remote = remote;
    this.#tombstones = tombstones;
    this.#wallMs = wallMs;
  }

  /** `sinceUs`: since when this node knows every change; `roundMs`: 0: nobody goes round. */
  page(
    peer: Incarnation,
    cursor: string,
    bytesMax: number,
    sinceUs: number,
    roundMs: number,
  ): Buffer {
    let serving = this.#servings.get(peer);
    if (serving !== undefined && serving.cursor === cursor) return serving.frame;
    const first: RetainedChange[] = [];
    if (serving === undefined || serving.next === null || serving.next !== cursor) {
      // From the beginning, also for a cursor of a life before.
      first.push({
        topic: SINCE_TOPIC,
        version: { timeUs: sinceUs, writer: 0 },
        message: null,
      });
      if (roundMs > 0) first.push(roundChange(roundMs));
      serving = {
        changes: allChanges(this.#tombstones, this.#remote()),
        cursor: '',
        frame: NO_FRAME,
        next: null,
      };
      this.#servings.set(peer, serving);
    }
    const bytes = Math.min(bytesMax, PAGE_BYTES_MAX);
    const isMore = fill(serving, first, bytes);
    serving.cursor = cursor;
    serving.next = isMore ? String(this.#nextCursor++) : null;
    serving.frame = encodeRetainedPage({ changes: first, cursor: serving.next }, this.#wallMs());
    return serving.frame;
  }

  forget(peer: Incarnation): void {
    this.#servings.delete(peer);
  }
}

const NO_FRAME = Buffer.alloc(0);

/** Appends changes up to the size; false: there are no more. */
function fill(serving: Serving, changes: RetainedChange[], bytesMax: number): boolean {
  let bytes = 0;
  while (changes.length < CHANGES_PER_PAGE_MAX && bytes < bytesMax) {
    const next = serving.changes.next();
    if (next.done === true) return false;
    changes.push(next.value);
    bytes += next.value.message?.bytes ?? next.value.topic.length;
  }
  return true;
}

export function roundChange(beganMs: number): RetainedChange {
  return note(ROUND_TOPIC, Math.floor(beganMs) * 1000);
}

/** What nodes tell each other in the line of changes. */
export function note(topic: string, timeUs: number): RetainedChange {
  return { topic, message: null, version: { timeUs, writer: 0 } };
}

/** Everything retained that nodes share, as changes; tombstones first. */
export function* allChanges(
  tombstones: Tombstones,
  remote: RemoteSide,
): Generator<RetainedChange, void, undefined> {
  for (const [topic, version] of tombstones.entries()) yield { topic, message: null, version };
  for (const message of remote.retained()) {
    const { topic, version } = message;
    if (topic.charCodeAt(0) !== 0x24) yield { topic, message, version: version ?? OLDEST };
  }
}

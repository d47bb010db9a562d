/**
 * Looks how far the queues of this node's sessions have grown (hard case 8): hints go with a link session,
 * with a node that dies before they have arrived, or are dropped for a slow peer; then an owner would not
 * know of what is in its queue. All are looked at when some may be lost, and each now and then. What is
 * found to be another's by then is let go: whoever took it may have died before it could say so. Called
 * by cluster.ts.
 */
import type { Incarnation, RemoteSide, SessionImage } from '../core/cluster-ports.ts';
import type { QueueTails } from './ports-local.ts';
import type { OwnedEntry } from './route-table.ts';

export interface TailWatchParts {
  readonly tails: QueueTails;
  readonly remote: () => RemoteSide;
  readonly mayServe: () => boolean;
  /** By client id. */
  readonly owned: () => ReadonlyMap<string, OwnedEntry>;
  readonly self: () => Incarnation;
  /** Redis has the session under a later epoch, and not for this node. */
  readonly superseded: (image: SessionImage) => void;
}

/** Each session is looked at as often as this, when nothing is known to be lost. */
const ROUND_MS = 60_000;
/** Questions to Redis that wait for an answer. */
const CALLS_MAX = 64;

export class TailWatch {
  readonly #parts: TailWatchParts;
  #round: Iterator<readonly [string, OwnedEntry]> | null = null;
  /** As fast as Redis answers. */
  #isHurried = false;
  #calls = 0;
  /** Looks that are due, in parts of one. */
  #due = 0;
  #tickedMs = -1;
  #life = 0;

  constructor(parts: TailWatchParts) {
    this.#parts = parts;
  }

  /** Hints may be lost: all are looked at, from the beginning. */
  hintsLost(): void {
    this.#round = this.#parts.owned().entries();
    this.#isHurried = true;
    this.#more();
  }

  tick(nowMs: number): void {
    const sinceMs = this.#tickedMs === -1 ? 0 : nowMs - this.#tickedMs;
    this.#tickedMs = nowMs;
    this.#due = Math.min(CALLS_MAX, this.#due + (this.#parts.owned().size * sinceMs) / ROUND_MS);
    this.#more();
  }

  /** This incarnation is dead, and owns nothing. */
  lost(): void {
    this.#life++;
    this.#calls = 0;
    this.#round = null;
    this.#isHurried = false;
  }

  #more(): void {
    if (!this.#parts.mayServe()) return;
    while (this.#calls < CALLS_MAX && (this.#isHurried || this.#due >= 1)) {
      this.#round ??= this.#parts.owned().entries();
      const next = this.#round.next();
      if (next.done === true) {
        this.#round = null;
        this.#isHurried = false;
        return;
      }
      if (!this.#isHurried) this.#due--;
      this.#look(next.value[0]);
    }
  }

  #look(clientId: string): void {
    const life = this.#life;
    this.#calls++;
    this.#parts.tails.tailOf(clientId, (image, tailSeq) => {
      if (life !== this.#life) return;
      this.#calls--;
      if (image !== null) this.#found(image, tailSeq);
      this.#more();
    });
  }

  #found(image: SessionImage, tailSeq: number): void {
    const { remote, owned, self, superseded } = this.#parts;
    const { clientId, sid, epoch, owner } = image;
    const held = owned().get(clientId);
    if (held === undefined) return;
    if (epoch > held.epoch && owner !== self()) superseded(image);
    else if (sid === held.sid) remote().hint(clientId, sid, tailSeq);
  }
}

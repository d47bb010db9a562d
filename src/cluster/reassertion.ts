/**
 * Sessions written again into a Redis that has lost some: it came back empty, or another server took
 * over that had not heard of all (docs/adr/0010, hard case 12). Owners write theirs, one node those that
 * nobody owns; a client that comes before its session was written has it written first. Called by
 * cluster.ts; Redis keeps what it has when that is newer.
 */
import type {
  Incarnation,
  RemoteSide,
  SessionImage,
  SessionLedger,
} from '../core/cluster-ports.ts';
import type { Clock, Log } from '../core/ports.ts';
import type { ClusterCounters } from './cluster-counters.ts';

export interface ReassertionParts {
  readonly ledger: SessionLedger;
  readonly clock: Clock;
  readonly log: Log;
  readonly counters: ClusterCounters;
  readonly remote: () => RemoteSide;
  readonly self: () => Incarnation;
  readonly isMember: (incarnation: Incarnation) => boolean;
  /** Whoever read Redis before it was written has not heard of it. */
  readonly announce: (image: SessionImage) => void;
  /** All that is known is written. */
  readonly written: () => void;
}

/** Only its owner knows how far a queue has come. */
const HEAD_UNKNOWN = -1;
const CALLS_MAX = 64;
const RETRY_MS = 500;
/** How long a session that is opened is written first. */
const WINDOW_MS = 60_000;

interface Walk {
  readonly images: Iterator<SessionImage>;
  /** Only sessions without a living owner. */
  readonly ofNobody: boolean;
}

export class Reassertion {
  readonly #parts: ReassertionParts;
  #walks: Walk[] = [];
  /** Redis was away when they were written. */
  #again: SessionImage[] = [];
  #againMs = 0;
  #calls = 0;
  #written = 0;
  #windowEndMs = Number.NEGATIVE_INFINITY;
  #emptyEndMs = Number.NEGATIVE_INFINITY;
  #losses = 0;
  #onRemembered: (() => void) | null = null;
  #life = 0;

  constructor(parts: ReassertionParts) {
    this.#parts = parts;
  }

  /** How often Redis has lost data, as far as this node knows. */
  get losses(): number {
    return this.#losses;
  }

  /** Not only what was newest, as another server may lack: it does not say whose a session was. */
  get wasEmptyLately(): boolean {
    return this.#parts.clock.monotonicMs() < this.#emptyEndMs;
  }

  /** It may still lack what others know. */
  get #mayLack(): boolean {
    return this.#parts.clock.monotonicMs() < this.#windowEndMs;
  }

  get isUnderWay(): boolean {
    return this.#calls > 0 || this.#walks.length > 0 || this.#again.length > 0;
  }

  /** What a node remembers of its life before is being written, and nobody may take what is not. */
  get isRemembering(): boolean {
    return this.#onRemembered !== null;
  }

  /**
   * Redis was empty, and nobody who was there has gone on: what those who come back remember is all there
   * is. Nobody owns any of it by now.
   */
  remember(done: () => void): void {
    const { remote, clock, log } = this.#parts;
    log.warn(
      {},
      'Redis was empty, and no lease had lasted: sessions are written as they are remembered',
    );
    this.#losses++;
    this.#emptyEndMs = clock.monotonicMs() + WINDOW_MS;
    this.#onRemembered = done;
    this.#walks = [{ images: remote().knownSessions()[Symbol.iterator](), ofNobody: true }];
    this.#more();
  }

  /** Redis was empty: what was queued only there is gone. */
  emptied(withOrphans: boolean): void {
    const { remote, clock, counters, log } = this.#parts;
    this.#emptyEndMs = clock.monotonicMs() + WINDOW_MS;
    let lost = 0;
    for (const { clientId } of remote().ownedSessions()) {
      lost += remote().queueOf(clientId)?.messages ?? 0;
    }
    counters.redisLostMessages += lost;
    if (lost > 0) log.error({ messages: lost }, 'Redis was empty: queued messages are lost');
    this.begin(withOrphans);
  }

  begin(withOrphans: boolean): void {
    const { remote, clock } = this.#parts;
    this.#losses++;
    this.#windowEndMs = clock.monotonicMs() + WINDOW_MS;
    this.#walks = [{ images: remote().ownedSessions()[Symbol.iterator](), ofNobody: false }];
    if (withOrphans) {
      this.#walks.push({ images: remote().knownSessions()[Symbol.iterator](), ofNobody: true });
    }
    this.#more();
  }

  /**
   * It was left, and Redis may have lost it before its owner wrote it: whoever writes what is nobody's may
   * have been past it.
   */
  closed(image: SessionImage): void {
    const { clock } = this.#parts;
    if (!this.#mayLack) return;
    this.#again.push(image);
    this.#againMs = clock.monotonicMs();
  }

  /**
   * It did not come to write what it owned, or wrote it and Redis was emptied once more. Before the core
   * hears of its death.
   */
  ownerDied(dead: Incarnation): void {
    const { clock, remote } = this.#parts;
    if (!this.#mayLack) return;
    for (const image of remote().knownSessions()) {
      if (image.owner === dead) this.#again.push(image);
    }
    this.#againMs = clock.monotonicMs();
  }

  tick(nowMs: number): void {
    if (this.#again.length > 0 && nowMs >= this.#againMs) this.#more();
  }

  lost(): void {
    this.#life++;
    this.#walks = [];
    this.#again = [];
    this.#calls = 0;
    this.#onRemembered = null;
    this.#windowEndMs = Number.NEGATIVE_INFINITY;
  }

  #more(): void {
    while (this.#calls < CALLS_MAX) {
      const found = this.#next();
      if (found === null) break;
      const image = this.#isNobodys(found) ? { ...found, owner: null } : found;
      this.#write(image, (isWritten) => {
        if (isWritten === null) {
          this.#again.push(image);
          this.#againMs = this.#parts.clock.monotonicMs() + RETRY_MS;
        } else if (isWritten) {
          if (image.owner === null) this.#parts.announce(image);
          this.#written++;
          this.#parts.counters.sessionsAsserted++;
        }
        this.#more();
      });
    }
    if (this.isUnderWay) return;
    this.#parts.written();
    const done = this.#onRemembered;
    this.#onRemembered = null;
    done?.();
    if (this.#written === 0) return;
    this.#parts.log.info({ sessions: this.#written }, 'sessions written again');
    this.#written = 0;
  }

  #next(): SessionImage | null {
    const { clock, remote, self } = this.#parts;
    while (this.#again.length > 0 && clock.monotonicMs() >= this.#againMs) {
      const { clientId } = this.#again.pop()!;
      // As it is by now; who else has it writes it.
      const image = remote().knownSession(clientId);
      if (image !== null && (image.owner === self() || this.#isNobodys(image))) return image;
    }
    for (let walk = this.#walks[0]; walk !== undefined; walk = this.#walks[0]) {
      const next = walk.images.next();
      if (next.done === true) this.#walks.shift();
      else if (!walk.ofNobody || this.#isNobodys(next.value)) return next.value;
    }
    return null;
  }

  #isNobodys({ owner }: SessionImage): boolean {
    const { self, isMember } = this.#parts;
    return owner === null || (owner !== self() && !isMember(owner));
  }

  #write(image: SessionImage, done: (isWritten: boolean | null) => void): void {
    const { ledger, remote } = this.#parts;
    const life = this.#life;
    const headSeq = remote().queueOf(image.clientId)?.tailSeq ?? HEAD_UNKNOWN;
    this.#calls++;
    ledger.assert(image, headSeq, (isWritten) => {
      if (life !== this.#life) return;
      this.#calls--;
      done(isWritten);
    });
  }

  /** A client wants its session: Redis must have it before it is asked; `isThere`: it has. */
  beforeOpen(clientId: string, then: (isThere: boolean) => void): void {
    const { remote, ledger, self } = this.#parts;
    const image = this.#mayLack ? remote().knownSession(clientId) : null;
    if (image === null) {
      then(true);
      return;
    }
    // Only an owner knows that it still is: written as nobody's, it may take it, and is asked to let go.
    const owner = image.owner === self() ? image.owner : null;
    const headSeq = remote().queueOf(clientId)?.tailSeq ?? HEAD_UNKNOWN;
    ledger.assert({ ...image, owner }, headSeq, (isWritten) => then(isWritten !== null));
  }
}

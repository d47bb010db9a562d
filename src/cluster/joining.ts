/**
 * What a node waits for before it is ready (docs/adr/0010, hard case 5): it counts every member in and is
 * counted in by each, has read all durable sessions from Redis, has every member's tables and caught up
 * on retained messages from one of them. Called by cluster.ts whenever one of these may have changed.
 */
import type {
  Incarnation,
  RemoteSide,
  SessionImage,
  SessionLedger,
} from '../core/cluster-ports.ts';
import type { Clock, Log } from '../core/ports.ts';
import type { Barrier } from './barrier.ts';
import { encodeNeedSession } from './link/frame-codec.ts';
import type { PeerNode } from './peer-node.ts';
import type { Mesh } from './ports.ts';
import type { StartedMembership } from './ports-local.ts';
import type { RetainedSync } from './retained-sync.ts';

export interface JoiningParts {
  readonly ledger: SessionLedger;
  readonly clock: Clock;
  readonly log: Log;
  readonly barrier: Barrier;
  readonly retained: RetainedSync;
  readonly mesh: Pick<Mesh, 'send'>;
  readonly membership: () => StartedMembership;
  readonly remote: () => RemoteSide;
  readonly peers: () => ReadonlyMap<Incarnation, PeerNode>;
  /** What Redis has lost is not all there yet. */
  readonly isRemembering: () => boolean;
  /** A node that died while nobody was there to see it owns this session. */
  readonly deadOwner: (owner: Incarnation) => void;
}

const LOAD_RETRY_MS = 500;

export type JoiningPhase =
  /** Not registered. */
  | 'out'
  /** Not every member counts this node in, or is counted in by it. */
  | 'counting'
  /** Durable sessions are being read from Redis. */
  | 'loading'
  | 'catching_up'
  /** Everything is here. */
  | 'joined';

export class Joining {
  readonly #parts: JoiningParts;
  #phase: JoiningPhase = 'out';
  /** Answers to an earlier life are dropped. */
  #life = 0;
  /** Who was caught up from. */
  readonly #asked: Set<Incarnation> = new Set();
  /** Client ids heard of since the loading began: the others are no more. */
  #heardOf: Set<string> | null = null;
  #retryLoadMs = Number.POSITIVE_INFINITY;

  constructor(parts: JoiningParts) {
    this.#parts = parts;
  }

  get phase(): JoiningPhase {
    return this.#phase;
  }

  /** Members that keep this node waiting. */
  waitsOn(): Incarnation[] {
    const { peers, retained } = this.#parts;
    const waits: Incarnation[] = [];
    if (this.#phase === 'out') return waits;
    for (const peer of peers().values()) {
      if (!this.#isCounted(peer) || retained.source === peer.incarnation) {
        waits.push(peer.incarnation);
      }
    }
    return waits;
  }

  #isCounted(peer: PeerNode): boolean {
    return peer.hasCountedUs && peer.isTabled && this.#parts.barrier.isCounted(peer.incarnation);
  }

  /** Registered; the members follow. */
  begin(): void {
    this.#life++;
    this.#phase = 'counting';
    this.#asked.clear();
    this.#heardOf = null;
    this.#retryLoadMs = Number.POSITIVE_INFINITY;
  }

  lost(): void {
    this.#life++;
    this.#phase = 'out';
    this.#heardOf = null;
    this.#retryLoadMs = Number.POSITIVE_INFINITY;
  }

  /** A member tells of the session, or this node has opened it. */
  heardOf(clientId: string): void {
    this.#heardOf?.add(clientId);
  }

  /** Goes on as far as it can. */
  check(): void {
    const { peers, membership, retained } = this.#parts;
    if (this.#phase === 'out' || this.#parts.isRemembering()) return;
    for (const peer of peers().values()) if (!this.#isCounted(peer)) return;
    if (this.#phase === 'counting') this.#load();
    else if (this.#phase === 'catching_up' && retained.source === null) this.#catchUp();
    // Who came meanwhile is counted too: membership makes sure that nobody is missing here.
    else if (this.#phase === 'joined') membership().becomeReady();
  }

  tick(nowMs: number): void {
    if (nowMs >= this.#retryLoadMs) this.#load();
  }

  // ------------------------------------------------------------------------------ sessions

  #load(): void {
    const { ledger, clock, remote, membership } = this.#parts;
    const life = this.#life;
    this.#phase = 'loading';
    this.#retryLoadMs = Number.POSITIVE_INFINITY;
    const heardOf = new Set<string>();
    this.#heardOf = heardOf;
    const dead = new Set<Incarnation>();
    const each = (image: SessionImage): void => {
      if (life !== this.#life) return;
      const { owner } = image;
      heardOf.add(image.clientId);
      const isLive =
        owner === null || owner === membership().incarnation || this.#parts.peers().has(owner);
      if (!isLive) dead.add(owner);
      // Its owner may have told meanwhile that it is nobody's: under one epoch that is never undone.
      const known = remote().knownSession(image.clientId);
      const isOver = known !== null && known.epoch === image.epoch && known.owner === null;
      remote().applySession(isLive && !isOver ? image : { ...image, owner: null });
    };
    ledger.load(each, (isComplete) => {
      if (life !== this.#life) return;
      if (!isComplete) {
        this.#retryLoadMs = clock.monotonicMs() + LOAD_RETRY_MS;
        return;
      }
      this.#forgetUnheard(heardOf);
      this.#askOwners();
      this.#heardOf = null;
      for (const owner of dead) this.#parts.deadOwner(owner);
      this.#phase = 'catching_up';
      this.check();
    });
  }

  /** What is known from a life before, and neither Redis nor a member knows any more. */
  #forgetUnheard(heardOf: ReadonlySet<string>): void {
    const { remote } = this.#parts;
    const over: SessionImage[] = [];
    for (const image of remote().knownSessions()) {
      if (!heardOf.has(image.clientId)) over.push(image);
    }
    for (const { clientId, sid, epoch } of over) {
      const isTold = this.#isHeld(clientId);
      if (!isTold) remote().applyEnd(clientId, sid, epoch);
    }
  }

  /**
   * Redis may not have heard yet that a member has closed a session, and its tables do not tell: they are
   * of what it owns.
   */
  #askOwners(): void {
    const { remote, peers, mesh } = this.#parts;
    for (const { clientId, owner } of remote().knownSessions()) {
      const peer = owner === null ? undefined : peers().get(owner);
      if (peer === undefined || peer.table.owned.has(clientId)) continue;
      mesh.send(peer.incarnation, encodeNeedSession(clientId));
    }
  }

  /** Told by a member before the loading began. */
  #isHeld(clientId: string): boolean {
    for (const { table } of this.#parts.peers().values()) {
      if (table.owned.has(clientId)) return true;
    }
    return false;
  }

  // ------------------------------------------------------------------------------ retained

  #catchUp(): void {
    const { retained, peers, membership } = this.#parts;
    const [first] = [...peers().keys()].filter((peer) => !this.#asked.has(peer));
    if (first === undefined) {
      // Nobody is there, or all were joining as well: what they have together is what there is.
      if (this.#asked.size === 0) retained.begins();
      this.#phase = 'joined';
      membership().becomeReady();
      return;
    }
    const life = this.#life;
    retained.catchUp(first, (isWhole) => {
      if (life !== this.#life) return;
      this.#asked.add(first);
      if (!isWhole) {
        this.check();
        return;
      }
      this.#phase = 'joined';
      this.check();
    });
  }
}

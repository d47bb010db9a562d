/**
 * Whether another node has the retained changes that were made here on its disk: asked for when the record
 * all regions share does not answer, so that what is acknowledged survives any one machine (docs/adr/0021,
 * P6). A peer is asked when it has applied them. One question at a time; used by retained-sync.ts.
 */
import type { Incarnation } from '../core/cluster-ports.ts';
import type { Clock } from '../core/ports.ts';
import { encodeRetained } from './link/message-codec.ts';
import type { PeerNode } from './peer-node.ts';
import type { Mesh } from './ports.ts';
import { note, SYNC_TOPIC } from './retained-pages.ts';

interface Asked {
  readonly peer: PeerNode;
  /** What it must have applied. */
  readonly position: number;
  /** Monotonic ms at which the question was sent; 0: not yet. */
  sentMs: number;
}

interface Question {
  readonly number: number;
  readonly asked: Map<Incarnation, Asked>;
  readonly done: (isKept: boolean) => void;
}

/** The question, or its answer, may have been lost with a link session. */
const ASK_AGAIN_MS = 1000;

export class RetainedCopies {
  readonly #mesh: Mesh;
  readonly #clock: Clock;
  /** It lacks nothing that a link session has taken along. */
  readonly #isWhole: (peer: PeerNode) => boolean;
  #question: Question | null = null;
  #numbers = 0;

  constructor(mesh: Mesh, clock: Clock, isWhole: (peer: PeerNode) => boolean) {
    this.#mesh = mesh;
    this.#clock = clock;
    this.#isWhole = isWhole;
  }

  /** `done` is called later, once: false when nobody is left. At once false: there is nobody. */
  ask(peers: Iterable<PeerNode>, done: (isKept: boolean) => void): boolean {
    const asked = new Map<Incarnation, Asked>();
    for (const peer of peers) {
      const { incarnation } = peer;
      asked.set(incarnation, { peer, position: this.#mesh.position(incarnation), sentMs: 0 });
    }
    if (asked.size === 0) return false;
    this.#end(false);
    this.#question = { number: ++this.#numbers, asked, done };
    return true;
  }

  tick(nowMs: number): void {
    if (this.#question === null) return;
    const { number, asked } = this.#question;
    for (const [incarnation, one] of asked) {
      if (this.#mesh.applied(incarnation) < one.position || !this.#isWhole(one.peer)) continue;
      if (one.sentMs !== 0 && nowMs - one.sentMs < ASK_AGAIN_MS) continue;
      one.sentMs = nowMs;
      this.#mesh.send(incarnation, encodeRetained(note(SYNC_TOPIC, number), this.#clock.wallMs()));
    }
  }

  answered(from: Incarnation, number: number): void {
    const question = this.#question;
    if (question?.number === number && question.asked.has(from)) this.#end(true);
  }

  memberGone(peer: Incarnation): void {
    const question = this.#question;
    if (question === null || !question.asked.delete(peer)) return;
    if (question.asked.size === 0) this.#end(false);
  }

  lost(): void {
    this.#end(false);
  }

  #end(isKept: boolean): void {
    const question = this.#question;
    this.#question = null;
    question?.done(isKept);
  }
}

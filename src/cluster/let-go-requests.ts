/**
 * What this node has asked of others: to let go of a session (P3). Asked again when a link was lost, answered
 * by the death of who was asked. Used by takeover.ts.
 *
 * A request has a number that four divides, or the next: it was sent to all, as there is no Redis to ask who
 * has the client. Its answer is that number and what `Answer` says of it.
 */
import type { Incarnation } from '../core/cluster-ports.ts';
import { encodeLetGo } from './link/frame-codec.ts';
import type { Mesh } from './ports.ts';

/** What the answer of an old owner says besides. */
export const Answer = {
  /** The client had said goodbye to it, and its `close` came to Redis too late: its will is void. */
  WILL_VOID: 1,
  /** It had promised something while Redis was away, and has written it there perhaps after the open. */
  STALE: 2,
} as const;
const REQUEST_STEP = 4;

/** That is sent to all has the number after it. */
export function isToAll(number: number): boolean {
  return number % REQUEST_STEP !== 0;
}

export function answerTo(number: number, isWillVoid: boolean, isStale: boolean): number {
  const request = number - (number % REQUEST_STEP);
  return request + (isWillVoid ? Answer.WILL_VOID : 0) + (isStale ? Answer.STALE : 0);
}

/** Asked of another node. */
interface Asked {
  readonly peer: Incarnation;
  readonly clientId: string;
  readonly epoch: number;
  /** All members are, as Redis is away. */
  readonly isToAll: boolean;
  /** Bits of `Answer`. */
  readonly answered: (bits: number) => void;
}

/** Whose promises somebody has to write. */
export interface KeptPromises {
  /** Somebody has, or had, entries of it. */
  hasKeptOf(incarnation: Incarnation): boolean;
}

export class LetGoRequests {
  readonly #mesh: Mesh;
  readonly #journal: KeptPromises;
  readonly #asked: Map<number, Asked> = new Map();
  #next = REQUEST_STEP;

  constructor(mesh: Mesh, journal: KeptPromises) {
    this.#mesh = mesh;
    this.#journal = journal;
  }

  /** Those that are not answered yet, for operators. */
  waitingFor(peer: Incarnation): number {
    let count = 0;
    for (const asked of this.#asked.values()) if (asked.peer === peer) count++;
    return count;
  }

  ask(
    peer: Incarnation,
    clientId: string,
    epoch: number,
    isToAll: boolean,
    answered: (bits: number) => void,
  ): void {
    const request = this.#next;
    this.#next += REQUEST_STEP;
    this.#asked.set(request, { peer, clientId, epoch, isToAll, answered });
    this.#send(request);
  }

  /** Nobody waits for its answer. */
  tell(peer: Incarnation, clientId: string, epoch: number): void {
    this.#mesh.send(peer, encodeLetGo(this.#next, clientId, epoch));
    this.#next += REQUEST_STEP;
  }

  answered(from: Incarnation, number: number): void {
    const request = number - (number % REQUEST_STEP);
    const asked = this.#asked.get(request);
    // Answered twice after a link session was lost, or somebody else's.
    if (asked === undefined || asked.peer !== from) return;
    this.#asked.delete(request);
    asked.answered(number - request);
  }

  again(peer: Incarnation): void {
    for (const [request, asked] of this.#asked) if (asked.peer === peer) this.#send(request);
  }

  memberGone(peer: Incarnation): void {
    for (const [request, asked] of [...this.#asked]) {
      if (asked.peer !== peer) continue;
      this.#asked.delete(request);
      // What it had promised is for its keeper to write.
      asked.answered(this.#journal.hasKeptOf(peer) ? Answer.STALE : 0);
    }
  }

  /** This incarnation is dead: nobody answers. */
  lost(): void {
    const asked = [...this.#asked.values()];
    this.#asked.clear();
    for (const one of asked) one.answered(0);
  }

  #send(request: number): void {
    const { peer, clientId, epoch, isToAll } = this.#asked.get(request)!;
    this.#mesh.send(peer, encodeLetGo(isToAll ? request + 1 : request, clientId, epoch));
  }
}

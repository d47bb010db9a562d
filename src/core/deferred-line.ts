/**
 * QoS 1 and 2 messages of one connection behind one that must be stored before it is handed on, in the
 * order they were read (DESIGN hard case 10). The connection makes it for the first of them, and lets it go
 * when it is empty.
 */
import { Ring } from '../util/ring.ts';
import type { DeferredPublish } from './deferred-publish.ts';
import type { MessageWaiter } from './message.ts';

/** Whose messages they are; told when one of them is stored. */
export interface DeferringPublisher extends MessageWaiter {
  readonly closed: boolean;
  /** QoS 1 messages read earlier are not safe everywhere yet. */
  readonly hasUnsafePubacks: boolean;
  /** False: others may have gone on without this node. */
  mayServe(): boolean;
}

export class DeferredLine {
  readonly #publisher: DeferringPublisher;
  readonly #line: Ring<DeferredPublish> = new Ring();

  constructor(publisher: DeferringPublisher) {
    this.#publisher = publisher;
  }

  get length(): number {
    return this.#line.length;
  }

  push(deferred: DeferredPublish): void {
    this.#line.push(deferred);
  }

  /** Hands on what may be by now. False: the rest waits. */
  release(): boolean {
    const line = this.#line;
    const publisher = this.#publisher;
    while (line.length > 0 && !publisher.closed) {
      // It is matched now.
      if (!publisher.mayServe()) return false;
      const first = line.at(0)!;
      if (!first.hasBegun) {
        if (publisher.hasUnsafePubacks) return false;
        first.begin(publisher);
      }
      if (first.awaited.unsafeCount > 0) {
        this.#beginNext();
        return false;
      }
      if (!first.isReady) {
        first.begin(publisher);
        continue;
      }
      line.shift();
      first.go();
    }
    return true;
  }

  /** Those behind the first that need not wait for it: QoS 2 that follows QoS 2. */
  #beginNext(): void {
    if (this.#publisher.hasUnsafePubacks) return;
    for (let i = 1; i < this.#line.length; i++) {
      const next = this.#line.at(i)!;
      if (!next.isStored) return;
      if (!next.hasBegun) next.begin(this.#publisher);
    }
  }
}

/**
 * Retained messages for whoever compares them with the record all regions share: what is here, and a way
 * to take over what is newer there. Handed out by `broker.ts`.
 */
import type { Core } from './core.ts';
import type { Message } from './message.ts';
import type { Publisher } from './publisher.ts';
import type { RetainedVerdict, RetainedVersion } from './retained-version.ts';

const SLICE = 1000;

export class RetainedView {
  readonly #core: Core;
  readonly #publisher: Publisher;

  constructor(core: Core, publisher: Publisher) {
    this.#core = core;
    this.#publisher = publisher;
  }

  /** Also one that has expired and was not looked at since. */
  get(topic: string): Message | null {
    return this.#core.retained.get(topic);
  }

  /** A small number that the topic has as long as something is retained there; -1: nothing is. */
  slotOf(topic: string): number {
    return this.#core.retained.slotOf(topic);
  }

  get size(): number {
    return this.#core.stats.retainedMessages;
  }

  /** What is not here, as it was cleared: by which version; null: nobody remembers that it was. */
  clearedAt(topic: string): RetainedVersion | null {
    const { bus, stamps, store } = this.#core;
    if (bus !== null) return bus.buriedRetained(topic);
    return stamps?.clearedAt(topic) ?? store.clearedAt?.(topic) ?? null;
  }

  /** May be walked in slices over several turns. */
  *all(): Iterable<Message> {
    const walk = this.#core.retained.walk('#');
    const found: Message[] = [];
    while (!walk.done) {
      walk.take(SLICE, found);
      yield* found;
      found.length = 0;
    }
  }

  /** Taken over where it is newer, here and at the other nodes, for which `awaited` waits. */
  apply(
    topic: string,
    message: Message | null,
    version: RetainedVersion,
    awaited: Message | null = null,
  ): RetainedVerdict {
    const { bus, stamps, store } = this.#core;
    if (bus !== null) return bus.takeRetained(topic, message, version, awaited);
    const verdict = stamps?.judge(topic, version) ?? store.judgeRetained?.(topic, version);
    if (verdict === undefined || verdict === 'taken') {
      this.#publisher.applyRetained(topic, message, version);
    }
    return verdict ?? 'taken';
  }
}

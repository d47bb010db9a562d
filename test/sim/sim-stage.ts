/** The stage of test/chaos's clients in virtual time: nobody is there yet, and they close as little as is said. */
import type { Ledger } from '../chaos/ledger.ts';
import type { Prng } from '../chaos/prng.ts';
import type { Publisher } from '../chaos/publisher.ts';
import type { Stage } from '../chaos/stage.ts';
import type { Kernel } from './kernel.ts';

/** What a broker may answer that has its reasons: a client comes again. */
const REFUSALS = new Set([0x88, 0x89, 0x9c, 3]);

export function simStage(kernel: Kernel, ledger: Ledger, prng: Prng): Stage {
  return {
    ledger,
    prng,
    dial: null,
    nowMs: () => kernel.nowMs,
    refusals: REFUSALS,
    isClosing: false,
    isOver: false,
    onMoment: () => {},
    // Texts are made for nothing where nobody reads them.
    ...(kernel.isTracing
      ? { trace: (clientId, text) => kernel.trace(null, `${clientId} ${text}`) }
      : {}),
  };
}

/** In the end every publisher has all its answers. */
export function faultUnanswered(ledger: Ledger, publishers: Iterable<Publisher>): void {
  for (const { isDone, options } of publishers) {
    if (!isDone) ledger.fault(`${options.clientId}: waits for acks that never come`);
  }
}

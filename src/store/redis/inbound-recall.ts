/**
 * Changes to inbound packet ids that a journal has (docs/adr/0017), on their way to Redis: those of this
 * node, of its life before, or of a node whose copy it keeps. They were promised, so they are written in
 * their order whoever has the session by now. Used by owner-writer.ts and journal-replay.ts.
 */
import { Ring } from '../../util/ring.ts';
import { InboundCall, inboundAnswer, sessionInbound } from './functions/session-inbound.ts';
import type { InboundChange } from './inbound-change.ts';
import { sessionKeys } from './keys.ts';
import type { RedisCalls } from './redis-calls.ts';

export interface InboundRecallOptions {
  readonly calls: RedisCalls;
  readonly prefix: string;
  /** A session Redis does not know is waited for, as Redis may have been emptied (ADR 0010). */
  readonly absentMsMax: number;
}

/** A change to the ids of one session. */
export interface Recalled {
  readonly clientId: string;
  readonly sid: string;
  readonly epoch: number;
  readonly change: InboundChange;
  /** It is written, or nothing is owed. */
  readonly answered: () => void;
}

interface Lane {
  readonly clientId: string;
  readonly pending: Ring<Recalled>;
  readonly onIdle: (() => void)[];
  /** Redis had no such session, since then (monotonic ms); 0: it has. */
  absentSinceMs: number;
}

const CHANGES_PER_CALL = 256;
const ABSENT_RETRY_MS = 200;

export class InboundRecall {
  readonly #options: InboundRecallOptions;
  /** By client id: those with something to write. */
  readonly #lanes: Map<string, Lane> = new Map();

  constructor(options: InboundRecallOptions) {
    this.#options = options;
  }

  get isIdle(): boolean {
    return this.#lanes.size === 0;
  }

  isBusy(clientId: string): boolean {
    return this.#lanes.has(clientId);
  }

  /** At once when nothing of the client waits. */
  whenIdle(clientId: string, then: () => void): void {
    const lane = this.#lanes.get(clientId);
    if (lane === undefined) then();
    else lane.onIdle.push(then);
  }

  add(recalled: Recalled): void {
    const { clientId } = recalled;
    const known = this.#lanes.get(clientId);
    if (known !== undefined) {
      known.pending.push(recalled);
      return;
    }
    const lane = { clientId, pending: new Ring<Recalled>(), onIdle: [], absentSinceMs: 0 };
    lane.pending.push(recalled);
    this.#lanes.set(clientId, lane);
    // With what follows in this turn.
    this.#options.calls.after(0, () => this.#send(lane));
  }

  #send(lane: Lane): void {
    const { calls, prefix } = this.#options;
    const { sid, epoch } = lane.pending.at(0)!;
    const keys = sessionKeys(prefix, lane.clientId);
    const call = new InboundCall(keys, sid, epoch, true);
    let count = 0;
    while (count < CHANGES_PER_CALL && count < lane.pending.length) {
      const next = lane.pending.at(count)!;
      if (next.sid !== sid || next.epoch !== epoch) break;
      call.change(next.change);
      count++;
    }
    calls.until(sessionInbound, call, inboundAnswer, (answer) => {
      if (answer === 'gone' && this.#isAwaited(lane)) {
        calls.after(ABSENT_RETRY_MS, () => this.#send(lane));
        return;
      }
      lane.absentSinceMs = 0;
      for (let left = count; left > 0; left--) lane.pending.shift()!.answered();
      if (lane.pending.length > 0) {
        this.#send(lane);
        return;
      }
      this.#lanes.delete(lane.clientId);
      for (const then of lane.onIdle) then();
    });
  }

  /** Somebody asserts the session again soon, if Redis was emptied. */
  #isAwaited(lane: Lane): boolean {
    const { nowMs } = this.#options.calls;
    if (lane.absentSinceMs === 0) lane.absentSinceMs = nowMs;
    return nowMs - lane.absentSinceMs < this.#options.absentMsMax;
  }
}

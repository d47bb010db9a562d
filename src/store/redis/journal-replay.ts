/**
 * What journals hand over when Redis is back (docs/adr/0017): appends, changes to packet ids, and words that a
 * client has left, each to whoever writes it, in the order of the calls for each session. Used by
 * redis-store.ts; which journal it comes from is not known here.
 */
import type { JournalRecord } from '../journal/journal-record.ts';
import { AppendLane } from './append-lane.ts';
import type { AppendWriter } from './append-writer.ts';
import { inboundOf, isInbound, leftOf } from './inbound-change.ts';
import type { InboundRecall } from './inbound-recall.ts';
import { sessionKeys } from './keys.ts';
import { type Quarantine, soundOrNull } from './opened-record.ts';
import type { RedisCalls } from './redis-calls.ts';
import { ReplayOrder } from './replay-order.ts';
import type { RedisLedger } from './session-ledger.ts';

export interface ReplayOptions {
  readonly prefix: string;
  readonly calls: Pick<RedisCalls, 'shardOf'>;
  readonly appends: Pick<AppendWriter, 'replay'>;
  readonly recall: Pick<InboundRecall, 'add'>;
  readonly ledger: Pick<RedisLedger, 'left'>;
  readonly quarantine: Quarantine;
}

/** Appends of a journal to one session. */
interface ReplayLane {
  readonly lane: AppendLane;
  waiting: number;
}

/** Nothing of it is told to the core. */
const NO_SESSION = -1;

export class JournalReplay {
  readonly #options: ReplayOptions;
  /** By client id and sid. */
  readonly #lanes: Map<string, ReplayLane> = new Map();
  readonly #order: ReplayOrder = new ReplayOrder();

  constructor(options: ReplayOptions) {
    this.#options = options;
  }

  /** `answered`: Redis has it, or nothing is owed. */
  replay(record: JournalRecord, answered: () => void): void {
    if (!isInbound(record)) this.#append(record, answered);
    else if (!this.#left(record, answered)) this.#inbound(record, answered);
  }

  #append({ clientId, sid, writer, seq, value }: JournalRecord, answered: () => void): void {
    const { prefix, calls, appends } = this.#options;
    const name = `${sid} ${clientId}`;
    let replay = this.#lanes.get(name);
    if (replay === undefined) {
      const keys = sessionKeys(prefix, clientId);
      const shard = calls.shardOf(clientId);
      replay = { lane: new AppendLane(NO_SESSION, clientId, sid, keys, shard), waiting: 0 };
      this.#lanes.set(name, replay);
    }
    const { lane } = replay;
    replay.waiting++;
    const written = this.#order.begin();
    appends.replay(lane, writer, seq, value, () => {
      replay.waiting--;
      if (replay.waiting === 0) this.#lanes.delete(name);
      written();
      answered();
    });
  }

  #inbound(record: JournalRecord, answered: () => void): void {
    const { quarantine, recall } = this.#options;
    const { clientId, sid } = record;
    const found = soundOrNull(() => inboundOf(record), quarantine, clientId, 'journal');
    if (found === null) {
      answered();
      return;
    }
    const written = this.#order.begin();
    const told = (): void => {
      written();
      answered();
    };
    recall.add({ clientId, sid, ...found, answered: told });
  }

  /**
   * That a client has left a node without a will: survivors must not find one. Nobody's session has nobody to be
   * asked for what that client had sent (hard case 11): first it is in the queues.
   */
  #left(record: JournalRecord, answered: () => void): boolean {
    const { quarantine, ledger } = this.#options;
    const { clientId, sid } = record;
    const left = soundOrNull(() => leftOf(record), quarantine, clientId, 'journal');
    if (left === null) return false;
    const { epoch, expiryIntervalS } = left;
    this.#order.afterAll(() => ledger.left(clientId, sid, epoch, expiryIntervalS, answered));
    return true;
  }
}

/**
 * What a start finds: schema version, sessions with the state of their queues, inbound ids, retained
 * messages, sessions whose removal was under way. Reads every run's footer, no bodies.
 */
import type { RestoredSession, RestoreVisitor } from '../../core/ports.ts';
import { EntryState } from '../../core/queue-entry.ts';
import { RecordDamage } from './damage.ts';
import {
  afterPrefix,
  type KeyPrefix,
  lastSeqOfRunKey,
  numberOfKey,
  PROGRESS_PART,
  Prefix,
  partOfRunKey,
  plainKey,
  serialOfRunKey,
} from './keys.ts';
import { readMessage } from './message-codec.ts';
import { type RunFooter, readRunEntries, readRunFooter } from './run-codec.ts';
import type { Database } from './run-reader.ts';
import { runStateOf } from './run-reader.ts';
import { openSealed } from './seal.ts';
import { decodeNumbers, decodeSession } from './session-codec.ts';
import { StoredSession } from './stored-session.ts';

export const SCHEMA_VERSION = 1;
const ROWS_AT_ONCE = 1000;

export type Quarantine = (key: Buffer, value: Buffer, why: string) => Promise<void>;

interface QueueCount {
  headSeq: number;
  tailSeq: number;
  messages: number;
  bytes: number;
}

export interface Recovered {
  readonly sessions: StoredSession[];
  /** Serials of deleted sessions whose runs are still there. */
  readonly doomed: number[];
}

/** Reads everything and reports it to the core. */
export async function recover(
  db: Database,
  visitor: RestoreVisitor,
  quarantine: Quarantine,
): Promise<Recovered> {
  const queues = await countQueues(db, quarantine);
  const doomed = new Set<number>();
  for await (const [key] of rows(db, Prefix.DOOMED)) doomed.add(numberOfKey(key));
  const tails: Map<number, number> = new Map();
  for await (const [key, value] of rows(db, Prefix.TAIL)) {
    const numbers = await decoded(key, value, decodeNumbers, quarantine);
    if (numbers !== null) tails.set(numberOfKey(key), numbers[0] ?? 0);
  }
  const inbound: Map<number, number[]> = new Map();
  for await (const [key, value] of rows(db, Prefix.INBOUND)) {
    const numbers = await decoded(key, value, decodeNumbers, quarantine);
    if (numbers !== null) inbound.set(numberOfKey(key), numbers);
  }
  const sessions: StoredSession[] = [];
  for await (const [key, value] of rows(db, Prefix.SESSION)) {
    const serial = numberOfKey(key);
    const record = await decoded(key, value, (bytes) => decodeSession(bytes, serial), quarantine);
    if (record === null || doomed.has(serial)) continue;
    const session = new StoredSession(serial, serial);
    session.tailSeq = tails.get(serial) ?? 0;
    const inboundIds = inbound.get(serial) ?? [];
    for (const id of inboundIds) session.inboundIds.add(id);
    sessions.push(session);
    const queue = queues.get(serial);
    queues.delete(serial);
    const tailSeq = Math.max(queue?.tailSeq ?? 0, session.tailSeq);
    const restored: RestoredSession = {
      record,
      headSeq: queue?.headSeq ?? tailSeq + 1,
      tailSeq,
      queuedMessages: queue?.messages ?? 0,
      queuedBytes: queue?.bytes ?? 0,
      inboundIds,
    };
    visitor.session(restored);
  }
  for await (const [key, value] of rows(db, Prefix.RETAINED)) {
    const message = await decoded(
      key,
      value,
      (bytes) => {
        const cursor = openSealed(bytes);
        const read = readMessage(cursor, 0);
        cursor.expectEnd();
        return read;
      },
      quarantine,
    );
    if (message !== null) visitor.retained(message);
  }
  // Runs of sessions that are gone (a removal that a crash cut short, or a damaged session record).
  for (const serial of queues.keys()) doomed.add(serial);
  return { sessions, doomed: [...doomed] };
}

/** Unsettled messages per session, from footers and progress records. */
async function countQueues(db: Database, quarantine: Quarantine): Promise<Map<number, QueueCount>> {
  const queues: Map<number, QueueCount> = new Map();
  let last: { serial: number; footer: RunFooter; value: Buffer } | null = null;
  for await (const [key, value] of rows(db, Prefix.RUN)) {
    const serial = serialOfRunKey(key);
    if (partOfRunKey(key) === PROGRESS_PART) {
      if (last === null || last.serial !== serial || last.footer.lastSeq !== lastSeqOfRunKey(key)) {
        await quarantine(key, value, 'progress without a run');
        continue;
      }
      const { footer, value: run } = last;
      await decoded(
        key,
        value,
        (bytes) => subtract(queues.get(serial)!, footer, run, bytes),
        quarantine,
      );
      continue;
    }
    const footer = await decoded(
      key,
      value,
      (bytes) => readRunFooter(bytes, lastSeqOfRunKey(key)),
      quarantine,
    );
    if (footer === null) continue;
    last = { serial, footer, value };
    const queue = queues.get(serial);
    if (queue === undefined) {
      queues.set(serial, {
        headSeq: footer.firstSeq,
        tailSeq: footer.lastSeq,
        messages: footer.count,
        bytes: footer.bytes,
      });
    } else {
      queue.tailSeq = footer.lastSeq;
      queue.messages += footer.count;
      queue.bytes += footer.bytes;
    }
  }
  return queues;
}

/** Takes what is settled of a run off the counts; bytes by the run's average. */
function subtract(queue: QueueCount, footer: RunFooter, run: Buffer, progress: Buffer): true {
  const state = runStateOf(footer);
  state.decode(progress);
  queue.messages -= state.settledCount;
  queue.bytes -= Math.round((footer.bytes * state.settledCount) / footer.count);
  if (queue.headSeq === footer.firstSeq) {
    for (const seq of readRunEntries(run, footer).seqs) {
      if (state.stateOf(seq) !== EntryState.SETTLED) break;
      queue.headSeq = seq + 1;
    }
  }
  return true;
}

async function decoded<T>(
  key: Buffer,
  value: Buffer,
  decode: (value: Buffer) => T,
  quarantine: Quarantine,
): Promise<T | null> {
  try {
    return decode(value);
  } catch (error) {
    if (!(error instanceof RecordDamage)) throw error;
    await quarantine(key, value, error.message);
    return null;
  }
}

/** All records of one kind, a thousand at a time. */
async function* rows(db: Database, prefix: KeyPrefix): AsyncGenerator<[Buffer, Buffer]> {
  const iterator = db.iterator({ gte: plainKey(prefix), lt: afterPrefix(prefix) });
  try {
    for (;;) {
      const some = await iterator.nextv(ROWS_AT_ONCE);
      if (some.length === 0) return;
      yield* some;
    }
  } finally {
    await iterator.close();
  }
}

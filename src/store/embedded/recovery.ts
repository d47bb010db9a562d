/**
 * What a start finds: sessions with the state of their queues, inbound ids, retained messages,
 * sessions whose removal was under way. Reads every run's footer, no bodies.
 */
import type { Log, RestoredSession, RestoreVisitor } from '../../core/ports.ts';
import { EntryState } from '../../core/queue-entry.ts';
import { RecordDamage } from './damage.ts';
import {
  afterPrefix,
  isRunKey,
  type KeyPrefix,
  lastSeqOfRunKey,
  numberKey,
  numberOfKey,
  PROGRESS_PART,
  Prefix,
  partOfRunKey,
  plainKey,
  quarantineKey,
  serialOfRunKey,
} from './keys.ts';
import { MessageMemory, readMessage } from './message-codec.ts';
import { type RunFooter, readRunEntries, readRunFooter } from './run-codec.ts';
import { type Database, type Quarantine, runStateOf } from './run-reader.ts';
import { openSealed } from './seal.ts';
import { decodeNumbers, decodeSession } from './session-codec.ts';
import { StoredSession } from './stored-session.ts';

const ROWS_AT_ONCE = 4096;
const ROWS_BYTES = 512 * 1024;
/** Records whose keys begin with a serial or a block number. */
const NUMBERED: readonly KeyPrefix[] = [
  Prefix.SESSION,
  Prefix.TAIL,
  Prefix.INBOUND,
  Prefix.DOOMED,
  Prefix.RUN,
  Prefix.BODIES,
  Prefix.BLOCK,
  Prefix.COUNT,
];

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
  /** First number that may be given to sessions and blocks. */
  readonly nextNumber: number;
}

/** Reads everything and reports it to the core. */
export async function recover(
  db: Database,
  visitor: RestoreVisitor,
  quarantine: Quarantine,
  log: Log,
): Promise<Recovered> {
  const queues = await countQueues(db, quarantine);
  const doomed = new Set<number>();
  for await (const rows of rowsOf(db, Prefix.DOOMED)) {
    for (const [key] of rows) doomed.add(numberOfKey(key));
  }
  const tails = await numbersBySerial(db, Prefix.TAIL, quarantine);
  const inbound = await numbersBySerial(db, Prefix.INBOUND, quarantine);
  const sessions: StoredSession[] = [];
  for await (const rows of rowsOf(db, Prefix.SESSION)) {
    for (const [key, value] of rows) {
      const serial = numberOfKey(key);
      const record = await decoded(key, value, (bytes) => decodeSession(bytes, serial), quarantine);
      if (record === null || doomed.has(serial)) continue;
      const session = new StoredSession(serial, serial);
      session.tailSeq = tails.get(serial)?.[0] ?? 0;
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
  }
  await restoreRetained(db, visitor, quarantine);
  // Queues of sessions that are gone: a crash cut their removal short.
  for (const [serial, queue] of queues) {
    if (await isSetAside(db, serial)) {
      const { messages } = queue;
      log.error({ serial, messages }, 'queue kept of a session whose record was moved aside');
    } else {
      doomed.add(serial);
    }
  }
  return { sessions, doomed: [...doomed], nextNumber: await nextNumber(db, quarantine) };
}

async function restoreRetained(
  db: Database,
  visitor: RestoreVisitor,
  quarantine: Quarantine,
): Promise<void> {
  const memory = new MessageMemory();
  const decode = (value: Buffer): ReturnType<typeof readMessage> => {
    const cursor = openSealed(value);
    const message = readMessage(cursor, 0, memory);
    cursor.expectEnd();
    return message;
  };
  for await (const rows of rowsOf(db, Prefix.RETAINED)) {
    for (const [key, value] of rows) {
      const message = await decoded(key, value, decode, quarantine);
      if (message !== null) visitor.retained(message);
    }
  }
}

/** Its record was damaged: the queue is kept as long as what was moved aside is. */
async function isSetAside(db: Database, serial: number): Promise<boolean> {
  return (await db.get(quarantineKey(numberKey(Prefix.SESSION, serial)))) !== undefined;
}

/** Above the reserved numbers, and above all in use should their record be damaged. */
async function nextNumber(db: Database, quarantine: Quarantine): Promise<number> {
  const key = plainKey(Prefix.NUMBERS);
  const value = await db.get(key);
  const numbers = value && (await decoded(key, value, decodeNumbers, quarantine));
  let next = numbers?.[0] ?? 1;
  for (const prefix of NUMBERED) {
    const range = { gte: plainKey(prefix), lt: afterPrefix(prefix) };
    const [last] = await db.keys({ ...range, reverse: true, limit: 1 }).all();
    if (last !== undefined && last.length >= 7) next = Math.max(next, last.readUIntBE(1, 6) + 1);
  }
  return next;
}

async function numbersBySerial(
  db: Database,
  prefix: KeyPrefix,
  quarantine: Quarantine,
): Promise<Map<number, number[]>> {
  const found: Map<number, number[]> = new Map();
  for await (const rows of rowsOf(db, prefix)) {
    for (const [key, value] of rows) {
      const numbers = await decoded(key, value, decodeNumbers, quarantine);
      if (numbers !== null) found.set(numberOfKey(key), numbers);
    }
  }
  return found;
}

/** Unsettled messages per session, from footers and progress records. */
async function countQueues(db: Database, quarantine: Quarantine): Promise<Map<number, QueueCount>> {
  const queues: Map<number, QueueCount> = new Map();
  let lastSerial = -1;
  let lastFooter: RunFooter | null = null;
  let lastValue: Buffer | null = null;
  let damaged: Buffer | null = null;
  for await (const rows of rowsOf(db, Prefix.RUN)) {
    for (const [key, value] of rows) {
      if (!isRunKey(key)) {
        await quarantine(key, value, 'key of unknown form');
        continue;
      }
      const serial = serialOfRunKey(key);
      const lastSeq = lastSeqOfRunKey(key);
      // Its progress has gone with a run that was moved aside.
      if (damaged !== null && isProgressOf(key, damaged)) continue;
      try {
        if (partOfRunKey(key) === PROGRESS_PART) {
          if (serial !== lastSerial || lastFooter?.lastSeq !== lastSeq) {
            throw new RecordDamage('progress without a run');
          }
          subtract(queues.get(serial)!, lastFooter, lastValue!, value);
        } else {
          lastFooter = readRunFooter(value, lastSeq);
          lastSerial = serial;
          lastValue = value;
          add(queues, serial, lastFooter);
        }
      } catch (error) {
        if (!(error instanceof RecordDamage)) throw error;
        await quarantine(key, value, error.message);
        damaged = key;
      }
    }
  }
  return queues;
}

function isProgressOf(key: Buffer, run: Buffer): boolean {
  const { length } = run;
  return (
    partOfRunKey(key) === PROGRESS_PART && key.compare(run, 0, length - 1, 0, length - 1) === 0
  );
}

function add(queues: Map<number, QueueCount>, serial: number, footer: RunFooter): void {
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

/** Takes what is settled of a run off the counts. */
function subtract(queue: QueueCount, footer: RunFooter, run: Buffer, progress: Buffer): void {
  const state = runStateOf(footer);
  state.decode(progress);
  queue.messages -= state.settledCount;
  queue.bytes -= state.settledBytes;
  if (queue.headSeq === footer.firstSeq) {
    for (const seq of readRunEntries(run, footer).seqs) {
      if (state.stateOf(seq) !== EntryState.SETTLED) break;
      queue.headSeq = seq + 1;
    }
  }
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

/** All records of one kind, some thousand at a time. */
async function* rowsOf(db: Database, prefix: KeyPrefix): AsyncGenerator<[Buffer, Buffer][]> {
  const iterator = db.iterator({
    gte: plainKey(prefix),
    lt: afterPrefix(prefix),
    highWaterMarkBytes: ROWS_BYTES,
  });
  try {
    for (;;) {
      const rows = await iterator.nextv(ROWS_AT_ONCE);
      if (rows.length === 0) return;
      yield rows;
    }
  } finally {
    await iterator.close();
  }
}

/**
 * What a start finds: sessions with the state of their queues, inbound ids, retained messages,
 * sessions whose removal was under way. Of queues it reads the keys, and of runs that are settled in
 * part their progress; no bodies.
 */
import { Message } from '../../core/message.ts';
import type { Log, RestoredSession, RestoreVisitor } from '../../core/ports.ts';
import type { Principal } from '../../core/principal.ts';
import { EntryState } from '../../core/queue-entry.ts';
import type { RetainedVersion } from '../../core/retained-version.ts';
import { RecordDamage } from './damage.ts';
import type { Database } from './database.ts';
import {
  afterPrefix,
  type KeyPrefix,
  numberKey,
  numberOfKey,
  Prefix,
  plainKey,
  quarantineKey,
  type RunBounds,
  RunKeyView,
} from './keys.ts';
import { MessageMemory } from './message-codec.ts';
import type { MoveAside } from './quarantine.ts';
import { type RunFooter, readRunEntries, readRunFooter } from './run-codec.ts';
import { runStateOf } from './run-reader.ts';
import { decodeNumbers, decodeSession } from './session-codec.ts';
import { openedNote, readRetained } from './state-records.ts';
import { StoredSession } from './stored-session.ts';

/** A start of a million rows keeps the memory for which its rows stand in line: few of them at a time. */
const ROWS_AT_ONCE = 256;
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
  onNote: (key: string, value: Buffer) => void,
  quarantine: MoveAside,
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
  for await (const rows of rowsOf(db, Prefix.NOTE)) {
    for (const [key, value] of rows) {
      const note = await decoded(key, value, openedNote, quarantine);
      if (note !== null) onNote(key.toString('utf8', 1), note);
    }
  }
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
  quarantine: MoveAside,
): Promise<void> {
  for await (const rows of rowsOf(db, Prefix.MARK)) {
    for (const [key] of rows) visitor.unconfirmed?.(key.toString('utf8', 1));
  }
  const memory = new MessageMemory();
  const sources = new Map<string, Principal>();
  const decode = (value: Buffer): Message | RetainedVersion => readRetained(value, memory, sources);
  for await (const rows of rowsOf(db, Prefix.RETAINED)) {
    for (const [key, value] of rows) {
      const found = await decoded(key, value, decode, quarantine);
      if (found instanceof Message) visitor.retained(found);
      else if (found !== null) visitor.tombstone?.(key.toString('utf8', 1), found);
    }
  }
}

/** Its record was damaged: the queue is kept as long as what was moved aside is. */
async function isSetAside(db: Database, serial: number): Promise<boolean> {
  return (await db.get(quarantineKey(numberKey(Prefix.SESSION, serial)))) !== undefined;
}

/** Above the reserved numbers, and above all in use should their record be damaged. */
async function nextNumber(db: Database, quarantine: MoveAside): Promise<number> {
  const key = plainKey(Prefix.NUMBERS);
  const value = await db.get(key);
  const numbers = value && (await decoded(key, value, decodeNumbers, quarantine));
  let next = numbers?.[0] ?? 1;
  const view = new RunKeyView();
  for (const prefix of NUMBERED) {
    const range = { gte: plainKey(prefix), lt: afterPrefix(prefix) };
    const [last] = await db.keys({ ...range, reverse: true, limit: 1 }).all();
    if (last === undefined || last.length < 7) continue;
    if (prefix !== Prefix.RUN) next = Math.max(next, last.readUIntBE(1, 6) + 1);
    else if (view.parseBytes(last)) next = Math.max(next, view.serial + 1);
  }
  return next;
}

async function numbersBySerial(
  db: Database,
  prefix: KeyPrefix,
  quarantine: MoveAside,
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

/** Unsettled messages per session, from the keys of runs and from progress records. */
async function countQueues(db: Database, quarantine: MoveAside): Promise<Map<number, QueueCount>> {
  const queues: Map<number, QueueCount> = new Map();
  const view = new RunKeyView();
  let lastSerial = -1;
  let lastSeq = -1;
  let lastKey = '';
  for await (const keys of runKeys(db)) {
    for (const key of keys) {
      const isKnown = view.parse(key);
      if (isKnown && !view.isProgress) {
        lastSerial = view.serial;
        lastSeq = view.lastSeq;
        lastKey = key;
        add(queues, view);
        continue;
      }
      const value = await db.get(Buffer.from(key));
      if (value === undefined) continue;
      if (!isKnown) {
        await quarantine(Buffer.from(key), value, 'key of unknown form');
      } else if (view.serial !== lastSerial || view.lastSeq !== lastSeq) {
        await quarantine(Buffer.from(key), value, 'progress without a run');
      } else {
        const run = await db.get(Buffer.from(lastKey));
        const queue = queues.get(lastSerial)!;
        const decode = (progress: Buffer): true => subtract(queue, lastSeq, run!, progress);
        await decoded(Buffer.from(key), value, decode, quarantine);
      }
    }
  }
  return queues;
}

function add(queues: Map<number, QueueCount>, run: RunBounds & { readonly serial: number }): void {
  const queue = queues.get(run.serial);
  if (queue === undefined) {
    const { firstSeq, lastSeq, count, bytes } = run;
    queues.set(run.serial, { headSeq: firstSeq, tailSeq: lastSeq, messages: count, bytes });
  } else {
    queue.tailSeq = run.lastSeq;
    queue.messages += run.count;
    queue.bytes += run.bytes;
  }
}

/** Takes what is settled of a run off the counts. */
function subtract(queue: QueueCount, lastSeq: number, run: Buffer, progress: Buffer): true {
  let footer: RunFooter;
  try {
    footer = readRunFooter(run, lastSeq);
  } catch (error) {
    if (!(error instanceof RecordDamage)) throw error;
    // Whoever reads the run moves it aside, and its progress with it.
    return true;
  }
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
  return true;
}

async function decoded<T>(
  key: Buffer,
  value: Buffer,
  decode: (value: Buffer) => T,
  quarantine: MoveAside,
): Promise<T | null> {
  try {
    return decode(value);
  } catch (error) {
    if (!(error instanceof RecordDamage)) throw error;
    await quarantine(key, value, error.message);
    return null;
  }
}

/** Keys of runs and of their progress, as the text they are. */
async function* runKeys(db: Database): AsyncGenerator<string[]> {
  const iterator = db.iterator<string, string>({
    gte: 'q',
    lt: 'r',
    keyEncoding: 'utf8',
    // Without it each row would cost an empty buffer.
    valueEncoding: 'utf8',
    values: false,
    highWaterMarkBytes: ROWS_BYTES,
  });
  try {
    for (;;) {
      const rows = await iterator.nextv(ROWS_AT_ONCE);
      if (rows.length === 0) return;
      yield rows.map(([key]) => key);
    }
  } finally {
    await iterator.close();
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

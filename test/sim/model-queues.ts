/**
 * Twins of the functions of a session's queue and of its inbound QoS 2 ids. A list with a placeholder
 * at index 0; position of index i is head + i; an empty value is a hole.
 */
import type { ModelDb, ModelReply, Twin } from './model-db.ts';
import { numberIn, refusal } from './model-sessions.ts';

const WRITERS_MAX = 64;
const WRITER_MS = 3_600_000;
const MOVE_MS = 30 * 24 * 3_600_000;

interface Bounds {
  readonly messagesMax: number;
  readonly bytesMax: number;
  readonly dropsOldest: boolean;
}

interface Slice {
  readonly keys: readonly [string, string, string, string];
  readonly sid: string;
  readonly writer: string;
  readonly after: number;
  readonly entries: readonly { readonly seq: string; readonly value: string }[];
}

export const appendTwin: Twin = (db, keys, args, nowMs) => {
  const bounds = {
    messagesMax: Number(args[0]),
    bytesMax: Number(args[1]),
    dropsOldest: args[2] === 'oldest',
  };
  const answers: ModelReply[] = [];
  let at = 4;
  for (let s = 0; s < Number(args[3]); s++) {
    const entries: { seq: string; value: string }[] = [];
    const count = Number(args[at + 3]);
    const seqs = args[at + 4]!.split(' ');
    for (let i = 0; i < count; i++) entries.push({ seq: seqs[i]!, value: args[at + 5 + i]! });
    const own = keys.slice(4 * s, 4 * s + 4) as unknown as Slice['keys'];
    const slice = { sid: args[at]!, writer: args[at + 1]!, after: Number(args[at + 2]), entries };
    answers.push(append(db, { ...slice, keys: own }, bounds, nowMs));
    at += 5 + count;
  }
  return answers;
};

function append(db: ModelDb, slice: Slice, bounds: Bounds, nowMs: number): ModelReply {
  const [metaKey, queueKey, marksKey, writersKey] = slice.keys;
  const nothing = (status: number): ModelReply => [status, 0, '', 0, 0, 0];
  const known = db.peekHash(metaKey);
  if (known === undefined) return nothing(0);
  if (known.get('sid') !== slice.sid) return nothing(-2);
  if (!known.has('head')) return nothing(0);
  const last = Number((db.peekHash(writersKey)?.get(slice.writer) ?? '0').split(':')[0]);
  if (last < slice.after) return nothing(-3);

  const meta = db.hash(metaKey);
  const owner = meta.get('owner')!;
  const queue = db.list(queueKey);
  const skipped = slice.entries.filter(({ seq }) => Number(seq) <= last).length;
  const fresh = slice.entries.slice(skipped);
  let head = numberIn(meta, 'head');
  if (fresh.length === 0) return [1, head + queue.length - 1, owner, skipped, 0, 0];

  let bytes = numberIn(meta, 'bytes');
  const marks = db.hash(marksKey);
  const refused: number[] = [];
  const dropped: number[] = [];
  const isMarked = (position: number): boolean => marks.has(`${position}`);
  let kept = 0;
  let keptBytes = 0;
  let live = queue.length - 1;
  for (const [position, mark] of marks) {
    if (mark === 's') live--;
    else {
      kept++;
      keptBytes += queue[Number(position) - head]!.length;
    }
  }
  const isFull = (size: number): boolean =>
    live + 1 > bounds.messagesMax || bytes + size > bounds.bytesMax;
  let oldest = head;
  let stored = 0;
  for (let i = 0; i < fresh.length; i++) {
    const { value } = fresh[i]!;
    const size = value.length;
    const canFit = bounds.dropsOldest
      ? kept + 1 <= bounds.messagesMax && keptBytes + size <= bounds.bytesMax
      : !isFull(size);
    if (!canFit) {
      refused.push(skipped + i);
      continue;
    }
    while (isFull(size)) {
      oldest++;
      if (isMarked(oldest)) continue;
      live--;
      bytes -= queue[oldest - head]!.length;
      queue[oldest - head] = '';
      marks.set(`${oldest}`, 's');
      dropped.push(oldest);
    }
    queue.push(value);
    stored++;
    live++;
    bytes += size;
  }
  const tail = head + queue.length - 1;
  if (stored > 0) {
    if (dropped.length > 0) head = advance(queue, marks, head);
    meta.set('bytes', `${bytes}`).set('head', `${head}`);
  }
  remember(db.hash(writersKey), slice.writer, `${fresh.at(-1)!.seq}:${nowMs}`, nowMs);
  return [1, tail, owner, skipped, stored, dropped.length, ...refused];
}

/** Goes over what is settled at the front; the head after that. */
function advance(queue: string[], marks: Map<string, string>, head: number): number {
  let first = head;
  while (marks.get(`${first + 1}`) === 's') {
    first++;
    marks.delete(`${first}`);
  }
  queue.splice(0, first - head);
  if (first > head) queue[0] = '';
  return first;
}

export const tookTwin: Twin = (db, keys, args) => {
  if (db.peekHash(keys[0]!)?.get('sid') !== args[0]) return null;
  return Number((db.peekHash(keys[1]!)?.get(args[1]!) ?? '0').split(':')[0]);
};

function remember(writers: Map<string, string>, writer: string, last: string, nowMs: number): void {
  const isNew = !writers.has(writer);
  writers.set(writer, last);
  if (!isNew || writers.size <= WRITERS_MAX || writers.size % 32 !== 0) return;
  for (const [other, value] of writers) {
    const keptMs = other.startsWith('m') ? MOVE_MS : WRITER_MS;
    if (Number(value.split(':')[1]) < nowMs - keptMs) writers.delete(other);
  }
}

export const readTwin: Twin = (db, keys, args) => {
  const meta = db.peekHash(keys[0]!);
  if (meta === undefined || meta.get('sid') !== args[0] || !meta.has('head')) return null;
  const [countMax, bytesMax] = [Number(args[2]), Number(args[3])];
  const head = numberIn(meta, 'head');
  const queue = db.list(keys[1]!);
  const from = Math.max(Number(args[1]), head + 1);
  const values: string[] = [];
  const pairs: string[] = [];
  let bytes = 0;
  for (let index = from - head; index < queue.length; index++) {
    if (values.length === countMax || (values.length > 0 && bytes >= bytesMax)) break;
    const value = queue[index]!;
    values.push(value);
    bytes += value.length;
    const mark = db.peekHash(keys[2]!)?.get(`${head + index}`);
    if (mark !== undefined) pairs.push(`${head + index}`, mark);
  }
  return [head, head + queue.length - 1, from, pairs, ...values];
};

export const settleTwin: Twin = (db, keys, args) => {
  const known = db.peekHash(keys[0]!);
  const refused = refusal(known, args[0], args[1]);
  if (refused !== null) return refused;
  if (!known!.has('head')) return 1;
  const meta = db.hash(keys[0]!);
  const queue = db.list(keys[1]!);
  const marks = db.hash(keys[2]!);
  let head = numberIn(meta, 'head');
  let bytes = numberIn(meta, 'bytes');
  const tail = head + queue.length - 1;
  const trims = Math.min(Number(args[2]) - head, queue.length - 1);
  if (trims > 0) {
    for (let i = 1; i <= trims; i++) {
      bytes -= queue[i]!.length;
      marks.delete(`${head + i}`);
    }
    queue.splice(0, trims);
    if (queue[0]!.length > 64) queue[0] = '';
    head += trims;
  }
  const released = Number(args[3]);
  for (const position of args.slice(4, 4 + released)) {
    const at = Number(position);
    if (at > head && at <= tail && !marks.has(position)) marks.set(position, 'r');
  }
  for (const position of args.slice(5 + released, 5 + released + Number(args[4 + released]))) {
    const at = Number(position);
    if (at <= head || at > tail) continue;
    marks.set(position, 's');
    bytes -= queue[at - head]!.length;
    queue[at - head] = '';
  }
  head = advance(queue, marks, head);
  meta.set('head', `${head}`).set('bytes', `${bytes}`);
  return 1;
};

export const inboundTwin: Twin = (db, keys, args) => {
  const known = db.peekHash(keys[0]!);
  const [sid, epoch] = args as [string, string];
  const isRecalled = args[3] === '1';
  const [ofEpoch, number] = (known?.get('inb') ?? '0:0').split(':').map(Number) as [number, number];
  if (isRecalled) {
    if (known === undefined) return 'gone';
    if (known.get('sid') !== sid) return 'fenced';
    if (ofEpoch > Number(epoch)) return 1;
  } else {
    const refused = refusal(known, sid, epoch);
    if (refused !== null) return refused;
  }
  const last = isRecalled && ofEpoch === Number(epoch) ? number : 0;
  if (Number(args[2]) > numberIn(known!, 'pseq')) db.hash(keys[0]!).set('pseq', args[2]!);
  const ids = db.hash(keys[1]!);
  let highest = last;
  for (let at = 4; at < args.length; at += 5) {
    const [id, op, name, value] = args.slice(at, at + 4) as [string, string, string, string];
    if (Number(args[at + 4]) <= last) continue;
    highest = Number(args[at + 4]);
    if (op === 'p') ids.set(id, `${name}:${value}`);
    else if (op === 'a' || (op === 'd' && ids.has(id))) ids.set(id, '');
    else if (op === 'r') ids.delete(id);
  }
  if (highest > last) db.hash(keys[0]!).set('inb', `${epoch}:${highest}`);
  return 1;
};

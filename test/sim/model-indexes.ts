/** Twins of the functions of indexes (`index_*`, `due_*`) and of membership (`node_*`, `role_take`). */
import type { ModelDb, ModelReply, Twin } from './model-db.ts';

export const indexAddTwin: Twin = (db, keys, args) => {
  for (const id of args) db.set(keys[0]!).add(id);
  return 1;
};

export const indexRemoveTwin: Twin = (db, keys, args) => {
  for (const id of args) db.set(keys[0]!).delete(id);
  return 1;
};

/** Two pages at most; the second has everything, as ids may come more than once and none may be missed. */
export const indexScanTwin: Twin = (db, keys, args) => {
  const ids = [...db.set(keys[0]!)];
  const from = Number(args[0]);
  const page = from === 0 ? ids.slice(0, Number(args[1])) : ids;
  const isAll = from !== 0 || page.length === ids.length;
  return [isAll ? '0' : `${page.length}`, ...page];
};

export const dueAddTwin: Twin = (db, keys, args) => {
  const scores = db.scores(keys[0]!);
  const [ms, id] = [Number(args[0]), args[1]!];
  const known = scores.get(id);
  scores.set(id, known !== undefined && known <= ms ? known - 1 : ms);
  return 1;
};

export const dueTakeTwin: Twin = (db, keys, args, nowMs) => {
  const due = [...db.scores(keys[0]!)].filter(([, ms]) => ms <= nowMs);
  due.sort(([a, aMs], [b, bMs]) => aMs - bMs || (a < b ? -1 : 1));
  return due.slice(0, Number(args[0])).flat();
};

export const dueSettleTwin: Twin = (db, keys, args) => {
  const scores = db.scores(keys[0]!);
  const id = args[2]!;
  if (scores.get(id) !== Number(args[0])) return 0;
  if (args[1] === '0') scores.delete(id);
  else scores.set(id, Number(args[1]));
  return 1;
};

const DEAD_MS = 86_400_000;

function withMembers(db: ModelDb, keys: readonly string[], answer: ModelReply[]): ModelReply {
  for (const [incarnation, record] of db.hash(keys[0]!)) {
    const counter = Number(db.hash(keys[1]!).get(incarnation) ?? 0);
    answer.push(incarnation, record, counter);
  }
  return answer;
}

function bury(
  db: ModelDb,
  keys: readonly string[],
  incarnation: string,
  nowMs: number,
): ModelReply {
  db.hash(keys[0]!).delete(incarnation);
  db.hash(keys[1]!).delete(incarnation);
  db.scores(keys[2]!).set(incarnation, nowMs);
  return 1;
}

export const nodeJoinTwin: Twin = (db, keys, args, nowMs) => {
  const [incarnation, record, generation, secret] = args as [string, string, string, string];
  if (db.scores(keys[2]!).has(incarnation)) return ['dead'];
  const cluster = db.hash(keys[3]!);
  if (!cluster.has('generation')) cluster.set('generation', generation).set('secret', secret);
  db.hash(keys[0]!).set(incarnation, record);
  const counters = db.hash(keys[1]!);
  if (!counters.has(incarnation)) counters.set(incarnation, '0');
  const head = ['joined', cluster.get('generation')!, cluster.get('secret')!, nowMs];
  return withMembers(db, keys, head);
};

export const nodeRenewTwin: Twin = (db, keys, args, nowMs) => {
  const [incarnation, generation] = args as [string, string];
  if (db.scores(keys[2]!).has(incarnation)) return ['dead'];
  const known = db.hash(keys[3]!).get('generation');
  if (known === undefined) return ['unknown'];
  if (known !== generation) return ['generation', known];
  if (!db.hash(keys[0]!).has(incarnation)) return ['unknown'];
  const counters = db.hash(keys[1]!);
  counters.set(incarnation, `${Number(counters.get(incarnation) ?? 0) + 1}`);
  return withMembers(db, keys, ['ok', nowMs]);
};

export const nodeLeaveTwin: Twin = (db, keys, args, nowMs) =>
  db.hash(keys[0]!).has(args[0]!) ? bury(db, keys, args[0]!, nowMs) : 0;

export const nodeBuryTwin: Twin = (db, keys, args, nowMs) => {
  const [incarnation, counter, force, by] = args as [string, string, string, string];
  const members = db.hash(keys[0]!);
  const dead = db.scores(keys[2]!);
  if (!members.has(by) || dead.has(by) || !members.has(incarnation)) return 0;
  if (force === '1') {
    if (dead.has(incarnation)) return 0;
    dead.set(incarnation, nowMs);
    return 1;
  }
  if ((db.hash(keys[1]!).get(incarnation) ?? '0') !== counter) return 0;
  return bury(db, keys, incarnation, nowMs);
};

export const nodeDeadTwin: Twin = (db, keys) => {
  const dead = [...db.scores(keys[1]!)].filter(([name]) => !db.hash(keys[0]!).has(name));
  dead.sort(([a, aMs], [b, bMs]) => aMs - bMs || (a < b ? -1 : 1));
  return dead.map(([name]) => name);
};

export const nodeForgetTwin: Twin = (db, keys, args, nowMs) => {
  const diedMs = db.scores(keys[2]!).get(args[0]!) ?? Number.POSITIVE_INFINITY;
  if (diedMs > nowMs - DEAD_MS || db.hash(keys[0]!).has(args[0]!)) return 0;
  db.scores(keys[2]!).delete(args[0]!);
  return 1;
};

export const roleTakeTwin: Twin = (db, keys, args, nowMs) => {
  const [role, incarnation] = args as [string, string];
  const members = db.hash(keys[0]!);
  if (!members.has(incarnation) || db.scores(keys[2]!).has(incarnation)) return 0;
  const [was, holder] = (db.hash(keys[1]!).get(role) ?? '0:').split(':') as [string, string];
  if (holder === incarnation) return Number(was);
  if (members.has(holder)) return 0;
  const epoch = Math.max(Number(was) + 1, nowMs);
  db.hash(keys[1]!).set(role, `${epoch}:${incarnation}`);
  return epoch;
};

/** Twins of the functions with which the holder of a region's links keeps its notes (`links_*`). */
import type { Twin } from './model-db.ts';

const HOLDER = '!';

export const linksTakeTwin: Twin = (db, keys, args) => {
  const was = db.peekHash(keys[0]!)?.get(HOLDER);
  if (was !== undefined && Number(was) > Number(args[0])) return 0;
  db.hash(keys[0]!).set(HOLDER, args[0]!);
  return 1;
};

/** All at once, as small hashes are. */
export const linksScanTwin: Twin = (db, keys) => [
  '0',
  ...[...(db.peekHash(keys[0]!) ?? [])].flat(),
];

export const linksPutTwin: Twin = (db, keys, args) => {
  if (db.peekHash(keys[0]!)?.get(HOLDER) !== args[0]) return 0;
  const notes = db.hash(keys[0]!);
  for (let at = 1; at < args.length; at += 3) {
    if (args[at + 1] === 's') notes.set(args[at]!, args[at + 2]!);
    else notes.delete(args[at]!);
  }
  return 1;
};

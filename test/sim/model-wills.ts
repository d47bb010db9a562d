/** Twins of `session_look` and what belongs to it: wills and ends of sessions nobody owns. */
import type { Twin } from './model-db.ts';
import {
  endingMs,
  endSession,
  forget,
  nextLookMs,
  numberIn,
  OLD_WILL,
  OWN_WILL,
} from './model-sessions.ts';

export const lookTwin: Twin = (db, keys, args, nowMs) => {
  const [by] = args as [string];
  if (db.peekHash(keys[0]!) === undefined) return ['gone'];
  const meta = db.hash(keys[0]!);
  if (meta.get('owner') !== '') return ['owned', meta.get('owner')!];
  const claim = (field: 'oby' | 'wby'): string | null => {
    const claimer = meta.get(field);
    if (claimer !== undefined && claimer !== '' && claimer !== by) return claimer;
    meta.set(field, by);
    return null;
  };
  if (meta.has('owill')) {
    const other = claim('oby');
    if (other !== null) return ['claimed', other];
    const oepoch = numberIn(meta, 'oepoch');
    const tenant = meta.get('otenant') ?? '';
    return [
      'will',
      meta.get('owill')!,
      meta.get('osid')!,
      oepoch,
      meta.get('oident') ?? '-',
      tenant,
    ];
  }
  const wdueMs = numberIn(meta, 'wdue');
  const endsMs = endingMs(numberIn(meta, 'gone'), numberIn(meta, 'expiry'));
  const isEnded = endsMs > 0 && endsMs <= nowMs;
  const [sid, epoch] = [meta.get('sid')!, numberIn(meta, 'epoch')];
  if (meta.has('will') && wdueMs > 0 && (isEnded || wdueMs <= nowMs)) {
    const other = claim('wby');
    if (other !== null) return ['claimed', other];
    return ['will', meta.get('will')!, sid, epoch, meta.get('ident')!, meta.get('tenant')!];
  }
  if (!isEnded) return ['wait', nextLookMs(nowMs, false, wdueMs, endsMs)];
  endSession(db, keys, nowMs);
  return ['ended', sid, epoch];
};

export const willDoneTwin: Twin = (db, keys, args) => {
  if (db.peekHash(keys[0]!) === undefined) return 0;
  const meta = db.hash(keys[0]!);
  const isWill = (sid: string, epoch: string): boolean =>
    meta.get(sid) === args[0] && meta.get(epoch) === args[1];
  if (isWill('osid', 'oepoch')) {
    forget(meta, OLD_WILL);
    return 1;
  }
  if (!isWill('sid', 'epoch') || !meta.has('wby')) return 0;
  forget(meta, OWN_WILL);
  return 1;
};

export const unclaimTwin: Twin = (db, keys, args) => {
  if (db.peekHash(keys[0]!) === undefined) return 0;
  const meta = db.hash(keys[0]!);
  let freed = 0;
  for (const field of ['wby', 'oby']) {
    if (meta.get(field) !== args[0]) continue;
    meta.delete(field);
    freed = 1;
  }
  return freed;
};

/**
 * Twins of the functions that make, leave, end and list sessions (src/store/redis/functions), over the
 * model's data. test/store/redis/functions.test.ts holds them against Redis.
 */
import { HEAD_GAP } from '../../src/store/redis/functions/session-record.ts';
import type { ModelDb, ModelReply, Twin } from './model-db.ts';

const NEVER_S = 4294967295;
const OWNERS_MAX = 32;

export function endingMs(goneMs: number, expiryS: number): number {
  return goneMs === 0 || expiryS === NEVER_S ? 0 : goneMs + expiryS * 1000;
}

export function nextLookMs(
  nowMs: number,
  hasOldWill: boolean,
  wdueMs: number,
  endsMs: number,
): number {
  if (hasOldWill) return nowMs;
  if (wdueMs > 0 && (endsMs === 0 || wdueMs < endsMs)) return wdueMs;
  return endsMs;
}

/** A field as a number; 0 when it is not there. */
export function numberIn(meta: ReadonlyMap<string, string>, field: string): number {
  return Number(meta.get(field) ?? 0);
}

export function refusal(
  meta: ReadonlyMap<string, string> | undefined,
  sid: string | undefined,
  epoch: string | undefined,
): 'gone' | 'fenced' | null {
  if (meta === undefined) return 'gone';
  return meta.get('sid') === sid && meta.get('epoch') === epoch ? null : 'fenced';
}

export const OLD_WILL = ['owill', 'osid', 'oepoch', 'oby', 'oident', 'otenant'] as const;
export const OWN_WILL = ['will', 'wdelay', 'wdue', 'wby'] as const;

export function forget(meta: Map<string, string>, fields: readonly string[]): void {
  for (const field of fields) meta.delete(field);
}

function flat(map: ReadonlyMap<string, string>): string[] {
  const pairs: string[] = [];
  for (const [field, value] of map) pairs.push(field, value);
  return pairs;
}

interface KeptWill {
  readonly will: string;
  readonly sid: string;
  readonly epoch: string;
  readonly ident: string;
  readonly tenant: string;
}

const END_MS = 120_000;
/** All but the end of the session before. */
const SESSION_KEYS = 5;

/** Its end outlasts a durable session for a while. */
export function endSession(db: ModelDb, keys: readonly string[], nowMs: number): void {
  const { head, epoch } = Object.fromEntries(db.peekHash(keys[0]!) ?? []);
  db.remove(keys.slice(0, SESSION_KEYS));
  if (head === undefined) return;
  db.hash(keys[SESSION_KEYS]!)
    .set('epoch', epoch!)
    .set('until', `${nowMs + END_MS}`);
}

export const openTwin: Twin = (db, keys, args, nowMs) => {
  const [metaKey, queueKey, marksKey, inboundKey] = keys as [string, string, string, string];
  const [owner, hlcMs, newSid, ident, tenant, isProven, cleanStart] = args as [
    string,
    ...string[],
  ] as [string, string, string, string, string, string, string];
  const expiryS = Number(args[7]);
  const known = db.peekHash(metaKey);

  const answer = (previousOwners: string, present: number): ModelReply => {
    const meta = db.hash(metaKey);
    const head = numberIn(meta, 'head');
    return [
      'opened',
      numberIn(meta, 'epoch'),
      previousOwners,
      present,
      meta.get('sid')!,
      meta.get('rec') ?? '',
      numberIn(meta, 'cnt'),
      head,
      meta.has('head') ? head + db.list(queueKey).length - 1 : 0,
      numberIn(meta, 'bytes'),
      numberIn(meta, 'pseq'),
      flat(db.peekHash(marksKey) ?? new Map()),
      flat(db.peekHash(inboundKey) ?? new Map()),
      meta.get('owill') ?? '',
      meta.get('osid') ?? '',
      numberIn(meta, 'oepoch'),
    ];
  };

  if (known === undefined && args[12] === '1') return ['never'];
  if (known === undefined && args[11] === '1') return ['absent'];
  let oldWill: KeptWill | null = null;
  let isEnded = true;
  let epoch = Number(hlcMs);
  let previousOwners = '';
  if (known !== undefined) {
    const was = known.get('owner')!;
    const goneMs = numberIn(known, 'gone');
    const [request, wasPresent, before = ''] = (known.get('req') ?? '').split(':');
    if (request === newSid && was === owner && goneMs === 0) {
      return answer(before, Number(wasPresent));
    }
    const named = new Set([was, ...before.split(' ')].filter((name) => name !== ''));
    previousOwners = [...named].slice(0, OWNERS_MAX).join(' ');
    if (args[12] === '1') return ['never'];
    const wasExpiryS = numberIn(known, 'expiry');
    const endsMs = endingMs(goneMs, wasExpiryS);
    const isExpired = endsMs > 0 && endsMs <= nowMs;
    const wasIdent = known.get('ident')!;
    const wasTenant = known.get('tenant')!;
    if (!isExpired && wasIdent !== '-') {
      if (wasIdent !== ident) return ['foreign'];
      if (isProven === '1' && wasTenant !== '' && wasTenant !== tenant) return ['foreign'];
    }
    if (known.has('owill')) {
      const oby = known.get('oby') ?? '';
      if (oby !== '' && oby !== owner) return ['busy', oby];
      oldWill = {
        will: known.get('owill')!,
        sid: known.get('osid')!,
        epoch: known.get('oepoch')!,
        ident: known.get('oident') ?? '',
        tenant: known.get('otenant') ?? '',
      };
    }
    const will = known.get('will');
    if (will !== undefined) {
      const wby = known.get('wby') ?? '';
      if (wby !== '' && wby !== owner) return ['busy', wby];
    }
    const wasConnected = goneMs === 0;
    isEnded =
      cleanStart === '1' || isExpired || wasIdent !== ident || (wasConnected && wasExpiryS === 0);
    const wdueMs = numberIn(known, 'wdue');
    const isDelayOver = wdueMs > 0 && wdueMs <= nowMs;
    const isImmediate = wasConnected && numberIn(known, 'wdelay') === 0;
    if (will !== undefined && (isEnded || isDelayOver || isImmediate)) {
      if (oldWill !== null) return ['busy', known.get('oby') ?? ''];
      oldWill = {
        will,
        sid: known.get('sid')!,
        epoch: known.get('epoch')!,
        ident: wasIdent,
        tenant: wasTenant,
      };
    }
    epoch = Math.max(numberIn(known, 'epoch') + 1, epoch);
  }

  if (isEnded && known !== undefined) endSession(db, keys, nowMs);
  const meta = db.hash(metaKey);
  forget(meta, OWN_WILL);
  meta.set('epoch', `${epoch}`).set('owner', owner).set('ident', ident).set('tenant', tenant);
  meta.set('ver', args[8]!).set('expiry', `${expiryS}`).set('gone', '0');
  meta.set('req', `${newSid}:${isEnded ? 0 : 1}:${previousOwners}`);
  if (args[9] !== '') meta.set('will', args[9]!).set('wdelay', args[10]!);
  if (oldWill !== null) {
    meta.set('owill', oldWill.will).set('osid', oldWill.sid).set('oepoch', oldWill.epoch);
    meta.set('oby', owner).set('oident', oldWill.ident).set('otenant', oldWill.tenant);
  }
  if (isEnded) {
    meta.set('sid', newSid).set('cnt', '0').set('pseq', '0');
    if (expiryS > 0) {
      meta.set('head', '0').set('bytes', '0');
      db.list(queueKey).push('');
    }
  }
  return answer(previousOwners, isEnded ? 0 : 1);
};

export const adoptTwin: Twin = (db, keys, args) => {
  const refused = refusal(db.peekHash(keys[0]!), args[0], args[1]);
  if (refused !== null) return refused;
  return db.hash(keys[0]!).delete('req') ? 1 : 0;
};

export const closeTwin: Twin = (db, keys, args, nowMs) => {
  const known = db.peekHash(keys[0]!);
  const delayS = Number(args[3]);
  if (known === undefined) return args[2] === '0' ? ['ended'] : 'gone';
  if (refusal(known, args[0], args[1]) !== null) return 'fenced';
  const meta = db.hash(keys[0]!);
  if (numberIn(meta, 'gone') === 0) {
    meta.set('gone', `${nowMs}`).set('owner', '').set('expiry', args[2]!);
    if (meta.has('will') && delayS >= 0) meta.set('wdue', `${nowMs + delayS * 1000}`);
  }
  if (delayS < 0 && !meta.has('wby')) forget(meta, OWN_WILL);
  const expiryS = numberIn(meta, 'expiry');
  if (expiryS === 0 && !meta.has('will') && !meta.has('owill')) {
    endSession(db, keys, nowMs);
    return ['ended'];
  }
  const endsMs = endingMs(numberIn(meta, 'gone'), expiryS);
  return ['closed', nextLookMs(nowMs, meta.has('owill'), numberIn(meta, 'wdue'), endsMs)];
};

export const removeTwin: Twin = (db, keys, args, nowMs) => {
  const refused = refusal(db.peekHash(keys[0]!), args[0], args[1]);
  if (refused !== null) return refused;
  endSession(db, keys, nowMs);
  return 1;
};

export const orphanTwin: Twin = (db, keys, args, nowMs) => {
  const [dead] = args as [string];
  if (db.peekHash(keys[0]!) === undefined) return ['not', 0];
  const meta = db.hash(keys[0]!);
  if (meta.get('wby') === dead) meta.delete('wby');
  if (meta.get('oby') === dead) meta.delete('oby');
  const owner = meta.get('owner');
  if (owner !== dead && owner !== '') return ['not', 0];
  if (owner === dead) {
    meta.set('owner', '').set('gone', `${nowMs}`);
    if (meta.has('will')) meta.set('wdue', `${nowMs + numberIn(meta, 'wdelay') * 1000}`);
  }
  const endsMs = endingMs(numberIn(meta, 'gone'), numberIn(meta, 'expiry'));
  const next = nextLookMs(nowMs, meta.has('owill'), numberIn(meta, 'wdue'), endsMs);
  return [owner === dead ? 'orphaned' : 'not', next];
};

export const saveTwin: Twin = (db, keys, args) => {
  const known = db.peekHash(keys[0]!);
  const refused = refusal(known, args[0], args[1]);
  if (refused !== null) return refused;
  if (Number(args[3]) >= numberIn(known!, 'cnt')) {
    db.hash(keys[0]!).set('expiry', args[2]!).set('cnt', args[3]!).set('rec', args[4]!);
  }
  return 1;
};

export const listTwin: Twin = (db, keys) => {
  const meta = db.peekHash(keys[0]!);
  if (meta === undefined || !meta.has('head')) return null;
  const head = numberIn(meta, 'head');
  return [
    meta.get('sid')!,
    numberIn(meta, 'epoch'),
    meta.get('owner')!,
    meta.get('ident')!,
    meta.get('tenant')!,
    numberIn(meta, 'ver'),
    numberIn(meta, 'expiry'),
    numberIn(meta, 'cnt'),
    meta.get('rec') ?? '',
    numberIn(meta, 'gone'),
    head,
    head + db.list(keys[1]!).length - 1,
    numberIn(meta, 'bytes'),
  ];
};

export const assertTwin: Twin = (db, keys, args, nowMs) => {
  const [metaKey, queueKey, marksKey] = keys as [string, string, string];
  const [owner, sid, epoch] = args as [string, string, string];
  const head = Number(args[9]);
  const [will, willDelayS] = [args[11]!, args[12]!];
  const known = db.peekHash(metaKey);
  if (known !== undefined) {
    const isNobodys = owner !== '' && known.get('owner') === '' && known.get('sid') === sid;
    const knownEpoch = numberIn(known, 'epoch');
    if (knownEpoch > Number(epoch) || (knownEpoch === Number(epoch) && !isNobodys)) return 0;
  } else {
    const ended = db.peekHash(keys[SESSION_KEYS]!) ?? new Map();
    if (numberIn(ended, 'epoch') >= Number(epoch) && numberIn(ended, 'until') > nowMs) return 0;
  }
  const goneMs = owner !== '' ? 0 : args[10] === '0' ? nowMs : Number(args[10]);
  const isSame = known !== undefined && known.get('sid') === sid && known.has('head');
  if (known !== undefined && !isSame) db.remove(keys.slice(0, SESSION_KEYS));
  const meta = db.hash(metaKey);
  forget(meta, OWN_WILL);
  meta.set('sid', sid).set('epoch', epoch).set('owner', owner).set('ident', args[3]!);
  meta.set('tenant', args[4]!).set('ver', args[5]!).set('expiry', args[6]!);
  meta.set('cnt', args[7]!).set('rec', args[8]!).set('gone', `${goneMs}`);
  if (will !== '') {
    meta.set('will', will).set('wdelay', willDelayS);
    if (goneMs !== 0) meta.set('wdue', `${goneMs + Number(willDelayS) * 1000}`);
  }
  if (!isSame) {
    meta
      .set('head', `${head < 0 ? nowMs : head + HEAD_GAP}`)
      .set('bytes', '0')
      .set('pseq', `${nowMs}`);
    db.setList(queueKey, ['']);
    return 1;
  }
  const queue = db.list(queueKey);
  const tail = numberIn(meta, 'head') + queue.length - 1;
  if (head > tail && queue.length === 1) meta.set('head', `${head}`);
  else {
    for (let at = tail + 1; at <= head; at++) {
      queue.push('');
      db.hash(marksKey).set(`${at}`, 's');
    }
  }
  return 1;
};

/**
 * Names of keys: whatever a client calls itself, its keys are its own, on one shard, and nobody else's;
 * tried on a Redis Cluster of one, which refuses calls over several slots.
 */
import { createClient } from '@redis/client';
import t, { type Test } from 'tap';
import { nodeKeys } from '../../../src/cluster/node-functions.ts';
import type { RedisFunction, RedisReply } from '../../../src/drivers/redis/redis-port.ts';
import type { RedisCall } from '../../../src/store/redis/functions/reply.ts';
import { removeCall, sessionRemove } from '../../../src/store/redis/functions/session-end.ts';
import {
  openCall,
  openReply,
  sessionOpen,
} from '../../../src/store/redis/functions/session-open.ts';
import {
  AppendCall,
  appendReply,
  sessionAppend,
} from '../../../src/store/redis/functions/session-queue.ts';
import {
  CLIENT_INDEXES,
  checkPrefix,
  clientIndexKey,
  clientIndexKeyAt,
  DUE_INDEXES,
  dueKey,
  dueKeyAt,
  escapeClientId,
  ownedKey,
  type SessionKeys,
  sessionKeys,
  sessionTag,
} from '../../../src/store/redis/keys.ts';
import { tagOf } from '../../sim/model-redis.ts';
import { RedisServer } from '../../support/redis-server.ts';

const HOSTILE = [
  ...['{', '}', '}{', '{}', '{a}', '}:m', '{x}:q', '%', '%%', '%7b', '%7d', '%25', '%u7b'],
  ...['\u0000', '\u0001', '\r\n', '\u007f', '\u0085', 'a\u0000b', 'a b', ' ', '*', '?', '[a]', ':'],
  ...['__proto__', 'constructor', 'toString', 'm', 'q', 'x', 'a:m', 'a}:m', 's:{a}:m'],
  ...['ü', 'u\u0308', '日本', '\u{1f600}', '\ud83d', '\ude00', '\ude00\ud83d', '%ud83d', '\ufffd'],
  ...['$share/g/f/#', '#', '+', '/', '', 'a'.repeat(65_535), '{'.repeat(65_535)],
];

const all = (keys: SessionKeys): string[] => Object.values(keys) as string[];

t.test('keys of different clients are different, also as bytes', (t) => {
  const seen: Map<string, string> = new Map();
  for (const id of HOSTILE) {
    for (const key of all(sessionKeys('p:', id))) {
      const bytes = Buffer.from(key).toString('latin1');
      t.equal(seen.get(bytes), undefined, `only one has ${key.slice(0, 40)}`);
      seen.set(bytes, id);
    }
  }
  t.equal(seen.size, HOSTILE.length * 6);
  t.end();
});

t.test('keys of one client have one hash tag, with nothing in it that ends it', (t) => {
  for (const id of HOSTILE) {
    const tags = new Set(all(sessionKeys('p:', id)).map(tagOf));
    t.same([...tags], [sessionTag(id)]);
    t.notMatch(sessionTag(id), /[{}\u0000-\u001f\u007f-\u009f]/);
    t.not(sessionTag(id), '');
  }
  t.equal(escapeClientId('sensor-1/ü'), 'sensor-1/ü', 'what is harmless is left alone');
  t.equal(escapeClientId('%{\n}'), '%25%7b%0a%7d');
  t.end();
});

t.test('the prefix is not part of the tag', (t) => {
  for (const prefix of ['', 'causeway:', 'ä-1/']) t.doesNotThrow(() => checkPrefix(prefix));
  for (const prefix of ['{', 'a}', 'a{b}:', 'a\n']) t.throws(() => checkPrefix(prefix), RangeError);
  t.end();
});

t.test('indexes: always the same one for a client, and all of them are used', (t) => {
  const used: Set<string> = new Set();
  for (let i = 0; i < 2000; i++) {
    used.add(clientIndexKey('p:', `c${i}`));
    used.add(dueKey('p:', `c${i}`));
  }
  for (let i = 0; i < CLIENT_INDEXES; i++) t.ok(used.has(clientIndexKeyAt('p:', i)));
  for (let i = 0; i < DUE_INDEXES; i++) t.ok(used.has(dueKeyAt('p:', i)));
  t.equal(used.size, CLIENT_INDEXES + DUE_INDEXES);
  // Fixed for ever: releases that run side by side have to agree.
  t.equal(clientIndexKey('', 'sensor-1'), 'x:{39}');
  t.equal(dueKey('', 'sensor-1'), 't:{7}');
  t.end();
});

t.test('no two kinds of keys are the same', (t) => {
  const stems = [
    ...all(sessionKeys('p:', 'cluster')),
    clientIndexKey('p:', 'cluster'),
    dueKey('p:', 'cluster'),
    ownedKey('p:', 'cluster'),
    ...(Object.values(nodeKeys('p:')) as string[]),
  ];
  t.equal(new Set(stems).size, stems.length);
  t.same([...new Set(Object.values(nodeKeys('p:')).map(tagOf))], ['cluster']);
  t.end();
});

/** The port between its nodes is its own plus 10000, which need not be there or free: then another. */
async function clusterOfOne(t: Test): Promise<RedisServer> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await RedisServer.start(t, ['--cluster-enabled', 'yes']);
    } catch (error) {
      if (attempt === 10) throw error;
    }
  }
}

t.test('hostile ids on a Redis Cluster', async (t) => {
  const server = await clusterOfOne(t);
  const client = createClient({ url: server.url, RESP: 2, disableClientInfo: true });
  client.on('error', () => {});
  await client.connect();
  t.teardown(() => client.destroy());
  const slots = Array.from({ length: 16_384 }, (_, slot) => `${slot}`);
  await client.sendCommand(['CLUSTER', 'ADDSLOTS', ...slots]);
  const deadlineMs = performance.now() + 10_000;
  while (!String(await client.sendCommand(['CLUSTER', 'INFO'])).includes('cluster_state:ok')) {
    if (performance.now() > deadlineMs) throw new Error('the cluster of one does not come up');
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  const buffers = client.withTypeMapping({ 36: Buffer });
  const call = async (fn: RedisFunction, { keys, args }: RedisCall): Promise<RedisReply> => {
    const texts = args.map((arg) => (typeof arg === 'number' ? `${arg}` : arg));
    const command = ['EVAL', fn.lua, `${keys.length}`, ...keys, ...texts];
    return (await buffers.sendCommand(command)) as unknown as RedisReply;
  };
  const sessions: { keys: SessionKeys; sid: string; epoch: number; id: string }[] = [];
  for (const [i, id] of HOSTILE.entries()) {
    const keys = sessionKeys('p:', id);
    const opened = openReply(
      await call(
        sessionOpen,
        openCall(keys, {
          owner: 'n1',
          hlcMs: 1_800_000_000_000,
          newSid: i.toString(16).padStart(16, '0'),
          identity: null,
          tenant: '',
          isTenantProven: false,
          cleanStart: false,
          expiryIntervalS: 100,
          version: 4,
          will: null,
          willDelayS: 0,
        }),
      ),
    );
    if (opened.kind !== 'opened') throw new Error(opened.kind);
    t.equal(opened.present, false, 'nobody else’s');
    sessions.push({ keys, sid: opened.sid, epoch: opened.epoch, id });
  }
  for (const [i, { keys, sid }] of sessions.entries()) {
    const append = new AppendCall(10, 1e6, 'oldest');
    append.session(keys, sid, 'w', 0);
    append.value(i + 1, Buffer.from(`${i}`));
    t.equal(appendReply(await call(sessionAppend, append))[0]?.tail, 1);
  }
  for (const { keys, sid, epoch } of sessions) {
    t.equal(await call(sessionRemove, removeCall(keys, sid, epoch)), 1);
  }
  for (const { keys } of sessions) {
    const leftMs = Number(await client.sendCommand(['PTTL', keys.end]));
    t.ok(leftMs > 0 && leftMs <= 120_000, 'that it has ended is known for a while');
    await client.sendCommand(['DEL', keys.end]);
  }
  t.equal(await client.sendCommand(['DBSIZE']), 0, 'nothing else is left');
});

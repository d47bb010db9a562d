/**
 * What the functions of a session's queue cost Redis: microseconds of its main thread, by INFO cpu (all
 * of it: reading, executing, answering) and by commandstats (executing only). A Redis of its own, one
 * connection, 128 calls under way.
 *
 *   node bench/micro/redis-functions.ts [calls]
 */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { cpus, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { createClient, RESP_TYPES } from '@redis/client';
import { redisServer } from '../../scripts/provide.ts';
import type { RedisFunction, RedisReply } from '../../src/drivers/redis/redis-port.ts';
import type { RedisCall } from '../../src/store/redis/functions/reply.ts';
import { closeCall, sessionClose } from '../../src/store/redis/functions/session-end.ts';
import { openCall, openReply, sessionOpen } from '../../src/store/redis/functions/session-open.ts';
import {
  AppendCall,
  readCall,
  sessionAppend,
  sessionRead,
  sessionSettle,
  settleCall,
} from '../../src/store/redis/functions/session-queue.ts';
import { type SessionKeys, sessionKeys } from '../../src/store/redis/keys.ts';

const CALLS = Number(process.argv[2] ?? 4000);
const UNDER_WAY = 128;
const PREFIX = 'bench:';

const folder = mkdtempSync(join(tmpdir(), 'causeway-bench-redis-'));
const socket = join(folder, 'redis.sock');
const args = ['--port', '0', '--unixsocket', socket, '--dir', folder, '--save', ''];
const server = spawn(redisServer(), [...args, '--appendonly', 'no'], { stdio: 'ignore' });
const client = createClient({ socket: { path: socket, tls: false }, RESP: 2 });
client.on('error', () => {});
for (let attempt = 1; !client.isReady; attempt++) {
  if (attempt === 100) throw new Error('redis-server does not come up');
  await sleep(50);
  await client.connect().catch(() => {});
}
const buffers = client.withTypeMapping({ [RESP_TYPES.BLOB_STRING]: Buffer });

async function send(command: (string | Buffer)[]): Promise<RedisReply> {
  return (await buffers.sendCommand(command)) as unknown as RedisReply;
}

const shas: Map<string, string> = new Map();
async function load(fn: RedisFunction): Promise<void> {
  await send(['SCRIPT', 'LOAD', fn.lua]);
  shas.set(fn.name, createHash('sha1').update(fn.lua).digest('hex'));
}
for (const fn of [sessionOpen, sessionClose, sessionAppend, sessionRead, sessionSettle]) {
  await load(fn);
}

function call(fn: RedisFunction, { keys, args }: RedisCall): Promise<RedisReply> {
  const texts = args.map((arg) => (typeof arg === 'number' ? `${arg}` : arg));
  return send(['EVALSHA', shas.get(fn.name)!, `${keys.length}`, ...keys, ...texts]);
}

interface Spent {
  readonly mainUs: number;
  readonly executingUs: number;
}

async function spent(): Promise<Spent> {
  const cpu = String(await send(['INFO', 'cpu']));
  const stats = String(await send(['INFO', 'commandstats']));
  const seconds = (name: string): number => Number(new RegExp(`${name}:([\\d.]+)`).exec(cpu)?.[1]);
  const user = seconds('used_cpu_user_main_thread');
  const sys = seconds('used_cpu_sys_main_thread');
  const executing = /cmdstat_evalsha:calls=\d+,usec=(\d+)/.exec(stats)?.[1] ?? 0;
  return { mainUs: (user + sys) * 1e6, executingUs: Number(executing) };
}

/** `make` gives the nth call; `each`: messages (or sessions) a call is for. */
async function measure(
  what: string,
  each: number,
  calls: number,
  make: (n: number) => readonly [RedisFunction, RedisCall][],
): Promise<void> {
  const before = await spent();
  for (let n = 0; n < calls; n += UNDER_WAY) {
    const answers: Promise<RedisReply>[] = [];
    for (let i = n; i < Math.min(n + UNDER_WAY, calls); i++) {
      for (const [fn, one] of make(i)) answers.push(call(fn, one));
    }
    await Promise.all(answers);
  }
  const after = await spent();
  const per = (us: number): string => (us / calls / each).toFixed(2).padStart(9);
  const main = per(after.mainUs - before.mainUs);
  const executing = per(after.executingUs - before.executingUs);
  process.stdout.write(`${what.padEnd(52)} ${main} ${executing}\n`);
}

let opened = 0;
function openArguments(keys: SessionKeys): RedisCall {
  return openCall(keys, {
    owner: '0123456789abcdef0123456789abcdef',
    hlcMs: 1_800_000_000_000,
    newSid: (++opened).toString(16).padStart(16, '0'),
    identity: 'user',
    tenant: '',
    isTenantProven: false,
    cleanStart: false,
    expiryIntervalS: 3600,
    version: 5,
    will: null,
    willDelayS: 0,
  });
}

interface BenchSession {
  readonly keys: SessionKeys;
  readonly sid: string;
  readonly epoch: number;
}

async function open(name: string): Promise<BenchSession> {
  const keys = sessionKeys(PREFIX, name);
  const reply = openReply(await call(sessionOpen, openArguments(keys)));
  if (reply.kind !== 'opened') throw new Error(`open answered ${reply.kind}`);
  return { keys, sid: reply.sid, epoch: reply.epoch };
}

let seq = 0;
function append(sessions: readonly BenchSession[], values: number, bytes: number): RedisCall {
  const one = new AppendCall(1e9, 1e12, 'oldest');
  const value = Buffer.alloc(bytes, 0x78);
  for (const { keys, sid } of sessions) {
    one.session(keys, sid, 'ffffffffffffffffffffffffffffffff', 0);
    for (let i = 0; i < values; i++) one.value(++seq, value);
  }
  return one;
}

try {
  process.stdout.write(
    `${cpus().length} cores, load ${loadavg()[0]?.toFixed(2)}; µs a message (or session)\n`,
  );
  process.stdout.write(`${''.padEnd(52)} ${'main'.padStart(9)} ${'executing'.padStart(9)}\n`);
  const first = await open('first');
  // Warm: the allocator, and the functions.
  for (let n = 0; n < 2000; n++) await call(sessionAppend, append([first], 1, 100));
  await call(sessionSettle, settleCall(first.keys, first.sid, first.epoch, 2000, [], []));

  const other = await open('other');
  const many: BenchSession[] = [];
  for (let i = 0; i < 64; i++) many.push(await open(`many-${i}`));
  const settle = (upTo: number): [RedisFunction, RedisCall] => [
    sessionSettle,
    settleCall(other.keys, other.sid, other.epoch, upTo, [], []),
  ];
  for (const bytes of [100, 1024]) {
    const { keys, sid } = first;
    await measure(`append, one of ${bytes} B a call`, 1, CALLS, () => [
      [sessionAppend, append([first], 1, bytes)],
    ]);
    await measure(`append, 64 of ${bytes} B in one session`, 64, CALLS / 16, () => [
      [sessionAppend, append([other], 64, bytes)],
    ]);
    await measure(`append, one of ${bytes} B to 64 sessions a call`, 64, CALLS / 16, () => [
      [sessionAppend, append(many, 1, bytes)],
    ]);
    await measure(`read 64 of ${bytes} B (a read)`, 1, CALLS / 4, () => [
      [sessionRead, readCall(keys, sid, 0, 64, 1e6)],
    ]);
    const passed = bytes === 100 ? 0 : CALLS * 4;
    await measure(`settle ${bytes} B, in tens`, 10, CALLS / 10, (n) => [
      settle(passed + (n + 1) * 10),
    ]);
    await measure(`settle ${bytes} B, one by one`, 1, CALLS / 2, (n) => [
      settle(passed + CALLS + n + 1),
    ]);
    await measure(`settle ${bytes} B, in fifties`, 50, CALLS / 50, (n) => [
      settle(passed + CALLS * 2 + (n + 1) * 50),
    ]);
    await call(...settle(passed + CALLS * 4));
  }
  await measure('open and close a session that is there', 1, CALLS / 4, () => {
    const keys = sessionKeys(PREFIX, 'again');
    // Another connection takes it each time; its close is fenced, which costs about the same.
    return [
      [sessionOpen, openArguments(keys)],
      [sessionClose, closeCall(keys, 'x', 1, 3600, -1)],
    ];
  });
  await measure('open a new session', 1, CALLS / 4, (n) => [
    [sessionOpen, openArguments(sessionKeys(PREFIX, `new-${n}`))],
  ]);
} finally {
  client.destroy();
  server.kill('SIGKILL');
  rmSync(folder, { recursive: true, force: true });
}

/**
 * RESP 2 as bytes: what the writer writes is what Redis reads, and the reader finds the same replies
 * however the bytes are cut. Properties over random commands, replies, cuts and damage.
 */
import { deepStrictEqual } from 'node:assert';
import fc from 'fast-check';
import t from 'tap';
import {
  RESP_LIMITS,
  RespError,
  type RespLimits,
  RespReader,
  type RespReply,
  RespViolation,
} from '../../src/drivers/redis/resp-reader.ts';
import { RespWriter } from '../../src/drivers/redis/resp-writer.ts';

const RUNS = { numRuns: 300 };

/** What a reply is on the wire, written down a second time and slowly. */
type Reply =
  | { readonly kind: 'line'; readonly text: string }
  | { readonly kind: 'error'; readonly text: string }
  | { readonly kind: 'integer'; readonly value: number }
  | { readonly kind: 'bulk'; readonly bytes: Uint8Array | null }
  | { readonly kind: 'array'; readonly items: readonly Reply[] | null };

const line = fc.string({ unit: 'grapheme', maxLength: 40 }).filter((text) => !/[\r\n]/.test(text));

const { reply } = fc.letrec<{ reply: Reply }>((tie) => ({
  reply: fc.oneof(
    { maxDepth: 4 },
    fc.record({ kind: fc.constant('line' as const), text: line }),
    fc.record({ kind: fc.constant('error' as const), text: line.map((text) => `ERR ${text}`) }),
    fc.record({ kind: fc.constant('integer' as const), value: fc.maxSafeInteger() }),
    fc.record({
      kind: fc.constant('bulk' as const),
      bytes: fc.option(fc.uint8Array({ maxLength: 600 }), { nil: null }),
    }),
    fc.record({
      kind: fc.constant('array' as const),
      items: fc.option(fc.array(tie('reply'), { maxLength: 6 }), { nil: null }),
    }),
  ),
}));

function encode(one: Reply): Buffer {
  switch (one.kind) {
    case 'line':
      return Buffer.from(`+${one.text}\r\n`);
    case 'error':
      return Buffer.from(`-${one.text}\r\n`);
    case 'integer':
      return Buffer.from(`:${one.value}\r\n`);
    case 'bulk':
      if (one.bytes === null) return Buffer.from('$-1\r\n');
      return Buffer.concat([
        Buffer.from(`$${one.bytes.length}\r\n`),
        one.bytes,
        Buffer.from('\r\n'),
      ]);
    default:
      if (one.items === null) return Buffer.from('*-1\r\n');
      return Buffer.concat([Buffer.from(`*${one.items.length}\r\n`), ...one.items.map(encode)]);
  }
}

/** The first error in it, or its value. */
function meant(one: Reply): unknown {
  const error = firstError(one);
  return error === null ? plainOf(one) : { error };
}

function firstError(one: Reply): string | null {
  if (one.kind === 'error') return one.text;
  if (one.kind !== 'array') return null;
  for (const item of one.items ?? []) {
    const found = firstError(item);
    if (found !== null) return found;
  }
  return null;
}

function plainOf(one: Reply): unknown {
  if (one.kind === 'line') return one.text;
  if (one.kind === 'integer') return one.value === 0 ? 0 : one.value;
  if (one.kind === 'bulk') return one.bytes === null ? null : Buffer.from(one.bytes);
  return one.kind === 'array' && one.items !== null ? one.items.map(plainOf) : null;
}

function shown(value: RespReply): unknown {
  return value instanceof RespError ? { error: value.text } : value;
}

function readAll(
  bytes: Buffer,
  cuts: readonly number[],
  limits: RespLimits = RESP_LIMITS,
): RespReply[] {
  const found: RespReply[] = [];
  const reader = new RespReader({ reply: (one) => found.push(one) }, limits);
  // One buffer for all chunks, as a socket reads into: what is kept of it must be copied.
  const chunk = Buffer.alloc(Math.max(1, bytes.length));
  let from = 0;
  for (const end of [...cuts, bytes.length]) {
    bytes.copy(chunk, 0, from, end);
    reader.push(chunk, end - from);
    chunk.fill(0x21);
    from = end;
  }
  return found;
}

t.test('any replies, cut anywhere', async (t) => {
  fc.assert(
    fc.property(
      fc.array(reply, { minLength: 1, maxLength: 8 }),
      fc.array(fc.nat(4000), { maxLength: 12 }),
      (replies, places) => {
        const bytes = Buffer.concat(replies.map(encode));
        const cuts = places.filter((at) => at < bytes.length).sort((a, b) => a - b);
        deepStrictEqual(readAll(bytes, cuts).map(shown), replies.map(meant));
      },
    ),
    RUNS,
  );
  t.pass('for all of them');
});

t.test('byte by byte', async (t) => {
  fc.assert(
    fc.property(reply, (one) => {
      const bytes = encode(one);
      const cuts = Array.from({ length: bytes.length }, (_, at) => at);
      deepStrictEqual(readAll(bytes, cuts).map(shown), [meant(one)]);
    }),
    { numRuns: 100 },
  );
  t.pass('for all of them');
});

t.test('a large bulk string is filled, not searched', async (t) => {
  const value = Buffer.alloc(8 * 1024 * 1024, '\r\n');
  const bytes = encode({ kind: 'bulk', bytes: value });
  const cuts = Array.from({ length: 127 }, (_, at) => (at + 1) * 65_536);
  const [found] = readAll(bytes, cuts);
  t.ok(Buffer.isBuffer(found) && value.equals(found));
});

t.test('a reader that is in the middle of something says so', async (t) => {
  const bytes = Buffer.from('*2\r\n:1\r\n$2\r\nab\r\n');
  for (let end = 0; end <= bytes.length; end += 1) {
    const reader = new RespReader({ reply: () => {} });
    reader.push(bytes, end);
    t.equal(reader.isBetween, end === 0 || end === bytes.length);
  }
});

t.test('what is not RESP 2, or too much of it, is refused', async (t) => {
  const limits: RespLimits = { depthMax: 3, itemsMax: 10, replyBytesMax: 100, lineBytesMax: 20 };
  const bad: readonly string[] = [
    '%1\r\n',
    '_\r\n',
    'hello\r\n',
    ':\r\n',
    ':1a\r\n',
    ':--1\r\n',
    ':12345678901234567890\r\n',
    '$-2\r\n',
    '$1\r\nabc\r\n',
    '$101\r\n',
    '$9999999999\r\n',
    '*-2\r\n',
    '*11\r\n',
    '*2\r\n*5\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n*5\r\n',
    '*1\r\n*1\r\n*1\r\n*1\r\n',
    `*2\r\n$60\r\n${'x'.repeat(60)}\r\n$60\r\n`,
    `+${'x'.repeat(21)}\r\n`,
    `-${'x'.repeat(100)}`,
    '+a\rb\r\n',
  ];
  for (const text of bad) {
    const bytes = Buffer.from(text);
    t.throws(() => readAll(bytes, [], limits), RespViolation, JSON.stringify(text.slice(0, 30)));
    const cuts = Array.from({ length: bytes.length }, (_, at) => at);
    t.throws(() => readAll(bytes, cuts, limits), RespViolation, 'byte by byte too');
  }
  t.strictSame(readAll(Buffer.from(`+${'x'.repeat(20)}\r\n`), [], limits), ['x'.repeat(20)]);
});

t.test('damage never does more than a violation', async (t) => {
  fc.assert(
    fc.property(
      fc.array(reply, { minLength: 1, maxLength: 4 }),
      fc.nat(),
      fc.nat(255),
      (replies, place, byte) => {
        const bytes = Buffer.concat(replies.map(encode));
        bytes[place % bytes.length] = byte;
        try {
          readAll(bytes, []);
        } catch (error) {
          if (!(error instanceof RespViolation)) throw error;
        }
      },
    ),
    RUNS,
  );
  t.pass('for all of them');
});

t.test('codes of errors', async (t) => {
  const codes: readonly (readonly [string, string])[] = [
    ['WRONGTYPE Operation against a key', 'WRONGTYPE'],
    ['NOSCRIPT No matching script.', 'NOSCRIPT'],
    ['MOVED 12 127.0.0.1:7000', 'MOVED'],
    ['ERR unknown command', 'ERR'],
    ['LOADING', 'LOADING'],
    ['OOM command not allowed. script: ab, on @user_script:1.', 'OOM'],
    // As Redis 6.2 words what a script met.
    [
      'ERR Error running script (call to f_abc): @user_script:1: -OOM command not allowed when used',
      'OOM',
    ],
    ['odd', 'ERR'],
    ['', 'ERR'],
  ];
  for (const [text, code] of codes) t.equal(new RespError(text).code, code, text);
});

t.test('any command comes out as it was meant', async (t) => {
  const argument = fc.oneof(
    fc.string({ unit: 'grapheme', maxLength: 100 }),
    fc.string({ unit: 'binary', maxLength: 60 }),
    fc.constantFrom('', 'x'.repeat(9), 'x'.repeat(10), 'ü'.repeat(60), '€'.repeat(5)),
    fc.oneof(fc.maxSafeInteger(), fc.double({ noNaN: true }), fc.constantFrom(0, -0, 9, 10, 1000)),
    fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)),
  );
  const writer = new RespWriter();
  fc.assert(
    fc.property(fc.array(fc.array(argument, { minLength: 1 }), { maxLength: 5 }), (commands) => {
      for (const args of commands) {
        writer.command(args.length);
        for (const arg of args) {
          if (typeof arg === 'string') writer.text(arg);
          else if (typeof arg === 'number') writer.number(arg);
          else writer.bytes(arg);
        }
      }
      const taken = writer.take();
      const found = readAll(taken, []);
      writer.release(taken);
      const wanted = commands.map((args) =>
        args.map((arg) => (Buffer.isBuffer(arg) ? arg : Buffer.from(String(arg)))),
      );
      deepStrictEqual(found, wanted);
    }),
    RUNS,
  );
  t.pass('for all of them');
});

t.test('a writer grows for what does not fit, and gives the memory back', async (t) => {
  const writer = new RespWriter();
  const large = Buffer.alloc(3 * 1024 * 1024, 0x61);
  for (let round = 0; round < 3; round += 1) {
    writer.command(2);
    writer.bytes(large);
    writer.text('é'.repeat(100_000));
    const taken = writer.take();
    t.strictSame(readAll(taken, []), [[large, Buffer.from('é'.repeat(100_000))]]);
    writer.release(taken);
    writer.command(1);
    t.ok(writer.take().buffer.byteLength <= 1024 * 1024, 'the next buffer is a small one');
  }
});

/**
 * Replies of Redis (RESP 2) out of chunks as a socket brings them: each byte is looked at once, however
 * the chunks are cut. Bulk strings are copied, so a chunk may be used again at once. Sizes and nesting
 * are bounded; what is not RESP 2 throws a RespViolation. It knows no socket.
 */
import type { RedisReply } from './redis-port.ts';

/** An error reply. Its text may quote arguments: only `code` may be shown. */
export class RespError {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }

  /** Its first word: `WRONGTYPE`, `MOVED`; of an error out of Lua the one that Lua met. */
  get code(): string {
    const word = wordOf(this.text, 0);
    if (word !== 'ERR') return word === '' ? 'ERR' : word;
    // Before Redis 7: "ERR Error running script (call to f_…): @user_script:1: -OOM command not …"
    const script = this.text.indexOf('@user_script');
    const inner = script === -1 ? -1 : this.text.indexOf(': -', script);
    return (inner === -1 ? '' : wordOf(this.text, inner + 3)) || word;
  }
}

export type RespReply = RedisReply | RespError;

/** What came is not RESP 2, or beyond the limits. Its message holds no content. */
export class RespViolation extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'RespViolation';
  }
}

export interface RespLimits {
  /** Arrays within arrays. */
  readonly depthMax: number;
  /** Of one whole reply. */
  readonly itemsMax: number;
  readonly replyBytesMax: number;
  /** Of a simple string or an error. */
  readonly lineBytesMax: number;
}

export const RESP_LIMITS: RespLimits = {
  depthMax: 16,
  itemsMax: 4_000_000,
  // The largest value Redis itself takes.
  replyBytesMax: 512 * 1024 * 1024,
  lineBytesMax: 64 * 1024,
};

export interface RespSink {
  /** An array with an error anywhere in it is that error. */
  reply(reply: RespReply): void;
}

const CR = 0x0d;
const LF = 0x0a;
const MINUS = 0x2d;
const ZERO = 0x30;
const STRING = 0x2b;
const ERROR = 0x2d;
const INTEGER = 0x3a;
const BULK = 0x24;
const ARRAY = 0x2a;

const LINE_BYTES = 256;

export class RespReader {
  readonly #sink: RespSink;
  readonly #limits: RespLimits;
  /** The beginning of a line whose end is in the next chunk. */
  #line: Buffer = Buffer.allocUnsafe(LINE_BYTES);
  #lineBytes = 0;
  /** The bulk string that is being filled; then its CR LF. */
  #bulk: Buffer | null = null;
  #bulkBytes = 0;
  /** Arrays that are open, outermost first, and how many items each still lacks. */
  readonly #arrays: RedisReply[][] = [];
  readonly #lacking: number[] = [];
  #error: RespError | null = null;
  #items = 0;
  #bytes = 0;

  constructor(sink: RespSink, limits: RespLimits = RESP_LIMITS) {
    this.#sink = sink;
    this.#limits = limits;
  }

  /** Everything that came was complete replies. */
  get isBetween(): boolean {
    return this.#lineBytes === 0 && this.#bulk === null && this.#arrays.length === 0;
  }

  push(chunk: Buffer, end: number = chunk.length): void {
    let at = 0;
    while (at < end) {
      if (this.#bulk !== null) at = this.#fill(chunk, at, end);
      else if (this.#lineBytes > 0) at = this.#goOnLine(chunk, at, end);
      else at = this.#begin(chunk, at, end);
    }
  }

  #begin(chunk: Buffer, start: number, end: number): number {
    let at = start + 1;
    while (at < end && chunk[at] !== CR) at += 1;
    if (at + 1 >= end) {
      this.#keepLine(chunk, start, end);
      return end;
    }
    if (chunk[at + 1] !== LF) throw new RespViolation('a line does not end with CR LF');
    return this.#lineEnded(chunk, start, at, at + 2, end);
  }

  #goOnLine(chunk: Buffer, start: number, end: number): number {
    let at = start;
    while (at < end && chunk[at] !== LF) at += 1;
    const isWhole = at < end;
    this.#keepLine(chunk, start, isWhole ? at + 1 : end);
    if (!isWhole) return end;
    const line = this.#line;
    const bytes = this.#lineBytes;
    if (line[bytes - 2] !== CR) throw new RespViolation('a line does not end with CR LF');
    for (let index = 0; index < bytes - 2; index += 1) {
      if (line[index] === CR) throw new RespViolation('a line does not end with CR LF');
    }
    this.#lineBytes = 0;
    // Nothing of the line's own buffer is behind it: a bulk string begins empty.
    this.#lineEnded(line, 0, bytes - 2, bytes, bytes);
    return at + 1;
  }

  #keepLine(chunk: Buffer, start: number, end: number): void {
    const bytes = this.#lineBytes + end - start;
    if (bytes > this.#limits.lineBytesMax + 3) throw new RespViolation('a line is too long');
    if (bytes > this.#line.length) {
      const larger = Buffer.allocUnsafe(Math.max(bytes, this.#line.length * 2));
      this.#line.copy(larger, 0, 0, this.#lineBytes);
      this.#line = larger;
    }
    chunk.copy(this.#line, this.#lineBytes, start, end);
    this.#lineBytes = bytes;
  }

  /** buf[start, stop) is a line; what follows it is from `next` on. Answers where to go on. */
  #lineEnded(buf: Buffer, start: number, stop: number, next: number, end: number): number {
    if (stop - start > this.#limits.lineBytesMax + 1) throw new RespViolation('a line is too long');
    switch (buf[start]) {
      case INTEGER:
        this.#value(integer(buf, start + 1, stop));
        return next;
      case BULK:
        return this.#beginBulk(buf, integer(buf, start + 1, stop), next, end);
      case ARRAY:
        this.#beginArray(integer(buf, start + 1, stop));
        return next;
      case STRING:
        this.#value(buf.toString('utf8', start + 1, stop));
        return next;
      case ERROR:
        this.#failed(new RespError(buf.toString('utf8', start + 1, stop)));
        return next;
      default:
        throw new RespViolation('a reply of unknown type');
    }
  }

  #beginBulk(buf: Buffer, length: number, next: number, end: number): number {
    if (length === -1) {
      this.#value(null);
      return next;
    }
    this.#bytes += length;
    if (length < 0 || this.#bytes > this.#limits.replyBytesMax) {
      throw new RespViolation('a reply is too large');
    }
    const stop = next + length;
    if (stop + 2 > end) {
      this.#bulk = Buffer.allocUnsafe(length + 2);
      this.#bulkBytes = 0;
      return next;
    }
    if (buf[stop] !== CR || buf[stop + 1] !== LF) throw new RespViolation('a bulk string runs on');
    const copy = Buffer.allocUnsafe(length);
    buf.copy(copy, 0, next, stop);
    this.#value(copy);
    return stop + 2;
  }

  #fill(chunk: Buffer, start: number, end: number): number {
    const bulk = this.#bulk as Buffer;
    const stop = Math.min(end, start + bulk.length - this.#bulkBytes);
    chunk.copy(bulk, this.#bulkBytes, start, stop);
    this.#bulkBytes += stop - start;
    if (this.#bulkBytes === bulk.length) {
      const length = bulk.length - 2;
      if (bulk[length] !== CR || bulk[length + 1] !== LF) {
        throw new RespViolation('a bulk string runs on');
      }
      this.#bulk = null;
      this.#value(bulk.subarray(0, length));
    }
    return stop;
  }

  #beginArray(count: number): void {
    if (count <= 0) {
      if (count < -1) throw new RespViolation('an array of less than nothing');
      this.#value(count === 0 ? [] : null);
      return;
    }
    this.#items += count;
    if (this.#items > this.#limits.itemsMax) throw new RespViolation('a reply has too many items');
    if (this.#arrays.length >= this.#limits.depthMax) {
      throw new RespViolation('a reply is nested too deeply');
    }
    this.#arrays.push([]);
    this.#lacking.push(count);
  }

  #failed(error: RespError): void {
    if (this.#arrays.length === 0) {
      this.#done(error);
      return;
    }
    this.#error ??= error;
    this.#value(null);
  }

  #value(value: RedisReply): void {
    let whole = value;
    for (;;) {
      const depth = this.#arrays.length - 1;
      if (depth === -1) {
        this.#done(this.#error ?? whole);
        return;
      }
      const array = this.#arrays[depth] as RedisReply[];
      array.push(whole);
      if (--this.#lacking[depth]! > 0) return;
      this.#arrays.pop();
      this.#lacking.pop();
      whole = array;
    }
  }

  #done(reply: RespReply): void {
    this.#error = null;
    this.#items = 0;
    this.#bytes = 0;
    this.#sink.reply(reply);
  }
}

function integer(buf: Buffer, start: number, stop: number): number {
  const isNegative = buf[start] === MINUS;
  let at = isNegative ? start + 1 : start;
  if (at >= stop || stop - at > 19) throw new RespViolation('a number is none');
  let value = 0;
  for (; at < stop; at += 1) {
    const digit = buf[at]! - ZERO;
    if (digit < 0 || digit > 9) throw new RespViolation('a number is none');
    value = value * 10 + digit;
  }
  return isNegative && value !== 0 ? -value : value;
}

function wordOf(text: string, start: number): string {
  let end = start;
  while (end < text.length && end - start < 20) {
    const code = text.charCodeAt(end);
    if (code < 0x41 || code > 0x5a) break;
    end += 1;
  }
  return end === text.length || text[end] === ' ' ? text.slice(start, end) : '';
}

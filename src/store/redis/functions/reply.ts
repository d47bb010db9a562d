/**
 * Reading replies of functions: each helper turns one RedisReply into what the function promises, or
 * throws an Error that names the function. And what a call is made of. Used by the decoders beside the
 * functions; knows no function itself.
 */
import type { RedisArgument, RedisReply } from '../../../drivers/redis/redis-port.ts';

/** What `RedisPort.call` wants besides the function. */
export interface RedisCall {
  readonly keys: readonly string[];
  readonly args: readonly RedisArgument[];
}

/**
 * Answer of a fenced function: `fenced`: another node has taken the session, or it began anew; `gone`:
 * Redis has no session of that client: it was removed, or Redis was emptied.
 */
export type FencedAnswer = 'done' | 'fenced' | 'gone';

export function unexpected(name: string, what: string): Error {
  return new Error(`${name} answered ${what}`);
}

export function listOf(name: string, reply: RedisReply | undefined): readonly RedisReply[] {
  if (!Array.isArray(reply)) throw unexpected(name, 'something else than a list');
  return reply as readonly RedisReply[];
}

export function bytesOf(name: string, reply: RedisReply | undefined): Buffer {
  if (!Buffer.isBuffer(reply)) throw unexpected(name, 'something else than bytes');
  return reply;
}

export function textOf(name: string, reply: RedisReply | undefined): string {
  if (typeof reply === 'string') return reply;
  return bytesOf(name, reply).toString('utf8');
}

/** An integer, or decimal digits as they are in hashes. */
export function numberOf(name: string, reply: RedisReply | undefined): number {
  const number = typeof reply === 'number' ? reply : Number(digitsOf(name, reply));
  if (!Number.isSafeInteger(number)) throw unexpected(name, 'something else than a number');
  return number;
}

function digitsOf(name: string, reply: RedisReply | undefined): string {
  const text = textOf(name, reply);
  if (!/^-?\d{1,16}$/.test(text)) throw unexpected(name, 'something else than a number');
  return text;
}

export function fencedAnswer(name: string, reply: RedisReply): FencedAnswer {
  if (reply === 1) return 'done';
  const word = textOf(name, reply);
  if (word !== 'fenced' && word !== 'gone') throw unexpected(name, 'an unknown word');
  return word;
}

/** Positions beyond the head and what is known of them, rising. */
export interface Marks {
  /** PUBREC came: PUBREL is due. */
  readonly released: readonly number[];
  /** Settled out of order, dropped, or never there: the value is empty. */
  readonly settled: readonly number[];
}

const NO_MARKS: Marks = { released: [], settled: [] };

export function marksOf(name: string, reply: RedisReply | undefined): Marks {
  const pairs = listOf(name, reply);
  if (pairs.length === 0) return NO_MARKS;
  const released: number[] = [];
  const settled: number[] = [];
  for (let i = 0; i < pairs.length; i += 2) {
    const mark = textOf(name, pairs[i + 1]);
    if (mark !== 'r' && mark !== 's') throw unexpected(name, 'an unknown mark');
    (mark === 'r' ? released : settled).push(numberOf(name, pairs[i]));
  }
  released.sort((a, b) => a - b);
  settled.sort((a, b) => a - b);
  return { released, settled };
}

/**
 * One call of a function on its way: what is needed to write it (again), and what became of it. Made by
 * redis-link.ts, waits in a pipe for its reply.
 */
import { createHash } from 'node:crypto';
import type { PipeReceiver } from './redis-pipe.ts';
import type {
  RedisArgument,
  RedisDone,
  RedisFailure,
  RedisFunction,
  RedisReply,
} from './redis-port.ts';
import type { RespError, RespReply } from './resp-reader.ts';
import type { RespWriter } from './resp-writer.ts';

/** A function with the bytes that every call of it begins with. */
export class ScriptedFunction {
  readonly name: string;
  readonly lua: string;
  /** EVALSHA and the hash, as arguments. */
  readonly head: Buffer;

  constructor(fn: RedisFunction) {
    this.name = fn.name;
    this.lua = fn.lua;
    const sha = createHash('sha1').update(fn.lua).digest('hex');
    this.head = Buffer.from(`$7\r\nEVALSHA\r\n$40\r\n${sha}\r\n`);
  }
}

/** Who hears what became of calls. */
export interface CallDesk {
  replied(call: RedisCall, reply: RespReply): void;
  lost(call: RedisCall, wasSent: boolean): void;
}

export class RedisCall implements PipeReceiver {
  readonly script: ScriptedFunction;
  readonly keys: readonly string[];
  readonly args: readonly RedisArgument[];
  readonly done: RedisDone;
  readonly slot: number;
  desk: CallDesk | null = null;
  /** What it holds of `waitingBytesMax`. */
  bytes = 0;
  failure: RedisFailure | null = null;
  reply: RedisReply = null;
  /** It was not executed and has to be sent again: NOSCRIPT, MOVED, ASK, TRYAGAIN. */
  trouble: RespError | null = null;
  /** When it first was in trouble; 0: never. */
  troubledMs = 0;
  isLocal = false;

  constructor(
    script: ScriptedFunction,
    keys: readonly string[],
    args: readonly RedisArgument[],
    done: RedisDone,
    slot: number,
  ) {
    this.script = script;
    this.keys = keys;
    this.args = args;
    this.done = done;
    this.slot = slot;
  }

  write(writer: RespWriter): void {
    const { keys, args } = this;
    writer.command(3 + keys.length + args.length);
    writer.encoded(this.script.head);
    writer.number(keys.length);
    for (let index = 0; index < keys.length; index += 1) writer.text(keys[index]!);
    for (let index = 0; index < args.length; index += 1) {
      const arg = args[index]!;
      if (typeof arg === 'string') writer.text(arg);
      else if (typeof arg === 'number') writer.number(arg);
      else writer.bytes(arg);
    }
  }

  /** About what `write` will write. */
  estimate(): number {
    let bytes = 80;
    for (const key of this.keys) bytes += key.length + 8;
    for (const arg of this.args) bytes += typeof arg === 'number' ? 16 : arg.length + 10;
    return bytes;
  }

  replied(reply: RespReply): void {
    (this.desk as CallDesk).replied(this, reply);
  }

  lost(wasSent: boolean): void {
    (this.desk as CallDesk).lost(this, wasSent);
  }
}

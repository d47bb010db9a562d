/**
 * How a command to Redis can fail, as a closed set of codes. The message never holds an argument, the
 * URL or a password.
 */

export type RedisErrorCode =
  /** No connection right now; nothing was sent. */
  | 'disconnected'
  /** The connection broke before the answer came: the command may have run. */
  | 'interrupted'
  /** No answer in time: the command may have run. */
  | 'timeout'
  /** Too many commands wait for an answer; nothing was sent. */
  | 'busy'
  /** Redis answered with an error; `reply` has its first word. */
  | 'reply'
  /** The client was closed. */
  | 'closed';

export class RedisError extends Error {
  readonly code: RedisErrorCode;
  /** First word of Redis' error: `WRONGTYPE`, `NOPERM`; '' for the other codes. */
  readonly reply: string;

  constructor(code: RedisErrorCode, message: string, reply: string = '') {
    super(message);
    this.name = 'RedisError';
    this.code = code;
    this.reply = reply;
  }
}

/** What may be said of an error of the client library or a socket: names, never values. */
export function describeFailure(error: unknown): string {
  if (!(error instanceof Error)) return 'unknown error';
  const { code } = error as NodeJS.ErrnoException;
  if (typeof code === 'string') return code;
  const word = replyWord(error.message);
  if (word !== '') return word;
  return error.constructor.name;
}

/** `WRONGTYPE Operation against …` → `WRONGTYPE`; '' when the text does not begin like that. */
export function replyWord(message: string): string {
  return /^[A-Z]{2,20}(?= |$)/.exec(message)?.[0] ?? '';
}

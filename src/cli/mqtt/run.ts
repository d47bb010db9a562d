/**
 * What `pub`, `sub` and `rr` share at run time: from flags to a client, errors as one line on standard
 * error, exit codes. A mistake of the user never shows a stack.
 */
import { Client } from '../../client/client.ts';
import { ClientError } from '../../client/client-error.ts';
import type { ClientOptions } from '../../client/options.ts';
import { UsageError } from '../command.ts';

/** Refused, lost, or not possible: the line on standard error says what. */
export const EXIT_CONNECTION = 2;
/** -W ran out; mosquitto's commands use the same number. */
export const EXIT_TIMEOUT = 27;

export class Remarks {
  readonly #command: string;
  readonly #isQuiet: boolean;

  constructor(command: string, isQuiet: boolean) {
    this.#command = command;
    this.#isQuiet = isQuiet;
  }

  /** Why the command fails: always said. */
  error(error: unknown): void {
    const text = error instanceof Error ? error.message : String(error);
    process.stderr.write(`causeway ${this.#command}: ${text}\n`);
  }

  /** Good to know. */
  remark(text: string): void {
    if (!this.#isQuiet) process.stderr.write(`causeway ${this.#command}: ${text}\n`);
  }
}

/** A client of these options. */
export function makeClient(options: ClientOptions): Client {
  return fromFlags(() => new Client(options));
}

/** What the client finds wrong before it connects is a mistake in the flags. */
export function fromFlags<T>(make: () => T): T {
  try {
    return make();
  } catch (error) {
    if (error instanceof ClientError) throw new UsageError(error.message);
    throw error;
  }
}

/** Exit code of an error from the client; everything unexpected goes on up. */
export function exitCodeOf(error: unknown, remarks: Remarks): number {
  if (!(error instanceof ClientError)) throw error;
  if (error.code === 'invalid_argument') throw new UsageError(error.message);
  remarks.error(error);
  return EXIT_CONNECTION;
}

/** Calls `stop` once on SIGINT or SIGTERM; the returned function takes that back. */
export function onSignal(stop: () => void): () => void {
  const forget = (): void => {
    process.off('SIGINT', handle);
    process.off('SIGTERM', handle);
  };
  const handle = (): void => {
    forget();
    stop();
  };
  process.on('SIGINT', handle);
  process.on('SIGTERM', handle);
  return forget;
}

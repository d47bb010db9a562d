/**
 * Exit codes of commands that ask a node over its API, beyond those all commands have: 0 done, 1 wrong
 * command line (or a request the node finds wrong), 2 not reached or failed.
 */
import { EXIT_FAILED, EXIT_USAGE } from '../command.ts';
import { ApiError } from './api-client.ts';
import { safeText } from './terminal-text.ts';

/** No token, a wrong one, or one whose role is not enough. */
export const EXIT_REFUSED = 3;
export const EXIT_NOT_FOUND = 4;
/** Not now: it exists already, something else is in the way, or too many requests. */
export const EXIT_CONFLICT = 5;

export const exitCodesUsage: string = `Exit codes: 0 done; 1 the command line is wrong, or the node finds the request wrong; 2 the node
cannot be reached or failed; 3 the token is missing, wrong or its role not enough; 4 not found;
5 in conflict with what there is, or too many requests.`;

/** `status` 0: no answer. */
function exitCodeOfStatus(status: number): number {
  if (status === 401 || status === 403) return EXIT_REFUSED;
  if (status === 404 || status === 410) return EXIT_NOT_FOUND;
  if (status === 409 || status === 429) return EXIT_CONFLICT;
  return status >= 400 && status < 500 ? EXIT_USAGE : EXIT_FAILED;
}

/** Says on standard error what the node said, and gives the exit code; other errors go on up. */
export function explainApiError(command: string, error: unknown): number {
  if (!(error instanceof ApiError)) throw error;
  process.stderr.write(`causeway ${command}: ${safeText(error.message)}\n`);
  for (const detail of error.details) process.stderr.write(`  ${safeText(detail)}\n`);
  return exitCodeOfStatus(error.status);
}

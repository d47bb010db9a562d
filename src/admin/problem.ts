/**
 * Errors of the HTTP API as `application/problem+json` (RFC 9457).
 */
import { STATUS_CODES } from 'node:http';

export const PROBLEM_TYPE = 'application/problem+json; charset=utf-8';

export interface Problem {
  readonly type: 'about:blank';
  readonly title: string;
  readonly status: number;
  readonly detail: string;
  readonly [extension: string]: unknown;
}

/** `extensions` may add members, not replace the four of the standard. */
export function problem(status: number, detail: string, extensions: object = {}): Problem {
  const title = STATUS_CODES[status] ?? 'Error';
  return { ...extensions, type: 'about:blank', title, status, detail };
}

/**
 * Who changed what through the API: each call as a line of the log with `audit: true`, and the last
 * ones in memory for `GET /audit`. It sees names and targets, never tokens or bodies.
 */
import type { Log } from '../../core/ports.ts';
import type { Role } from './role.ts';

export interface AuditEntry {
  /** Wall-clock ms. */
  readonly atMs: number;
  /** Name of the token. */
  readonly name: string;
  readonly role: Role;
  readonly address: string;
  readonly method: string;
  /** Template of the path: what is in its place is the target. */
  readonly path: string;
  readonly target: string;
  readonly status: number;
}

export const AUDIT_ENTRIES_MAX = 1000;
const TARGET_LENGTH_MAX = 256;

export class AuditLog {
  readonly #log: Log;
  readonly #entries: AuditEntry[] = [];
  #next = 0;

  constructor(log: Log) {
    this.#log = log;
  }

  add(entry: AuditEntry): void {
    const { target } = entry;
    const isLong = target.length > TARGET_LENGTH_MAX;
    const kept = isLong ? { ...entry, target: `${target.slice(0, TARGET_LENGTH_MAX)}…` } : entry;
    this.#entries[this.#next] = kept;
    this.#next = (this.#next + 1) % AUDIT_ENTRIES_MAX;
    this.#log.info({ audit: true, ...kept }, 'api call');
  }

  /** The newest first. */
  list(): readonly AuditEntry[] {
    const newest = this.#entries.slice(0, this.#next).reverse();
    return [...newest, ...this.#entries.slice(this.#next).reverse()];
  }
}

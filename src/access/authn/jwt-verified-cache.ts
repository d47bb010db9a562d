/**
 * Tokens that were verified under the keys in force, so that a fleet that comes back all at once does
 * not cost a signature each. Holds no token: entries go by its hash. Bounded by number and by the
 * bytes of the tokens; emptied whenever the keys change.
 */
import { hash } from 'node:crypto';
import type { Identified } from '../authenticator.ts';
import type { JwtKeySet } from './jwt-key.ts';

export interface VerifiedToken {
  readonly who: Identified;
  readonly clientIds: readonly string[] | null;
}

interface Entry extends VerifiedToken {
  readonly bytes: number;
}

export class JwtVerifiedCache {
  readonly #entriesMax: number;
  readonly #bytesMax: number;
  /** The least recently used first. */
  readonly #entries = new Map<string, Entry>();
  #bytes = 0;
  #keys: JwtKeySet | null = null;

  /** `entriesMax` 0: remembers nothing. */
  constructor(entriesMax: number, bytesMax: number) {
    this.#entriesMax = entriesMax;
    this.#bytesMax = bytesMax;
  }

  get size(): number {
    return this.#entries.size;
  }

  key(token: string): string {
    return hash('sha256', token, 'base64url');
  }

  /** Null: not known, expired, or verified under other keys. */
  get(key: string, keys: JwtKeySet, nowMs: number): VerifiedToken | null {
    if (keys !== this.#keys) this.#clear(keys);
    const entry = this.#entries.get(key);
    if (entry === undefined) return null;
    this.#remove(key, entry);
    if (entry.who.expiresAtMs !== 0 && entry.who.expiresAtMs <= nowMs) return null;
    this.#put(key, entry);
    return entry;
  }

  add(key: string, keys: JwtKeySet, tokenBytes: number, verified: VerifiedToken): void {
    if (keys !== this.#keys) this.#clear(keys);
    const old = this.#entries.get(key);
    if (old !== undefined) this.#remove(key, old);
    this.#put(key, { ...verified, bytes: tokenBytes });
    for (const [oldest, entry] of this.#entries) {
      if (this.#entries.size <= this.#entriesMax && this.#bytes <= this.#bytesMax) break;
      this.#remove(oldest, entry);
    }
  }

  #put(key: string, entry: Entry): void {
    this.#entries.set(key, entry);
    this.#bytes += entry.bytes;
  }

  #remove(key: string, entry: Entry): void {
    this.#entries.delete(key);
    this.#bytes -= entry.bytes;
  }

  #clear(keys: JwtKeySet): void {
    this.#entries.clear();
    this.#bytes = 0;
    this.#keys = keys;
  }
}

/**
 * Passwords that were right a while ago, so that the clients of a broker that come back all at once do
 * not each cost a hash. Holds no password: entries are HMACs under a key this process made up, over
 * user, stored hash and password; so an entry is void as soon as the stored hash is another.
 * Successes only: a wrong password is never remembered.
 */
import { createHmac, randomBytes } from 'node:crypto';

export class VerifiedCache {
  readonly #entriesMax: number;
  readonly #secret: Buffer = randomBytes(32);
  /** HMAC to user, the least recently used first. */
  readonly #entries = new Map<string, string>();

  /** `entriesMax` 0: remembers nothing. */
  constructor(entriesMax: number) {
    this.#entriesMax = entriesMax;
  }

  get size(): number {
    return this.#entries.size;
  }

  /** What stands for this user, stored hash and password. */
  key(user: string, stored: string, password: Buffer): string {
    const hmac = createHmac('sha256', this.#secret);
    // Each with its length, so that no two triples are the same bytes.
    for (const part of [Buffer.from(user), Buffer.from(stored), password]) {
      const length = Buffer.alloc(4);
      length.writeUInt32BE(part.length);
      hmac.update(length).update(part);
    }
    return hmac.digest('base64');
  }

  has(key: string): boolean {
    const user = this.#entries.get(key);
    if (user === undefined) return false;
    this.#entries.delete(key);
    this.#entries.set(key, user);
    return true;
  }

  add(key: string, user: string): void {
    if (this.#entriesMax === 0) return;
    this.#entries.delete(key);
    this.#entries.set(key, user);
    if (this.#entries.size <= this.#entriesMax) return;
    for (const oldest of this.#entries.keys()) {
      this.#entries.delete(oldest);
      break;
    }
  }

  /** Drops what belongs to users that are gone or have another password. */
  forget(users: ReadonlySet<string>): void {
    for (const [key, user] of this.#entries) if (users.has(user)) this.#entries.delete(key);
  }
}

/**
 * A short stand-in for texts that may hold a password: an HMAC under a key this process made up. What
 * is kept in caches and tables is this, so no password stays in memory, and no key is longer than it.
 */
import { createHmac, randomBytes } from 'node:crypto';

export class Fingerprint {
  readonly #secret: Buffer = randomBytes(32);

  /** Each part counts with its length, so that no two lists give the same bytes. */
  of(...parts: readonly (string | Buffer)[]): string {
    const hmac = createHmac('sha256', this.#secret);
    for (const part of parts) {
      const bytes = typeof part === 'string' ? Buffer.from(part) : part;
      const length = Buffer.alloc(4);
      length.writeUInt32BE(bytes.length);
      hmac.update(length).update(bytes);
    }
    return hmac.digest('base64');
  }
}

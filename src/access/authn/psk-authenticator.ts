/**
 * Says who a client with a TLS pre-shared key is: the identity it proved to TLS is the user. Keeps the
 * keys as well; `app` hands `lookup` to the TLS listeners, which ask it in each handshake.
 */
import type { Log } from '../../core/ports.ts';
import type {
  AuthenticationAnswer,
  Authenticator,
  AuthenticatorCounters,
  Credentials,
} from '../authenticator.ts';
import { type Prepared, prepared } from '../prepared.ts';
import { identified, ignored, newAuthenticatorCounters, refusal } from './answers.ts';
import { loadPskFile, type PskKeys } from './psk-file.ts';

export interface PskOptions {
  readonly file: string;
  readonly log: Log;
  /** After a reload: these identities are gone or have other keys. */
  readonly onUsersChanged?: ((identities: ReadonlySet<string>) => void) | undefined;
}

export class PskAuthenticator implements Authenticator {
  readonly kind = 'psk';
  readonly counters: AuthenticatorCounters = newAuthenticatorCounters();
  readonly #options: PskOptions;
  #keys: PskKeys = new Map();

  constructor(options: PskOptions) {
    this.#options = options;
  }

  /** For listeners: the key of an identity, or null. What a reload reads counts from then on. */
  readonly lookup = (identity: string): Buffer | null => this.#keys.get(identity) ?? null;

  get entries(): number {
    return this.#keys.size;
  }

  async start(): Promise<void> {
    this.#keys = await loadPskFile(this.#options.file, this.#options.log);
  }

  async prepare(): Promise<Prepared> {
    const keys = await loadPskFile(this.#options.file, this.#options.log);
    return prepared(() => {
      const changed = new Set<string>();
      for (const [identity, key] of this.#keys) {
        if (keys.get(identity)?.equals(key) !== true) changed.add(identity);
      }
      this.#keys = keys;
      if (changed.size > 0) this.#options.onUsersChanged?.(changed);
    });
  }

  async stop(): Promise<void> {
    this.#keys = new Map();
  }

  authenticate({ pskIdentity }: Credentials): AuthenticationAnswer {
    if (pskIdentity === null) {
      this.counters.ignored += 1;
      return ignored;
    }
    // A reload may have come between the handshake and CONNECT.
    if (!this.#keys.has(pskIdentity)) {
      this.counters.refused += 1;
      return refusal('bad_credentials', 'the key of the PSK identity was taken away');
    }
    this.counters.accepted += 1;
    return { kind: 'accepted', who: identified(pskIdentity) };
  }
}

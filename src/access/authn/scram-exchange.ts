/**
 * One SCRAM-SHA-256 exchange (RFC 5802, RFC 7677) from the server's side, for MQTT 5 enhanced
 * authentication: data of the client in, answer out, nothing awaited. The gate begins one per CONNECT
 * or re-authentication and turns its end into a decision.
 *
 * An unknown user is taken through all steps with made-up salt and keys and fails where a wrong
 * password fails.
 */
import { createHash, createHmac, timingSafeEqual } from 'node:crypto';
import type { RefuseReason } from '../../core/refuse-reason.ts';
import type { Identified } from '../authenticator.ts';
import type { ScramHash } from './hash-format.ts';
import { type ClientFirst, readClientFinal, readClientFirst } from './scram-message.ts';

/** The name of the method in CONNECT and AUTH. */
export const SCRAM_METHOD = 'SCRAM-SHA-256';

export type ScramStep =
  | { readonly kind: 'continue'; readonly data: Buffer | null }
  /** `data` goes into the CONNACK (or the last AUTH): it proves the server to the client. */
  | { readonly kind: 'accepted'; readonly who: Identified; readonly data: Buffer }
  | { readonly kind: 'refused'; readonly reason: RefuseReason; readonly detail: string };

/** What an exchange needs to know of a user; also made up for one that does not exist. */
export interface ScramUser {
  readonly hash: ScramHash;
  /** Null: there is no such user. */
  readonly who: Identified | null;
}

export interface ScramLookup {
  find(user: string): ScramUser;
  /** Whether the user is still what `find` said. */
  isCurrent(user: string, found: ScramUser): boolean;
  /** The server's part of a nonce: printable ASCII without comma. */
  nonce(): string;
  /** The exchange ended. */
  ended(isAccepted: boolean): void;
}

interface Challenge {
  readonly first: ClientFirst;
  readonly found: ScramUser;
  readonly nonce: string;
  readonly serverFirst: string;
}

type State = 'first' | 'first_after_empty' | 'final' | 'ended';

export class ScramExchange {
  readonly #users: ScramLookup;
  readonly #onlyUser: string | null;
  #state: State = 'first';
  #challenge: Challenge | null = null;

  /** `onlyUser`: in a re-authentication, the user the connection has; null: any. */
  constructor(users: ScramLookup, onlyUser: string | null) {
    this.#users = users;
    this.#onlyUser = onlyUser;
  }

  /** The user the client says it is, once it has; proven only when `step` accepted. */
  get claimedUser(): string | null {
    return this.#challenge?.first.user ?? null;
  }

  step(data: Buffer | null): ScramStep {
    switch (this.#state) {
      case 'first':
        if (data !== null && data.length > 0) return this.#first(data);
        // A client may leave its first message for the AUTH that answers an empty one.
        this.#state = 'first_after_empty';
        return { kind: 'continue', data: null };
      case 'first_after_empty':
        return data === null ? this.#refuse('no first message') : this.#first(data);
      case 'final':
        return data === null ? this.#refuse('no final message') : this.#final(data);
      case 'ended':
        throw new Error('a step after the end of an exchange');
    }
  }

  #first(data: Buffer): ScramStep {
    const first = readClientFirst(data);
    if (first === null) return this.#refuse('the first message is malformed');
    if (first.wantsBinding) return this.#refuse('channel binding is not offered');
    if (first.actAs !== '' && first.actAs !== first.user) {
      return this.#refuse('the client asks to act as another user');
    }
    const found = this.#users.find(first.user);
    const nonce = first.nonce + this.#users.nonce();
    const { salt, iterations } = found.hash;
    const serverFirst = `r=${nonce},s=${salt.toString('base64')},i=${iterations}`;
    this.#challenge = { first, found, nonce, serverFirst };
    this.#state = 'final';
    return { kind: 'continue', data: Buffer.from(serverFirst) };
  }

  #final(data: Buffer): ScramStep {
    const challenge = this.#challenge;
    const final = readClientFinal(data);
    if (challenge === null || final === null) {
      return this.#refuse('the final message is malformed');
    }
    const { first, found } = challenge;
    if (final.nonce !== challenge.nonce) return this.#refuse('the nonce is another');
    if (final.channelBinding.toString('latin1') !== latin1Of(first.gs2Header)) {
      return this.#refuse('the channel binding is another');
    }
    const signed = Buffer.from(`${first.bare},${challenge.serverFirst},${final.withoutProof}`);
    const signature = hmac(found.hash.storedKey, signed);
    const clientKey = Buffer.from(final.proof.map((byte, i) => byte ^ signature[i]!));
    const storedKey = createHash('sha256').update(clientKey).digest();
    const isProven = timingSafeEqual(storedKey, found.hash.storedKey);
    if (found.who === null || !isProven) return this.#refuse('unknown user or wrong password');
    if (!this.#users.isCurrent(first.user, found)) return this.#refuse('the user has changed');
    if (this.#onlyUser !== null && this.#onlyUser !== first.user) {
      return this.#refuse('re-authentication as another user');
    }
    const proof = hmac(found.hash.serverKey, signed).toString('base64');
    this.#end(true);
    return { kind: 'accepted', who: found.who, data: Buffer.from(`v=${proof}`) };
  }

  #refuse(detail: string): ScramStep {
    this.#end(false);
    return { kind: 'refused', reason: 'authentication_failed', detail };
  }

  #end(isAccepted: boolean): void {
    this.#state = 'ended';
    this.#users.ended(isAccepted);
  }
}

function hmac(key: Buffer, data: Buffer): Buffer {
  return createHmac('sha256', key).update(data).digest();
}

/** The bytes of a text, one character each, for a comparison with bytes. */
function latin1Of(text: string): string {
  return Buffer.from(text).toString('latin1');
}

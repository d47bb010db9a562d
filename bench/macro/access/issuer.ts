// Makes the tokens clients show, signed by `node:crypto`, and the key file the broker verifies them
// with. Used by the scenarios of access; tokens of a run are made before anything is measured.

import type { KeyObject } from 'node:crypto';
import { createHmac, generateKeyPairSync, randomBytes, sign } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Login } from '../load/protocol.ts';

export type Algorithm = 'HS256' | 'RS256' | 'ES256' | 'EdDSA';

const LIFETIME_S = 24 * 3600;

function encode(value: object): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url');
}

function newPair(algorithm: Algorithm): { publicKey: KeyObject; privateKey: KeyObject } {
  switch (algorithm) {
    case 'RS256':
      return generateKeyPairSync('rsa', { modulusLength: 2048 });
    case 'ES256':
      return generateKeyPairSync('ec', { namedCurve: 'P-256' });
    default:
      return generateKeyPairSync('ed25519');
  }
}

export class Issuer {
  readonly algorithm: Algorithm;
  readonly #secret: string = randomBytes(32).toString('hex');
  readonly #pair: { publicKey: KeyObject; privateKey: KeyObject } | null;
  readonly #header: string;

  constructor(algorithm: Algorithm) {
    this.algorithm = algorithm;
    this.#pair = algorithm === 'HS256' ? null : newPair(algorithm);
    this.#header = encode({ alg: algorithm, typ: 'JWT' });
  }

  /** A token for the user, of the tenant `bench`, as the password of a CONNECT. */
  login(user: string): Login {
    const nowS = Math.floor(Date.now() / 1000);
    const times = { iat: nowS, nbf: nowS - 60, exp: nowS + LIFETIME_S };
    const claims = { iss: 'bench', aud: 'mqtt', sub: user, tenant: 'bench', ...times };
    const signed = `${this.#header}.${encode(claims)}`;
    return { username: user, password: `${signed}.${this.#sign(signed).toString('base64url')}` };
  }

  /** Writes the key into the folder; the lines of `authentication.jwt`. */
  configure(directory: string): string {
    const { publicKey } = this.#pair ?? {};
    const file = join(directory, publicKey === undefined ? 'token.secret' : 'token.pem');
    const key = publicKey?.export({ type: 'spki', format: 'pem' }) ?? this.#secret;
    writeFileSync(file, key, { mode: 0o600 });
    return [
      '  jwt:',
      `    algorithms: [${this.algorithm}]`,
      `    ${publicKey === undefined ? 'secretFile' : 'publicKeyFile'}: ${file}`,
      '    issuer: bench',
      '    audience: mqtt',
    ].join('\n');
  }

  #sign(text: string): Buffer {
    const key = this.#pair?.privateKey;
    if (key === undefined) return createHmac('sha256', this.#secret).update(text).digest();
    const bytes = Buffer.from(text);
    if (this.algorithm === 'EdDSA') return sign(null, bytes, key);
    return sign('sha256', bytes, { key, dsaEncoding: 'ieee-p1363' });
  }
}

/**
 * Makes tokens and keys, good and bad ones, and what an authenticator is given. Used by the tests of
 * tokens, certificates and pre-shared keys; knows nothing of how they are checked.
 */
import { createHmac, generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import type { Credentials } from '../../../src/access/authenticator.ts';
import { JwtAuthenticator, type JwtOptions } from '../../../src/access/authn/jwt-authenticator.ts';
import type { Clock } from '../../../src/core/ports.ts';
import { RecordingLog } from '../../listeners/recorder.ts';

/** A clock the test moves; monotonic and wall time go together. */
export class HandClock implements Clock {
  nowMs = 1_800_000_000_000;

  monotonicMs(): number {
    return this.nowMs;
  }

  wallMs(): number {
    return this.nowMs;
  }

  get nowS(): number {
    return this.nowMs / 1000;
  }
}

export class Workshop {
  readonly folder: string = mkdtempSync(join(tmpdir(), 'causeway-'));
  readonly clock: HandClock = new HandClock();
  readonly log: RecordingLog = new RecordingLog();

  constructor() {
    t.teardown(() => rmSync(this.folder, { recursive: true, force: true }));
  }

  /** Writes a file nobody else may read; its path. */
  file(name: string, content: string | Buffer, mode: number = 0o600): string {
    const path = join(this.folder, name);
    writeFileSync(path, content);
    chmodSync(path, mode);
    return path;
  }

  /** Started; stopped at the end of the run. */
  async jwt(options: Partial<JwtOptions>): Promise<JwtAuthenticator> {
    const authenticator = new JwtAuthenticator({ ...this.options(), ...options });
    t.teardown(() => authenticator.stop());
    await authenticator.start();
    return authenticator;
  }

  options(): JwtOptions {
    return {
      algorithms: ['RS256'],
      jwksCacheS: 300,
      jwksStaleS: 3600,
      source: 'password',
      userClaim: 'sub',
      aclClaim: 'acl',
      requireExpiry: true,
      clockToleranceS: 0,
      clock: this.clock,
      log: this.log,
    };
  }

  /** Claims that are good for an hour. */
  claims(more: object = {}): object {
    return { sub: 'alice', exp: this.clock.nowS + 3600, ...more };
  }
}

export function credentials(more: Partial<Credentials> = {}): Credentials {
  return {
    clientId: 'c1',
    username: null,
    password: null,
    protocolVersion: 5,
    listener: { name: 'l', transport: 'tcp', limits: {} },
    remoteAddress: '192.0.2.1',
    remotePort: 4711,
    certificate: null,
    pskIdentity: null,
    ...more,
  };
}

export function encode(value: unknown): string {
  return Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString(
    'base64url',
  );
}

/** Signs by hand, so that nothing is refused or added on the way. */
export function makeToken(
  header: { readonly alg: string; readonly [name: string]: unknown },
  payload: unknown,
  key: KeyObject | Buffer | string,
): string {
  const signed = `${encode(header)}.${encode(payload)}`;
  return `${signed}.${signatureOf(header.alg, Buffer.from(signed), key).toString('base64url')}`;
}

function signatureOf(algorithm: string, data: Buffer, key: KeyObject | Buffer | string): Buffer {
  const hash = `sha${algorithm.slice(2)}`;
  switch (algorithm.slice(0, 2)) {
    case 'HS':
      return createHmac(hash, key).update(data).digest();
    case 'RS':
      return sign(hash, data, key as KeyObject);
    case 'PS':
      return sign(hash, data, {
        key: key as KeyObject,
        padding: 6,
        saltLength: Number(hash.slice(3)) / 8,
      });
    case 'ES':
      return sign(hash, data, { key: key as KeyObject, dsaEncoding: 'ieee-p1363' });
    case 'Ed':
      return sign(null, data, key as KeyObject);
    default:
      return Buffer.alloc(0);
  }
}

export interface KeyPair {
  readonly publicKey: KeyObject;
  readonly privateKey: KeyObject;
  /** PEM of the public key. */
  readonly pem: string;
}

export function keyPair(kind: 'rsa' | 'ec' | 'ed25519', curveOrBits: string | number = 0): KeyPair {
  const { publicKey, privateKey } =
    kind === 'rsa'
      ? generateKeyPairSync('rsa', { modulusLength: Number(curveOrBits) || 2048 })
      : kind === 'ec'
        ? generateKeyPairSync('ec', { namedCurve: String(curveOrBits || 'P-256') })
        : generateKeyPairSync('ed25519');
  return {
    publicKey,
    privateKey,
    pem: publicKey.export({ type: 'spki', format: 'pem' }).toString(),
  };
}

export function jwk(pair: KeyPair, more: object = {}): object {
  return { ...pair.publicKey.export({ format: 'jwk' }), ...more };
}

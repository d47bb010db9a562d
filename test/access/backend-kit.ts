/**
 * What the tests of access backends share: a clock that can be moved on, a log that is kept, clients
 * with their credentials, and secrets to look for where they must not be.
 */

import type { RuleSubject } from '../../src/access/acl/source.ts';
import type { Credentials } from '../../src/access/authenticator.ts';
import { HashQueue } from '../../src/access/authn/hash-queue.ts';
import type { Clock, ListenerInfo, Log, PeerCertificate, Random } from '../../src/core/ports.ts';

/** Real time, plus what a test adds. */
export class MovedClock implements Clock {
  addedMs = 0;

  monotonicMs(): number {
    return performance.now() + this.addedMs;
  }

  wallMs(): number {
    return Date.now() + this.addedMs;
  }
}

export class KeptLog implements Log {
  readonly lines: { level: string; fields: object; message: string }[] = [];

  debug(fields: object, message: string): void {
    this.lines.push({ level: 'debug', fields, message });
  }
  info(fields: object, message: string): void {
    this.lines.push({ level: 'info', fields, message });
  }
  warn(fields: object, message: string): void {
    this.lines.push({ level: 'warn', fields, message });
  }
  error(fields: object, message: string): void {
    this.lines.push({ level: 'error', fields, message });
  }

  get text(): string {
    return JSON.stringify(this.lines);
  }
}

export const random: Random = {
  below: (bound) => Math.floor(Math.random() * bound),
  hex: (bytes) => '0'.repeat(bytes * 2),
};

export function hashQueue(clock: Clock): HashQueue {
  return new HashQueue({
    concurrency: 2,
    waitingMax: 100,
    waitingPerAddressMax: 50,
    waitMaxMs: 10_000,
    clock,
  });
}

export const listener: ListenerInfo = {
  name: 'mqtt://127.0.0.1:1883',
  transport: 'tcp',
  limits: {},
};

export const certificate: PeerCertificate = {
  subjectCommonName: 'device-7',
  subjectAltNames: [],
  organization: 'Acme',
  organizationalUnit: 'Pumps',
  issuerCommonName: 'Acme CA',
  serialNumber: '0A1B',
  fingerprint256: 'AB:CD',
  validToMs: 4_000_000_000_000,
};

export function credentials(
  username: string | null,
  password: string | Buffer | null,
  more: Partial<Credentials> = {},
): Credentials {
  return {
    clientId: 'client-1',
    username,
    password: typeof password === 'string' ? Buffer.from(password) : password,
    protocolVersion: 5,
    listener,
    remoteAddress: '192.0.2.1',
    remotePort: 4711,
    certificate: null,
    pskIdentity: null,
    ...more,
  };
}

export function subject(user: string | null, more: Partial<RuleSubject> = {}): RuleSubject {
  return {
    clientId: 'client-1',
    user,
    tenant: '',
    remoteAddress: '192.0.2.1',
    listenerName: listener.name,
    certificate: null,
    claims: null,
    ...more,
  };
}

/** Waits until it holds; fails the test by throwing when it does not within `withinMs`. */
export async function until(holds: () => boolean, what: string, withinMs = 15_000): Promise<void> {
  const endMs = performance.now() + withinMs;
  while (!holds()) {
    if (performance.now() > endMs) throw new Error(`not within ${withinMs} ms: ${what}`);
    await sleep(10);
  }
}

export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** `accepted`, `ignored`, or the reason of the refusal. */
export function outcome(answer: { readonly kind: string; readonly reason?: string }): string {
  return answer.reason ?? answer.kind;
}

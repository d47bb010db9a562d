/** Credentials and logs for the tests of authentication. */
import { format } from 'node:util';
import type { Credentials } from '../../../src/access/authenticator.ts';
import type { Clock, ListenerInfo, Log, PeerCertificate } from '../../../src/core/ports.ts';

export const listener: ListenerInfo = { name: 'mqtt://test', transport: 'tcp', limits: {} };

export const clock: Clock = {
  monotonicMs: () => performance.now(),
  wallMs: () => Date.now(),
};

export const certificate: PeerCertificate = {
  subjectCommonName: 'device',
  subjectAltNames: [],
  organization: '',
  organizationalUnit: '',
  issuerCommonName: 'authority',
  serialNumber: '01',
  fingerprint256: 'AA',
  validToMs: 2e12,
};

/** A client with this name and password, and what else is named. */
export function loginOf(
  username: string | null,
  password: string | Buffer | null,
  more: Partial<Credentials> = {},
): Credentials {
  return {
    clientId: 'client',
    username,
    password: password === null ? null : Buffer.from(password),
    protocolVersion: 5,
    listener,
    remoteAddress: '192.0.2.1',
    remotePort: 1024,
    certificate: null,
    pskIdentity: null,
    ...more,
  };
}

export class LogRecord implements Log {
  readonly lines: string[] = [];

  debug(fields: object, message: string): void {
    this.#add('debug', fields, message);
  }

  info(fields: object, message: string): void {
    this.#add('info', fields, message);
  }

  warn(fields: object, message: string): void {
    this.#add('warn', fields, message);
  }

  error(fields: object, message: string): void {
    this.#add('error', fields, message);
  }

  #add(level: string, fields: object, message: string): void {
    this.lines.push(format('%s %s %o', level, message, fields));
  }
}

/**
 * What placeholders stand for: of a client that logs in, and of one that wants something from a topic.
 */
import { isUtf8 } from 'node:buffer';
import type { PeerCertificate } from '../../core/ports.ts';
import type { RuleSubject } from '../acl/source.ts';
import type { Credentials } from '../authenticator.ts';
import { clientPlaceholders, type Lookup } from './template.ts';

export const loginPlaceholders: readonly string[] = [...clientPlaceholders, 'P', 'psk_identity'];
export const subjectPlaceholders: readonly string[] = [...clientPlaceholders, 'tenant', 'claim.'];
export const requestPlaceholders: readonly string[] = [...subjectPlaceholders, 'A', 't', 'q', 'r'];

export function loginLookup(credentials: Credentials): Lookup {
  return (name) => {
    switch (name) {
      case 'c':
        return credentials.clientId;
      case 'u':
        return credentials.username;
      case 'P':
        return passwordText(credentials.password);
      case 'a':
        return credentials.remoteAddress;
      case 'l':
        return credentials.listener.name;
      case 'psk_identity':
        return credentials.pskIdentity;
      default:
        return certificateValue(name, credentials.certificate);
    }
  };
}

/**
 * Null also for one that is not UTF-8: decoded with replacement characters, different passwords would
 * become the same text.
 */
export function passwordText(password: Buffer | null): string | null {
  return password !== null && isUtf8(password) ? password.toString() : null;
}

export function subjectLookup(subject: RuleSubject): Lookup {
  return (name) => {
    switch (name) {
      case 'c':
        return subject.clientId;
      case 'u':
        return subject.user;
      case 'a':
        return subject.remoteAddress;
      case 'l':
        return subject.listenerName;
      case 'tenant':
        return subject.tenant;
      default:
        if (!name.startsWith('claim.')) return certificateValue(name, subject.certificate);
        return claimText(subject.claims?.get(name.slice('claim.'.length)));
    }
  };
}

function claimText(claim: string | readonly string[] | undefined): string | null {
  if (claim === undefined || typeof claim === 'string') return claim ?? null;
  return claim.join(',');
}

function certificateValue(name: string, certificate: PeerCertificate | null): string | null {
  if (certificate === null) return null;
  switch (name) {
    case 'certificate.common_name':
      return noneWhenEmpty(certificate.subjectCommonName);
    case 'certificate.organization':
      return noneWhenEmpty(certificate.organization);
    case 'certificate.organizational_unit':
      return noneWhenEmpty(certificate.organizationalUnit);
    case 'certificate.issuer':
      return noneWhenEmpty(certificate.issuerCommonName);
    case 'certificate.serial':
      return certificate.serialNumber;
    case 'certificate.fingerprint':
      return certificate.fingerprint256;
    default:
      return null;
  }
}

function noneWhenEmpty(text: string): string | null {
  return text === '' ? null : text;
}

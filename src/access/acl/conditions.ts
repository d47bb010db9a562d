/**
 * Whom a rule is about: user, client id, address, listener, tenant, claims, certificate. All that are
 * given must hold. Evaluated once per client when its rules are compiled, never per packet.
 */
import type { PeerCertificate } from '../../core/ports.ts';
import { containsAddress, type IpNetwork, parseIpAddress } from '../../util/ip-address.ts';
import type { AclSubject } from './subject.ts';

/** Exact texts. */
export type Names = ReadonlySet<string>;

/** Fields of a client certificate that rules can name. */
export const certificateFields = [
  'common_name',
  'organization',
  'organizational_unit',
  'issuer',
  'san',
  'fingerprint',
] as const;
export type CertificateField = (typeof certificateFields)[number];

export interface Conditions {
  readonly users: Names | null;
  /** True: any user that was proven; false: nobody but anonymous clients. */
  readonly isAuthenticated: boolean | null;
  readonly clients: Names | null;
  readonly networks: readonly IpNetwork[] | null;
  readonly listeners: Names | null;
  readonly tenants: Names | null;
  /** The claim equals one of the values, or is a list that holds one. */
  readonly claims: readonly { readonly name: string; readonly values: Names }[] | null;
  readonly certificate:
    | readonly { readonly field: CertificateField; readonly values: Names }[]
    | null;
}

export const noConditions: Conditions = {
  users: null,
  isAuthenticated: null,
  clients: null,
  networks: null,
  listeners: null,
  tenants: null,
  claims: null,
  certificate: null,
};

/** What a rule asks and what is not known of the client. */
export type Unknown = 'address' | 'listener' | 'claims' | 'certificate';

/** `unknown`: what is known holds, and the rest cannot be told. */
export type Verdict =
  | { readonly kind: 'holds' }
  | { readonly kind: 'fails' }
  | { readonly kind: 'unknown'; readonly missing: Unknown };

const HOLDS: Verdict = { kind: 'holds' };
const FAILS: Verdict = { kind: 'fails' };

/** A subject with its address read once. */
export class Candidate {
  readonly subject: AclSubject;
  /** Null: has none; undefined: not known. */
  readonly address: Uint8Array | null | undefined;

  constructor(subject: AclSubject) {
    this.subject = subject;
    this.address = readAddress(subject.remoteAddress);
  }
}

function readAddress(text: string | undefined): Uint8Array | null | undefined {
  if (text === undefined) return undefined;
  if (text === '') return null;
  // A zone (`fe80::1%eth0`) says on which link, not which address. What cannot be read is not known.
  const zone = text.indexOf('%');
  return parseIpAddress(zone === -1 ? text : text.slice(0, zone)) ?? undefined;
}

export function evaluate(conditions: Conditions, candidate: Candidate): Verdict {
  const { subject, address } = candidate;
  const { user } = subject;
  const { users, isAuthenticated, clients, networks, listeners, tenants } = conditions;
  if (users !== null && (user === null || !users.has(user))) return FAILS;
  if (isAuthenticated !== null && isAuthenticated !== (user !== null)) return FAILS;
  if (clients !== null && !clients.has(subject.clientId)) return FAILS;
  if (tenants !== null && (subject.tenant === '' || !tenants.has(subject.tenant))) return FAILS;
  let missing: Unknown | null = null;
  if (listeners !== null) {
    if (subject.listenerName === undefined) missing = 'listener';
    else if (!listeners.has(subject.listenerName)) return FAILS;
  }
  if (networks !== null) {
    if (address === undefined) missing = 'address';
    else if (address === null) return FAILS;
    else if (!networks.some((network) => containsAddress(network, address))) return FAILS;
  }
  if (conditions.claims !== null) {
    if (subject.claims === undefined) missing = 'claims';
    else {
      for (const { name, values } of conditions.claims) {
        const claim = subject.claims?.get(name);
        if (claim === undefined) return FAILS;
        if (typeof claim === 'string' ? !values.has(claim) : !claim.some((one) => values.has(one)))
          return FAILS;
      }
    }
  }
  if (conditions.certificate !== null) {
    const { certificate } = subject;
    if (certificate === undefined) missing = 'certificate';
    else if (certificate === null) return FAILS;
    else if (!conditions.certificate.every((wanted) => hasField(certificate, wanted))) return FAILS;
  }
  return missing === null ? HOLDS : { kind: 'unknown', missing };
}

function hasField(
  certificate: PeerCertificate,
  { field, values }: { readonly field: CertificateField; readonly values: Names },
): boolean {
  return fieldValues(certificate, field).some((value) => values.has(value));
}

/** What a certificate has in a field, in the form rules name it; none when it lacks the field. */
export function fieldValues(
  certificate: PeerCertificate,
  field: CertificateField,
): readonly string[] {
  switch (field) {
    case 'common_name':
      return present(certificate.subjectCommonName);
    case 'organization':
      return present(certificate.organization);
    case 'organizational_unit':
      return present(certificate.organizationalUnit);
    case 'issuer':
      return present(certificate.issuerCommonName);
    case 'san':
      return certificate.subjectAltNames;
    case 'fingerprint':
      return present(plainFingerprint(certificate.fingerprint256));
  }
}

/** '' is a field the certificate lacks. */
function present(value: string): readonly string[] {
  return value === '' ? [] : [value];
}

/** SHA-256 fingerprints are compared as bare lower-case hex, however they were written. */
export function plainFingerprint(text: string): string {
  return text.replaceAll(':', '').toLowerCase();
}

/**
 * A verified client certificate as access rules see it. Control plane: called once per TLS handshake.
 * What Node could not verify against the listener's authorities is never mapped.
 */
import type { TLSSocket } from 'node:tls';
import type { PeerCertificate } from '../core/ports.ts';

/** The certificate of a client that proved it, or null. */
export function peerCertificate(socket: TLSSocket): PeerCertificate | null {
  if (!socket.authorized) return null;
  const certificate = socket.getPeerCertificate();
  const { fingerprint256, subject, issuer } = certificate;
  if (typeof fingerprint256 !== 'string' || fingerprint256 === '') return null;
  const validToMs = Date.parse(certificate.valid_to);
  // A resumed session is not verified again, so the certificate may have expired meanwhile.
  if (!(validToMs > Date.now())) return null;
  return {
    subjectCommonName: only(subject?.CN),
    subjectAltNames: splitAltNames(certificate.subjectaltname ?? ''),
    organization: only(subject?.O),
    organizationalUnit: only(subject?.OU),
    issuerCommonName: only(issuer?.CN),
    serialNumber: certificate.serialNumber,
    fingerprint256,
    validToMs,
  };
}

/** Several values come as an array; choosing one would let a client choose who it is. */
function only(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

/**
 * `DNS:a, IP Address:192.0.2.1, URI:"with, comma"` as a list that keeps the kinds. Node quotes (as
 * JSON) a value with a comma or quote in it, so that no value can pass for several names; a quoted
 * value that cannot be read is left out.
 */
export function splitAltNames(text: string): string[] {
  const names: string[] = [];
  let rest = text;
  while (rest !== '') {
    const quoted = /^([^:",]*:)("(?:[^"\\]|\\.)*")(?:, |$)/.exec(rest);
    const plain = quoted ?? /^([^:",]*:)([^",]*)(?:, |$)/.exec(rest);
    if (plain === null) return names;
    rest = rest.slice(plain[0].length);
    if (quoted === null) {
      names.push(`${plain[1]}${plain[2]}`);
      continue;
    }
    try {
      names.push(`${quoted[1]}${JSON.parse(quoted[2]!)}`);
    } catch {
      // Not a name that anything may be granted to.
    }
  }
  return names;
}

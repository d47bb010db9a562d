/**
 * Certificates, keys and authorities of a listener, read from their files and checked against each
 * other before anything is replaced: at start and at each reload. Control plane.
 */
import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createSecureContext, type TlsOptions as NodeTlsOptions } from 'node:tls';
import type { Log } from '../core/ports.ts';
import type { TlsOptions } from './listener.ts';
import { ListenerError } from './listener-error.ts';

/** Reads and checks everything; throws a ListenerError that names the file and what is wrong. */
export async function loadTlsMaterial(
  options: TlsOptions,
  listener: string,
  log: Log,
): Promise<NodeTlsOptions> {
  const fail = (problem: string, cause?: unknown): never => {
    throw new ListenerError('LISTENER_TLS', listener, problem, cause);
  };
  const read = async (option: string, file: string): Promise<string> => {
    try {
      return await readFile(file, 'latin1');
    } catch (error) {
      return fail(`cannot read tls.${option} ${file}: ${messageOf(error)}`, error);
    }
  };

  const certText = await read('certFile', options.certFile);
  const keyText = await read('keyFile', options.keyFile);
  const caText = options.caFile === undefined ? null : await read('caFile', options.caFile);

  const [leaf] = parseCertificates(certText, `tls.certFile ${options.certFile}`, fail);
  if (leaf === undefined) return fail(`tls.certFile ${options.certFile} holds no certificate`);
  let key: KeyObject;
  try {
    key = createPrivateKey({ key: keyText, format: 'pem' });
  } catch (error) {
    // Both PEM forms say so in plain text; the error differs by form and version of OpenSSL.
    const what = keyText.includes('ENCRYPTED') ? 'is encrypted' : 'is no PEM key';
    return fail(`tls.keyFile ${options.keyFile} ${what}: ${messageOf(error)}`, error);
  }
  if (!leaf.checkPrivateKey(key)) {
    fail(`tls.keyFile ${options.keyFile} is not the key of tls.certFile ${options.certFile}`);
  }
  if (
    caText !== null &&
    parseCertificates(caText, `tls.caFile ${options.caFile}`, fail).length < 1
  ) {
    // Node would take an empty list without a word and then trust nobody, or everybody's authority.
    fail(`tls.caFile ${options.caFile} holds no certificate`);
  }
  warnOfDates(leaf, options.certFile, listener, log);

  const material: NodeTlsOptions = {
    cert: certText,
    key: keyText,
    minVersion: options.minVersion ?? 'TLSv1.2',
    requestCert: options.clientCertificate !== 'none',
    rejectUnauthorized: options.clientCertificate === 'required',
    ...(caText === null ? {} : { ca: caText }),
    ...(options.ciphers === undefined ? {} : { ciphers: options.ciphers }),
  };
  try {
    // What is left to go wrong: ciphers nobody knows, keys OpenSSL calls too small.
    createSecureContext(material);
  } catch (error) {
    fail(`tls settings are refused: ${messageOf(error)}`, error);
  }
  return material;
}

function parseCertificates(
  text: string,
  source: string,
  fail: (problem: string, cause?: unknown) => never,
): X509Certificate[] {
  const blocks = text.match(/-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g) ?? [];
  const begun = text.match(/-----BEGIN CERTIFICATE-----/g)?.length ?? 0;
  if (begun !== blocks.length) fail(`${source} is cut off or damaged`);
  return blocks.map((block, index) => {
    try {
      return new X509Certificate(block);
    } catch (error) {
      return fail(`${source}: certificate ${index + 1} is damaged: ${messageOf(error)}`, error);
    }
  });
}

/** A certificate out of its dates is served as asked (clocks are wrong too), but not in silence. */
function warnOfDates(leaf: X509Certificate, certFile: string, listener: string, log: Log): void {
  const nowMs = Date.now();
  const fields = { listener, certFile, validFrom: leaf.validFrom, validTo: leaf.validTo };
  if (leaf.validToDate.getTime() < nowMs) log.warn(fields, 'certificate has expired');
  else if (leaf.validFromDate.getTime() > nowMs) log.warn(fields, 'certificate is not valid yet');
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

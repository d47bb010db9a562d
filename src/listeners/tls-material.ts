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
import { type RevocationList, readRevocationLists } from './revocation-list.ts';
import { PskHandshakes, pskCiphers } from './tls-psk.ts';

export interface TlsMaterial {
  /** For a tls.Server. */
  readonly context: NodeTlsOptions;
  readonly revocationLists: readonly RevocationList[];
  /** Null: no pre-shared keys. */
  readonly psk: PskHandshakes | null;
}

/** Reads and checks everything; throws a ListenerError that names the file and what is wrong. */
export async function loadTlsMaterial(
  options: TlsOptions,
  listener: string,
  log: Log,
): Promise<TlsMaterial> {
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

  const { certFile, keyFile, caFile, crlFile, pskLookup } = options;
  const hasCertificate = certFile !== undefined && keyFile !== undefined;
  const own = hasCertificate
    ? checkOwn(
        {
          certFile,
          keyFile,
          cert: await read('certFile', certFile),
          key: await read('keyFile', keyFile),
        },
        listener,
        log,
        fail,
      )
    : {};
  const caText = caFile === undefined ? null : await read('caFile', caFile);
  const authorities =
    caText === null ? [] : parseCertificates(caText, `tls.caFile ${caFile}`, fail);
  if (caText !== null && authorities.length < 1) {
    // Node would take an empty list without a word and then trust nobody, or everybody's authority.
    fail(`tls.caFile ${caFile} holds no certificate`);
  }
  let revocationLists: readonly RevocationList[] = [];
  if (crlFile !== undefined) {
    if (authorities.length === 0) fail('tls.crlFile needs tls.caFile, the authorities it is by');
    revocationLists = readRevocationLists(
      await read('crlFile', crlFile),
      authorities,
      (problem, cause) => fail(`tls.crlFile ${crlFile} ${problem}`, cause),
    );
    warnOfLists(revocationLists, crlFile, listener, log);
  }
  const psk = pskLookup === undefined ? null : new PskHandshakes(pskLookup, hasCertificate);
  const ciphers = options.ciphers ?? (psk === null ? undefined : pskCiphers(hasCertificate));

  const context: NodeTlsOptions = {
    ...own,
    ...(psk === null ? {} : psk.options),
    minVersion: options.minVersion ?? 'TLSv1.2',
    requestCert: options.clientCertificate !== 'none',
    rejectUnauthorized: options.clientCertificate === 'required',
    ...(caText === null ? {} : { ca: caText }),
    // One by one: of several in one text OpenSSL would get the first alone.
    ...(revocationLists.length === 0 ? {} : { crl: revocationLists.map(({ pem }) => pem) }),
    ...(ciphers === undefined ? {} : { ciphers }),
  };
  try {
    // What is left to go wrong: ciphers nobody knows, keys OpenSSL calls too small.
    createSecureContext(context);
  } catch (error) {
    fail(`tls settings are refused: ${messageOf(error)}`, error);
  }
  return { context, revocationLists, psk };
}

interface OwnFiles {
  readonly certFile: string;
  readonly keyFile: string;
  /** What they hold. */
  readonly cert: string;
  readonly key: string;
}

/** The listener's certificate and key, which must belong together. */
function checkOwn(
  { certFile, keyFile, cert, key: keyText }: OwnFiles,
  listener: string,
  log: Log,
  fail: (problem: string, cause?: unknown) => never,
): NodeTlsOptions {
  const [leaf] = parseCertificates(cert, `tls.certFile ${certFile}`, fail);
  if (leaf === undefined) return fail(`tls.certFile ${certFile} holds no certificate`);
  let key: KeyObject;
  try {
    key = createPrivateKey({ key: keyText, format: 'pem' });
  } catch (error) {
    // Both PEM forms say so in plain text; the error differs by form and version of OpenSSL.
    const what = keyText.includes('ENCRYPTED') ? 'is encrypted' : 'is no PEM key';
    return fail(`tls.keyFile ${keyFile} ${what}: ${messageOf(error)}`, error);
  }
  if (!leaf.checkPrivateKey(key)) {
    fail(`tls.keyFile ${keyFile} is not the key of tls.certFile ${certFile}`);
  }
  warnOfDates(leaf, certFile, listener, log);
  return { cert, key: keyText };
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

/** Out of its dates a list opens nothing: OpenSSL refuses every certificate of its authority. */
function warnOfLists(
  lists: readonly RevocationList[],
  crlFile: string,
  listener: string,
  log: Log,
): void {
  const nowMs = Date.now();
  for (const { issuerCommonName, thisUpdateMs, nextUpdateMs } of lists) {
    const fields = { listener, crlFile, issuer: issuerCommonName };
    const consequence = 'until it is replaced, all client certificates of its issuer are refused';
    if (nextUpdateMs < nowMs) log.warn(fields, `revocation list has expired; ${consequence}`);
    else if (thisUpdateMs > nowMs) {
      log.warn(fields, `revocation list is not valid yet; ${consequence}`);
    }
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

// An authority, a server certificate and a client certificate by it, made with openssl for one run.

import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ClientTls } from '../load/protocol.ts';

const KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];

/** Writes `authority`, `server` and `device`, each .pem and .key, into the folder. */
export function makeCertificates(directory: string): ClientTls {
  const openssl = (...words: readonly string[]): void => {
    execFileSync('openssl', words, { cwd: directory, stdio: 'ignore' });
  };
  const text = (name: string): string => readFileSync(join(directory, name), 'utf8');
  const files = (name: string, out: string): string[] => ['-keyout', `${name}.key`, '-out', out];
  openssl('req', '-x509', ...KEY, ...files('authority', 'authority.pem'), '-subj', '/CN=authority');
  for (const name of ['server', 'device']) {
    writeFileSync(join(directory, 'names'), 'subjectAltName=IP:127.0.0.1\n');
    openssl('req', ...KEY, ...files(name, `${name}.csr`), '-subj', `/CN=${name}`);
    const signer = ['-CA', 'authority.pem', '-CAkey', 'authority.key', '-CAcreateserial'];
    const request = ['-req', '-in', `${name}.csr`, '-extfile', 'names', '-days', '2'];
    openssl('x509', ...request, ...signer, '-out', `${name}.pem`);
  }
  return { ca: text('authority.pem'), cert: text('device.pem'), key: text('device.key') };
}

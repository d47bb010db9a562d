/**
 * Certificates of authorities a backend's TLS certificate is checked against. A file that holds none
 * is an error: an empty list must never come to mean "whoever answers".
 */
import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';

const BEGIN = '-----BEGIN CERTIFICATE-----';
const END = '-----END CERTIFICATE-----';

/** PEM texts, one per certificate. Throws an Error that says what is wrong with the file. */
export function readCaFile(file: string): string[] {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    throw new Error(`cannot be read: ${(error as NodeJS.ErrnoException).code ?? 'unknown error'}`);
  }
  const found: string[] = [];
  for (let from = text.indexOf(BEGIN); from !== -1; from = text.indexOf(BEGIN, from + 1)) {
    const end = text.indexOf(END, from);
    if (end === -1) throw new Error('ends within a certificate');
    const pem = text.slice(from, end + END.length);
    try {
      new X509Certificate(pem);
    } catch {
      throw new Error(`certificate ${found.length + 1} in it cannot be read`);
    }
    found.push(pem);
  }
  if (found.length === 0) throw new Error('holds no PEM certificate');
  return found;
}

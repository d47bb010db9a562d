/**
 * Reads the certificates a configuration names and sees whether they fit together, for `causeway
 * check`. A node that starts finds the same out when it opens its listeners.
 */
import { readFileSync } from 'node:fs';
import { createSecureContext } from 'node:tls';
import type { TlsConfig } from './config.ts';
import { formatPath, type Path, type Problem } from './layer.ts';
import type { LoadedConfig } from './load.ts';

export function checkFiles(loaded: LoadedConfig): Problem[] {
  const { config } = loaded;
  const problems: Problem[] = [];
  if (config.tls !== undefined) problems.push(...checkTlsFiles(loaded, config.tls, ['tls']));
  for (const [index, { tls }] of config.listeners.entries()) {
    if (tls === undefined) continue;
    problems.push(...checkTlsFiles(loaded, tls, ['listeners', index, 'tls']));
  }
  return problems;
}

function checkTlsFiles(loaded: LoadedConfig, tls: TlsConfig, path: Path): Problem[] {
  const problems: Problem[] = [];
  const report = (key: string, message: string): void => {
    const at = [...path, key];
    problems.push({ where: loaded.originOf(at), message: `${formatPath(at)}: ${message}` });
  };
  const read = (key: string, name: string): Buffer | null => {
    try {
      return readFileSync(name);
    } catch (error) {
      report(key, `cannot read ${name}: ${(error as NodeJS.ErrnoException).code ?? String(error)}`);
      return null;
    }
  };
  /** OpenSSL's words are for experts; they go in brackets. */
  const attempt = (key: string, message: string, task: () => void): void => {
    try {
      task();
    } catch (error) {
      report(key, `${message} (${(error as Error).message})`);
    }
  };

  const cert = read('certFile', tls.certFile);
  const key = read('keyFile', tls.keyFile);
  const ca = tls.caFile === undefined ? null : read('caFile', tls.caFile);
  if (cert !== null) {
    attempt('certFile', `${tls.certFile} holds no certificate in PEM`, () => {
      createSecureContext({ cert });
    });
  }
  if (key !== null) {
    attempt('keyFile', `${tls.keyFile} holds no private key in PEM without a password`, () => {
      createSecureContext({ key });
    });
  }
  if (cert !== null && key !== null && problems.length === 0) {
    attempt('keyFile', 'is not the key of certFile', () => createSecureContext({ cert, key }));
  }
  if (ca !== null) {
    attempt('caFile', `${tls.caFile} holds no certificate in PEM`, () => {
      if (!ca.includes('-----BEGIN CERTIFICATE-----')) throw new Error('no certificate found');
      createSecureContext({ ca });
    });
  }
  if (tls.ciphers !== undefined) {
    const { ciphers, minVersion } = tls;
    attempt('ciphers', 'is not a list of ciphers OpenSSL knows', () => {
      createSecureContext({ ciphers, minVersion });
    });
  }
  return problems;
}

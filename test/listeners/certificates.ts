/**
 * An authority, and certificates by it, made with openssl for one test run. Used by the tests of
 * listeners; the folder is removed at the end of the run.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';

/** A folder of this run alone. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'causeway-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

const KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];

export class Certificates {
  readonly folder: string = temporaryFolder();

  openssl(...args: readonly string[]): void {
    execFileSync('openssl', args, { cwd: this.folder, stdio: 'ignore' });
  }

  path(name: string): string {
    return join(this.folder, name);
  }

  pem(name: string): string {
    return readFileSync(this.path(name), 'utf8');
  }

  /** Writes NAME.pem and NAME.key. */
  authority(name: string): void {
    const files = ['-keyout', `${name}.key`, '-out', `${name}.pem`];
    this.openssl('req', '-x509', ...KEY, ...files, '-days', '2', '-subj', `/CN=${name}`);
  }

  /** Writes NAME.pem and NAME.key, signed by the authority; `subject` as openssl wants it. */
  issue(name: string, by: string, altNames: string, subject: string = `/CN=${name}`): void {
    writeFileSync(this.path(`${name}.ext`), `subjectAltName=${altNames}\n`);
    const request = ['-keyout', `${name}.key`, '-out', `${name}.csr`, '-subj', subject];
    this.openssl('req', ...KEY, ...request);
    const signer = ['-CA', `${by}.pem`, '-CAkey', `${by}.key`, '-CAcreateserial'];
    const extra = ['-extfile', `${name}.ext`, '-days', '2', '-out', `${name}.pem`];
    this.openssl('x509', '-req', '-in', `${name}.csr`, ...signer, ...extra);
  }

  /**
   * Writes OUT.crl: what the authority has revoked, NAMES of certificates by it; valid for an hour, or
   * for the dates given (`YYYYMMDDHHMMSSZ`).
   */
  revoke(
    by: string,
    out: string,
    names: readonly string[],
    dates?: readonly [string, string],
  ): void {
    writeFileSync(
      this.path(`${out}.cnf`),
      `[ca]\ndefault_ca=c\n[c]\ndatabase=${out}.txt\ndefault_md=sha256\n`,
    );
    writeFileSync(this.path(`${out}.txt`), '');
    const authority = ['-config', `${out}.cnf`, '-keyfile', `${by}.key`, '-cert', `${by}.pem`];
    for (const name of names) this.openssl('ca', ...authority, '-revoke', `${name}.pem`);
    const valid =
      dates === undefined
        ? ['-crlhours', '1']
        : ['-crl_lastupdate', dates[0], '-crl_nextupdate', dates[1]];
    this.openssl('ca', ...authority, '-gencrl', '-out', `${out}.crl`, ...valid);
  }

  /** An authority below another one. */
  subAuthority(name: string, by: string): void {
    const request = ['-keyout', `${name}.key`, '-out', `${name}.csr`, '-subj', `/CN=${name}`];
    this.openssl('req', ...KEY, ...request);
    writeFileSync(this.path(`${name}.ext`), 'basicConstraints=critical,CA:TRUE\n');
    const signer = ['-CA', `${by}.pem`, '-CAkey', `${by}.key`, '-CAcreateserial'];
    const extra = ['-extfile', `${name}.ext`, '-days', '2', '-out', `${name}.pem`];
    this.openssl('x509', '-req', '-in', `${name}.csr`, ...signer, ...extra);
  }
}

// `causeway check` reads the certificates: what is missing, damaged, or does not fit together.
import { execFileSync } from 'node:child_process';
import { chmodSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { checkFiles } from '../../src/config/check-files.ts';
import { formatProblem } from '../../src/config/layer.ts';
import { loadConfig } from '../../src/config/load.ts';
import { temporaryFolder } from './temporary-folder.ts';

const folder = temporaryFolder(t);
for (const name of ['a', 'b']) {
  const request = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1'];
  const files = ['-nodes', '-keyout', `${name}.key`, '-out', `${name}.pem`];
  const subject = ['-days', '2', '-subj', `/CN=${name}`];
  execFileSync('openssl', [...request, ...files, ...subject], { cwd: folder, stdio: 'ignore' });
}
const pem = readFileSync(join(folder, 'a.pem'), 'latin1');
writeFileSync(join(folder, 'cut.pem'), pem.slice(0, pem.length / 2));
writeFileSync(join(folder, 'text.pem'), 'not a certificate\n');

async function problemsOf(tls: string): Promise<string[]> {
  const file = join(folder, 'edge.yaml');
  const text = `listeners:\n  - url: mqtts://127.0.0.1:0\n    tls: {${tls}}\n`;
  const loaded = loadConfig({ file, text, environment: {}, flags: [] });
  const { problems } = await checkFiles(loaded);
  return problems.map((problem) => formatProblem(problem).replaceAll(`${folder}/`, ''));
}

t.test('certificates that fit', async (t) => {
  t.strictSame(await problemsOf('certFile: a.pem, keyFile: a.key'), []);
  const mutual = 'certFile: a.pem, keyFile: a.key, caFile: b.pem, clientCertificate: required';
  t.strictSame(await problemsOf(mutual), []);
});

t.test('all files that are not there', async (t) => {
  t.strictSame(await problemsOf('certFile: x.pem, keyFile: x.key'), [
    'edge.yaml:3:21: listeners[0].tls.certFile: cannot read x.pem: ENOENT',
    'edge.yaml:3:37: listeners[0].tls.keyFile: cannot read x.key: ENOENT',
  ]);
});

t.test('files that do not fit or are damaged', async (t) => {
  const cases: [string, RegExp][] = [
    ['certFile: a.pem, keyFile: b.key', /^edge\.yaml:3:21: .*b\.key is not the key of .*a\.pem$/],
    ['certFile: cut.pem, keyFile: a.key', /cut\.pem is cut off or damaged$/],
    ['certFile: text.pem, keyFile: a.key', /text\.pem holds no certificate$/],
    ['certFile: a.pem, keyFile: text.pem', /text\.pem is no PEM key/],
    ['certFile: a.pem, keyFile: a.key, ciphers: NONSENSE', /tls settings are refused/],
    [
      'certFile: a.pem, keyFile: a.key, caFile: text.pem, clientCertificate: optional',
      /text\.pem holds no certificate$/,
    ],
  ];
  for (const [tls, expected] of cases) {
    const problems = await problemsOf(tls);
    t.equal(problems.length, 1);
    t.match(problems[0], expected, tls);
  }
});

t.test(
  'a key that may not be read',
  { skip: process.getuid?.() === 0 && 'root reads all' },
  async (t) => {
    chmodSync(join(folder, 'b.key'), 0o000);
    t.match(await problemsOf('certFile: b.pem, keyFile: b.key'), [/cannot read b\.key: EACCES/]);
  },
);

t.test('a certificate out of its dates is a warning', async (t) => {
  const openssl = (...args: readonly string[]): void => {
    execFileSync('openssl', args, { cwd: folder, stdio: 'ignore' });
  };
  openssl('req', '-new', '-key', 'a.key', '-subj', '/CN=old', '-out', 'old.csr');
  openssl(...'x509 -req -in old.csr -signkey a.key -days -1 -out old.pem'.split(' '));
  const text = 'tls: {certFile: old.pem, keyFile: a.key}\n';
  const file = join(folder, 'edge.yaml');
  const found = await checkFiles(loadConfig({ file, text, environment: {}, flags: [] }));
  t.strictSame(found.problems, []);
  t.match(found.warnings, [{ message: 'tls.certFile: certificate has expired' }]);
});

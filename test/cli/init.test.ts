// `causeway init`: what it writes, that others' tools agree with the certificates, what it refuses.
import { execFileSync } from 'node:child_process';
import { createHash, X509Certificate } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { parseHash } from '../../src/access/authn/hash-format.ts';
import { verifyPassword } from '../../src/access/authn/hash-password.ts';
import { issueCertificates } from '../../src/cli/init/certificate.ts';
import { bitString, objectId, time, unsigned } from '../../src/cli/init/der.ts';
import { planFiles } from '../../src/cli/init/plan.ts';
import { temporaryFolder } from '../config/temporary-folder.ts';
import { type Outcome, runCli } from './run.ts';
import { runMany } from './run-many.ts';

t.test('a folder that is complete, private and not overwritten', async (t) => {
  const folder = temporaryFolder(t);
  const args = ['init', '--dir', 'new', '--user', "o'hara", '--host', 'broker.example'];
  const done = await runCli([...args, '--port', '18883'], { cwd: folder });
  t.equal(done.code, 0, done.stderr);
  const at = (name: string): string => join(folder, 'new', name);
  const text = (name: string): string => readFileSync(at(name), 'utf8');

  const names = readdirSync(at('.'), { recursive: true }).toSorted();
  t.strictSame(names, [
    'acl.yaml',
    'api-tokens.json',
    'causeway.yaml',
    'certs',
    'certs/ca.key',
    'certs/ca.pem',
    'certs/server.key',
    'certs/server.pem',
    'data',
    'passwords',
  ]);
  for (const name of ['.', ...(names as string[])]) {
    const stats = statSync(at(name));
    t.equal(stats.mode & 0o777, stats.isDirectory() ? 0o700 : 0o600, name);
  }

  // Shown once, kept as hashes.
  const password = /^ {2}user o'hara, password (\S+)$/m.exec(done.stdout)?.[1] ?? '';
  const token = /^ {2}API token (\S+)$/m.exec(done.stdout)?.[1] ?? '';
  t.ok(password.length >= 32 && token.length >= 40);
  const [user, hash = ''] = text('passwords').trimEnd().split(/:(.*)/);
  t.equal(user, "o'hara");
  const stored = parseHash(hash);
  if ('problem' in stored) throw new Error(stored.problem);
  t.equal(await verifyPassword(stored, Buffer.from(password)), true);
  t.match(JSON.parse(text('api-tokens.json')), {
    tokens: [
      {
        name: 'init',
        role: 'admin',
        sha256: createHash('sha256').update(token).digest('hex'),
        expiresAt: null,
      },
    ],
  });
  for (const name of names as string[]) {
    if (statSync(at(name)).isDirectory()) continue;
    t.notOk(text(name).includes(password) || text(name).includes(token), name);
  }
  t.match(done.stdout, `mosquitto_sub -h broker.example -p 18883 --cafile ${at('certs/ca.pem')}`);
  t.match(done.stdout, `-u 'o'\\''hara' -P ${password}`);

  const asked = ['c1', 'publish', 'a', '--config', at('causeway.yaml')];
  const outcomes = await runMany(
    [
      ['check', at('causeway.yaml')],
      ['acl', 'test', "o'hara", ...asked],
      ['acl', 'test', 'mallory', ...asked],
      args,
    ],
    { cwd: folder },
  );
  const [checked, mine, other, again] = outcomes as [Outcome, Outcome, Outcome, Outcome];
  t.equal(checked.code, 0, checked.stderr);
  t.match(mine, { code: 0, stdout: /^allow\nrule 1 \(\S+acl\.yaml:\d+\) allows it/ });
  t.match(other, { code: 1, stdout: /^deny\nno rule speaks about it/ });
  t.match(again, { code: 2, stderr: /is there already; nothing was written/, stdout: '' });
  t.equal(text('passwords').trimEnd(), `o'hara:${hash}`);
});

t.test('certificates that are given stay where they are', async (t) => {
  const issued = issueCertificates(['localhost'], Date.now());
  const folder = temporaryFolder(t, {
    'mine.pem': issued.server.certificate,
    'mine.key': issued.server.key,
    'other.key': issued.authority.key,
  });
  const line = (dir: string, files: string): string[] => [
    ...['init', '--dir', dir, '--generate', '--tls', files],
  ];
  const outcomes = await runMany(
    [
      line('given', 'mine.pem,mine.key'),
      line('wrong', 'mine.pem,other.key'),
      line('missing', 'mine.pem,none.key'),
    ],
    { cwd: folder },
  );
  const [given, wrong, missing] = outcomes as [Outcome, Outcome, Outcome];
  t.equal(given.code, 0, given.stderr);
  t.notOk(existsSync(join(folder, 'given', 'certs')));
  t.notMatch(given.stdout, '--cafile');
  t.match(readFileSync(join(folder, 'given', 'causeway.yaml'), 'utf8'), join(folder, 'mine.key'));
  t.match(wrong, { code: 2, stderr: /it was written, but: .*keyFile/ });
  t.match(missing, { code: 2, stderr: /ENOENT/ });
  t.notOk(existsSync(join(folder, 'missing')));
});

t.test('wrong flags', async (t) => {
  const cases: [string[], RegExp][] = [
    [['--user', 'a:b'], /--user: /],
    [['--host', 'a b'], /--host: "a b" is neither a name nor an IP address/],
    [['--host', '1.2.3'], /--host/],
    [['--tls', 'one.pem'], /--tls is self-signed, or CERT,KEY/],
    [['--port', '0'], /--port is a port/],
    [['--password', 'x'], /unknown flag --password/],
  ];
  const folder = temporaryFolder(t);
  const outcomes = await runMany(
    cases.map(([args]) => ['init', ...args]),
    { cwd: folder },
  );
  for (const [index, outcome] of outcomes.entries()) {
    const [args, said] = cases[index]!;
    t.match(outcome, { code: 1, stderr: said }, args.join(' '));
  }
  t.strictSame(readdirSync(folder), []);
});

t.test('certificates: openssl and Node agree with what they say', async (t) => {
  const hosts = ['broker.example', '*.example.org', '10.1.2.3', 'fd00::1', 'localhost'];
  const nowMs = Date.now();
  const { authority, server, serverExpiresAtMs } = issueCertificates(hosts, nowMs);
  const folder = temporaryFolder(t, {
    'ca.pem': authority.certificate,
    's.pem': server.certificate,
  });
  writeFileSync(join(folder, 's.key'), server.key);
  const openssl = (...args: string[]): string =>
    execFileSync('openssl', args, {
      cwd: folder,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
    });
  const verify = ['verify', '-x509_strict', '-purpose', 'sslserver', '-CAfile', 'ca.pem'];
  t.equal(openssl(...verify, '-verify_hostname', 'a.example.org', 's.pem'), 's.pem: OK\n');
  t.equal(openssl(...verify, '-verify_ip', 'fd00::1', 's.pem'), 's.pem: OK\n');
  t.throws(() => openssl(...verify, '-verify_hostname', 'other.example', 's.pem'));
  t.equal(
    openssl('x509', '-in', 's.pem', '-noout', '-pubkey'),
    openssl('pkey', '-in', 's.key', '-pubout'),
  );

  const certificate = new X509Certificate(server.certificate);
  const issuer = new X509Certificate(authority.certificate);
  t.ok(certificate.checkIssued(issuer) && certificate.verify(issuer.publicKey));
  t.notOk(certificate.ca);
  t.ok(issuer.ca);
  t.equal(certificate.checkIP('10.1.2.3'), '10.1.2.3');
  t.equal(certificate.checkHost('broker.example'), 'broker.example');
  t.equal(Date.parse(certificate.validTo), Math.floor(serverExpiresAtMs / 1000) * 1000);
  t.ok(Date.parse(certificate.validFrom) < nowMs);
  t.ok(serverExpiresAtMs - nowMs <= 825 * 86_400_000, 'no longer than some systems accept');
  const other = issueCertificates(hosts, nowMs);
  t.not(new X509Certificate(other.server.certificate).serialNumber, certificate.serialNumber);
  t.not(new X509Certificate(other.authority.certificate).subject, issuer.subject);
});

t.test('DER', async (t) => {
  const hex = (bytes: Buffer): string => bytes.toString('hex');
  t.equal(hex(unsigned(Buffer.of(0, 0, 0x80))), '02020080', 'positive');
  t.equal(hex(unsigned(Buffer.of(0))), '020100');
  t.equal(hex(objectId('1.2.840.10045.4.3.2')), '06082a8648ce3d040302');
  t.equal(hex(bitString(Buffer.of(0b1000_0000), 7)), '03020780');
  t.equal(
    time(Date.UTC(2049, 11, 31, 23, 59, 59))
      .subarray(2)
      .toString(),
    '491231235959Z',
  );
  t.equal(
    time(Date.UTC(2050, 0, 1))
      .subarray(2)
      .toString(),
    '20500101000000Z',
  );
  t.equal(hex(unsigned(Buffer.alloc(300, 1)).subarray(0, 4)), '0282012c');
});

t.test('names that mean something to YAML stay names', async (t) => {
  for (const user of ['no', '0123', 'a: b', "it's", '#x', '- y', '*', 'ü', '[a]']) {
    const files = planFiles({
      user,
      passwordHash: 'x',
      certFile: '/tmp/a: #b.pem',
      keyFile: 'k',
      anyHost: '[::]',
      port: 1,
      localPort: 2,
      adminPort: 3,
    });
    const { parse } = await import('yaml');
    const rules = parse(files.get('acl.yaml')!, { schema: 'failsafe' }) as {
      rules: { users: string[] }[];
    };
    t.strictSame(rules.rules[0]?.users, [user], user);
    t.match(parse(files.get('causeway.yaml')!), { tls: { certFile: '/tmp/a: #b.pem' } });
  }
});

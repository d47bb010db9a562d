// The password file: what it may hold, every error with its place, and never a user by accident.

import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import t from 'tap';
import { AccessError } from '../../../src/access/access-error.ts';
import {
  formatPasswordLine,
  loadPasswordFile,
  type PasswordEntries,
  parsePasswordFile,
} from '../../../src/access/authn/password-file.ts';
import { temporaryFolder } from '../../config/temporary-folder.ts';
import { LogRecord } from './login-of.ts';

const HASH =
  '$7$101$gAwTUEksfKlsdwws$V+sz2neUtJ3sn78rDWzXIT+eX67aqB9k3EXHzCGin5g1u/i4/2G4+K9gRB/jW9bPT/yNY2QmiZt7m+j5DihcQQ==';
const SCRYPT =
  '$scrypt$ln=10,r=8,p=1$ho3S+tnmkiZdKSL/OOpoJw$y5mcA5BE8Ea5YHsNisACNdHYT167YumanzEvgPtlp7w';

async function outcomeOf(text: string | Buffer): Promise<PasswordEntries | AccessError> {
  try {
    return await parsePasswordFile(Buffer.from(text), 'users');
  } catch (error) {
    if (error instanceof AccessError) return error;
    throw error;
  }
}

t.test('users, attributes, comments, empty lines and line ends', async (t) => {
  const text = [
    '# fleet',
    `alice:${HASH}`,
    '',
    `bob jr:${SCRYPT}:superuser`,
    ' ',
    `acme/carl:${SCRYPT}:tenant=acme`,
    `ä+#:${HASH}:tenant=a.b-c,superuser`,
    `__proto__:${HASH}:superuser,tenant=x`,
    '#last',
  ];
  const plain = { tenant: null, superuser: false };
  const expected = [
    ['alice', { hash: HASH, ...plain, line: 2 }],
    ['bob jr', { hash: SCRYPT, tenant: null, superuser: true, line: 4 }],
    ['acme/carl', { hash: SCRYPT, tenant: 'acme', superuser: false, line: 6 }],
    ['ä+#', { hash: HASH, tenant: 'a.b-c', superuser: true, line: 7 }],
    ['__proto__', { hash: HASH, tenant: 'x', superuser: true, line: 8 }],
  ];
  for (const whole of [text.join('\n'), `${text.join('\r\n')}\r\n`, `\ufeff${text.join('\n')}\n`]) {
    t.strictSame([...((await outcomeOf(whole)) as PasswordEntries)], expected);
  }
  t.equal(((await outcomeOf('')) as PasswordEntries).size, 0);
});

t.test('every error at once, each with line and column', async (t) => {
  const lines: [string, string][] = [
    [`alice:${HASH}`, ''],
    ['bob', ':1: expected USER:HASH'],
    [`alice:${SCRYPT}`, ':1: the user "alice" is in line 1 already'],
    ['carl:', ':6: the password is not hashed; causeway passwd writes hashes'],
    ['carl:secret', ':6: the password is not hashed; causeway passwd writes hashes'],
    [`:${HASH}`, ':1: the user name is empty'],
    [` dora:${HASH}`, ':1: the user name begins or ends with white space'],
    [`dora\t:${HASH}`, ':1: the user name begins or ends with white space'],
    [`do\0ra:${HASH}`, ':1: the user name holds a control character'],
    [`do\u0085ra:${HASH}`, ':1: the user name holds a control character'],
    [`do\rra:${HASH}`, ':1: the user name holds a control character'],
    [`eve: ${HASH}`, ':5: the password is not hashed; causeway passwd writes hashes'],
    [`eve:${HASH} `, ':29: the hash is not base64'],
    [`eve:${HASH.slice(0, -4)}`, ':29: the hash must have 64 bytes'],
    [`eve:${HASH.slice(0, 20)}`, ':5: expected $7$ITERATIONS$SALT$HASH'],
    [`eve:${HASH}:`, `:${HASH.length + 6}: expected tenant=NAME or superuser, each at most once`],
    [
      `eve:${HASH}:Superuser`,
      `:${HASH.length + 6}: expected tenant=NAME or superuser, each at most once`,
    ],
    [
      `eve:${HASH}:superuser,superuser`,
      `:${HASH.length + 16}: expected tenant=NAME or superuser, each at most once`,
    ],
    [`eve:${HASH}:superuser,tenant=`, `:${HASH.length + 16}: tenant= needs a name`],
    [
      `eve:${HASH}:tenant=a b`,
      `:${HASH.length + 6}: a tenant must not hold white space, comma, colon or =`,
    ],
    [
      `eve:${HASH}:tenant=a:b`,
      `:${HASH.length + 6}: a tenant must not hold white space, comma, colon or =`,
    ],
  ];
  const error = await outcomeOf(lines.map(([line]) => line).join('\n'));
  t.type(error, AccessError);
  const expected = lines.flatMap(([, message], i) => (message ? [`users:${i + 1}${message}`] : []));
  t.strictSame((error as Error).message.split('\n'), expected);
  const bytes = Buffer.concat([Buffer.from('al'), Buffer.from([0xff]), Buffer.from(`:${HASH}`)]);
  t.match(await outcomeOf(bytes), { problems: [{ where: 'users:1:1', message: 'not UTF-8' }] });

  const many = await outcomeOf('x\n'.repeat(1000));
  t.equal((many as AccessError).problems.length, 51);
  t.match((many as AccessError).problems[50], { where: 'users', message: 'and 950 more errors' });
});

t.test('FIELD 2: a damaged line is never a user, and takes the file with it', async () => {
  const lines = [`alice:${HASH}`, `bob:${SCRYPT}:tenant=acme,superuser`];
  const odd = fc.constantFrom(
    '',
    ':',
    '$',
    '=',
    ',',
    '\0',
    '\t',
    ' ',
    '\r',
    'A',
    '0',
    'é',
    '\u2028',
  );
  const damage = fc.record({ line: fc.nat(1), at: fc.nat(200), drop: fc.nat(4), insert: odd });
  await fc.assert(
    fc.asyncProperty(damage, async ({ line, at, drop, insert }) => {
      const good = lines[line]!;
      const i = at % good.length;
      const damaged = good.slice(0, i) + insert + good.slice(i + drop);
      const outcome = await outcomeOf(`${damaged}\nlast:${HASH}\n`);
      if (outcome instanceof AccessError) return true;
      // What is taken is exactly what stands there: a user, a whole hash, known attributes.
      for (const [user, entry] of outcome) {
        if (user === 'last') continue;
        const written = formatPasswordLine(user, entry);
        const parts = damaged.replace(/\r$/, '').split(':');
        const isSame = parts[0] === user && parts[1] === entry.hash && parts.length <= 3;
        if (!isSame || Buffer.byteLength(written) < SCRYPT.length) return false;
      }
      return outcome.size === 2 || damaged === '' || damaged.startsWith('#');
    }),
    { numRuns: 3000 },
  );
});

t.test('nothing of a password is told, whatever the line', async (t) => {
  const canary = 'hunter2-canary';
  const lines = [
    canary,
    `alice:${canary}`,
    `alice:$7$${canary}`,
    `alice:$7$101$${canary}$${canary}`,
    `alice:$scrypt$${canary}$${canary}$${canary}`,
    `alice:${HASH}:${canary}`,
    `alice:${HASH}:tenant=${canary} x`,
    `\0${canary}:${HASH}`,
  ];
  const error = await outcomeOf(lines.join('\n'));
  t.equal((error as AccessError).problems.length, lines.length);
  t.notMatch((error as Error).message, canary);
});

t.test(
  'FIELD 2: what cannot be read is an error: missing, folder, pipe, empty, too many files',
  async (t) => {
    const folder = temporaryFolder(t, { empty: '', comments: '# nobody\n\n' });
    mkdirSync(join(folder, 'folder'));
    execFileSync('mkfifo', [join(folder, 'pipe')]);
    const log = new LogRecord();
    const cases: [string, RegExp][] = [
      ['missing', /missing: cannot be read: ENOENT$/],
      ['folder', /folder: is not a file$/],
      ['pipe', /pipe: is not a file$/],
      ['empty', /empty: it holds no user/],
      ['comments', /comments: it holds no user/],
    ];
    for (const [name, message] of cases) {
      const error = await loadPasswordFile(join(folder, name), log).catch(
        (thrown: unknown) => thrown,
      );
      t.type(error, AccessError, name);
      t.match(error, { message }, name);
    }
  },
);

t.test('FIELD 26: a file others may open is warned about', async (t) => {
  const folder = temporaryFolder(t, { users: `alice:${HASH}\n` });
  const file = join(folder, 'users');
  for (const [mode, lines] of [
    [0o600, 0],
    [0o400, 0],
    [0o640, 1],
    [0o604, 1],
    [0o620, 1],
  ] as const) {
    chmodSync(file, mode);
    const log = new LogRecord();
    t.equal((await loadPasswordFile(file, log)).size, 1);
    t.equal(log.lines.length, lines, mode.toString(8));
    if (lines > 0) t.match(log.lines[0], new RegExp(`^warn .*0${mode.toString(8)}`, 's'));
  }
});

t.test('a large file is read without holding up the event loop', async (t) => {
  const folder = temporaryFolder(t);
  const lines = Array.from({ length: 20_000 }, (_, i) => `device-${i}:${HASH}`);
  writeFileSync(join(folder, 'users'), lines.join('\n'), { mode: 0o600 });
  let turns = 0;
  const timer = setInterval(() => (turns += 1), 1);
  const entries = await loadPasswordFile(join(folder, 'users'), new LogRecord());
  clearInterval(timer);
  t.equal(entries.size, 20_000);
  t.ok(turns > 5, `${turns} turns meanwhile`);
});

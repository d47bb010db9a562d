// `causeway passwd`: what it writes, what it refuses, and that a password is seen nowhere.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { text } from 'node:stream/consumers';
import t from 'tap';
import { parseHash } from '../../src/access/authn/hash-format.ts';
import { verifyPassword } from '../../src/access/authn/hash-password.ts';
import { parsePasswordFile } from '../../src/access/authn/password-file.ts';
import { PasswordFileEdit } from '../../src/access/authn/password-file-edit.ts';
import { UsageError } from '../../src/cli/command.ts';
import { command } from '../../src/cli/commands/passwd.ts';
import { HiddenInput } from '../../src/cli/hidden-input.ts';
import { temporaryFolder } from '../config/temporary-folder.ts';

const main = join(import.meta.dirname, '..', '..', 'src', 'cli', 'main.ts');
const MOSQUITTO =
  '$7$101$gAwTUEksfKlsdwws$V+sz2neUtJ3sn78rDWzXIT+eX67aqB9k3EXHzCGin5g1u/i4/2G4+K9gRB/jW9bPT/yNY2QmiZt7m+j5DihcQQ==';
const CHEAP = ['--cost', '10'];

interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

async function passwd(
  cwd: string,
  input: string | Buffer,
  args: readonly string[],
): Promise<Outcome> {
  const words = ['NODE_OPTIONS=', process.execPath, main, 'passwd', ...args];
  const child = spawn('/usr/bin/env', words, { cwd, stdio: 'pipe' });
  const timer = setTimeout(() => child.kill('SIGKILL'), 30_000);
  // It may end without having read all.
  child.stdin.on('error', () => {}).end(input);
  const [stdout, stderr, [code]] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    once(child, 'exit') as Promise<[number | null]>,
  ]);
  clearTimeout(timer);
  return { code, stdout, stderr };
}

async function verify(line: string, password: string | Buffer): Promise<boolean> {
  const stored = parseHash(line.split(':')[1] ?? '');
  if ('problem' in stored) throw new Error(stored.problem);
  return verifyPassword(stored, Buffer.from(password));
}

const linesOf = (file: string): string[] => readFileSync(file, 'utf8').split('\n');
const modeOf = (file: string): number => statSync(file).mode & 0o777;

t.test('makes a file, adds, changes and removes, and leaves the rest alone', async (t) => {
  const folder = temporaryFolder(t);
  const file = join(folder, 'users');
  t.match(await passwd(folder, 'one\n', ['users', 'alice', ...CHEAP]), {
    code: 1,
    stdout: '',
    stderr: 'users: there is no such file; --create makes one\n',
  });
  t.notOk(existsSync(file));
  t.match(await passwd(folder, 'one\n', ['users', 'alice', '--create', ...CHEAP]), {
    code: 0,
    stdout: 'users: made, added "alice"\n',
    stderr: '',
  });
  t.equal(modeOf(file), 0o600);
  t.ok(await verify(linesOf(file)[0]!, 'one'));

  const before = `# fleet\n${readFileSync(file, 'utf8')}\n# moved from mosquitto\r\nold:${MOSQUITTO}`;
  writeFileSync(file, before);
  const args = ['users', 'bob', '--algorithm', 'argon2id', '--tenant', 'acme', '--superuser'];
  t.match(await passwd(folder, 'zwei äß', [...args, '--cost', '8192']), { code: 0 });
  const lines = linesOf(file);
  t.equal(lines.slice(0, 5).join('\n'), before, 'what was there is as it was');
  t.match(lines[5], /^bob:\$argon2id\$v=19\$m=8192,t=2,p=1\$[^:]+:tenant=acme,superuser$/);
  t.ok(await verify(lines[5]!, 'zwei äß'));
  t.equal(lines.length, 7);

  t.match(await passwd(folder, 'three\r\n', ['users', 'bob', '--scram']), {
    code: 0,
    stdout: 'users: changed "bob"\n',
  });
  t.match(linesOf(file)[5], /^bob:\$scram-sha-256\$16384\$[^:]+:tenant=acme,superuser$/);
  t.ok(await verify(linesOf(file)[5]!, 'three'));
  t.match(await passwd(folder, '', ['users', 'alice', '--delete']), {
    code: 0,
    stdout: 'users: removed "alice"\n',
  });
  t.strictSame(linesOf(file), [lines[0], ...lines.slice(2, 5), linesOf(file)[4], '']);
  t.match(await passwd(folder, '', ['users', 'alice', '--delete']), {
    code: 1,
    stderr: 'users: there is no user "alice"\n',
  });
  t.strictSame(readdirSync(folder), ['users'], 'nothing else is left behind');
});

t.test('the default is scrypt of N 2^15', async (t) => {
  const folder = temporaryFolder(t);
  await passwd(folder, 'x', ['users', 'alice', '--create']);
  t.match(linesOf(join(folder, 'users'))[0], /^alice:\$scrypt\$ln=15,r=8,p=1\$/);
});

t.test('many at once: all or none', async (t) => {
  const folder = temporaryFolder(t, { users: `bob:${MOSQUITTO}:tenant=acme\n` });
  const file = join(folder, 'users');
  chmodSync(file, 0o600);
  const input = 'alice:a:b\r\nbob:new\ncarl: c ';
  t.match(await passwd(folder, input, ['users', '--batch', ...CHEAP]), {
    code: 0,
    stdout: 'users: added and changed 3 users\n',
  });
  const [bob = '', alice = '', carl = ''] = linesOf(file);
  t.match([bob, alice, carl], [/^bob:.*:tenant=acme$/, /^alice:/, /^carl:/]);
  t.strictSame(await Promise.all([verify(alice, 'a:b'), verify(bob, 'new'), verify(carl, ' c ')]), [
    true,
    true,
    true,
  ]);
  const before = readFileSync(file, 'utf8');
  const wrong = 'good:x\nhunter2\n:x\nalice:\ngood:y\n\n';
  t.match(await passwd(folder, wrong, ['users', '--batch', ...CHEAP]), {
    code: 1,
    stdout: '',
    stderr: [
      'stdin: line 2: expected USER:PASSWORD',
      'stdin: line 3: the user name is empty',
      'stdin: line 4: the password is empty',
      'stdin: line 5: the user is named twice',
      'stdin: line 6: expected USER:PASSWORD',
      'nothing is changed\n',
    ].join('\n'),
  });
  t.match(await passwd(folder, '', ['users', '--batch']), { code: 1, stderr: /no users/ });
  t.equal(readFileSync(file, 'utf8'), before);
});

t.test('what it refuses, and that the file stays as it was', async (t) => {
  const damaged = `alice:${MOSQUITTO}\nhunter2-canary\nbob:hunter2-canary\n`;
  const good = `alice:${MOSQUITTO}\n`;
  const folder = temporaryFolder(t, { damaged, good });
  mkdirSync(join(folder, 'folder'));
  const wordy: [string[], RegExp][] = [
    [[], /FILE is missing/],
    [['good'], /USER is missing/],
    [['good', 'alice', 'hunter2'], /^a password is not taken from the command line[^2]*$/],
    [['good', 'alice', '--password=x'], /unknown flag --password/],
    [['good', 'alice', '--batch'], /--batch takes no USER/],
    [['good', 'alice', '--delete', '--scram'], /--delete does not go with --scram/],
    [['good', 'alice', '--scram', '--algorithm', 'scrypt'], /does not go with/],
    [['good', 'alice', '--algorithm', 'md5'], /scrypt or argon2id, found md5/],
    [['good', 'alice', '--cost', '9'], /from 10 to 17, found 9/],
    [['good', 'alice', '--cost', '1e1'], /from 10 to 17/],
    [['good', 'alice', '--tenant', 'a,b'], /--tenant: a tenant must not hold/],
    [['good', 'a:b'], /must not hold a colon/],
    [['good', ' a'], /begins or ends with white space/],
    [['good', '#a'], /must not begin with #/],
    [['good', 'a\nb'], /control character/],
    [['good', '\u2126', '--scram'], /SCRAM clients would write this user name/],
  ];
  for (const [args, message] of wordy) {
    const outcome = await command.run(args).catch((error: unknown) => error);
    t.type(outcome, UsageError, args.join(' '));
    t.match(outcome, { message }, args.join(' '));
  }
  const cases: [string | Buffer, string[], number, RegExp][] = [
    ['\u2126', ['good', 'a', '--scram'], 1, /SCRAM clients would write this password/],
    [Buffer.from([0xff]), ['good', 'a', '--scram'], 1, /SCRAM clients/],
    ['', ['good', 'alice'], 1, /stdin holds no password/],
    ['\n', ['good', 'alice'], 1, /the password is empty/],
    ['x\0', ['good', 'alice'], 1, /ends with NUL/],
    ['x\ny\n', ['good', 'alice'], 1, /more than one line/],
    ['x'.repeat(65_536), ['good', 'alice'], 1, /over 65535 bytes/],
    ['x', ['damaged', 'alice'], 1, /^damaged:2:1: .*\ndamaged:3:5: .*\n$/],
    ['x', ['damaged', 'alice', '--delete'], 1, /^damaged:2:1: /],
    ['x', ['folder', 'alice', '--create'], 1, /folder: is not a file/],
    [
      'x',
      ['none/users', 'alice', '--create', ...CHEAP],
      2,
      /none\/users: cannot be written: ENOENT/,
    ],
  ];
  const outcomes = [];
  for (let i = 0; i < cases.length; i += 4) {
    const some = cases.slice(i, i + 4);
    outcomes.push(...(await Promise.all(some.map(([input, args]) => passwd(folder, input, args)))));
  }
  for (const [i, [, args, code, message]] of cases.entries()) {
    const outcome = outcomes[i]!;
    t.match(outcome, { code, stdout: '', stderr: message }, args.join(' '));
    t.notMatch(outcome.stderr, 'canary');
  }
  t.equal(readFileSync(join(folder, 'damaged'), 'utf8'), damaged);
  t.equal(readFileSync(join(folder, 'good'), 'utf8'), good);
  t.strictSame(readdirSync(folder).sort(), ['damaged', 'folder', 'good']);
});

t.test(
  'FIELD 26: rights: for the owner when new; others lose theirs; links stay links',
  async (t) => {
    const folder = temporaryFolder(t, { users: `alice:${MOSQUITTO}\n` });
    const file = join(folder, 'users');
    symlinkSync('users', join(folder, 'link'));
    for (const [before, after] of [
      [0o600, 0o600],
      [0o640, 0o640],
      [0o666, 0o660],
      [0o644, 0o640],
    ] as const) {
      chmodSync(file, before);
      const edit = await PasswordFileEdit.open(join(folder, 'link'), false);
      edit.set('bob', { hash: MOSQUITTO, tenant: null, superuser: false });
      await edit.save();
      t.equal(modeOf(file), after, before.toString(8));
    }
    t.ok(lstatSync(join(folder, 'link')).isSymbolicLink());
    t.equal((await parsePasswordFile(readFileSync(file), file)).size, 2);
  },
);

t.test('a file that another run changed meanwhile is not overwritten', async (t) => {
  const folder = temporaryFolder(t, { users: `alice:${MOSQUITTO}\n` });
  const file = join(folder, 'users');
  const entry = { hash: MOSQUITTO, tenant: null, superuser: false };
  const [first, second] = await Promise.all([
    PasswordFileEdit.open(file, false),
    PasswordFileEdit.open(file, false),
  ]);
  first.set('bob', entry);
  second.set('carl', entry);
  await first.save();
  await t.rejects(second.save(), /was changed by somebody else meanwhile/);
  const made = join(folder, 'made');
  const [one, two] = await Promise.all([
    PasswordFileEdit.open(made, true),
    PasswordFileEdit.open(made, true),
  ]);
  one.set('bob', entry);
  two.set('carl', entry);
  await one.save();
  await t.rejects(two.save(), /was made by somebody else meanwhile/);
  t.match(readFileSync(made, 'utf8'), /^bob:/);
  t.strictSame(readdirSync(folder).sort(), ['made', 'users']);
});

t.test('on a terminal: asked twice, shown never', async (t) => {
  const folder = temporaryFolder(t);
  const words = [process.execPath, main, 'passwd', 'users', 'alice', '--create', ...CHEAP];
  /** Answers each prompt when it is there; gives all that the terminal showed. */
  const type = async (answers: readonly string[]): Promise<string> => {
    const script =
      process.platform === 'linux'
        ? ['-qec', words.map((word) => `'${word}'`).join(' '), '/dev/null']
        : ['-q', '/dev/null', ...words];
    const child = spawn('/usr/bin/env', ['NODE_OPTIONS=', 'script', ...script], {
      cwd: folder,
      stdio: 'pipe',
    });
    const timer = setTimeout(() => child.kill('SIGKILL'), 30_000);
    let shown = '';
    let answered = 0;
    child.stdout.on('data', (chunk: Buffer) => {
      shown += chunk.toString();
      const prompts = shown.match(/(?:Password of "alice"|Again): /g)?.length ?? 0;
      if (prompts <= answered) return;
      child.stdin.write(answers[answered] ?? '\x03');
      answered += 1;
    });
    await once(child, 'close');
    clearTimeout(timer);
    return shown;
  };
  t.match(await type(['secret-1\r', 'secret-2\r']), /the two differ; nothing is changed/);
  t.match(await type(['\x03']), /no password given; nothing is changed/);
  t.notOk(existsSync(join(folder, 'users')));
  const shown = await type(['secret-x\x7f1\r', 'secret-1\r']);
  t.match(shown, /users: made, added "alice"/);
  t.notMatch(shown, 'secret');
  t.ok(await verify(linesOf(join(folder, 'users'))[0]!, 'secret-1'));
});

t.test('keys of a terminal', async (t) => {
  const cases: [string[], string | null][] = [
    [['abc\r'], 'abc'],
    [['a', 'b', 'c', '\n'], 'abc'],
    [['abx\x7fc\r'], 'abc'],
    [['äö\x7f\x7f\x7fabc\r'], 'abc'],
    [['😀\x08abc\r'], 'abc'],
    [['wrong\x15abc\r'], 'abc'],
    [['ab', '\x1b[D', 'c\r'], 'abc'],
    [['a\x01b\x02c\r'], 'abc'],
    [['\r'], ''],
    [['\x04'], null],
    [['a\x04bc\r'], 'abc'],
    [['ab\x03'], null],
  ];
  for (const [chunks, expected] of cases) {
    const modes: boolean[] = [];
    const input = Object.assign(new PassThrough(), {
      setRawMode: (isRaw: boolean) => modes.push(isRaw),
    });
    let shown = '';
    const hidden = new HiddenInput(input, { write: (part: string) => (shown += part) });
    const answer = hidden.ask('Password: ');
    for (const chunk of chunks) {
      input.write(chunk);
      await new Promise((done) => setImmediate(done));
    }
    t.equal((await answer)?.toString() ?? null, expected, JSON.stringify(chunks));
    t.equal(shown, 'Password: \n');
    t.strictSame(modes, [true, false]);
  }
  const pasted = Object.assign(new PassThrough(), { setRawMode: () => {} });
  const hidden = new HiddenInput(pasted, { write: () => {} });
  pasted.write('one\r\ntwo\r');
  t.equal((await hidden.ask('1'))?.toString(), 'one');
  t.equal((await hidden.ask('2'))?.toString(), 'two', 'pasted at once');
  const third = hidden.ask('3');
  pasted.end();
  t.equal(await third, null, 'the terminal is gone');
});

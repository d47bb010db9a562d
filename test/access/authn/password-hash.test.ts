// Stored passwords: vectors made by others, round trips, and what is no hash.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import t from 'tap';
import { formatHash, parseHash, type StoredHash } from '../../../src/access/authn/hash-format.ts';
import {
  hashPassword,
  type NewHashAlgorithm,
  verifyPassword,
} from '../../../src/access/authn/hash-password.ts';

const noPad = (bytes: Buffer): string => bytes.toString('base64').replaceAll('=', '');
const b64 = (bytes: Buffer): string => bytes.toString('base64');

/** Each made by another program: mosquitto_passwd 2.0.11, RFC 7914, the argon2 reference, RFC 7677. */
const vectors: [string, string, string][] = [
  [
    'mosquitto $7$',
    'secret',
    '$7$101$jeH0I+30J4GLO45x$ZSAm9HKsKc8VceXUKJ9vfzABI5luVthZYros6vgKPQDcwCbluwJvH1iEovzJwknaqphXkWskw+3wKQ4fKHjYrg==',
  ],
  [
    'mosquitto $7$, UTF-8',
    'pässword',
    '$7$101$+sQaeffOyBHaYqCU$fEQCdNPhv7M+wSg9tNCc4WPSSSch4SuyomfXUXr0PyHYhP+gAZX9/Vf9xi8BIMf+dwYQcwxqbVuWINBh5q0nKQ==',
  ],
  [
    'mosquitto $6$',
    'pw',
    '$6$pUh0bWkz/zleo3+F$3B4U6LayaS5CJGdTcByj4/FSPkong77r5McIedNz3u6NN0kDxETaNEDlCjZOV87lYOrASile2uUiwmRhlF1jaA==',
  ],
  [
    'scrypt',
    'pleaseletmein',
    `$scrypt$ln=14,r=8,p=1$${noPad(Buffer.from('SodiumChloride'))}$${noPad(
      Buffer.from(
        '7023bdcb3afd7348461c06cd81fd38ebfda8fbba904f8e3ea9b543f6545da1f2' +
          'd5432955613f0fcf62d49705242a9af9e61e85dc0d651e40dfcf017b45575887',
        'hex',
      ),
    )}`,
  ],
  [
    'argon2id',
    'password',
    '$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4',
  ],
];

function read(text: string): StoredHash {
  const hash = parseHash(text);
  if ('problem' in hash) throw new Error(`${text}: ${hash.problem}`);
  return hash;
}

for (const [name, password, text] of vectors) {
  t.test(name, async (t) => {
    const stored = read(text);
    t.equal(formatHash(stored), text);
    t.equal(await verifyPassword(stored, Buffer.from(password)), true);
    for (const wrong of [
      `${password} `,
      `${password}\0`,
      password.slice(1),
      '',
      password.toUpperCase(),
    ]) {
      t.equal(await verifyPassword(stored, Buffer.from(wrong)), false, JSON.stringify(wrong));
    }
  });
}

t.test('what is made can be read and verified, and has its own salt', async (t) => {
  const costs: [NewHashAlgorithm, number][] = [
    ['scrypt', 10],
    ['argon2id', 64],
    ['scram-sha-256', 4096],
  ];
  for (const [algorithm, cost] of costs) {
    const [first, second] = await Promise.all([
      hashPassword(Buffer.from('p\0q'), algorithm, cost),
      hashPassword(Buffer.from('p\0q'), algorithm, cost),
    ]);
    t.not(first, second, algorithm);
    t.equal(read(first).algorithm, algorithm);
    t.equal(await verifyPassword(read(first), Buffer.from('p\0q')), true);
    t.equal(await verifyPassword(read(first), Buffer.from('p')), false, 'NUL ends nothing');
  }
});

const salt = Buffer.alloc(16, 1);
const key32 = Buffer.alloc(32, 2);
const key64 = Buffer.alloc(64, 3);

t.test('what is no hash, with the place of what is wrong', async (t) => {
  const cases: [string, number, RegExp][] = [
    ['', 0, /not hashed/],
    ['secret', 0, /not hashed/],
    ['$', 0, /unknown kind/],
    ['$1$abc$def', 0, /unknown kind/],
    ['$2b$12$abc', 0, /unknown kind/],
    ['$__proto__$', 0, /unknown kind/],
    ['$7$101', 0, /expected/],
    [`$7$0$${b64(salt)}$${b64(key64)}`, 3, /iterations/],
    [`$7$0101$${b64(salt)}$${b64(key64)}`, 3, /iterations/],
    [`$7$-1$${b64(salt)}$${b64(key64)}`, 3, /iterations/],
    [`$7$1e3$${b64(salt)}$${b64(key64)}`, 3, /iterations/],
    [`$7$99999999$${b64(salt)}$${b64(key64)}`, 3, /iterations/],
    [`$7$101$$${b64(key64)}`, 7, /salt is not base64/],
    [`$7$101$${b64(salt)}$`, 32, /hash is not base64/],
    [`$7$101$${b64(salt)}$${b64(key32)}`, 32, /64 bytes/],
    [`$7$101$${b64(salt)}$${b64(key64)} `, 32, /base64/],
    [`$7$101$${b64(salt)}$${b64(key64)}$`, 0, /expected/],
    [`$6$${b64(salt.subarray(0, 4))}$${b64(key64)}`, 3, /8 to 64 bytes/],
    [`$scrypt$ln=15,r=8$${noPad(salt)}$${noPad(key32)}`, 8, /expected ln=/],
    [`$scrypt$ln=15,p=8,r=1$${noPad(salt)}$${noPad(key32)}`, 14, /expected ln=/],
    [`$scrypt$ln=15,r=8,p=x$${noPad(salt)}$${noPad(key32)}`, 20, /p must be/],
    [`$scrypt$ln=19,r=8,p=1$${noPad(salt)}$${noPad(key32)}`, 8, /more memory or time/],
    [`$scrypt$ln=400,r=8,p=1$${noPad(salt)}$${noPad(key32)}`, 8, /more memory or time/],
    [`$scrypt$ln=15,r=4294967295,p=1$${noPad(salt)}$${noPad(key32)}`, 8, /more memory/],
    [`$scrypt$ln=15,r=8,p=99$${noPad(salt)}$${noPad(key32)}`, 8, /more memory or time/],
    [`$scrypt$ln=16,r=1,p=1$${noPad(salt)}$${noPad(key32)}`, 8, /more memory or time/],
    [`$scrypt$ln=15,r=8,p=1$${b64(salt)}$${noPad(key32)}`, 22, /salt is not base64/],
    [`$scrypt$ln=15,r=8,p=1$${noPad(salt)}$${noPad(key32.subarray(0, 8))}`, 45, /16 to 64/],
    [`$argon2id$v=16$m=64,t=1,p=1$${noPad(salt)}$${noPad(key32)}`, 10, /version 19/],
    [`$argon2id$v=19$m=262145,t=1,p=1$${noPad(salt)}$${noPad(key32)}`, 15, /more memory/],
    [`$argon2id$v=19$m=262144,t=9,p=1$${noPad(salt)}$${noPad(key32)}`, 15, /more memory/],
    [`$argon2id$v=19$m=7,t=1,p=1$${noPad(salt)}$${noPad(key32)}`, 15, /8 times p/],
    [`$argon2i$v=19$m=64,t=1,p=1$${noPad(salt)}$${noPad(key32)}`, 0, /unknown kind/],
    [`$scram-sha-256$4095$${b64(salt)}$${b64(key32)}$${b64(key32)}`, 15, /4096/],
    [`$scram-sha-256$4096$${b64(salt)}$${b64(key32)}$${b64(key64)}`, 90, /32 bytes/],
  ];
  for (const [text, offset, problem] of cases) {
    t.match(parseHash(text), { offset, problem }, text.slice(0, 40));
  }
});

t.test('a hash with one character taken out, put in or changed is another or none', async () => {
  const algorithms = vectors.map(([, , text]) => text);
  const digits = '$=,:0123456789abcdefABCDEF+/ \t\r#é';
  const change = fc.record({
    text: fc.constantFrom(...algorithms),
    at: fc.nat(200),
    kind: fc.constantFrom('cut', 'drop', 'insert', 'replace'),
    character: fc.constantFrom(...digits),
  });
  fc.assert(
    fc.property(change, ({ text, at, kind, character }) => {
      const i = at % text.length;
      const head = text.slice(0, i);
      const tail = { cut: '', drop: text.slice(i + 1) }[kind as 'cut' | 'drop'];
      const rest = kind === 'insert' ? text.slice(i) : text.slice(i + 1);
      const damaged = head + (tail ?? character + rest);
      const hash = parseHash(damaged);
      // Either refused, or read as exactly what stands there, with a whole key.
      if ('problem' in hash) return hash.offset >= 0 && hash.offset <= damaged.length;
      const bytes = hash.algorithm === 'scram-sha-256' ? hash.storedKey : hash.key;
      return formatHash(hash) === damaged && bytes.length >= 16;
    }),
    { numRuns: 3000 },
  );
});

t.test('a problem never tells anything of the text', async (t) => {
  fc.assert(
    fc.property(fc.string({ minLength: 1, maxLength: 60 }), (text) => {
      const hash = parseHash(`canary-${text}`);
      return 'problem' in hash && !hash.problem.includes('canary');
    }),
  );
  for (const kind of ['$7$', '$6$', '$scrypt$', '$argon2id$', '$scram-sha-256$', '$x$']) {
    for (const tail of [
      'canary',
      'canary$canary',
      'canary$canary$canary',
      '9$canary$canary$canary',
    ]) {
      t.notMatch(JSON.stringify(parseHash(kind + tail)), 'canary');
    }
  }
});

t.test('nothing in authentication hashes on the event loop', async (t) => {
  const folder = join(import.meta.dirname, '../../../src/access/authn');
  const slow = /\b(?:scrypt|argon2|pbkdf2|hkdf)Sync\b/;
  t.match('import { scryptSync } from', slow, 'the test can fail');
  for (const file of readdirSync(folder)) {
    t.notMatch(readFileSync(join(folder, file), 'utf8'), slow, file);
  }
});

// The file of pre-shared keys and the user behind an identity. The handshakes themselves are in
// test/listeners/tls-psk.test.ts; here they are once put together.
import { rmSync } from 'node:fs';
import t from 'tap';
import { AccessError } from '../../../src/access/access-error.ts';
import { PskAuthenticator } from '../../../src/access/authn/psk-authenticator.ts';
import { parsePskFile } from '../../../src/access/authn/psk-file.ts';
import { shakeHands } from '../../listeners/shake-hands.ts';
import { listen } from '../../listeners/transports.ts';
import { credentials, Workshop } from './token-workshop.ts';

const key = '00112233445566778899aabbccddeeff';
const other = 'ffeeddccbbaa99887766554433221100';

async function problems(content: string | Buffer): Promise<string[]> {
  try {
    await parsePskFile(Buffer.from(content as string), 'psk');
    return [];
  } catch (error) {
    if (!(error instanceof AccessError)) throw error;
    return error.problems.map(({ where, message }) => `${where}: ${message}`);
  }
}

t.test('what a file says', async (t) => {
  const text = `# meters\r\n\nmeter-1:${key}\r\nurn:dev:2:${other.toUpperCase()}\n\ufeffé:${key}${key}`;
  const keys = await parsePskFile(Buffer.from(text.replace('\ufeff', '')), 'psk');
  t.strictSame([...keys.keys()], ['meter-1', 'urn:dev:2', 'é']);
  t.equal(keys.get('urn:dev:2')?.toString('hex'), other);
  t.strictSame(await problems(`\ufeffa:${key}\n`), []);
});

t.test('everything else is an error with its place (class 2)', async (t) => {
  t.strictSame(
    await problems(
      `a:${key}\nnonsense\nb:${key.slice(2)}\nc:${key}0\nd:xyz\n:${key}\na:${other}\n`,
    ),
    [
      'psk:2:1: expected IDENTITY:HEXKEY',
      'psk:3:3: the key has 15 bytes, at least 16 are needed',
      'psk:4:3: the key has half a byte too many',
      'psk:5:3: the key is not hexadecimal',
      'psk:6:1: the identity is empty',
      'psk:7:1: the identity "a" is in line 1 already',
    ],
  );
  t.match(await problems(`a:${'00'.repeat(257)}`), [/257 bytes, 256 are the most/]);
  t.match(await problems(` a:${key}`), [/white space/]);
  t.match(await problems(`a\x01:${key}`), [/control character/]);
  t.match(await problems(`\ufffd:${key}`), [/U\+FFFD/]);
  t.match(await problems(`${'x'.repeat(257)}:${key}`), [/over 256 bytes/]);
  t.match(await problems(Buffer.from([0x61, 0xff, 0x3a])), [/not UTF-8/]);
  const many = await problems('x\n'.repeat(60));
  t.equal(many.length, 51);
  t.match(many.at(-1), /and 10 more errors/);
  t.notMatch(
    (await problems(`a:${key}zz\nb:${key.slice(4)}`)).join(),
    /00112233|4455/,
    'no key is told',
  );
});

t.test('identity to user; a reload; a file that is gone', async (t) => {
  const shop = new Workshop();
  const file = shop.file('psk', `meter:${key}\n__proto__:${other}\n`, 0o640);
  const changed: string[][] = [];
  const onUsersChanged = (names: ReadonlySet<string>): unknown => changed.push([...names].sort());
  const authenticator = new PskAuthenticator({ file, log: shop.log, onUsersChanged });
  t.equal(authenticator.lookup('meter'), null, 'not started');
  await authenticator.start();
  t.match(shop.log.lines, [
    { level: 'warn', fields: { mode: '0640' }, message: /pre-shared keys/ },
  ]);
  t.equal(authenticator.lookup('meter')?.toString('hex'), key);
  t.equal(authenticator.lookup('constructor'), null);
  t.match(authenticator.authenticate(credentials({ pskIdentity: '__proto__' })), {
    kind: 'accepted',
    who: { user: '__proto__', superuser: false, expiresAtMs: 0 },
  });
  t.strictSame(authenticator.authenticate(credentials({ username: 'meter' })), { kind: 'ignored' });

  for (const broken of ['', '# nobody\n', `meter:${key}\nmeter:${key}\n`]) {
    shop.file('psk', broken);
    await t.rejects(authenticator.prepare(), { name: 'AccessError' });
  }
  rmSync(file);
  await t.rejects(authenticator.prepare(), {
    message: /the file of pre-shared keys cannot be read: ENOENT/,
  });
  t.equal(authenticator.lookup('meter')?.toString('hex'), key, 'the old keys count');
  shop.file('psk', `meter:${key.toUpperCase()}\n__proto__:${other}\nmore:${key}\n`);
  (await authenticator.prepare()).commit();
  t.strictSame(changed, [], 'nobody lost anything');
  shop.file('psk', `meter:${key}\n__proto__:${key}\n`);
  (await authenticator.prepare()).commit();
  t.strictSame(changed.splice(0), [['__proto__', 'more']], 'another key, and none');
  shop.file('psk', `other:${key}\n`);
  (await authenticator.prepare()).commit();
  t.strictSame(changed, [['__proto__', 'meter']]);
  t.equal(authenticator.lookup('meter'), null);
  t.match(authenticator.authenticate(credentials({ pskIdentity: 'meter' })), {
    kind: 'refused',
    reason: 'bad_credentials',
  });
  t.notMatch(JSON.stringify(shop.log.lines), new RegExp(key));
});

t.test('with a listener: keys that a reload takes away open no new connection', async (t) => {
  const shop = new Workshop();
  const file = shop.file('psk', `meter:${key}\n`);
  const authenticator = new PskAuthenticator({ file, log: shop.log });
  await authenticator.start();
  const tls = { clientCertificate: 'none', pskLookup: authenticator.lookup } as const;
  const harness = await listen(t, { url: 'mqtts://127.0.0.1:0', tls });
  const client = {
    pskCallback: () => ({ identity: 'meter', psk: Buffer.from(key, 'hex') }),
    ciphers: 'PSK',
    checkServerIdentity: () => undefined,
  };
  await shakeHands(harness, client);
  const { pskIdentity } = (await harness.acceptor.next()).sink;
  t.match(authenticator.authenticate(credentials({ pskIdentity })), { kind: 'accepted' });
  shop.file('psk', `meter:${other}\n`);
  (await authenticator.prepare()).commit();
  t.ok(await (await shakeHands(harness, client)).closed, 'the old key');
  t.equal(harness.acceptor.connections.length, 1);
});

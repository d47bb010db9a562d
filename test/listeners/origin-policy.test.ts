// Which web pages may connect, from the two headers a browser sends.
import t from 'tap';
import { OriginPolicy } from '../../src/listeners/origin-policy.ts';

t.test('without a list: pages of this machine, and of the address they connect to', async (t) => {
  const policy = new OriginPolicy(null);
  t.equal(policy.allows(undefined, 'broker.example'), true, 'no browser');
  const allowed = [
    ['http://localhost', 'broker.example'],
    ['http://localhost:3000', undefined],
    ['https://LOCALHOST:8443', 'broker.example'],
    ['http://app.localhost:3000', 'broker.example'],
    ['http://127.0.0.1:8080', '10.0.0.5:8083'],
    ['http://127.1.2.3', '10.0.0.5'],
    ['http://[::1]:8080', 'broker.example'],
    ['http://10.0.0.5', '10.0.0.5:8083'],
    ['https://10.0.0.5:8443', '10.0.0.5'],
    ['http://[2001:db8::5]', '[2001:db8::5]:8083'],
    ['http://[2001:DB8:0::5]', '[2001:db8::5]:8083'],
  ] as const;
  for (const [origin, host] of allowed) t.equal(policy.allows(origin, host), true, origin);
  const refused = [
    ['http://broker.example', 'broker.example'],
    ['https://evil.example', '127.0.0.1:8083'],
    ['http://localhost.evil.example', '127.0.0.1'],
    ['http://127.0.0.1.evil.example', '127.0.0.1'],
    ['http://evil-localhost', '127.0.0.1'],
    ['http://10.0.0.6', '10.0.0.5:8083'],
    ['http://10.0.0.5', undefined],
    ['http://10.0.0.5', 'not a host at all :'],
    ['null', '127.0.0.1'],
    ['', '127.0.0.1'],
    ['file://', '127.0.0.1'],
    ['ftp://localhost', '127.0.0.1'],
    ['capacitor://localhost', '127.0.0.1'],
    ['http://localhost, http://evil.example', '127.0.0.1'],
    ['http://localhost/path', '127.0.0.1'],
    ['http://user@localhost', '127.0.0.1'],
    ['localhost', '127.0.0.1'],
  ] as const;
  for (const [origin, host] of refused) t.equal(policy.allows(origin, host), false, origin);
});

t.test('a list is exact, in any spelling', async (t) => {
  const policy = new OriginPolicy(['https://App.Example.com', 'http://x.example:8080', 'null']);
  t.equal(policy.allows(undefined, undefined), true);
  t.equal(policy.allows('null', undefined), true);
  for (const origin of ['https://app.example.com', 'https://APP.example.com:443']) {
    t.equal(policy.allows(origin, undefined), true, origin);
  }
  t.equal(policy.allows('http://x.example:8080', undefined), true);
  const refused = [
    'http://app.example.com',
    'https://app.example.com:8443',
    'https://app.example.com.evil.example',
    'https://sub.app.example.com',
    'http://x.example',
    'http://localhost',
    'http://127.0.0.1',
    'https://app.example.com/',
    '',
  ];
  for (const origin of refused) t.equal(policy.allows(origin, '127.0.0.1'), false, origin);
  t.equal(new OriginPolicy([]).allows('http://localhost', 'localhost'), false, 'an empty list');
  t.equal(new OriginPolicy([]).allows(undefined, 'localhost'), true);
});

t.test('a star stands for every page', async (t) => {
  const policy = new OriginPolicy(['*']);
  for (const origin of ['https://a.example', 'null', 'nonsense']) {
    t.equal(policy.allows(origin, undefined), true, origin);
  }
});

t.test('app wrappers may be named', async (t) => {
  const policy = new OriginPolicy(['capacitor://localhost']);
  t.equal(policy.allows('capacitor://localhost', undefined), true);
  t.equal(policy.allows('CAPACITOR://localhost', undefined), true);
  t.equal(policy.allows('ionic://localhost', undefined), false);
});

t.test('entries that could never match are found', async (t) => {
  for (const text of ['*', 'null', 'https://a.example', 'capacitor://localhost']) {
    t.equal(OriginPolicy.isOrigin(text), true, text);
  }
  for (const text of ['a.example', 'https://a.example/', 'https://', '', 'https://*.a.example']) {
    t.equal(OriginPolicy.isOrigin(text), false, text);
  }
});

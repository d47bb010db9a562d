// The small readers: quantities, addresses, nearest names.
import t from 'tap';
import {
  type AdminAddress,
  formatListenerUrl,
  isLoopback,
  type ListenerAddress,
  parseAdminUrl,
  parseListenerUrl,
} from '../../src/config/address.ts';
import { withoutSecrets } from '../../src/config/effective.ts';
import { parseQuantity } from '../../src/config/quantity.ts';
import { withoutAnySecrets } from '../../src/config/url-secrets.ts';
import { editDistance, nearest } from '../../src/util/nearest.ts';

t.test('quantities', async (t) => {
  t.equal(parseQuantity('1024', 'bytes'), 1024);
  t.equal(parseQuantity('64KiB', 'bytes'), 65_536);
  t.equal(parseQuantity('1.5 MiB', 'bytes'), 1_572_864);
  t.equal(parseQuantity('1MiB', 'amount'), 1_048_576);
  t.equal(parseQuantity('10s', 'amount'), null);
  t.equal(parseQuantity('2min', 'ms'), 120_000);
  t.equal(parseQuantity('30d', 's'), 2_592_000);
  t.equal(parseQuantity('7', 'count'), 7);
  for (const text of ['', '-1', '1e3', '0x10', '1kb', '1MB', '1 000', '1.5', '99999999999999999']) {
    t.equal(parseQuantity(text, 'bytes'), null, `"${text}" is no size`);
  }
  t.equal(parseQuantity('10ms', 's'), null, 'seconds have no ms');
  t.equal(parseQuantity('1.0001s', 'ms'), null, 'not whole');
  t.equal(parseQuantity('5s', 'count'), null);
});

t.test('listener URLs', async (t) => {
  const cases: [string, ListenerAddress, string][] = [
    [
      'mqtt://127.0.0.1',
      { transport: 'tcp', host: '127.0.0.1', port: 1883, path: '' },
      'mqtt://127.0.0.1:1883',
    ],
    [
      'mqtts://[::1]/',
      { transport: 'tls', host: '::1', port: 8883, path: '' },
      'mqtts://[::1]:8883',
    ],
    [
      'ws://localhost',
      { transport: 'ws', host: 'localhost', port: 80, path: '/mqtt' },
      'ws://localhost:80/mqtt',
    ],
    [
      'wss://a-b.example:1/x/y',
      { transport: 'wss', host: 'a-b.example', port: 1, path: '/x/y' },
      'wss://a-b.example:1/x/y',
    ],
    [
      'unix:/run/x.sock',
      { transport: 'unix', host: '', port: 0, path: '/run/x.sock' },
      'unix:/run/x.sock',
    ],
    [
      'unix:///run/x.sock',
      { transport: 'unix', host: '', port: 0, path: '/run/x.sock' },
      'unix:/run/x.sock',
    ],
  ];
  for (const [url, address, formatted] of cases) {
    const parsed = parseListenerUrl(url);
    t.strictSame(parsed, address, url);
    t.equal(formatListenerUrl(parsed as ListenerAddress), formatted);
  }
  t.equal(formatListenerUrl(cases[0]![1], 4711), 'mqtt://127.0.0.1:4711');
  for (const url of [
    'mqtt://1.2.3',
    'mqtt://a:',
    'mqtt://a:-1',
    'mqtt://a:1x',
    'mqtt://-a',
    'ws://a/x?y',
    'mqtt://[1.2.3.4]',
    'MQTT:',
    'mqtt://a b',
    `unix:/${'x'.repeat(103)}`,
  ]) {
    t.type(parseListenerUrl(url), 'string', `${url} is refused`);
  }
});

t.test('admin URL', async (t) => {
  t.strictSame(parseAdminUrl('http://127.0.0.1:0'), { isTls: false, host: '127.0.0.1', port: 0 });
  t.strictSame(parseAdminUrl('http://[::1]'), { isTls: false, host: '::1', port: 8080 });
  t.equal((parseAdminUrl('https://[::1]') as AdminAddress).isTls, true);
  t.equal(parseAdminUrl('off'), null);
  t.equal(
    parseAdminUrl('http://a/x'),
    'expected http://HOST:PORT, https://HOST:PORT or off, without a path',
  );
});

t.test('secrets of URLs are not shown', async (t) => {
  for (const [url, shown] of [
    ['redis://u:p@ss-canary@h:1/0', 'redis://u:***@h:1/0'],
    ['redis://:canary@h', 'redis://:***@h'],
    ['https://canary@h/x', 'https://canary:***@h/x'],
    ['https://h/x?key=canary#a', 'https://h/x?***'],
    ['https://h/a@b', 'https://h/a@b'],
    ['mqtt://127.0.0.1:1883', 'mqtt://127.0.0.1:1883'],
    ['redis-sentinel://u:canary@h:1,i:2/main/3', 'redis-sentinel://u:***@h:1,i:2/main/3'],
    ['redis-cluster://u:can,ary@h:1,i:2', 'redis-cluster://u:***@h:1,i:2'],
    ['redis-cluster://u:canary@h:1,v:canary@i:2', 'redis-cluster://u:***@i:2'],
    ['redis://u:canary@h/1,redis://v:canary@i/1', 'redis://u:***@h/1,redis://v:***@i/1'],
    ['redis://u:canary@h,redis://v:canary@i', 'redis://u:***@h,redis://v:***@i'],
  ]) {
    t.equal(withoutSecrets(url), shown);
  }
  // What was refused may not be what it looks like.
  for (const [url, shown] of [
    ['redis://u:can/ary@h:1', 'redis://***@h:1'],
    ['redis://u:can?ary@h:1?x=canary', 'redis://***@h:1?***'],
    ['redis://u:can#ary@h:1', 'redis://***@h:1'],
    ['u:canary@h:1', '***@h:1'],
    ['mqtt://u:canary@127.0.0.1', 'mqtt://u:***@127.0.0.1'],
  ] as const) {
    t.equal(withoutAnySecrets(url), shown);
  }
});

t.test('loopback', async (t) => {
  for (const host of [
    '127.0.0.1',
    '127.255.0.3',
    '::1',
    '0:0:0:0:0:0:0:1',
    '::ffff:127.0.0.1',
    'LOCALHOST',
  ]) {
    t.equal(isLoopback(host), true, host);
  }
  for (const host of [
    '0.0.0.0',
    '::',
    '10.0.0.1',
    '::ffff:10.0.0.1',
    'localhost.example',
    '128.0.0.1',
    '127.0.0.1.example.org',
  ]) {
    t.equal(isLoopback(host), false, host);
  }
});

t.test('nearest names', async (t) => {
  t.equal(editDistance('listen', 'listen'), 0);
  t.equal(editDistance('lsiten', 'listen'), 1, 'neighbours swapped');
  t.equal(editDistance('', 'abc'), 3);
  t.equal(nearest('statr', ['start', 'stop']), 'start');
  t.equal(nearest('xyz', ['start', 'stop']), null);
  t.equal(nearest('x'.repeat(101), ['x'.repeat(100)]), null, 'not for floods of text');
});

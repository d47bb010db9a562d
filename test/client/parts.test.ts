// The small parts of the client, each alone.
import t from 'tap';
import { Backoff } from '../../src/client/backoff.ts';
import { clientErrorTable, reasonError } from '../../src/client/client-error.ts';
import { parseEndpoint } from '../../src/client/endpoint.ts';
import { PacketIds } from '../../src/client/packet-ids.ts';
import { PacketSplitter } from '../../src/client/packet-splitter.ts';
import { reasonText } from '../../src/client/reason-text.ts';
import { ProtocolError } from '../../src/wire/protocol-error.ts';
import { ReasonCode } from '../../src/wire/reason-code.ts';

t.test('endpoints', async (t) => {
  const cases: [string, object][] = [
    ['mqtt://h', { transport: 'tcp', host: 'h', port: 1883, display: 'mqtt://h:1883' }],
    ['tcp://h:1', { transport: 'tcp', port: 1 }],
    ['mqtts://h', { transport: 'tls', port: 8883 }],
    ['ssl://h', { transport: 'tls', port: 8883 }],
    ['ws://h', { transport: 'ws', port: 80, path: '/mqtt' }],
    ['ws://h/', { transport: 'ws', path: '/' }],
    ['wss://h:9/a/b?token=x', { transport: 'wss', port: 9, path: '/a/b?token=x' }],
    ['mqtt://[::1]:5', { host: '::1', port: 5, display: 'mqtt://[::1]:5' }],
    ['unix:/run/x.sock', { transport: 'unix', path: '/run/x.sock', display: 'unix:/run/x.sock' }],
    ['unix:///run/x%20y.sock', { transport: 'unix', path: '/run/x y.sock' }],
    ['mqtt://u%40d:p%3A@h', { username: 'u@d', password: 'p:' }],
    ['mqtt://u@h', { username: 'u', password: null }],
  ];
  for (const [url, wanted] of cases) t.match(parseEndpoint(url), wanted, url);
  t.notMatch(parseEndpoint('wss://u:secret@h/x?token=secret').display, /secret/);
  const refused = ['', 'h', 'mqtt:', 'mqtt://', 'ftp://h', 'mqtt://h:0', 'mqtt://h:x', 'unix:'];
  for (const url of [...refused, 'mqtt://u:%zz@h', 'unix:/a%00b']) {
    t.throws(() => parseEndpoint(url), { code: 'invalid_argument' }, url);
  }
  try {
    parseEndpoint('mqtt://u:secret@h:99999');
    t.fail('a port that is none');
  } catch (error) {
    t.notMatch((error as Error).message, /secret/, 'an error does not show the password');
  }
});

t.test('every reason code has words', async (t) => {
  for (const [name, code] of Object.entries(ReasonCode)) {
    t.notMatch(reasonText(code), /^reason code/, name);
  }
  t.equal(reasonText(0xfe), 'reason code 0xfe');
  const text = reasonError('refused', 'refused', 0x87, { reasonString: 'x'.repeat(9999) }).message;
  t.ok(text.length < 400, 'what a server says is bounded');
});

t.test('packet identifiers are used by one exchange at a time', async (t) => {
  const ids = new PacketIds();
  t.strictSame([ids.take(), ids.take()], [1, 2]);
  ids.release(1);
  t.equal(ids.take(), 3, 'a released one rests');
  for (let i = 0; i < 65_533; i++) ids.take();
  t.equal(ids.take(), 0, 'all are in use');
  ids.release(7);
  t.equal(ids.take(), 7);
});

t.test('backoff grows to its maximum and starts over after a lasting connection', async (t) => {
  const backoff = new Backoff({ minMs: 100, maxMs: 1000, random: () => 0 });
  const steps = Array.from({ length: 6 }, () => backoff.nextMs());
  t.strictSame(steps, [50, 100, 200, 400, 500, 500]);
  backoff.connectionLasted(999);
  t.equal(backoff.nextMs(), 500, 'a short connection changes nothing');
  backoff.connectionLasted(1000);
  t.equal(backoff.nextMs(), 50);
  const late = new Backoff({ minMs: 100, maxMs: 1000, random: () => 0.999 });
  t.ok(late.nextMs() < 100);
});

t.test('any cut of the stream gives the same packets', async (t) => {
  const lengths = [0, 1, 126, 127, 128, 300, 20_000];
  const packets = lengths.map((length, index) => {
    const body = Buffer.alloc(length, index);
    const head = [0x30];
    for (let rest = length; ; rest >>= 7) {
      head.push(rest > 127 ? (rest & 127) | 128 : rest);
      if (rest <= 127) break;
    }
    return Buffer.concat([Buffer.from(head), body]);
  });
  const stream = Buffer.concat(packets);
  for (const size of [1, 2, 3, 5, 7, 100, 129, 4096, stream.length]) {
    const got: Buffer[] = [];
    const splitter = new PacketSplitter(100_000, (buf, start, end) => {
      got.push(Buffer.from(buf.subarray(start, end)));
    });
    for (let i = 0; i < stream.length; i += size) splitter.push(stream.subarray(i, i + size));
    t.strictSame(got, packets, `${size} bytes at a time`);
  }
});

t.test('an announced length costs nothing, and one over the maximum ends it', async (t) => {
  const splitter = new PacketSplitter(0x0fff_ffff, () => t.fail('no packet is complete'));
  const before = process.memoryUsage().arrayBuffers;
  for (let i = 0; i < 100; i++) new PacketSplitter(0x0fff_ffff, () => {}).push(huge());
  splitter.push(huge());
  t.ok(process.memoryUsage().arrayBuffers - before < 2 ** 20, 'not even one of them');
  const strict = new PacketSplitter(1000, () => t.fail('it is over the maximum'));
  t.throws(() => strict.push(huge()), new ProtocolError(0x95, 'packet is larger than allowed'));
});

/** The start of a packet of 256 MiB. */
function huge(): Buffer {
  return Buffer.from([0x30, 0xfa, 0xff, 0xff, 0x7f, 0, 1, 97]);
}

t.test('the guide shows every error of the client', async (t) => {
  const { readFileSync } = await import('node:fs');
  const guide = readFileSync(new URL('../../docs/guides/clients.md', import.meta.url), 'utf8');
  for (const [code, help] of Object.entries(clientErrorTable)) {
    t.ok(guide.includes(`| \`${code}\` | ${help} |`), code);
  }
});

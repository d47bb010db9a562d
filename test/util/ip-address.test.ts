// IP addresses as text and bytes: one spelling per address, networks by their bits.
import { isIP } from 'node:net';
import fc from 'fast-check';
import t from 'tap';
import {
  containsAddress,
  formatIpAddress,
  isLoopbackAddress,
  normalizeIpAddress,
  parseIpAddress,
  parseIpNetwork,
  unmapIpAddress,
} from '../../src/util/ip-address.ts';

const anyV4 = fc.uint8Array({ minLength: 4, maxLength: 4 });
const anyV6 = fc
  .array(fc.oneof(fc.constant(0), fc.constant(0xffff), fc.nat(0xffff)), {
    minLength: 8,
    maxLength: 8,
  })
  .map((groups) => Uint8Array.from(groups.flatMap((group) => [group >> 8, group & 0xff])));
const anyAddress = fc.oneof(anyV4, anyV6);

t.test('text of IPv6 is as RFC 5952 writes it', async (t) => {
  const spellings = [
    ['2001:DB8:0:0:0:0:0:1', '2001:db8::1'],
    ['2001:0db8::0001', '2001:db8::1'],
    ['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
    ['2001:0:0:1:0:0:0:1', '2001:0:0:1::1'],
    ['2001:db8:0:0:1:0:0:1', '2001:db8::1:0:0:1'],
    ['0:0:0:0:0:0:0:0', '::'],
    ['::1', '::1'],
    ['1::', '1::'],
    ['1:0:0:0:0:0:0:0', '1::'],
    ['1:2:3:4:5:6:7::', '1:2:3:4:5:6:7:0'],
    ['64:ff9b::192.0.2.33', '64:ff9b::c000:221'],
    ['::ffff:192.0.2.1', '192.0.2.1'],
    ['::FFFF:c000:0201', '192.0.2.1'],
    ['::192.0.2.1', '::c000:201'],
    ['192.0.2.1', '192.0.2.1'],
    ['0.0.0.0', '0.0.0.0'],
    ['255.255.255.255', '255.255.255.255'],
  ] as const;
  for (const [text, wanted] of spellings) {
    const bytes = parseIpAddress(text);
    t.ok(bytes, text);
    t.equal(bytes && formatIpAddress(bytes), wanted, text);
  }
});

t.test('what is no address', async (t) => {
  const texts = [
    '',
    ' 1.2.3.4',
    '1.2.3',
    '1.2.3.4.5',
    '1.2.3.256',
    '01.2.3.4',
    '1.2.3.-4',
    '1.2.3.4 ',
    '1..3.4',
    '0x1.2.3.4',
    ':',
    ':::',
    '1::2::3',
    '1:2:3:4:5:6:7',
    '1:2:3:4:5:6:7:8:9',
    '1:2:3:4:5:6:7:8::',
    '12345::',
    'g::',
    '::1%eth0',
    '[::1]',
    '1.2.3.4::',
    '::1.2.3.4:5',
    '::1.2.3.256',
    'localhost',
  ];
  for (const text of texts) t.equal(parseIpAddress(text), null, JSON.stringify(text));
});

t.test('any bytes come back from their text, and Node reads it too', async (t) => {
  fc.assert(
    fc.property(anyAddress, (bytes) => {
      const text = formatIpAddress(bytes);
      const parsed = parseIpAddress(text);
      return (
        isIP(text) === (bytes.length === 4 ? 4 : 6) &&
        parsed !== null &&
        Buffer.from(parsed).equals(unmapIpAddress(bytes))
      );
    }),
  );
  // The spelling is the one the URL parser of the web chose as well.
  fc.assert(
    fc.property(
      anyV6,
      (bytes) =>
        new URL(`http://[${formatIpAddress(bytes)}]`).hostname === `[${formatIpAddress(bytes)}]`,
    ),
  );
  t.pass();
});

t.test('no text makes it throw, and what it takes Node takes', async (t) => {
  const pieces = fc.constantFrom(
    '0',
    '1',
    'f',
    'ffff',
    '255',
    '256',
    ':',
    '::',
    '.',
    '%',
    'g',
    ' ',
  );
  fc.assert(
    fc.property(fc.array(pieces, { maxLength: 18 }), (parts) => {
      const text = parts.join('');
      return (parseIpAddress(text) !== null) === (isIP(text) !== 0 && !text.includes('%'));
    }),
    { numRuns: 2000 },
  );
  t.pass();
});

t.test('mapped addresses lose their wrapping', async (t) => {
  t.equal(normalizeIpAddress('::ffff:127.0.0.1'), '127.0.0.1');
  t.equal(normalizeIpAddress('::ffff:7f00:1'), '::ffff:7f00:1', 'no socket writes it so');
  t.equal(normalizeIpAddress('fe80::1%eth0'), 'fe80::1%eth0');
  t.equal(normalizeIpAddress('::ffff:1.2.3.4.5'), '::ffff:1.2.3.4.5');
  t.equal(normalizeIpAddress('192.0.2.1'), '192.0.2.1');
  t.equal(normalizeIpAddress(''), '');
});

t.test('loopback', async (t) => {
  const isLoopback = (text: string): boolean => isLoopbackAddress(parseIpAddress(text)!);
  for (const text of ['127.0.0.1', '127.255.0.9', '::1', '::ffff:127.0.0.1']) {
    t.equal(isLoopback(text), true, text);
  }
  for (const text of ['128.0.0.1', '0.0.0.0', '::', '::2', '1::1', '::ffff:10.0.0.1']) {
    t.equal(isLoopback(text), false, text);
  }
});

t.test('networks', async (t) => {
  const holds = (network: string, address: string): boolean =>
    containsAddress(parseIpNetwork(network)!, parseIpAddress(address)!);
  const inside = [
    ['10.0.0.0/8', '10.255.1.2'],
    ['192.0.2.7', '192.0.2.7'],
    ['192.0.2.128/25', '192.0.2.255'],
    ['0.0.0.0/0', '203.0.113.9'],
    ['2001:db8::/32', '2001:db8:ffff::1'],
    ['2001:db8::/33', '2001:db8:7fff::1'],
    ['::/0', 'fe80::1'],
    ['192.0.2.0/24', '::ffff:192.0.2.9'],
    ['::ffff:192.0.2.9', '192.0.2.9'],
  ] as const;
  for (const [network, address] of inside) t.equal(holds(network, address), true, network);
  const outside = [
    ['10.0.0.0/8', '11.0.0.0'],
    ['192.0.2.7', '192.0.2.6'],
    ['192.0.2.128/25', '192.0.2.127'],
    ['0.0.0.0/0', '::1'],
    ['::/0', '192.0.2.1'],
    ['2001:db8::/33', '2001:db8:8000::1'],
  ] as const;
  for (const [network, address] of outside) t.equal(holds(network, address), false, network);
  const malformed = [
    '',
    '/8',
    '10.0.0.0/',
    '10.0.0.0/33',
    '10.0.0.0/-1',
    '10.0.0.0/08',
    '10.0.0.1/8',
    '10.0.0.0/8/8',
    '2001:db8::1/64',
    '::/129',
    '::ffff:192.0.2.0/120',
    'example.com',
  ];
  for (const text of malformed) t.equal(parseIpNetwork(text), null, JSON.stringify(text));
});

t.test('a network holds exactly the addresses that share its bits', async (t) => {
  const bitsOf = (bytes: Uint8Array): string =>
    [...bytes].map((byte) => byte.toString(2).padStart(8, '0')).join('');
  fc.assert(
    fc.property(anyV4, anyV4, fc.nat(32), (base, address, prefixBits) => {
      const bits = bitsOf(base).slice(0, prefixBits).padEnd(32, '0');
      const bytes = Uint8Array.from(
        [0, 8, 16, 24].map((at) => Number.parseInt(bits.slice(at, at + 8), 2)),
      );
      const network = parseIpNetwork(`${formatIpAddress(bytes)}/${prefixBits}`);
      // Half of the addresses differ from the base in their last bits only.
      const probe =
        address[0]! % 2 === 0
          ? address
          : Uint8Array.from([...base.slice(0, 2), ...address.slice(2)]);
      const isInside = bitsOf(probe).startsWith(bits.slice(0, prefixBits));
      return network !== null && containsAddress(network, probe) === isInside;
    }),
  );
  t.pass();
});

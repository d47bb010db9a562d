// The PROXY header as bytes: what load balancers send, what they may not, and that chunks change
// nothing.
import fc from 'fast-check';
import t from 'tap';
import {
  PROXY_HEADER_BYTES_MAX,
  type ProxyResult,
  parseProxyHeader,
} from '../../src/listeners/proxy-protocol.ts';

const SIGNATURE = Buffer.from('0d0a0d0a000d0a515549540a', 'hex');
const REST = Buffer.from([0x10, 0x0c, 0x00, 0x04]);

function v1(line: string): Buffer {
  return Buffer.from(`${line}\r\n`, 'latin1');
}

/** `block` is everything after the length; `length` only when it is to be wrong. */
function v2(command: number, family: number, block: Buffer, length = block.length): Buffer {
  const fixed = Buffer.from([command, family, length >> 8, length & 0xff]);
  return Buffer.concat([SIGNATURE, fixed, block]);
}

function tlv(type: number, value: Buffer): Buffer {
  return Buffer.concat([Buffer.from([type, value.length >> 8, value.length & 0xff]), value]);
}

const TCP4 = Buffer.from('cb007107' + 'c0000201' + 'd431' + '01bb', 'hex');
const TCP6 = Buffer.from(
  '20010db8000000000000000000000005' + '20010db80000000000000000000000ff' + 'd431' + '01bb',
  'hex',
);
const MAPPED = Buffer.from(
  '00000000000000000000ffffcb007107' + '00000000000000000000ffffc0000201' + 'd431' + '01bb',
  'hex',
);
const UNIX = Buffer.alloc(216);
UNIX.write('/run/client.sock');

/** Bit by bit, as the definition says; held against its published check value below. */
function crc32c(bytes: Buffer): number {
  let crc = 0xffffffffn;
  for (const byte of bytes) {
    for (let bit = 0; bit < 8; bit += 1) {
      const isOdd = ((crc ^ (BigInt(byte) >> BigInt(bit))) & 1n) === 1n;
      crc = isOdd ? (crc >> 1n) ^ 0x82f63b78n : crc >> 1n;
    }
  }
  return Number(crc ^ 0xffffffffn);
}

function checksummed(): Buffer {
  const header = v2(
    0x21,
    0x11,
    Buffer.concat([TCP4, tlv(0x02, Buffer.from('broker.example')), tlv(0x03, Buffer.alloc(4))]),
  );
  header.writeUInt32BE(crc32c(header), header.length - 4);
  return header;
}

const client = (address: string, port: number): object => ({ source: { address, port } });

const headers: [string, Buffer, object][] = [
  ['v1 TCP4', v1('PROXY TCP4 203.0.113.7 192.0.2.1 54321 443'), client('203.0.113.7', 54321)],
  ['v1 TCP6', v1('PROXY TCP6 2001:DB8::5 2001:db8::ff 54321 443'), client('2001:db8::5', 54321)],
  [
    'v1 TCP6, longest',
    v1(`PROXY TCP6 ${'ffff:'.repeat(7)}ffff ${'ffff:'.repeat(7)}ffff 65535 65535`),
    client('ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff', 65535),
  ],
  ['v1 mapped', v1('PROXY TCP6 ::ffff:203.0.113.7 ::1 1 2'), client('203.0.113.7', 1)],
  ['v1 port 0', v1('PROXY TCP4 0.0.0.0 255.255.255.255 0 65535'), client('0.0.0.0', 0)],
  ['v1 UNKNOWN', v1('PROXY UNKNOWN'), { source: null }],
  ['v1 UNKNOWN with words', v1('PROXY UNKNOWN ffff::1 ffff::2 65535 65535'), { source: null }],
  ['v2 TCP4', v2(0x21, 0x11, TCP4), client('203.0.113.7', 54321)],
  ['v2 TCP6', v2(0x21, 0x21, TCP6), client('2001:db8::5', 54321)],
  ['v2 mapped', v2(0x21, 0x21, MAPPED), client('203.0.113.7', 54321)],
  ['v2 UNIX', v2(0x21, 0x31, UNIX), client('', 0)],
  ['v2 LOCAL', v2(0x20, 0x00, Buffer.alloc(0)), { source: null }],
  ['v2 LOCAL with addresses', v2(0x20, 0x11, TCP4), { source: null }],
  ['v2 LOCAL of a family nobody knows', v2(0x20, 0xff, Buffer.alloc(7)), { source: null }],
  ['v2 UNSPEC', v2(0x21, 0x00, Buffer.alloc(0)), { source: null }],
  ['v2 UNSPEC with a block', v2(0x21, 0x00, Buffer.from('anything')), { source: null }],
  [
    'v2 TLVs',
    v2(
      0x21,
      0x11,
      Buffer.concat([TCP4, tlv(0x04, Buffer.alloc(3)), tlv(0xea, Buffer.from('\x01vpce-1'))]),
    ),
    client('203.0.113.7', 54321),
  ],
  [
    'v2 TLV without a value',
    v2(0x21, 0x11, Buffer.concat([TCP4, tlv(0x04, Buffer.alloc(0))])),
    {
      source: { address: '203.0.113.7', port: 54321 },
    },
  ],
  ['v2 checksum', checksummed(), client('203.0.113.7', 54321)],
  [
    'v2 longest',
    v2(
      0x21,
      0x11,
      Buffer.concat([TCP4, tlv(0x20, Buffer.alloc(PROXY_HEADER_BYTES_MAX - 16 - 12 - 3))]),
    ),
    client('203.0.113.7', 54321),
  ],
];

const malformed: [string, Buffer][] = [
  ['MQTT at once', Buffer.from('101000044d515454', 'hex')],
  ['TLS at once', Buffer.from('1603010200', 'hex')],
  ['HTTP at once', Buffer.from('GET /mqtt HTTP/1.1\r\n')],
  ['v1 in lower case', v1('proxy TCP4 1.2.3.4 1.2.3.4 1 2')],
  ['v1 UDP', v1('PROXY UDP4 1.2.3.4 1.2.3.4 1 2')],
  ['v1 nothing', v1('PROXY ')],
  ['v1 missing field', v1('PROXY TCP4 1.2.3.4 1.2.3.4 1')],
  ['v1 extra field', v1('PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3')],
  ['v1 two spaces', v1('PROXY TCP4  1.2.3.4 1.2.3.4 1 2')],
  ['v1 trailing space', v1('PROXY TCP4 1.2.3.4 1.2.3.4 1 2 ')],
  ['v1 IPv6 as TCP4', v1('PROXY TCP4 ::1 ::1 1 2')],
  ['v1 IPv4 as TCP6', v1('PROXY TCP6 1.2.3.4 1.2.3.4 1 2')],
  ['v1 bad source', v1('PROXY TCP4 1.2.3.256 1.2.3.4 1 2')],
  ['v1 bad destination', v1('PROXY TCP4 1.2.3.4 1.2.3 1 2')],
  ['v1 zone', v1('PROXY TCP6 fe80::1%eth0 ::1 1 2')],
  ['v1 port too large', v1('PROXY TCP4 1.2.3.4 1.2.3.4 65536 2')],
  ['v1 port with zero', v1('PROXY TCP4 1.2.3.4 1.2.3.4 01 2')],
  ['v1 port with sign', v1('PROXY TCP4 1.2.3.4 1.2.3.4 +1 2')],
  ['v1 port in hex', v1('PROXY TCP4 1.2.3.4 1.2.3.4 1 0x2')],
  ['v1 line feed alone', Buffer.from('PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n')],
  ['v1 carriage return alone', Buffer.from('PROXY TCP4 1.2.3.4 1.2.3.4 1 2\rx')],
  ['v1 too long', Buffer.from(`PROXY UNKNOWN ${'x'.repeat(92)}\r\n`)],
  ['v1 without an end', Buffer.from(`PROXY UNKNOWN ${'x'.repeat(200)}`)],
  ['v2 version 1', v2(0x11, 0x11, TCP4)],
  ['v2 version 3', v2(0x31, 0x11, TCP4)],
  ['v2 unknown command', v2(0x22, 0x11, TCP4)],
  ['v2 UDP', v2(0x21, 0x12, TCP4)],
  ['v2 unix datagram', v2(0x21, 0x32, UNIX)],
  ['v2 unknown family', v2(0x21, 0x41, TCP4)],
  ['v2 unspecified protocol', v2(0x21, 0x10, TCP4)],
  ['v2 block too short', v2(0x21, 0x11, TCP4.subarray(0, 11))],
  ['v2 IPv6 block too short', v2(0x21, 0x21, TCP4)],
  ['v2 too long', v2(0x21, 0x11, TCP4, PROXY_HEADER_BYTES_MAX - 16 + 1)],
  ['v2 longest possible', v2(0x20, 0x00, TCP4, 0xffff)],
  ['v2 half a TLV', v2(0x21, 0x11, Buffer.concat([TCP4, Buffer.from([4, 0])]))],
  ['v2 TLV beyond the end', v2(0x21, 0x11, Buffer.concat([TCP4, Buffer.from([4, 0, 2, 0])]))],
  ['v2 checksum of 3 bytes', v2(0x21, 0x11, Buffer.concat([TCP4, tlv(3, Buffer.alloc(3))]))],
  ['v2 wrong checksum', v2(0x21, 0x11, Buffer.concat([TCP4, tlv(3, Buffer.alloc(4))]))],
];

/** As a stage calls it: with all there is so far, after each chunk. */
function inChunks(bytes: Buffer, cuts: readonly number[]): ProxyResult {
  const ends = [...cuts.map((cut) => cut % (bytes.length + 1)), bytes.length].sort((a, b) => a - b);
  let result: ProxyResult = { kind: 'more' };
  for (const end of ends) {
    result = parseProxyHeader(bytes, 0, end);
    if (result.kind !== 'more') return result;
  }
  return result;
}

t.test('headers', async (t) => {
  t.equal(crc32c(Buffer.from('123456789')), 0xe3069283, 'the checksum of the tests is right');
  for (const [name, header, wanted] of headers) {
    const result = parseProxyHeader(header, 0, header.length);
    t.strictSame(result, { kind: 'header', bytes: header.length, ...wanted }, name);
    const followed = Buffer.concat([REST, header, REST]);
    t.strictSame(parseProxyHeader(followed, REST.length, followed.length), result, `${name}, amid`);
    for (let end = 0; end < header.length; end += 1) {
      const part = parseProxyHeader(header, 0, end);
      if (part.kind !== 'more') t.fail(`${name}: ${part.kind} after ${end} bytes`);
    }
  }
});

t.test('malformed headers', async (t) => {
  for (const [name, header] of malformed) {
    const result = parseProxyHeader(header, 0, header.length);
    t.equal(result.kind, 'malformed', name);
    t.ok(result.kind === 'malformed' && result.reason !== '', `${name}: a reason`);
  }
});

t.test('any chunks say what the whole says', async (t) => {
  const samples = [
    ...headers.map(([, header]) => header),
    ...malformed.map(([, header]) => header),
  ];
  fc.assert(
    fc.property(
      fc.constantFrom(...samples),
      fc.uint8Array({ maxLength: 20 }),
      fc.array(fc.nat(400), { maxLength: 30 }),
      (header, after, cuts) => {
        const bytes = Buffer.concat([header, after]);
        const whole = parseProxyHeader(bytes, 0, bytes.length);
        const found = inChunks(bytes, cuts);
        // Which of several faults is met first may depend on how much has come.
        return found.kind === 'malformed'
          ? whole.kind === 'malformed'
          : JSON.stringify(found) === JSON.stringify(whole);
      },
    ),
    { numRuns: 2000 },
  );
  t.pass();
});

t.test('damaged headers are read or refused, never thrown at', async (t) => {
  const samples = headers.map(([, header]) => header);
  fc.assert(
    fc.property(
      fc.constantFrom(...samples),
      fc.array(fc.tuple(fc.nat(300), fc.nat(255)), { maxLength: 4 }),
      (sample, damage) => {
        const bytes = Buffer.from(sample);
        for (const [at, value] of damage) bytes[at % bytes.length] = value;
        const result = parseProxyHeader(bytes, 0, bytes.length);
        if (result.kind === 'header') return result.bytes <= bytes.length;
        return result.kind === 'malformed' || bytes.length < PROXY_HEADER_BYTES_MAX;
      },
    ),
    { numRuns: 3000 },
  );
  t.pass();
});

t.test('a stranger is not waited for', async (t) => {
  const first = (hex: string): string => parseProxyHeader(Buffer.from(hex, 'hex'), 0, 1).kind;
  t.equal(first('10'), 'malformed', 'CONNECT');
  t.equal(first('16'), 'malformed', 'ClientHello');
  t.equal(first('47'), 'malformed', 'GET');
  t.equal(first('50'), 'more', 'P');
  t.equal(first('0d'), 'more', 'carriage return');
  const early = Buffer.concat([SIGNATURE, Buffer.from([0x31])]);
  t.equal(parseProxyHeader(early, 0, early.length).kind, 'malformed', 'version 3');
  const most = Buffer.from(`PROXY ${'x'.repeat(101)}`);
  t.equal(parseProxyHeader(most, 0, 106).kind, 'more');
  t.equal(parseProxyHeader(most, 0, 107).kind, 'malformed');
});

t.test('the longest line of version 1', async (t) => {
  const longest = Buffer.from(`PROXY UNKNOWN ${'x'.repeat(91)}\r\n`);
  t.equal(longest.length, 107);
  t.equal(parseProxyHeader(longest, 0, 107).kind, 'header');
});

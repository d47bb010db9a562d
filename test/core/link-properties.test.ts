// What travels with a message from region to region, byte for byte, and what is no such thing.
import t from 'tap';
import {
  hasRegion,
  linkFilter,
  parseLinkFilter,
  readNumber,
  regionOfLinkId,
  writeNumber,
} from '../../src/core/link-names.ts';
import { LinkProperties, linkProperties, publishedAtMs } from '../../src/core/link-properties.ts';
import { makeMessage } from '../../src/core/message.ts';
import { Publication } from '../../src/core/publication.ts';
import { RegionLinks } from '../../src/core/region-links.ts';

const TIME_MS = 1_700_000_000_123;

function userProperty(name: string, value: string): Buffer {
  const field = (text: string): Buffer => {
    const bytes = Buffer.from(text);
    return Buffer.concat([Buffer.from([bytes.length >> 8, bytes.length & 255]), bytes]);
  };
  return Buffer.concat([Buffer.from([0x26]), field(name), field(value)]);
}

function publicationOf(properties: Buffer): Publication {
  const publication = new Publication();
  publication.setMessage(makeMessage(1, 'a/b', Buffer.from('x'), { qos: 1, properties }), 1);
  return publication;
}

t.test('the bytes, there and back', async (t) => {
  const links = new RegionLinks('eu', Buffer.alloc(16, 0xff));
  const own = userProperty('causeway-version', 'forged');
  const publication = publicationOf(own);
  const first = linkProperties(publication, links, TIME_MS);
  t.strictSame(
    first,
    Buffer.concat([
      userProperty('causeway-id', 'eu._____________________w.AAAAAAAB.AYvP5Wh7'),
      userProperty('causeway-path', 'eu'),
      userProperty('causeway-version', ''),
      own,
    ]),
  );
  const read = new LinkProperties();
  t.ok(read.read(first, 0, first.length));
  const { source, number, timeMs, path, version, end } = read;
  t.strictSame(
    { source, number, timeMs, path, version, end },
    {
      source: 'eu._____________________w',
      number: 1,
      timeMs: TIME_MS,
      path: 'eu',
      version: null,
      end: first.length - own.length,
    },
  );
  t.equal(publishedAtMs(first), TIME_MS);
  t.equal(publishedAtMs(own), 0);

  // Handed on by another region, with a version.
  const relayed = publicationOf(own);
  const { id } = read;
  relayed.mark = {
    origin: { id, path: 'eu' },
    version: { timeUs: 1_700_000_000_000_001, writer: 7 },
  };
  const second = linkProperties(relayed, new RegionLinks('us', Buffer.alloc(16)), 5);
  t.ok(read.read(second, 0, second.length));
  t.strictSame(
    [read.id, read.path, read.version, second.subarray(read.end)],
    [id, 'eu,us', { timeUs: 1_700_000_000_000_001, writer: 7 }, own],
  );
});

t.test('what no link writes is not read', async (t) => {
  const links = new RegionLinks('eu', Buffer.alloc(16));
  const good = linkProperties(publicationOf(Buffer.alloc(0)), links, TIME_MS);
  const read = new LinkProperties();
  for (let end = 0; end < good.length; end++) t.notOk(read.read(good, 0, end), `cut at ${end}`);
  const id = (text: string): Buffer =>
    Buffer.concat([
      userProperty('causeway-id', text),
      userProperty('causeway-path', 'eu'),
      userProperty('causeway-version', ''),
    ]);
  for (const text of ['', 'x', 'eu.a.b.c', 'AAAAAAAB.AAAAAAAB', 'e.AAAAAAA+.AAAAAAAA']) {
    const block = id(text);
    t.notOk(read.read(block, 0, block.length), text);
  }
  const other = Buffer.concat([userProperty('x', 'y'), good]);
  t.notOk(read.read(other, 0, other.length), 'behind another property');
});

t.test('names and lists', async (t) => {
  const out = Buffer.alloc(8);
  for (const value of [0, 1, 63, 64, 2 ** 24 - 1, 2 ** 24, 2 ** 40 + 12_345, 2 ** 48 - 1]) {
    writeNumber(out, 0, value);
    t.equal(readNumber(out, 0), value);
  }
  t.equal(readNumber(Buffer.from('AAAAAA=A'), 0), -1);
  t.ok(hasRegion('eu,us', 'us'));
  t.ok(hasRegion('eu', 'eu'));
  t.notOk(hasRegion('eu-west,us', 'eu'));
  t.notOk(hasRegion('aeu,us', 'eu'));
  t.notOk(hasRegion('', 'eu'));
  t.equal(regionOfLinkId('$link/eu'), 'eu');
  for (const id of ['$link/', '$link/EU', '$link/a/b', 'eu', '$linkeu']) {
    t.equal(regionOfLinkId(id), null, id);
  }
  t.strictSame(parseLinkFilter('$link/a,b/x/#'), { via: 'a,b', filter: 'x/#' });
  t.strictSame(parseLinkFilter('x/#'), { via: '', filter: 'x/#' });
  for (const text of ['$link/', '$link/a', '$link/a/', '$link//x', '$link/a,,b/x', '$link/+/x']) {
    t.equal(parseLinkFilter(text), null, text);
  }
  t.equal(linkFilter('', 'x'), 'x');
  t.equal(linkFilter('a,b', 'x'), '$link/a,b/x');
});

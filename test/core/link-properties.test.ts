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
import { LinkBlocks, LinkProperties, publishedAtMs } from '../../src/core/link-properties.ts';
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

function blockOf(blocks: LinkBlocks, publication: Publication, timeMs: number): Buffer {
  blocks.write(publication, timeMs);
  return Buffer.from(blocks.bytes.subarray(0, blocks.end));
}

t.test('where a message belongs that is published again', async (t) => {
  const links = new RegionLinks('eu', Buffer.alloc(16, 0xff));
  const blocks = new LinkBlocks(links);
  const placed = new Map([
    ['dev/ä', 'us'],
    ['other', 'eu'],
  ]);
  const version = { timeUs: 5, writer: 6 };
  const id = 'us._____________________w.AAAAAAAB.AYvP5Wh7';
  const read = new LinkProperties();
  for (const mark of [
    { origin: null, version: null, placed },
    { origin: null, version, placed },
    { origin: { id, path: 'us,ap' }, version: null, placed },
  ]) {
    const publication = publicationOf(Buffer.alloc(0));
    publication.mark = mark;
    const bytes = blockOf(blocks, publication, TIME_MS);
    t.ok(read.read(bytes, 0, bytes.length));
    t.strictSame([...read.mark().placed!], [...placed]);
    t.strictSame(read.version, mark.version);
    t.equal(read.path, mark.origin === null ? 'eu' : 'us,ap,eu');
    t.equal(publishedAtMs(bytes, 0, bytes.length), TIME_MS);
  }
  // The next one has none, and neither has one that is read after it.
  const plain = blockOf(blocks, publicationOf(Buffer.alloc(0)), TIME_MS);
  t.ok(read.read(plain, 0, plain.length));
  t.equal(read.mark().placed, undefined);
});

t.test('the bytes, there and back', async (t) => {
  const links = new RegionLinks('eu', Buffer.alloc(16, 0xff));
  const own = userProperty('causeway-id', 'eu.forged');
  const publication = publicationOf(own);
  const blocks = new LinkBlocks(links);
  const first = blockOf(blocks, publication, TIME_MS);
  t.strictSame(
    first,
    Buffer.concat([
      userProperty('causeway-id', 'eu._____________________w.AAAAAAAB.AYvP5Wh7'),
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
  t.equal(publishedAtMs(first, 0, first.length), TIME_MS);
  t.equal(publishedAtMs(own, 0, own.length), 0);

  // Handed on by another region, with a version.
  const relayed = publicationOf(own);
  const { id } = read.origin();
  t.equal(id, 'eu._____________________w.AAAAAAAB.AYvP5Wh7');
  relayed.mark = {
    origin: { id, path: 'eu' },
    version: { timeUs: 1_700_000_000_000_001, writer: 7 },
  };
  const us = new LinkBlocks(new RegionLinks('us', Buffer.alloc(16)));
  const second = blockOf(us, relayed, 5);
  t.ok(read.read(second, 0, second.length));
  t.strictSame(
    [read.origin().id, read.path, read.version, second.subarray(read.end)],
    [id, 'eu,us', { timeUs: 1_700_000_000_000_001, writer: 7 }, own],
  );
  t.equal(publishedAtMs(second, 0, second.length), TIME_MS);

  // Of here again, with a version, and with more of its own than there was room for.
  const large = userProperty('x', 'y'.repeat(5000));
  const versioned = publicationOf(large);
  versioned.mark = { origin: null, version: { timeUs: 9, writer: 1 } };
  const third = blockOf(blocks, versioned, TIME_MS);
  t.ok(read.read(third, 0, third.length));
  t.strictSame(
    [read.origin().id, read.path, read.version, third.subarray(read.end)],
    ['eu._____________________w.AAAAAAAC.AYvP5Wh7', 'eu', { timeUs: 9, writer: 1 }, large],
  );
  const fourth = blockOf(blocks, publicationOf(large), TIME_MS);
  t.ok(read.read(fourth, 0, fourth.length));
  t.strictSame([read.number, fourth.subarray(read.end)], [3, large]);
});

t.test('one reader, messages of several ways in turn', async (t) => {
  const links = ['eu', 'us', 'ap'].map((name, i) => new RegionLinks(name, Buffer.alloc(16, i)));
  const blocks = links.map((one) => new LinkBlocks(one));
  const read = new LinkProperties();
  for (const index of [0, 0, 1, 0, 2, 2, 1]) {
    const publication = publicationOf(Buffer.alloc(0));
    const origin = { id: `xx.${'B'.repeat(22)}.AAAAAAAB.AAAAAAAB`, path: 'xx' };
    for (const mark of [null, { origin, version: null }, null]) {
      publication.mark = mark;
      const block = blockOf(blocks[index]!, publication, TIME_MS);
      t.ok(read.read(block, 0, block.length));
      const { region, prefix } = links[index]!;
      const path = mark === null ? region : `xx,${region}`;
      const source = mark === null ? prefix.slice(0, -1) : `xx.${'B'.repeat(22)}`;
      t.strictSame([read.source, read.path], [source, path]);
      t.ok(read.origin().id.startsWith(`${source}.`));
      // What was kept before stays as it was.
      if (mark !== null) t.equal(read.origin().id, origin.id);
    }
  }
});

t.test('what no link writes is not read', async (t) => {
  const links = new RegionLinks('eu', Buffer.alloc(16));
  const good = blockOf(new LinkBlocks(links), publicationOf(Buffer.alloc(0)), TIME_MS);
  const read = new LinkProperties();
  for (let end = 0; end < good.length; end++) t.notOk(read.read(good, 0, end), `cut at ${end}`);
  const id = (text: string): Buffer =>
    Buffer.concat([userProperty('causeway-id', text), userProperty('x', 'y')]);
  const wrong = ['', 'x', 'eu.a.b.c', 'AAAAAAAB.AAAAAAAB', 'e.AAAAAAA+.AAAAAAAA', '/eu', '//'];
  const tails = ['x', '.AAAAAAAA', 'A/us'].map((tail) => `e.AAAAAAAB.AAAAAAAA${tail}`);
  for (const text of [...wrong, ...tails]) {
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

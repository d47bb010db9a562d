/** Strings against the platform's own strict decoder, topics against naive definitions. */
import { Buffer } from 'node:buffer';
import fc from 'fast-check';
import t from 'tap';
import {
  isSharedFilter,
  isValidTopicFilter,
  isValidTopicName,
  parseSharedFilter,
  topicLevelCount,
} from '../../src/wire/topic.ts';
import { decodeText, fieldEnd, readBinary, readString } from '../../src/wire/utf8.ts';
import { textArb } from './arbitraries.ts';
import { reasonCodeOf } from './reason-code-of.ts';

const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

function expectedText(bytes: Uint8Array): string | null {
  try {
    const text = strict.decode(bytes);
    return text.includes('\0') ? null : text;
  } catch {
    return null;
  }
}

function decodedText(bytes: Buffer): string | null {
  // In the midst of bytes that would change the result if they were looked at.
  const buf = Buffer.concat([Buffer.from([0xff, 0]), bytes, Buffer.from([0x80, 0xff, 0])]);
  let text: string | null = null;
  const code = reasonCodeOf(() => {
    text = decodeText(buf, 2, 2 + bytes.length);
  });
  return code === 0x81 || code === null ? text : 'another reason code';
}

t.test('[MQTT5-1.5.4-1] [MQTT5-1.5.4-2] text is what a strict decoder says', async (t) => {
  const bytesArb = fc.oneof(
    fc.uint8Array({ maxLength: 12 }).map((data) => Buffer.from(data)),
    fc.array(
      fc.constantFrom(0x41, 0x7f, 0x80, 0xbf, 0xc2, 0xe0, 0xed, 0xf0, 0xf4, 0xff, 0x00, 0xa0),
    ),
    textArb.map((text) => Buffer.from(text)),
    fc.tuple(textArb, fc.uint8Array({ maxLength: 3 }), textArb).map(([before, bad, after]) => {
      return Buffer.concat([Buffer.from(before), bad, Buffer.from(after)]);
    }),
  );
  let refused = 0;
  let taken = 0;
  fc.assert(
    fc.property(bytesArb, (data) => {
      const bytes = Buffer.from(data);
      const expected = expectedText(bytes);
      if (expected === null) refused++;
      else taken++;
      return decodedText(bytes) === expected;
    }),
    { numRuns: 5000 },
  );
  t.ok(refused > 100 && taken > 100, `${refused} refused, ${taken} taken`);
});

t.test('every pair of bytes, and every three-byte lead with its borders', async (t) => {
  const different: string[] = [];
  const compare = (bytes: Buffer): void => {
    if (decodedText(bytes) !== expectedText(bytes)) different.push(bytes.toString('hex'));
  };
  for (let first = 0; first < 256; first++) {
    for (let second = 0; second < 256; second++) compare(Buffer.from([first, second]));
  }
  for (let first = 0xe0; first < 256; first++) {
    for (const second of [0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0]) {
      compare(Buffer.from([first, second, 0x80]));
      compare(Buffer.from([first, second, 0xbf, 0xbf]));
    }
  }
  t.strictSame(different, []);
});

t.test('text around the length where the check changes', async (t) => {
  for (let length = 120; length <= 140; length++) {
    const ascii = 'x'.repeat(length);
    t.equal(decodedText(Buffer.from(ascii)), ascii);
    t.equal(decodedText(Buffer.from(`${ascii}é`)), `${ascii}é`);
    t.equal(decodedText(Buffer.from(`${ascii}\0`)), null);
    t.equal(decodedText(Buffer.from(`\0${ascii}`)), null);
    t.equal(decodedText(Buffer.concat([Buffer.from(ascii), Buffer.from([0xc3])])), null);
  }
  t.equal(decodedText(Buffer.from('y'.repeat(65_535))), 'y'.repeat(65_535));
});

t.test('[MQTT5-1.5.4-3] a byte order mark is kept', async (t) => {
  t.equal(decodedText(Buffer.from('\uFEFFa')), '\uFEFFa');
});

t.test('length-prefixed fields', async (t) => {
  const buf = Buffer.from('..\0\x03abc\0\0\xff', 'latin1');
  t.equal(readString(buf, 2, 7), 'abc');
  t.equal(fieldEnd(buf, 2, 7), 7);
  t.equal(readString(buf, 7, 9), '');
  t.equal(readBinary(buf, 7, 9).length, 0);
  t.equal(
    reasonCodeOf(() => readString(buf, 2, 6)),
    0x81,
  );
  t.equal(
    reasonCodeOf(() => readString(buf, 2, 3)),
    0x81,
  );
  t.equal(
    reasonCodeOf(() => fieldEnd(buf, 9, 10)),
    0x81,
  );
  const copy = readBinary(buf, 2, 7);
  buf.fill(0);
  t.equal(copy.toString(), 'abc', 'binary data is a copy');
  t.not(copy.buffer, Buffer.allocUnsafe(8).buffer, 'and not of the pool');
});

/** The specification's words, one level at a time. */
function isFilterByLevels(filter: string): boolean {
  const levels = filter.split('/');
  if (levels[0] === '$share') {
    const [, group, ...rest] = levels;
    if (group === undefined || group === '' || /[+#]/.test(group)) return false;
    return rest.length > 0 && isPlainByLevels(rest.join('/'));
  }
  return isPlainByLevels(filter);
}

function isPlainByLevels(filter: string): boolean {
  const levels = filter.split('/');
  return (
    filter !== '' &&
    levels.every((level, index) => {
      if (level.includes('#')) return level === '#' && index === levels.length - 1;
      return !level.includes('+') || level === '+';
    })
  );
}

t.test('topic filters are valid as their levels are', async (t) => {
  const filterArb = fc
    .array(fc.constantFrom('/', '/', '+', '#', 'a', 'bc', '$share', '$', 'é', '\u{1F680}'), {
      maxLength: 9,
    })
    .map((parts) => parts.join(''));
  let good = 0;
  let bad = 0;
  fc.assert(
    fc.property(filterArb, (filter) => {
      const expected = isFilterByLevels(filter);
      if (expected) good++;
      else bad++;
      return (
        isValidTopicFilter(filter) === expected &&
        topicLevelCount(filter) === filter.split('/').length &&
        isValidTopicName(filter) === (filter !== '' && !/[+#]/.test(filter))
      );
    }),
    { numRuns: 5000 },
  );
  t.ok(good > 100 && bad > 100, `${good} valid, ${bad} not`);
});

t.test(
  '[MQTT5-4.7.1-1] [MQTT5-4.7.1-2] [MQTT5-4.7.3-1] the examples of the specification',
  async (t) => {
    for (const filter of [
      '#',
      '+',
      '/',
      '/+',
      '+/+',
      'a/#',
      '+/b/#',
      'sport/+',
      '//',
      '$SYS/#',
      ' ',
    ]) {
      t.ok(isValidTopicFilter(filter), filter);
    }
    for (const filter of [
      '',
      'a#',
      'a/#/b',
      '##',
      '#/',
      'a+',
      '+a',
      'a/b+/c',
      '++',
      '+#',
      'a\0b',
    ]) {
      t.notOk(isValidTopicFilter(filter), filter);
    }
    for (const name of ['a', '/', 'a//b', '$SYS/x', '$share/g/t', 'sport tennis']) {
      t.ok(isValidTopicName(name), name);
    }
    for (const name of ['', '+', '#', 'a/+', 'a/#', 'a+b', 'a\0'])
      t.notOk(isValidTopicName(name), JSON.stringify(name));
  },
);

t.test('[MQTT5-4.8.2-1] [MQTT5-4.8.2-2] shared subscriptions', async (t) => {
  const good: readonly [filter: string, group: string, rest: string][] = [
    ['$share/g/t', 'g', 't'],
    ['$share/g/#', 'g', '#'],
    ['$share/g//t', 'g', '/t'],
    ['$share/g/+/t', 'g', '+/t'],
    ['$share/$share/$SYS/#', '$share', '$SYS/#'],
    ['$share/a b é/t/', 'a b é', 't/'],
  ];
  for (const [filter, group, rest] of good) {
    t.strictSame(parseSharedFilter(filter), { group, filter: rest }, filter);
    t.ok(isValidTopicFilter(filter), filter);
    t.ok(isSharedFilter(filter), filter);
  }
  const bad = [
    '$share',
    '$share/',
    '$share//',
    '$share//t',
    '$share/g',
    '$share/g/',
    '$share/+/t',
    '$share/#',
    '$share/#/t',
    '$share/g#/t',
    '$share/g+/t',
    '$share/g/t#',
    '$share/g/#/t',
    '$share/g/a+',
    '$share/+',
  ];
  for (const filter of bad) {
    t.equal(parseSharedFilter(filter), null, filter);
    t.notOk(isValidTopicFilter(filter), filter);
    t.ok(isSharedFilter(filter), filter);
  }
  for (const filter of [
    '$shared/g/t',
    'share/g/t',
    '$Share/g/t',
    '/$share/g/t',
    '$SHARE/g/t',
    'a',
  ]) {
    t.equal(parseSharedFilter(filter), null, filter);
    t.ok(isValidTopicFilter(filter), filter);
    t.notOk(isSharedFilter(filter), filter);
  }
});

t.test('the longest topics are judged in one pass', async (t) => {
  const slashes = '/'.repeat(65_535);
  t.equal(topicLevelCount(slashes), 65_536);
  t.ok(isValidTopicName(slashes));
  t.ok(isValidTopicFilter(slashes));
  t.ok(isValidTopicFilter('+/'.repeat(32_767)));
  t.notOk(isValidTopicFilter('+'.repeat(65_535)));
  t.ok(isValidTopicFilter(`$share/${'g'.repeat(60_000)}/t`));
});

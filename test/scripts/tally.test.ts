// The closing line of `npm test` is only worth what its counting is worth: each way a TAP stream can
// say "bad" must end as a failure, and nothing may be counted twice.
import t from 'tap';
import { type FileResult, type Tally, tally } from '../../scripts/tally.ts';

function read(tap: string): { counts: Tally; files: FileResult[]; noise: string } {
  const files: FileResult[] = [];
  let noise = '';
  const { parser, counts } = tally({
    onFile: (file) => files.push(file),
    onNoise: (text) => {
      noise += text;
    },
  });
  // In small pieces, as a pipe would bring it.
  for (let at = 0; at < tap.length; at += 7) parser.write(tap.slice(at, at + 7));
  parser.end();
  return { counts, files, noise };
}

t.test('leaf assertions count, files and subtests do not', async (t) => {
  const { counts, files } = read(`TAP version 14
# Subtest: test/a.test.ts
    # Subtest: outer
        ok 1 - one
        # Subtest: inner
            ok 1 - two
            not ok 2 - three
              ---
              diff: here
              ...
            1..2
        not ok 2 - inner
        1..2
    not ok 1 - outer
    # Subtest: empty
        1..0
    ok 2 - empty
    1..2
not ok 1 - test/a.test.ts # time=12.5ms
# Subtest: test/b.test.ts
    ok 1 - four
    1..1
ok 2 - test/b.test.ts
1..2
`);
  t.equal(counts.passed, 3);
  t.equal(counts.failed, 1);
  t.strictSame(counts.failures, [
    { path: ['test/a.test.ts', 'outer', 'inner', 'three'], detail: { diff: 'here' } },
  ]);
  t.match(files, [
    { name: 'test/a.test.ts', passed: 2, failed: 1, timeMs: 12.5 },
    { name: 'test/b.test.ts', passed: 1, failed: 0 },
  ]);
});

t.test('a file that dies without a failed assertion is one failure', async (t) => {
  const { counts } = read(`TAP version 14
# Subtest: test/a.test.ts
    ok 1 - fine
    1..1
not ok 1 - test/a.test.ts
  ---
  exitCode: 3
  ...
# Subtest: test/b.test.ts
    1..0 # no tests found
not ok 2 - test/b.test.ts
1..2
`);
  t.equal(counts.passed, 1);
  t.equal(counts.failed, 2);
  t.strictSame(
    counts.failures.map((failure) => failure.path),
    [['test/a.test.ts'], ['test/b.test.ts']],
  );
});

t.test('a skip needs a reason, and to-do is not a result', async (t) => {
  const { counts } = read(`TAP version 14
# Subtest: test/a.test.ts
    ok 1 - with # SKIP no container engine here
    ok 2 - without # SKIP
    ok 3 - later # TODO
    not ok 4 - later still # TODO someday
    1..4
ok 1 - test/a.test.ts
1..1
`);
  t.equal(counts.passed, 0);
  t.equal(counts.failed, 3);
  t.strictSame(counts.skips, [
    { path: ['test/a.test.ts', 'with'], reason: 'no container engine here' },
  ]);
});

t.test('a bail out is a failure', async (t) => {
  const { counts } = read(`TAP version 14
# Subtest: test/a.test.ts
    ok 1 - fine
    Bail out! the disk is gone
Bail out! the disk is gone
`);
  t.ok(counts.failed >= 1, 'something failed');
  t.ok(
    counts.failures.some((failure) => failure.detail === 'the disk is gone'),
    'and says why',
  );
});

t.test('a stream cut short is a failure', async (t) => {
  const { counts } = read(`TAP version 14
1..2
# Subtest: test/a.test.ts
    ok 1 - fine
`);
  t.ok(counts.failed >= 1, `${counts.failed} failed`);
});

t.test('what is not TAP is passed on', async (t) => {
  const { counts, noise } = read(`TAP version 14
# Subtest: test/a.test.ts
    hello from the test
    ok 1 - fine
    1..1
ok 1 - test/a.test.ts
1..1
`);
  t.equal(counts.passed, 1);
  t.match(noise, /hello from the test/);
});

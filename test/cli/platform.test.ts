// Where the program refuses to run, with a sentence.
import t from 'tap';
import { refusePlatform } from '../../src/cli/platform.ts';

t.test('platforms', async (t) => {
  const glibc = '7f0 r-xp /usr/lib/x86_64-linux-gnu/libc.so.6\n7f1 /lib64/ld-linux-x86-64.so.2\n';
  const musl = '7f0 r-xp 00000000 /lib/ld-musl-x86_64.so.1\n';
  t.match(refusePlatform('win32'), /^Windows is not supported/);
  t.equal(
    refusePlatform('linux', () => glibc),
    null,
  );
  t.match(
    refusePlatform('linux', () => musl),
    /^musl is not supported/,
  );
  t.equal(refusePlatform('darwin'), null);
  t.equal(
    refusePlatform('linux', () => {
      throw new Error('ENOENT');
    }),
    null,
    'without /proc nothing is known',
  );
  t.equal(refusePlatform(), null, 'this one');
});

// Identifiers of lives of sessions say when these began.
import t from 'tap';
import type { Random } from '../../src/core/ports.ts';
import { beganMs, newLife } from '../../src/core/session-life.ts';

const random: Random = { hex: (bytes: number) => 'ab'.repeat(bytes) } as Random;

t.test('a life says when it began', async (t) => {
  for (const ms of [1, 1_800_000_000_000, 2 ** 48 - 1]) {
    const sid = newLife(ms, random);
    t.match(sid, /^[0-9a-f]{28}$/);
    t.equal(beganMs(sid), ms);
  }
});

t.test('that of a release before does not say', async (t) => {
  t.equal(beganMs('0123456789abcdef'), 0);
  t.equal(beganMs(''), 0);
  t.equal(beganMs('life of another sort, but so'), 0);
});

// Names of messages that have been here: what is remembered, for how long, and what a crash leaves.
import fc from 'fast-check';
import t from 'tap';
import { IdentityWindow, NEW } from '../../src/geo/identity-window.ts';

class Notes {
  /** As a store has them: copied when a commit begins. */
  readonly kept: Map<string, Buffer> = new Map();
  readonly #open: Map<string, Buffer | null> = new Map();
  ticket = 1;

  putNote(key: string, value: Buffer | null): number {
    this.#open.set(key, value);
    return this.ticket;
  }

  commit(): void {
    for (const [key, value] of this.#open) {
      if (value === null) this.kept.delete(key);
      else this.kept.set(key, Buffer.from(value));
    }
    this.#open.clear();
    this.ticket++;
  }
}

function world(notes: Notes = new Notes()) {
  const clock = { nowMs: 1_700_000_000_000, monotonicMs: () => 0, wallMs: () => clock.nowMs };
  const window = new IdentityWindow(notes, clock);
  for (const [key, value] of notes.kept) window.restore(key, value);
  return { notes, clock, window };
}

t.test('seen once, in any order, by any source', async () => {
  const name = fc.tuple(fc.constantFrom('eu.a', 'eu.b', 'us.a'), fc.nat(5000));
  fc.assert(
    fc.property(fc.array(name, { maxLength: 300 }), (names) => {
      const { window } = world();
      const seen = new Set<string>();
      for (const [source, number] of names) {
        const key = `${source}/${number}`;
        if ((window.seen(source, number) !== NEW) !== seen.has(key)) return false;
        window.mark(source, number, true);
        seen.add(key);
      }
      return true;
    }),
  );
});

t.test('what a commit has survives, what it has not does not', async (t) => {
  const { notes, window } = world();
  t.equal(window.mark('eu.a', 5, true), 1);
  notes.commit();
  t.equal(window.mark('eu.a', 6, true), 2);
  t.equal(window.seen('eu.a', 5), 2, 'whoever comes again waits for the page as it is');
  const after = world(notes).window;
  t.equal(after.seen('eu.a', 5), 0);
  t.equal(after.seen('eu.a', 6), NEW);
  t.equal(after.restore('s/us/filter', Buffer.alloc(0)), false, 'a note of somebody else');
  t.equal(after.restore('w/eu.b/0', Buffer.from('damaged')), true);
  t.equal(after.seen('eu.b', 0), NEW);
});

t.test('QoS 0 is remembered in memory alone, and with what is kept', async (t) => {
  const { notes, window } = world();
  t.equal(window.mark('eu.a', 1, false), 0);
  notes.commit();
  t.equal(notes.kept.size, 0);
  t.equal(window.seen('eu.a', 1), 0);
  window.mark('eu.a', 2, true);
  notes.commit();
  t.equal(world(notes).window.seen('eu.a', 1), 0);
});

t.test('what could not be stored may come again', async (t) => {
  const { notes, window } = world();
  window.mark('eu.a', 1, true);
  window.mark('eu.a', 2, true);
  window.unmark('eu.a', 1);
  t.equal(window.seen('eu.a', 1), NEW);
  notes.commit();
  const after = world(notes).window;
  t.equal(after.seen('eu.a', 1), NEW);
  t.equal(after.seen('eu.a', 2), 0);
});

t.test('pages end when they are older than anything that may come', async (t) => {
  const { notes, clock, window } = world();
  window.mark('eu.a', 1, true);
  clock.nowMs += 5000;
  window.mark('eu.a', 5000, true);
  notes.commit();
  clock.nowMs += 6000;
  window.sweep(10_000);
  t.equal(window.pages, 1);
  t.equal(window.seen('eu.a', 1), NEW);
  t.equal(window.seen('eu.a', 5000), 1);
  notes.commit();
  t.equal(notes.kept.size, 1);
});

t.test('what the notes have lost is noted again from memory', async (t) => {
  const { window: earlier, notes: lost } = world();
  for (const number of [1, 5, 3000]) earlier.mark('us.a', number, true);
  earlier.mark('us.b', 7, false);
  lost.commit();
  const notes = new Notes();
  const between = world(notes);
  between.window.mark('us.a', 2, true);
  notes.commit();
  const { window } = world(notes);
  t.equal(window.merge(earlier), 2);
  notes.commit();
  const { window: restored } = world(notes);
  for (const number of [1, 2, 5, 3000]) t.not(restored.seen('us.a', number), NEW, `${number}`);
  t.equal(restored.seen('us.a', 4), NEW);
  t.equal(restored.seen('us.b', 7), NEW, 'of QoS 0 nothing is kept');
  t.equal(restored.merge(earlier), 0, 'nothing is lost');
});

// QoS 2 messages of links in a datacenter: noted before they leave, published in order, and once more under
// the same name by whoever has the links after a death at any point (hard case 10, ADR 0022).
import t from 'tap';
import { LinkProperties } from '../../src/core/link-properties.ts';
import type { Log } from '../../src/core/ports.ts';
import type { AppendIdentity, GroupChoices } from '../../src/core/shared-append.ts';
import { decodeArrival, encodeArrival } from '../../src/geo/arrival.ts';
import { ArrivalLine } from '../../src/geo/arrival-line.ts';
import { IdentityWindow, NEW, PENDING } from '../../src/geo/identity-window.ts';
import type { LinkNotes } from '../../src/geo/link-notes.ts';
import { PublishView } from '../../src/wire/publish.ts';

const NOTHING = Buffer.alloc(0);
const SOURCE = 'us.AAAAAAAAAAAAAAAAAAAAAA';
const NOW_MS = 1_700_000_000_000;
const CHOICES: GroupChoices = new Map([['$share/g/a', 'ü\u0000']]);
const clock = { monotonicMs: () => 0, wallMs: () => NOW_MS };

function property(name: string, value: string): Buffer {
  const text = (of: string) => {
    const field = Buffer.alloc(2 + Buffer.byteLength(of));
    field.writeUInt16BE(field.length - 2, 0);
    field.write(of, 2);
    return field;
  };
  return Buffer.concat([Buffer.from([0x26]), text(name), text(value)]);
}

const digits = (number: number) => {
  const bytes = Buffer.alloc(6);
  bytes.writeUIntBE(number, 0, 6);
  return bytes.toString('base64url');
};

/** As a link hands it over: in a buffer that is used again. */
function arrival(number: number, qos: 1 | 2, more: Partial<PublishView> = {}) {
  const properties = Buffer.concat([
    property('causeway-id', `${SOURCE}.${digits(number)}.${digits(NOW_MS)}/us/12.7`),
    property('own', 'x'),
  ]);
  const view = new PublishView();
  const payload = Buffer.from(`m${number}`);
  view.qos = qos;
  view.topicBuffer = Buffer.from('\u0000\u0001a');
  view.topicEnd = 3;
  view.propertyBuffer = properties;
  view.propertyEnd = properties.length;
  view.payloadBuffer = payload;
  view.payloadEnd = payload.length;
  Object.assign(view, more);
  const read = new LinkProperties();
  read.read(properties, 0, properties.length);
  return { view, properties: read, wipe: () => [properties, payload].map((b) => b.fill(0)) };
}

class Notes implements LinkNotes {
  readonly isAtomic = false;
  isTaken = true;
  isKept = true;
  /** Another node has them: that is known at once. */
  isGone = false;
  readonly kept: Map<string, Buffer> = new Map();
  readonly #open: Map<string, Buffer | null> = new Map();
  #waiting: ((failed: boolean) => void)[] = [];
  #next = 1;

  take(): void {}
  letGo(): void {}

  putNote(key: string, value: Buffer | null): number {
    this.#open.set(key, value);
    return 1;
  }

  nextName(): AppendIdentity {
    return { publisherSid: 'l07', publisherSeq: this.#next++ };
  }

  whenDurable(_ticket: number, settled: (failed: boolean) => void): void {
    if (this.isGone) settled(true);
    else this.#waiting.push(settled);
  }

  /** `only`: of what waits, Redis gets so many. */
  commit(failed = false, only = Number.POSITIVE_INFINITY): void {
    for (const [key, value] of failed ? [] : [...this.#open].slice(0, only)) {
      if (value === null) this.kept.delete(key);
      else this.kept.set(key, Buffer.from(value));
    }
    this.#open.clear();
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const settled of waiting) settled(failed);
  }

  get messages(): string[] {
    return [...this.kept.keys()].filter((key) => key.startsWith('p/'));
  }
}

const log: Log = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };

function world(kept: ReadonlyMap<string, Buffer> = new Map()) {
  const notes = new Notes();
  const window = new IdentityWindow(notes, clock);
  const published: string[] = [];
  const settle: ((failed: boolean) => void)[] = [];
  const state = { isHolder: true };
  const inlet = {
    isFull: false,
    choose: () => CHOICES,
    publish: (...args: Parameters<ArrivalInlet['publish']>) => {
      const [view, topic, start, mark, , settled, identity, choices] = args;
      const payload = view.payloadBuffer.toString('utf8', view.payloadStart, view.payloadEnd);
      const own = view.propertyBuffer.toString('latin1', start, view.propertyEnd);
      const { publisherSid: sid = null, publisherSeq: seq = 0 } = identity ?? {};
      const chosen = choices?.get('$share/g/a') ?? '';
      const version = mark.version?.timeUs;
      published.push(
        `${payload} ${topic} ${view.qos} ${sid}:${seq} ${own.slice(-1)}${version}${chosen}`,
      );
      settle.push(settled);
    },
  };
  const isHolder = () => state.isHolder;
  const line = new ArrivalLine({ inlet, window, notes, isHolder, clock, log });
  for (const [key, value] of kept) {
    notes.kept.set(key, value);
    if (!window.restore(key, value)) line.restore(key, value);
  }
  const ended: string[] = [];
  const add = (number: number, qos: 1 | 2) => {
    const { view, properties, wipe } = arrival(number, qos);
    line.add(view, 'a', properties, (failed) => ended.push(`${number} ${failed}`));
    wipe();
  };
  /** A word that counts in its place among what is published, and is noted when it may be. */
  const word = (name: string) => {
    line.addWord(
      (earlier, taken) => {
        published.push(name);
        earlier((failed) => {
          if (failed) taken(false);
          else notes.whenDurable(notes.putNote(`m/${name}`, NOTHING), (lost) => taken(!lost));
        });
      },
      (failed) => ended.push(`${name} ${failed}`),
    );
  };
  return { notes, window, line, inlet, published, settle, ended, add, word, state };
}

type ArrivalInlet = ConstructorParameters<typeof ArrivalLine>[0]['inlet'];

const named = (number: number, seq: number) => `m${number} a 2 l07:${seq} x12ü\u0000`;

t.test('noted, published in order, its name noted, acknowledged', async (t) => {
  const { notes, window, published, settle, ended, add } = world();
  add(1, 1);
  t.strictSame(published, ['m1 a 1 null:0 x12'], 'QoS 1 at once, and without a copy');
  settle[0]!(false);
  notes.commit();
  t.strictSame(ended, ['1 false']);
  add(2, 2);
  add(3, 1);
  add(4, 2);
  t.equal(published.length, 1, 'nothing before the note is there, and nothing overtakes');
  t.equal(window.seen(SOURCE, 2), PENDING);
  notes.commit();
  t.strictSame(published.slice(1), [named(2, 1), 'm3 a 1 l07:2 x12', named(4, 3)]);
  t.equal(notes.messages.length, 3);
  settle[1]!(false);
  t.strictSame(ended, ['1 false'], 'not before its name is noted');
  notes.commit();
  t.strictSame(ended.slice(1), ['2 false']);
  t.equal(notes.messages.length, 2);
  settle[2]!(false);
  settle[3]!(false);
  notes.commit();
  t.strictSame(ended.slice(1), ['2 false', '3 false', '4 false']);
  t.equal(notes.messages.length, 0);
});

t.test('what could not be kept comes by its note, before what was noted behind it', async (t) => {
  const first = world();
  for (const number of [1, 2, 3, 4]) first.add(number, 2);
  first.notes.commit();
  first.settle[0]!(false);
  first.settle[1]!(true);
  t.ok(first.line.isClosed, 'this line takes nothing more');
  first.settle[2]!(false);
  first.add(5, 2);
  first.notes.commit();
  t.strictSame(first.ended, ['2 true', '3 true', '5 true', '1 false']);
  t.equal(first.notes.messages.length, 3);
  const next = world(first.notes.kept);
  t.equal(next.line.replay(), 3);
  t.strictSame(next.published, [named(2, 2), named(3, 3), named(4, 4)], 'under the same names');
  t.equal(next.window.seen(SOURCE, 5), NEW);
});

t.test('who ends in the midst of its notes leaves none that is to be behind another', async (t) => {
  for (const how of ['stopped', 'failed', 'closed'] as const) {
    for (let only = 0; only <= 4; only++) {
      const first = world();
      first.add(0, 2);
      first.notes.commit();
      for (const number of [1, 2, 3, 4]) first.add(number, 2);
      if (how === 'stopped') first.state.isHolder = false;
      if (how === 'failed') first.settle[0]!(true);
      if (how === 'closed') first.line.close();
      first.notes.commit();
      first.notes.commit(false, only);
      first.line.close();
      const next = world(first.notes.kept);
      next.line.replay();
      for (let number = 0; number <= 4; number++) {
        if (next.window.seen(SOURCE, number) === NEW) next.add(number, 2);
      }
      next.notes.commit();
      const came = next.published.map((one) => one.slice(0, 2));
      t.strictSame(came, ['m0', 'm1', 'm2', 'm3', 'm4'], `${how}, ${only} of the last notes`);
    }
  }
});

t.test('nothing is noted that the queues would not take', async (t) => {
  const { line, inlet, notes, window, published, ended, add } = world();
  inlet.isFull = true;
  add(1, 2);
  add(2, 1);
  notes.commit();
  t.strictSame(ended, ['1 true', '2 true'], 'it is for the other region to keep');
  t.strictSame([published, notes.messages, line.isClosed], [[], [], false]);
  t.equal(window.seen(SOURCE, 1), NEW);
  inlet.isFull = false;
  add(1, 2);
  notes.commit();
  t.strictSame(published, [named(1, 1)]);
});

t.test('QoS 1 is not overtaken by what a later holder publishes', async (t) => {
  const { notes, line, published, settle, ended, add } = world();
  add(1, 1);
  add(2, 1);
  add(3, 2);
  add(4, 1);
  notes.commit();
  t.equal(notes.messages.length, 0, 'the first two may be lost with this node');
  settle[0]!(false);
  notes.commit();
  t.equal(notes.messages.length, 0);
  settle[1]!(false);
  notes.commit();
  t.equal(notes.messages.length, 2, 'now they are safe, and what is behind is noted in its order');
  t.strictSame(published.slice(2), [named(3, 1), 'm4 a 1 l07:2 x12']);
  line.close();
  const next = world(notes.kept);
  t.equal(next.line.replay(), 2);
  t.strictSame(next.published, published.slice(2));

  for (const how of ['failed', 'closed']) {
    const again = world();
    again.add(1, 1);
    again.add(2, 2);
    again.add(3, 1);
    if (how === 'closed') again.line.close();
    again.settle[0]!(how === 'failed');
    again.notes.commit();
    t.strictSame(again.published.length, 1);
    t.strictSame(again.ended.sort(), ['1 true', '2 true', '3 true'], `${how}: all come again`);
  }
  t.strictSame(ended, ['1 false', '2 false']);
});

t.test(
  'whoever has the links next publishes it under the same name, before anything else',
  async (t) => {
    const first = world();
    for (let number = 1; number <= 20; number++) first.add(number, 2);
    first.notes.commit();
    t.equal(first.published.length, 20);
    first.settle[4]!(false);
    first.notes.commit();

    const next = world(first.notes.kept);
    t.equal(next.line.replay(), 19);
    const expected = first.published.filter((one) => !one.startsWith('m5 '));
    t.strictSame(next.published, expected, 'all but the one whose name is noted, in order');
    t.equal(next.window.seen(SOURCE, 3), PENDING, 'the same one that comes over a link waits');
    const copies: boolean[] = [];
    next.window.whenEnded(SOURCE, 3, (failed) => copies.push(failed));
    for (const settled of next.settle) settled(false);
    t.strictSame(copies, []);
    next.notes.commit();
    t.strictSame(copies, [false]);
    t.strictSame(next.notes.messages, []);
  },
);

t.test('a name that was noted with the message still there', async (t) => {
  const first = world();
  first.add(1, 2);
  first.notes.commit();
  const message = [...first.notes.kept];
  first.settle[0]!(false);
  first.notes.commit();
  const next = world(
    new Map([...first.notes.kept, ...message, ['p/l07/00000000000009', Buffer.from('no')]]),
  );
  t.equal(next.line.replay(), 0);
  next.notes.commit();
  t.strictSame(next.notes.messages, [], 'and what cannot be read goes, too');
});

t.test('who is the holder no longer publishes and notes nothing', async (t) => {
  for (const how of ['refused', 'stopped', 'closed'] as const) {
    const { notes, line, published, ended, add, state } = world();
    add(1, 2);
    add(2, 1);
    if (how === 'stopped') state.isHolder = false;
    if (how === 'closed') line.close();
    notes.commit(how === 'refused');
    // Somebody else is: whoever has the line hears so.
    if (how === 'stopped') line.close();
    t.strictSame(ended.slice(0, 1), ['1 true'], how);
    t.notOk(published.some((one) => one.startsWith('m1 ')));
  }
  const { notes, line, settle, ended, add } = world();
  add(1, 2);
  notes.commit();
  line.close();
  settle[0]!(false);
  notes.commit();
  t.strictSame(ended, ['1 true']);
  t.strictSame(notes.messages.length, 1, 'the next holder finds it');
});

t.test(
  'notes that another node has by now take all with them that waits to be noted',
  async (t) => {
    const { notes, published, settle, ended, add } = world();
    add(1, 1);
    for (const number of [2, 3, 4]) add(number, 2);
    notes.isGone = true;
    settle[0]!(false);
    t.strictSame(ended.sort(), ['1 true', '2 true', '3 true', '4 true'], 'each comes again, once');
    t.strictSame(published.length, 1);
    t.strictSame(notes.messages, []);
  },
);

t.test('who may not serve for a moment publishes what waits when it may, in order', async (t) => {
  const { notes, line, published, ended, add, state } = world();
  add(1, 2);
  add(2, 2);
  state.isHolder = false;
  notes.commit();
  add(3, 2);
  notes.commit();
  t.strictSame([ended, published], [[], []]);
  state.isHolder = true;
  t.notOk(line.isClosed);
  line.goOn();
  t.strictSame(published, [named(1, 1), named(2, 2), named(3, 3)]);
});

t.test('a word counts in its place, and is kept when all before it is', async (t) => {
  const { notes, published, settle, ended, add, word } = world();
  add(1, 1);
  word('W');
  add(2, 1);
  t.strictSame(published, ['m1 a 1 null:0 x12', 'W', 'm2 a 1 null:0 x12'], 'nobody waits for it');
  notes.commit();
  t.notOk(notes.kept.has('m/W'));
  settle[0]!(false);
  t.notOk(notes.kept.has('m/W'), 'safe, but its name is not noted');
  notes.commit();
  t.strictSame(ended, ['1 false']);
  settle[1]!(false);
  notes.commit();
  t.ok(notes.kept.has('m/W'));
  t.strictSame(ended.slice(1).sort(), ['2 false', 'W false']);
});

t.test(
  'what a next holder would publish again has no word before it that is not kept',
  async (t) => {
    const { notes, line, published, settle, ended, add, word } = world();
    add(1, 2);
    word('W');
    word('X');
    add(2, 2);
    add(3, 1);
    notes.commit();
    t.strictSame(published, [named(1, 1), 'W', 'X'], 'in order, and the next two wait');
    notes.commit();
    t.strictSame(notes.messages.length, 1);
    t.notOk(notes.kept.has('m/W'));
    const early = world(notes.kept);
    t.equal(early.line.replay(), 1, 'if it dies now, only what was before');
    early.word('W');
    t.strictSame(early.published, [named(1, 1), 'W']);
    early.notes.commit();
    t.notOk(early.notes.kept.has('m/W'), 'which the word waits for there, too');
    settle[0]!(false);
    notes.commit();
    t.strictSame([...notes.kept.keys()].includes('m/W'), false);
    t.strictSame(ended, ['1 false']);
    notes.commit();
    t.ok(notes.kept.has('m/W') && notes.kept.has('m/X'));
    t.strictSame(ended, ['1 false', 'W false', 'X false']);
    t.equal(published.length, 3);
    notes.commit();
    t.strictSame(published.slice(3), [named(2, 2), 'm3 a 1 l07:3 x12']);
    line.close();
    const late = world(notes.kept);
    t.equal(late.line.replay(), 2);
    t.strictSame(late.published, published.slice(3));
  },
);

t.test('a word in the midst of messages that wait for their notes', async (t) => {
  const { notes, published, settle, ended, add, word } = world();
  add(1, 1);
  add(2, 2);
  word('W');
  add(3, 2);
  settle[0]!(false);
  notes.commit();
  t.strictSame(published.slice(1), [named(2, 1), 'W']);
  t.equal(notes.messages.length, 1, 'nothing is noted behind it');
  settle[1]!(false);
  notes.commit();
  notes.commit();
  t.strictSame(ended, ['1 false', '2 false', 'W false']);
  notes.commit();
  t.strictSame(published.slice(3), [named(3, 2)]);
});

t.test('a word is not kept when something before it comes again', async (t) => {
  const { notes, published, settle, ended, add, word } = world();
  add(1, 1);
  add(2, 1);
  word('W');
  add(3, 1);
  word('X');
  add(4, 2);
  settle[0]!(false);
  settle[1]!(true);
  t.strictSame(ended, ['4 true', '2 true'], 'also what waits');
  settle[2]!(false);
  notes.commit();
  notes.commit();
  t.notOk(notes.kept.has('m/W') || notes.kept.has('m/X'));
  t.strictSame(ended.slice(2), ['1 false', 'W true', '3 false', 'X true']);
  add(2, 1);
  word('W');
  settle[3]!(false);
  notes.commit();
  notes.commit();
  t.ok(notes.kept.has('m/W'), 'when it comes again it is');
  t.strictSame(ended.slice(-2), ['2 false', 'W false']);
  t.strictSame(published.length, 7);
});

t.test('a word that comes again while the first is not kept waits for it', async (t) => {
  const { notes, line, settle, ended, add, word } = world();
  const again = (name: string) =>
    line.addWord(
      (earlier, taken) => earlier((failed) => taken(!failed)),
      (failed) => ended.push(`${name} ${failed}`),
    );
  word('W');
  again('W again');
  t.strictSame(ended, []);
  notes.commit();
  t.strictSame(ended, ['W false', 'W again false']);
  word('X');
  again('X again');
  notes.commit(true);
  t.strictSame(ended.slice(2), ['X true', 'X again true']);
  // What cannot be read asks for nothing, and keeps its place.
  add(1, 1);
  line.addWord(
    (_earlier, taken) => taken(true),
    (failed) => ended.push(`noise ${failed}`),
  );
  t.equal(ended.length, 4);
  settle[0]!(false);
  notes.commit();
  t.strictSame(ended.slice(4), ['1 false', 'noise false']);
});

t.test('who is the holder no longer has no word count', async (t) => {
  for (const how of ['refused', 'stopped', 'closed'] as const) {
    const { notes, line, published, ended, add, word, state } = world();
    add(1, 2);
    word('W');
    if (how === 'stopped') state.isHolder = false;
    if (how === 'closed') line.close();
    notes.commit(how === 'refused');
    if (how === 'stopped') line.close();
    t.strictSame(ended, ['1 true', 'W true'], how);
    word('X');
    notes.commit();
    t.strictSame([ended.slice(2), published], [['X true'], []]);
  }
  const { notes, line, settle, ended, add, word } = world();
  add(1, 1);
  word('W');
  line.close();
  settle[0]!(false);
  notes.commit();
  t.strictSame(ended, ['1 true', 'W true']);
  t.notOk(notes.kept.has('m/W'));
  const late = world();
  late.word('W');
  late.line.close();
  late.notes.commit();
  t.strictSame(late.ended, ['W true'], 'the next holder hears it again');
});

t.test('a word that comes while all that waits is given back has its turn', async (t) => {
  const { line, published, settle, ended, add, word } = world();
  add(1, 1);
  const { view, properties } = arrival(2, 2);
  line.add(view, 'a', properties, () => word('W'));
  add(3, 2);
  settle[0]!(true);
  t.strictSame(published.slice(1), ['W']);
  t.strictSame(
    ended,
    ['3 true', '1 true', 'W true'],
    'and comes again, as what was before it does',
  );
});

t.test('what is noted of a message', async (t) => {
  const { view } = arrival(7, 2, { retain: true, messageExpiryS: 60 });
  const bytes = encodeArrival(view, 'a', CHOICES, NOW_MS);
  const read = decodeArrival(bytes, NOW_MS + 10_500)!;
  t.equal(read.view.retain, true);
  t.equal(read.view.messageExpiryS, 50);
  t.strictSame([...read.choices], [...CHOICES]);
  t.equal(read.properties.number, 7);
  t.equal(decodeArrival(bytes, NOW_MS + 70_000)!.view.messageExpiryS, 0);
  for (let end = 0; end < bytes.length - 2; end++) {
    t.equal(decodeArrival(bytes.subarray(0, end), NOW_MS), null);
  }
  bytes[0] = 9;
  t.equal(decodeArrival(bytes, NOW_MS), null);
});

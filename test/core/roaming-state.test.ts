// What a session knows of its stays in regions: whose messages it takes, when a home may forget it, how far it
// has come with queues of others, and packet identifiers of one home after the other (ADR 0023).
import t from 'tap';
import { nameText } from '../../src/core/link-names.ts';
import { Message } from '../../src/core/message.ts';
import { EntryState, QueueEntry } from '../../src/core/queue-entry.ts';
import { ALL_IDS, ID_SHARES, RoamingState, SHARE_IDS } from '../../src/core/roaming-state.ts';

function entryOf(seq: number): QueueEntry {
  const bytes = Buffer.from([0, 1, 0x61]);
  const message = new Message(1, 'a', bytes, 0, 3, 3, Buffer.alloc(0), 2, false, 0);
  return new QueueEntry(seq, message, 2, false, null, true);
}

/** As it is after a restart. */
function again(state: RoamingState, headSeq = 1, tailSeq = 0): RoamingState {
  const record = JSON.parse(JSON.stringify(state.record())) as ReturnType<RoamingState['record']>;
  return RoamingState.restored(state.own, record, headSeq, tailSeq);
}

t.test('a stay begins with the word of each region that its messages belong here', (t) => {
  const state = new RoamingState('eu', 0);
  t.ok(state.isCut, 'of a session that never moved there is nothing to say');
  state.arrived = 50;
  t.notOk(state.isCut, 'also when it came back before anybody had said anything else');
  t.notOk(state.isHeard('us'));
  t.ok(state.redirect('eu', 'eu', 50));
  t.ok(state.redirect('us', 'eu', 49));
  t.ok(state.isCut);
  t.notOk(state.isHeard('us'), 'that was said of a stay before');
  t.ok(state.redirect('us', 'eu', 51));
  t.ok(again(state).isHeard('us'));
  t.notOk(state.redirect('us', 'us', 51), 'what is not later is no news');
  t.end();
});

t.test('a home goes when all regions have said so since its last client', (t) => {
  const state = new RoamingState('eu', 0);
  state.epoch = 100;
  state.rest = 'us';
  t.notOk(state.isOver('us'), 'what it has published for here may be on its way');
  state.redirect('us', 'eu', 99);
  state.redirect('us', 'us', 100);
  t.notOk(state.isOver('us'));
  state.redirect('us', 'us', 101);
  t.ok(state.isOver('us'));
  t.notOk(state.isOver('eu'));
  t.ok(again(state).isOver('us'));
  t.end();
});

/** A message that a link brings from one life of a node. */
function from(source: string) {
  return { origin: { id: nameText(source, 7, 1_700_000_000_000), path: 'us' }, version: null };
}

t.test('nodes of a region say one after the other where their messages belong', (t) => {
  const [one, two] = ['us.AAAAAAAAAAAAAAAAAAAAAA', 'us.BBBBBBBBBBBBBBBBBBBBBB'];
  let state = new RoamingState('eu', 0);
  state.rest = 'us';
  state.arrived = 60;
  t.notOk(state.takes(from(one)));
  t.ok(state.redirect(one, 'eu', 60));
  t.ok(state.takes(from(one)));
  t.notOk(state.takes(from(two)), 'the other one has not changed yet');
  t.notOk(state.takes(from('ap.AAAAAAAAAAAAAAAAAAAAAA')), 'another region least of all');
  t.notOk(state.isHeard('us'), 'the region as a whole has said nothing');
  state = again(state);
  t.ok(state.takes(from(one)), 'as after a restart');
  t.notOk(state.takes(from(two)));
  t.equal(state.homeOf(two), 'us', 'of whom nothing is known: as its region');
  t.same(state.homesOf('us'), new Set(['us', 'eu']));
  t.notOk(state.redirect(one, 'us', 59), 'what is not later is no news');
  t.ok(state.redirect('us', 'eu', 60));
  t.ok(state.isHeard('us'));
  t.ok(state.takes(from(two)), 'and nodes to come');
  t.same(state.record().streams, [['us', 'eu', 60]], 'which says it all');
  t.notOk(state.redirect(two, 'eu', 60), 'it is in what the region has said');
  t.notOk(state.redirect(two, 'ap', 59));
  t.end();
});

t.test('of a region and a node of it the later one is right, and of two as late the node', (t) => {
  const one = 'us.AAAAAAAAAAAAAAAAAAAAAA';
  const state = new RoamingState('eu', 0);
  t.ok(state.redirect('us', 'us', 50));
  t.ok(state.redirect(one, 'eu', 50));
  t.ok(state.takes(from(one)));
  t.ok(again(state).takes(from(one)));
  t.ok(state.redirect(one, 'ap', 70));
  t.ok(state.redirect('us', 'eu', 60));
  t.equal(state.homeOf(one), 'ap', 'it has gone on already');
  t.ok(state.redirect('us', 'us', 71));
  t.equal(state.homeOf(one), 'us');
  t.same(state.record().streams, [['us', 'us', 71]]);
  t.notOk(state.redirect(one, 'ap', 70), 'comes again');
  t.ok(state.redirect(one, 'ap', 72));
  t.ok(state.redirect('ap.CCCCCCCCCCCCCCCCCCCCCC', 'ap', 72));
  state.claim('us', 73);
  t.ok(state.takes(from(one)), 'what it has said is lost');
  t.equal(state.homeOf('ap.CCCCCCCCCCCCCCCCCCCCCC'), 'ap', 'another region is not concerned');
  t.same(state.homesOf('us'), new Set(['eu']));
  t.end();
});

t.test('what is published here belongs where this node has said', (t) => {
  const own = 'eu.AAAAAAAAAAAAAAAAAAAAAA';
  let state = new RoamingState('eu', 0, own);
  t.ok(state.takes(null));
  t.ok(state.redirect('eu', 'us', 50));
  t.notOk(state.takes(null), 'as the region says, while this node says nothing');
  t.ok(state.redirect(own, 'eu', 60));
  t.ok(state.takes(null));
  t.ok(state.takes({ origin: null, version: null }));
  t.notOk(state.takes(from('eu.BBBBBBBBBBBBBBBBBBBBBB')), 'of another node here');
  t.notOk(state.isCut);
  state = RoamingState.restored('eu', state.record(), 1, 0, 'eu.CCCCCCCCCCCCCCCCCCCCCC');
  t.notOk(state.takes(null), 'another life of it has not said so');
  t.ok(new RoamingState('eu', 0).takes(null));
  t.end();
});

t.test('a record from before nodes had words of their own', (t) => {
  const record = {
    ...new RoamingState('eu', 0).record(),
    rest: 'us',
    streams: [['us', 'eu', 50] as const, ['eu', 'eu', 50] as const],
  };
  const state = RoamingState.restored('eu', record, 1, 0, 'eu.AAAAAAAAAAAAAAAAAAAAAA');
  t.ok(state.takes(null));
  t.ok(state.takes(from('us.AAAAAAAAAAAAAAAAAAAAAA')));
  t.notOk(state.takes(from('ap.AAAAAAAAAAAAAAAAAAAAAA')));
  t.same(state.record().streams, record.streams);
  t.end();
});

t.test('how far it has come with a queue is known when it is asked for again', (t) => {
  let state = new RoamingState('us', 0);
  state.addSource('eu', 7);
  const source = state.sourceOf('eu')!;
  t.same(source, { region: 'eu', born: 7, had: 0, isDone: false });
  source.had = 64;
  t.match(state.takenOf('eu'), { born: 7, had: 64 });
  state.dropSource(source);
  t.equal(state.sourceOf('eu'), null);
  state = again(state);
  t.match(state.takenOf('eu'), { born: 7, had: 64 }, 'whoever asks is told');
  state.addSource('eu', 0);
  t.match(state.sourceOf('eu'), { born: 7, had: 64, isDone: false }, 'it goes on behind it');
  state.dropSource(state.sourceOf('eu')!);
  state.addSource('eu', 8);
  t.match(
    state.sourceOf('eu'),
    { born: 8, had: 0 },
    'another life of that queue begins at its head',
  );
  t.end();
});

t.test('homes in a row have identifiers of their own, and those before keep theirs', (t) => {
  const state = new RoamingState('eu', 0);
  const shares = new Set<number>();
  for (let turn = 0; turn < ID_SHARES; turn++) {
    state.beginTurn(turn * 10 + 1, turn);
    shares.add(Math.floor((state.idOf(turn * 10 + 5) - 1) / SHARE_IDS));
  }
  t.equal(shares.size, ID_SHARES);
  state.beginTurn(100, ID_SHARES);
  t.equal(state.turn, ID_SHARES, 'turns rise: after the last comes none that is lower');
  t.equal(state.idOf(100), (100 % SHARE_IDS) + 1);
  t.equal(state.idOf(35), 3 * SHARE_IDS + 35 + 1);
  t.equal(again(state, 1, 200).idOf(35), state.idOf(35));
  const whole = new RoamingState('eu', 40_000);
  t.equal(whole.idOf(40_000), (40_000 % ALL_IDS) + 1, 'of before it roamed: all of them');
  t.end();
});

t.test('what was sent is known to have been, until it is settled', (t) => {
  const state = new RoamingState('eu', 0);
  state.sent.add(3);
  state.giveId(4, 999, true);
  const [sent, released, fresh] = [entryOf(3), entryOf(4), entryOf(5)];
  for (const entry of [sent, released, fresh]) state.recall(entry);
  t.ok(sent.sentBefore);
  t.ok(released.sentBefore);
  t.equal(released.state, EntryState.RELEASED);
  t.equal(state.idOf(4), 999);
  t.notOk(fresh.sentBefore);
  state.settled(3);
  const once = entryOf(3);
  state.recall(once);
  t.notOk(once.sentBefore);
  t.end();
});

t.test('what another region has, and what it may have, is known after a restart', (t) => {
  const state = new RoamingState('eu', 0);
  state.skipTo = 12;
  state.leaving = { to: 'us', epoch: 9 };
  state.givenSeq = 20;
  t.ok(state.doubtGiven());
  state.leaving = { to: 'ap', epoch: 10 };
  const { skipTo, doubts, leaving, givenSeq } = again(state, 13, 30);
  const ofUs = { region: 'us', fromSeq: 13, upTo: 20 };
  t.same(
    { skipTo, doubts: doubts.all, leaving, givenSeq },
    { skipTo: 20, doubts: [ofUs], leaving: { to: 'ap', epoch: 10 }, givenSeq: 30 },
  );
  t.end();
});

t.test(
  'what is in doubt between several regions is told apart, and none of it is left behind',
  (t) => {
    const state = new RoamingState('eu', 0);
    const given = (to: string, upTo: number): boolean => {
      state.leaving = { to, epoch: 9 };
      state.givenSeq = upTo;
      return state.doubtGiven();
    };
    t.ok(given('us', 20));
    t.notOk(given('ap', 20), 'nothing was given there');
    t.ok(given('ap', 35));
    t.ok(given('us', 40));
    t.equal(state.skipTo, 40);
    const ofUs = state.doubts.of('us')!;
    t.same(ofUs, { region: 'us', fromSeq: 1, upTo: 20 });
    t.same(state.doubts.of('ap'), { region: 'ap', fromSeq: 21, upTo: 35 });
    state.doubts.drop(ofUs);
    t.notOk(state.doubts.has(ofUs));
    t.same(
      [20, 21, 35, 36, 41].map((seq) => state.doubts.covers(seq)),
      [false, true, true, true, false],
    );
    t.same(state.doubts.of('us'), { region: 'us', fromSeq: 36, upTo: 40 });
    t.end();
  },
);

t.test('turns that are saved with a session are those its entries have', (t) => {
  const state = new RoamingState('eu', 10);
  state.beginTurn(30, 2);
  state.beginTurn(50, 3);
  const { turns } = state.record();
  const saved = RoamingState.ofTurns('eu', turns, 1);
  for (const seq of [1, 10, 11, 30, 49, 50, 90]) t.equal(saved.idOf(seq), state.idOf(seq));
  t.same(RoamingState.ofTurns('eu', turns, 31).record().turns, [
    [30, 2],
    [50, 3],
  ]);
  t.equal(RoamingState.ofTurns('eu', [], 1).idOf(40_000), (40_000 % ALL_IDS) + 1);
  saved.giveId(60, 7, false);
  saved.adopt(turns, 40);
  t.equal(saved.idOf(60), state.idOf(60), 'what single entries have comes with them');
  t.notOk(saved.hasForeignIds);
  t.end();
});

t.test('what another node may have sent: as many as its window has, wherever they are', (t) => {
  const state = new RoamingState('eu', 0);
  t.notOk(state.isDoubtful(1, 2, 3), 'nobody has had it');
  state.doubtUpTo(1000);
  // Those between have been answered: the window has no end in positions.
  for (const seq of [7, 300, 900]) t.ok(state.isDoubtful(seq, 2, 3), `${seq}`);
  t.notOk(state.isDoubtful(901, 2, 3), 'a window is full');
  t.ok(state.isDoubtful(300, 2, 3), 'asked for again');
  // Of QoS 1 an acknowledgement may be forgotten: it does not take the place of those of QoS 2.
  for (const seq of [5, 901, 902]) t.ok(state.isDoubtful(seq, 1, 3), `${seq}`);
  t.notOk(state.isDoubtful(903, 1, 3));
  state.doubtUpTo(2000);
  t.ok(state.isDoubtful(1001, 2, 3), 'another one has had it since');
  t.notOk(state.isDoubtful(2001, 2, 3), 'behind what that one could have');
  t.end();
});

t.test('a word of another region is kept behind what was published before it', (t) => {
  const state = new RoamingState('eu', 0);
  const first = state.hear('us', 'us', 5)!;
  t.equal(state.homeOf('us'), 'us', 'messages are judged by it at once');
  t.notOk(state.isOver('us'), 'and nothing else is');
  t.same(state.record().streams, [], 'nor may it be stored');
  const second = state.hear('ap', 'us', 5)!;
  t.equal(state.hear('us', 'us', 5), first, 'said again it is the same one');
  state.place('us', 9);
  state.keep(second, false);
  t.ok(state.isOver('ap'));
  t.notOk(state.isOver('us'));
  t.same(
    state.record().streams.map(([origin]) => origin),
    ['', 'ap'],
  );
  state.keep(first, true);
  t.equal(state.homeOf('us'), 'eu', 'what was before it comes again, and is judged as it was');
  t.equal(state.homeOf('ap'), 'us');
  const again = state.hear('us', 'us', 5)!;
  state.keep(again, false);
  state.keep(again, false);
  t.ok(state.isOver('us'));
  t.equal(state.hear('us', 'us', 5), null, 'nothing new');
  t.same(
    new Map(state.record().streams.map(([origin, to]) => [origin, to])),
    new Map([
      ['', 'us'],
      ['us', 'us'],
      ['ap', 'us'],
    ]),
  );
  t.end();
});

t.test('own words and claims hold whatever becomes of a word that is not kept', (t) => {
  const state = new RoamingState('eu', 0);
  const word = state.hear('us', 'us', 5)!;
  t.ok(state.redirect('eu', 'us', 6));
  state.claim('ap', 6);
  state.keep(word, true);
  t.equal(state.homeOf('eu'), 'us');
  t.equal(state.homeOf('ap'), 'eu');
  t.equal(state.homeOf('us'), 'eu');
  const late = state.hear('us', 'us', 7)!;
  state.claim('us', 8);
  state.keep(late, false);
  t.equal(state.homeOf('us'), 'eu', 'what was claimed since');
  t.end();
});

/**
 * The books find what they are there to find; and the short form of the chaos run, with faults
 * planted in some runs and none in the others. The long form is `npm run chaos`.
 */
import t from 'tap';
import { seedOr } from '../support/seed.ts';
import { Ledger, matches } from './ledger.ts';
import { describeChaos, runChaos } from './run-chaos.ts';
import { causeway } from './subject.ts';

const KILLS = 8;

/** A ledger with one QoS 1 and one QoS 2 stream and a QoS 2 session that wants both. */
function opened(): { ledger: Ledger; one: number; two: number } {
  const ledger = new Ledger();
  const one = ledger.stream('p', 'a/one', 1);
  const two = ledger.stream('p', 'a/two', 2);
  ledger.reader('s');
  ledger.connecting('s', false);
  ledger.connected('s', false, false);
  ledger.subscribed('s', 'a/#', 2);
  return { ledger, one, two };
}

function acked(ledger: Ledger, stream: number, count: number): void {
  for (let i = 0; i < count; i++) ledger.ackedMessage(stream, ledger.sent(stream));
}

t.test('what was acked and came in order is clean', async (t) => {
  const { ledger, one, two } = opened();
  acked(ledger, one, 3);
  acked(ledger, two, 3);
  t.notOk(ledger.isSettled);
  for (const stream of [one, two]) {
    for (const seq of [1, 2, 3]) ledger.deliveredMessage('s', stream, seq);
  }
  t.ok(ledger.isSettled);
  t.match(ledger.verdict(), { published: 6, acked: 6, delivered: 6, owed: 6, isClean: true });
});

t.test('a loss is found, and what is not owed is none', async (t) => {
  const { ledger, one } = opened();
  ledger.life = 7;
  acked(ledger, one, 3);
  ledger.sent(one);
  ledger.deliveredMessage('s', one, 1);
  ledger.deliveredMessage('s', one, 3);
  t.strictSame([...ledger.missing()], [{ reader: 's', stream: 'p a/one qos 1', seq: 2, life: 7 }]);
  t.match(ledger.verdict(), { lost: 1, owed: 3, isClean: false });

  const late = new Ledger();
  const stream = late.stream('p', 'a', 1);
  late.reader('s');
  acked(late, stream, 2);
  late.subscribed('s', 'a', 1);
  late.refusedMessage(stream, late.sent(stream), 0x97);
  t.match(late.verdict(), { lost: 0, owed: 0, refused: 1, isClean: true });
});

t.test('the claim is as old as the first SUBACK, and ends with a clean start', async (t) => {
  const { ledger, one } = opened();
  acked(ledger, one, 1);
  ledger.subscribed('s', 'a/#', 2);
  t.equal(ledger.verdict().owed, 1, 'subscribing again gives nothing up');
  ledger.connecting('s', true);
  t.equal(ledger.verdict().owed, 0);
  ledger.connected('s', true, false);
  ledger.subscribed('s', 'a/#', 2);
  t.equal(ledger.verdict().owed, 0, 'nor does it bring anything back');
});

t.test('a duplicate counts at QoS 2 from end to end only', async (t) => {
  const { ledger, one, two } = opened();
  acked(ledger, one, 1);
  acked(ledger, two, 2);
  for (const stream of [one, one, two, two]) ledger.deliveredMessage('s', stream, 1);
  ledger.mayRepeat(two, 2);
  ledger.deliveredMessage('s', two, 2);
  ledger.deliveredMessage('s', two, 2);
  t.match(ledger.verdict(), { duplicates: 1, redelivered: 3, isClean: false });
});

t.test('order is that of first deliveries of one publisher to one topic', async (t) => {
  const { ledger, one } = opened();
  const same = ledger.stream('p', 'a/one', 2);
  const other = ledger.stream('p', 'a/other', 1);
  acked(ledger, one, 3);
  acked(ledger, same, 1);
  acked(ledger, other, 1);
  for (const seq of [1, 2, 1, 3]) ledger.deliveredMessage('s', one, seq);
  ledger.deliveredMessage('s', other, 1);
  ledger.deliveredMessage('s', same, 1);
  t.equal(ledger.verdict().orderViolations, 0, 'repeated ones may lie in between');
  acked(ledger, one, 2);
  ledger.deliveredMessage('s', one, 5);
  ledger.deliveredMessage('s', one, 4);
  t.match(ledger.verdict(), { orderViolations: 1, isClean: false });

  const late = opened();
  acked(late.ledger, late.one, 1);
  late.ledger.unsubscribing('s', 'a/#');
  const resent = late.ledger.sent(late.one);
  late.ledger.subscribed('s', 'a/#', 2);
  acked(late.ledger, late.one, 1);
  late.ledger.deliveredMessage('s', late.one, 3);
  late.ledger.deliveredMessage('s', late.one, resent);
  t.equal(late.ledger.verdict().orderViolations, 0, 'older than the subscription');

  const mixed = opened();
  const overtaken = mixed.ledger.stream('p', 'a/two', 1);
  acked(mixed.ledger, mixed.two, 1);
  acked(mixed.ledger, overtaken, 1);
  mixed.ledger.deliveredMessage('s', overtaken, 1);
  mixed.ledger.deliveredMessage('s', mixed.two, 1);
  t.equal(mixed.ledger.verdict().orderViolations, 1, 'QoS 1 before an older QoS 2');
});

t.test('a group is owed each message once, in any order', async (t) => {
  const ledger = new Ledger();
  const stream = ledger.stream('p', 'a', 2);
  ledger.reader('g', true);
  ledger.subscribed('g', 'a', 2);
  acked(ledger, stream, 3);
  ledger.deliveredMessage('g', stream, 2);
  ledger.deliveredMessage('g', stream, 1);
  t.match(ledger.verdict(), { lost: 1, orderViolations: 0, duplicates: 0 });
  ledger.deliveredMessage('g', stream, 1);
  t.equal(ledger.verdict().duplicates, 1, 'two members got it');
});

t.test('session present has to be true', async (t) => {
  const ledger = new Ledger();
  const connect = (clean: boolean, isPresent: boolean, isLasting = true): void => {
    ledger.connecting('c', clean);
    ledger.connected('c', clean, isPresent, isLasting);
  };
  connect(false, false);
  connect(false, true);
  connect(true, false);
  connect(false, true);
  connect(true, false, false);
  connect(false, false);
  t.ok(ledger.verdict().isClean);
  connect(false, false);
  t.equal(ledger.verdict().sessionsLost, 1);
  connect(true, true);
  t.equal(ledger.verdict().sessionsInvented, 1);
  ledger.connecting('new', false);
  ledger.connected('new', false, true);
  t.equal(ledger.verdict().sessionsInvented, 2);
  // Answered by nobody: it may have made the session or not.
  ledger.connecting('unsure', false);
  ledger.connecting('unsure', false);
  ledger.connected('unsure', false, true);
  t.equal(ledger.verdict().sessionsInvented, 2);
});

t.test('after UNSUBACK nothing newer may come', async (t) => {
  const { ledger, one } = opened();
  acked(ledger, one, 1);
  ledger.unsubscribing('s', 'a/#');
  t.equal(ledger.verdict().owed, 0);
  ledger.unsubscribed('s', 'a/#');
  acked(ledger, one, 1);
  ledger.deliveredMessage('s', one, 1);
  t.equal(ledger.verdict().unwanted, 0, 'what was under way');
  ledger.deliveredMessage('s', one, 2);
  t.match(ledger.verdict(), { unwanted: 1, isClean: false });
  ledger.subscribing('s', 'a/#');
  acked(ledger, one, 1);
  ledger.deliveredMessage('s', one, 3);
  t.equal(ledger.verdict().unwanted, 1, 'the broker may begin before its SUBACK');
});

t.test('a retained message is the last acked one or one on its way', async (t) => {
  const ledger = new Ledger();
  ledger.retained('r', '3', ['3', '4']);
  ledger.retained('r', '4', ['3', '4']);
  t.ok(ledger.verdict().isClean);
  ledger.retained('r', '', ['3', '4']);
  ledger.retained('r', '2', ['3', '4']);
  t.match(ledger.verdict(), { retainedChecked: 4, retainedWrong: 2, isClean: false });
});

t.test('what nobody sent is a fault', async (t) => {
  const { ledger, one } = opened();
  ledger.deliveredMessage('s', one, 1);
  ledger.deliveredMessage('s', 99, 1);
  ledger.deliveredMessage('s', Number.NaN, Number.NaN);
  t.equal(ledger.verdict().faults.length, 3);
});

t.test('topic filters', async (t) => {
  for (const filter of ['a/b', 'a/+', '+/b', '#', 'a/#', 'a/b/#']) t.ok(matches(filter, 'a/b'));
  for (const filter of ['a', 'a/c', '+', 'a/b/c', 'a/b/+', 'b/#']) t.notOk(matches(filter, 'a/b'));
});

t.test(`${KILLS} kills: nothing lost, nothing twice, in order`, async (t) => {
  const seed = seedOr(1);
  const report = await runChaos({ seed, kills: KILLS, subject: (folder) => causeway(folder) });
  t.ok(report.isClean, describeChaos(report));
  t.ok(report.acked > 300 && report.owed > 2000, describeChaos(report));
  t.ok(report.retainedChecked >= 5, describeChaos(report));
  t.comment(describeChaos(report));
});

t.test('a store that forgets is caught', async (t) => {
  const report = await runChaos({
    seed: 4,
    kills: 3,
    subject: (folder) => causeway(folder),
    plant: 'loss',
  });
  t.ok(report.lost > 0 && report.sessionsLost > 0, describeChaos(report));
});

t.test('a message that goes in twice is caught', async (t) => {
  const report = await runChaos({
    seed: 5,
    kills: 1,
    subject: (folder) => causeway(folder),
    plant: 'duplicate',
  });
  t.ok(report.duplicates > 0 && report.lost === 0, describeChaos(report));
});

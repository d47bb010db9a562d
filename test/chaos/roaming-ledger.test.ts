// What the ledger of moves counts as lost or twice of a device that was told of no session, and what not (ADR 0023).
import t from 'tap';
import { type Fork, RoamingLedger } from './roaming-ledger.ts';

const TOPIC = 'to/one/eu/2';

function setUp() {
  const ledger = new RoamingLedger();
  const forks: Fork[] = [];
  ledger.onFork = (device, fork) => {
    if (device === 'one') forks.push(fork);
  };
  /** Published at the first time, acknowledged at the second. */
  const published = (seq: number, sentMs: number, ackedMs: number): void => {
    ledger.sent(TOPIC, seq, 2, sentMs);
    ledger.acked(TOPIC, seq, 2, ackedMs);
  };
  const came = (seq: number, atMs: number): void => {
    ledger.delivered('one', TOPIC, seq, 2, '', atMs);
  };
  const twice = (): readonly number[] => {
    const { qos2Duplicates, repeatsExcused } = ledger.verdict();
    return [qos2Duplicates, repeatsExcused];
  };
  return { ledger, forks, published, came, twice };
}

t.test('what is owed to a device that began anew', (t) => {
  const { ledger, forks, published } = setUp();
  published(1, 10, 20);
  published(2, 90, 110);
  published(3, 150, 160);
  published(4, 205, 210);
  t.equal(ledger.missing, 4);
  ledger.sessionLost('one', 'us', 100, true);
  t.equal(ledger.missing, 1, 'what had been acknowledged before');
  forks[0]!.toMs = 200;
  t.equal(ledger.missing, 2, 'and what is published when all know of it again');
  const { lost, notOwed, sessionsLost, sessionsUnknown } = ledger.verdict();
  t.strictSame([lost, notOwed, sessionsLost, sessionsUnknown], [2, 2, 0, 1]);
  ledger.sessionLost('another', 'us', 0, false);
  t.strictSame([ledger.missing, ledger.verdict().sessionsLost], [2, 1], 'it is the only one');
  ledger.sessionLost('one', 'eu', 206, true);
  t.strictSame([ledger.missing, forks[0]!.toMs], [1, 200], 'once more');
  t.end();
});

t.test('what may come twice to a device that began anew', (t) => {
  const { ledger, forks, published, came, twice } = setUp();
  published(1, 10, 20);
  came(1, 30);
  came(1, 40);
  t.strictSame(twice(), [1, 0], 'in one session nothing may');
  ledger.sessionLost('one', 'us', 100, true);
  came(1, 120);
  t.strictSame(twice(), [1, 1], 'what it had in the one before');
  forks[0]!.toMs = 200;
  published(2, 190, 195);
  published(3, 210, 220);
  for (const seq of [2, 2, 3, 3]) came(seq, 230);
  t.strictSame(twice(), [2, 2], 'what both sessions took, and nothing later');
  t.end();
});

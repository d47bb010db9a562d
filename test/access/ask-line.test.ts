// Questions nobody waits for: few at a time, in turn, and behind those that a packet waits for.
import t from 'tap';
import { AskLine } from '../../src/access/ask-line.ts';
import type { GateWaiter } from '../../src/core/ports.ts';
import { ALLOW, WAIT } from '../../src/core/ports.ts';
import { accessKit, decisionOf, FakeDecisions, request, turns } from './gate-kit.ts';

/** Questions that are answered when the test says so. */
class Questions {
  readonly begun: string[] = [];
  running = 0;
  runningMax = 0;
  readonly #ends: (() => void)[] = [];

  make(name: string): () => Promise<void> {
    return () => {
      this.begun.push(name);
      this.runningMax = Math.max(this.runningMax, ++this.running);
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#ends.push(() => {
        this.running--;
        resolve();
      });
      return promise;
    };
  }

  async answer(count = 1): Promise<void> {
    for (const end of this.#ends.splice(0, count)) end();
    await turns(2);
  }
}

const realTurns = { nextTurn: (task: () => void): unknown => setImmediate(task) };

t.test('few at one time, connections in turn', async (t) => {
  const line = new AskLine(realTurns);
  const questions = new Questions();
  for (let i = 0; i < 20; i++) line.later('many', questions.make(`many ${i}`));
  line.later('one', questions.make('one'));
  t.equal(questions.running, 4);
  await questions.answer(4);
  t.ok(
    questions.begun.slice(0, 6).includes('one'),
    'who has one question does not wait for twenty',
  );
  while (questions.running > 0) await questions.answer(4);
  t.equal(questions.begun.length, 21, 'all of them');
  t.equal(questions.runningMax, 4);
  t.equal(line.waiting, 0);
});

t.test('while a packet waits, they stand back', async (t) => {
  const line = new AskLine(realTurns);
  const questions = new Questions();
  const live = Promise.withResolvers<string>();
  const answered = line.live(() => live.promise);
  for (let i = 0; i < 10; i++) line.later('c', questions.make(`${i}`));
  t.equal(questions.running, 1, 'not all of them, and not none');
  await questions.answer();
  t.equal(questions.running, 1);
  live.resolve('yes');
  t.equal(await answered, 'yes');
  await turns(2);
  t.equal(questions.running, 4);
  await t.rejects(
    line.live(() => Promise.reject(new Error('x'))),
    new Error('x'),
  );
  while (questions.running > 0) await questions.answer(4);
  t.equal(questions.begun.length, 10);
});

t.test('answers that are there at once leave the loop to others', async (t) => {
  const scheduled: (() => void)[] = [];
  const line = new AskLine({ nextTurn: (task) => scheduled.push(task) });
  let begun = 0;
  for (let i = 0; i < 1000; i++) {
    line.later(`c${i % 7}`, async () => {
      begun++;
    });
  }
  let most = 0;
  while (scheduled.length > 0) {
    const before = begun;
    for (const task of scheduled.splice(0)) task();
    await turns(2);
    most = Math.max(most, begun - before);
  }
  t.equal(begun, 1000);
  t.ok(most <= 64, `${most} in one turn`);
});

t.test('a recheck of many subscriptions does not hold up a publish', async (t) => {
  const decisions = new FakeDecisions();
  const kit = await accessKit(t, { sources: [decisions] });
  const CLIENTS = 20;
  const FILTERS = 50;
  const clients = [];
  for (let i = 0; i < CLIENTS; i++) {
    kit.users.add(`u${i}`);
    const { client } = await decisionOf(kit, request({ username: `u${i}`, clientId: `c${i}` }));
    if (client === null) throw new Error('not let in');
    clients.push(client);
  }
  decisions.decide = (action) => (action === 'publish' ? 'allow' : 'deny');
  for (const client of clients) {
    for (let i = 0; i < FILTERS; i++) {
      t.equal(client.keeps(`f/${i}`, 1), true, 'nothing speaks against it yet');
      client.keeps(`f/${i}`, 1);
    }
  }
  t.ok(decisions.asked.length <= 4, `${decisions.asked.length} of ${CLIENTS * FILTERS} asked`);
  const waited = Promise.withResolvers<void>();
  const waiter: GateWaiter = { resume: () => waited.resolve() };
  t.equal(clients[0]!.publish('live', 1, false, 0, waiter), WAIT);
  t.equal(decisions.asked.at(-1), 'publish live', 'it is asked at once');
  await waited.promise;
  t.ok(decisions.asked.length < 20, `answered after ${decisions.asked.length} questions`);
  t.equal(clients[0]!.publish('live', 1, false, 0, waiter), ALLOW);
  clients[1]!.closed();
  for (let i = 0; i < 1000 && kit.access.gate.live.asks.waiting > 0; i++) await turns(5);
  await turns(10);
  const asked = decisions.asked.filter((one) => one.startsWith('subscribe'));
  t.ok(asked.length >= (CLIENTS - 1) * FILTERS, 'each of those who are still here');
  t.ok(asked.length < CLIENTS * FILTERS, 'and not for who has left');
  t.equal(clients[0]!.keeps('f/0', 1), false, 'what was found out counts');
});

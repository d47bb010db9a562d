// A reload of many rules takes its time in small pieces: everybody else has turns in between, the old
// rules hold until the new ones are ready, and the first decisions by the new ones are quick.
import { writeFile } from 'node:fs/promises';
import t from 'tap';
import { isAllowed } from '../../src/access/acl/decision.ts';
import { parseRules } from '../../src/access/acl/load-rules.ts';
import { RuleSet } from '../../src/access/acl/rule-set.ts';
import { atOnce, type Steps } from '../../src/access/slices.ts';
import { ALLOW, type ClientGate, type GateWaiter } from '../../src/core/ports.ts';
import { subject } from './acl/subjects.ts';
import { type AccessKit, accessKit, decisionOf, request } from './gate-kit.ts';

const RULES = 5000;

/** Rules for everybody, for a user each, and for whoever has a claim; everything below `from`. */
function manyRules(from: string): string {
  const lines = ['rules:'];
  for (let i = 0; i < RULES; i += 1) {
    const who = ['', `users: [user-${i}]`, "users: '*'", 'claims: { role: worker }'][i % 4];
    lines.push('  - allow: [publish, subscribe]', `    topics: ['${from}/${i}/#', 'x/${i}/+/y']`);
    if (who !== '') lines.push(`    ${who}`);
  }
  return `${lines.join('\n')}\n`;
}

async function letIn(kit: AccessKit, user: string): Promise<ClientGate> {
  const { client } = await decisionOf(kit, request({ clientId: user, username: user }));
  if (client === null) throw new Error(`${user} is refused`);
  return client;
}

const never: GateWaiter = {
  resume: () => {
    throw new Error('resumed without a WAIT');
  },
};

const may = (client: ClientGate, topic: string): boolean =>
  client.publish(topic, 0, false, 1, never) === ALLOW;

/** Of this thread alone: the machine may have more to do. */
const cpuMs = (): number => process.threadCpuUsage().user / 1000;

t.test('a reload of many rules', async (t) => {
  const kit = await accessKit(t, { rules: 'rules: [{ allow: publish, topics: [old] }]' });
  const claims = new Map([['role', 'worker']]);
  for (const user of ['user-1', 'user-2']) kit.users.add(user, 'right', { claims });
  const client = await letIn(kit, 'user-1');
  await letIn(kit, 'user-2');
  await writeFile(kit.rulesFile, manyRules('new'));

  const turns: number[] = [];
  let isReloading = true;
  let wasOld = true;
  let last = cpuMs();
  const turn = (): void => {
    const now = cpuMs();
    turns.push(now - last);
    if (!isReloading) return;
    wasOld &&= may(client, 'old') && !may(client, 'new/0/a');
    last = cpuMs();
    setImmediate(turn);
  };
  const startMs = cpuMs();
  setImmediate(turn);
  await kit.access.reload();
  isReloading = false;
  const totalMs = cpuMs() - startMs;
  t.ok(wasOld, 'the old rules hold meanwhile');
  t.notOk(may(client, 'old'));

  for (const i of [0, 1, 2, 3]) t.ok(may(client, `new/${i}/a`), `rule ${i}`);
  t.notOk(may(client, 'new/5/a'), 'of another user');

  // What the collector of garbage did in one of them is not for slices to bound.
  const longest = turns.sort((a, b) => b - a)[2]!;
  t.comment(`${turns.length} turns, longest ${longest} ms of ${totalMs} ms`);
  t.ok(turns.length > 20, `${turns.length} turns`);
  t.ok(longest < totalMs / 8, `longest turn ${longest} ms of ${totalMs} ms`);
});

t.test('what the first decisions need is there', async (t) => {
  const rules = atOnce(parseRules(manyRules('new'), 'f.yaml'));
  const who = subject({ user: 'user-1', claims: new Map([['role', 'worker']]) });
  t.ok(countSteps(rules.prepareFor(who)) > 10, 'rules that not everybody has are made ready');
  t.ok(countSteps(rules.prepareFor(who)) < 3, 'once');
  t.ok(countSteps(rules.prepare()) < 3, 'those that everybody has were ready');
  const unprepared = new RuleSet('f.yaml', rules.rules, rules.slots);
  t.ok(countSteps(unprepared.prepare()) > 10);
  const decisions = [rules, unprepared].map((set) => {
    const client = set.compile(who);
    return Array.from({ length: 40 }, (_, i) => client.publish(`new/${i}/a`, 0, false));
  });
  t.strictSame(decisions[0], decisions[1], 'ready or not, they decide the same');
  t.equal(decisions[0]?.filter(isAllowed).length, 31, 'all but those of other users');
});

function countSteps(steps: Steps<unknown>): number {
  let count = 0;
  while (!steps.next().done) count += 1;
  return count;
}

t.test('a stop that overtakes a reload', async (t) => {
  const kit = await accessKit(t, { rules: 'rules: [{ allow: publish, topics: [old] }]' });
  kit.users.add('alice');
  const client = await letIn(kit, 'alice');
  await writeFile(kit.rulesFile, manyRules('new'));
  const reloaded = kit.access.reload();
  await kit.access.stop();
  await reloaded;
  t.match(kit.users, { commits: 0, discards: 1 });
  t.ok(may(client, 'old'));
  t.equal(kit.rechecks, 0);
});

// Explanations: the rule that decides, its place, and what else had a say.
import t from 'tap';
import { explain } from '../../../src/access/acl/explain.ts';
import { parseRules } from '../../../src/access/acl/load-rules.ts';
import { openRules } from '../../../src/access/acl/rule-set.ts';
import { atOnce } from '../../../src/access/slices.ts';
import { subject } from './subjects.ts';

const rules = atOnce(
  parseRules(
    `rules:
  - deny: subscribe
    topics: ['a/secret/#']
  - allow: [publish, subscribe]
    topics: ['a/#', 'own/%c/#']
  - { allow: publish, topics: [b], addresses: [10.0.0.0/8] }
  - { allow: publish, topics: [c], qos: 0 }
  - { allow: publish, topics: ['n/%u'] }
`,
    'acl.yaml',
  ),
);

t.test('the rule that decides', async (t) => {
  t.strictSame(explain(rules, { subject: subject(), action: 'publish', topic: 'a/x' }), {
    allowed: true,
    rule: {
      index: 2,
      file: 'acl.yaml',
      line: 4,
      column: 5,
      text: 'allow publish, subscribe a/#, own/%c/#',
    },
    reason: 'rule 2 (acl.yaml:4) allows it: allow publish, subscribe a/#, own/%c/#',
    notes: [],
  });
  const denied = explain(rules, { subject: subject(), action: 'receive', topic: 'a/secret/x' });
  t.notOk(denied.allowed);
  t.equal(denied.rule?.line, 2);
  const wide = explain(rules, { subject: subject(), action: 'subscribe', topic: '$share/g/a/#' });
  t.ok(wide.allowed, 'a shared subscription by the filter inside');
  t.match(wide.notes, [/^rule 1 \(acl.yaml:2\) holds back messages/]);
});

t.test('none decides', async (t) => {
  const ask = (topic: string, who = subject(), qos: 0 | 1 | 2 = 0) =>
    explain(rules, { subject: who, action: 'publish', topic, qos });
  const away = ask('b', subject({ remoteAddress: undefined }));
  t.notOk(away.allowed);
  t.equal(away.rule, null);
  t.match(away.reason, /no rule speaks about it/);
  t.match(away.notes, [/^rule 3 .* would allow it if the address were known/]);
  t.match(ask('c', subject(), 1).notes, [/^rule 4 .* for another QoS/]);
  t.match(ask('n/x').notes, [/^rule 5 .* passed over: the user is empty/]);
  t.match(ask('own/x', subject({ clientId: '#' })).notes, [/^rule 2 .* the client id is empty or/]);
  const part = explain(rules, { subject: subject(), action: 'subscribe', topic: '#' });
  t.notOk(part.allowed);
  t.match(part.notes, [/^rule 2 .* allows only a part/]);
});

t.test('[class 10] what the broker keeps from everyone', async (t) => {
  const all = atOnce(
    parseRules("rules: [{ allow: [publish, subscribe], topics: ['#', '$SYS/#', '$x'] }]", ''),
  );
  const ask = (action: 'publish' | 'subscribe', topic: string) =>
    explain(all, { subject: subject({ isSuperuser: true }), action, topic }).allowed;
  t.notOk(ask('publish', '$SYS/x'));
  t.notOk(ask('publish', '$x'));
  t.notOk(ask('subscribe', '$x'));
  t.ok(ask('subscribe', '$SYS/#'));
});

t.test('[class 9] shared subscriptions', async (t) => {
  const ask = (topic: string) => explain(rules, { subject: subject(), action: 'subscribe', topic });
  for (const topic of ['$share', '$share/', '$share//', '$share/g', '$share/g/', '$share/+/a']) {
    t.match(ask(topic), { allowed: false, reason: /no topic filter/ }, topic);
  }
  t.notOk(ask('$share/g/#').allowed);
  t.notOk(ask('$share/g/a/secret/x').allowed);
  t.ok(ask('$share/g/a/+').allowed);
});

t.test('without rules, for a superuser, and granted ones', async (t) => {
  const question = { action: 'publish', topic: 'x' } as const;
  t.match(explain(openRules(), { ...question, subject: subject() }), { allowed: true, rule: null });
  t.match(explain(rules, { ...question, subject: subject({ isSuperuser: true }) }), {
    allowed: true,
    reason: /superuser/,
  });
  const grant = { allow: true, actions: ['publish'], topic: 'x', qos: null, retain: null } as const;
  const grants = [{ ...grant, source: 'token claim acl[0]' }];
  t.match(explain(rules, { ...question, subject: subject({ grants }) }), {
    allowed: true,
    rule: { index: 1, file: 'token claim acl[0]', line: 0 },
    reason: 'rule 1 of token claim acl[0] allows it: allow publish x',
  });
  t.match(explain(rules, { ...question, topic: 'a/+', subject: subject() }), {
    allowed: false,
    reason: 'this is no topic name',
  });
});

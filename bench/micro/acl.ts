/** Deciding about a publish or a delivery: remembered and not, over 1,000 and 100,000 rules. */
import { bench, do_not_optimize, group } from 'mitata';
import { parseRules } from '../../src/access/acl/load-rules.ts';
import type { RuleSet } from '../../src/access/acl/rule-set.ts';
import type { AclSubject } from '../../src/access/acl/subject.ts';
import { atOnce } from '../../src/access/slices.ts';

export function subject(number: number): AclSubject {
  return {
    clientId: `device-${number}`,
    user: `user-${number}`,
    tenant: '',
    remoteAddress: '192.0.2.7',
    listenerName: 'mqtt://127.0.0.1:1883',
    certificate: null,
    claims: null,
    isSuperuser: false,
    grants: null,
  };
}

/** A site's rules: a topic each for everyone, some with placeholders, one that denies. */
export function siteRules(count: number): RuleSet {
  const lines = ['rules:', "  - { deny: [publish, receive], topics: ['site/+/line/+/secret'] }"];
  for (let i = lines.length - 1; i < count - 1; i += 1) {
    const topic =
      i % 10 === 0
        ? `site/${i}/own/%c/#`
        : i % 10 === 1
          ? `site/+/line/${i}/#`
          : `site/${i % 50}/line/${i}/#`;
    lines.push(`  - { allow: [publish, subscribe], topics: ['${topic}'] }`);
  }
  lines.push("  - { allow: [publish, subscribe], topics: ['devices/%c/#'] }");
  return atOnce(parseRules(lines.join('\n'), 'bench.yaml'));
}

/** As many users with one rule each, and one for all of them. */
export function userRules(count: number): RuleSet {
  const lines = ['rules:'];
  for (let i = 0; i < count - 1; i += 1) {
    const topic = `devices/%c/${i}/#`;
    lines.push(`  - { allow: [publish, subscribe], topics: ['${topic}'], users: [user-${i}] }`);
  }
  lines.push("  - { allow: subscribe, topics: ['news/#'], users: '*' }");
  return atOnce(parseRules(lines.join('\n'), 'bench.yaml'));
}

group('acl', () => {
  const rules = siteRules(1000);
  const client = rules.compile(subject(7));
  const last = 'devices/device-7/engine/temperature';
  bench('publish, the topic of the packet before, 100 times', () => {
    for (let i = 0; i < 100; i++) do_not_optimize(client.publish(last, 1, false));
  });
  const few = Array.from({ length: 16 }, (_, i) => `site/${i % 50}/line/${i}/engine/temperature`);
  let next = 0;
  bench('publish, one of 16 topics, 100 times', () => {
    for (let i = 0; i < 100; i++) do_not_optimize(client.publish(few[i & 15]!, 1, false));
  });
  const many = Array.from({ length: 8192 }, (_, i) => `site/${i % 50}/line/${i % 1000}/m/${i}`);
  bench('publish, always another topic, 1,000 rules', () => {
    next = (next + 1) & 8191;
    do_not_optimize(client.publish(many[next]!, 1, false));
  });
  bench('receive, always another topic, 1,000 rules', () => {
    next = (next + 1) & 8191;
    do_not_optimize(client.receive(many[next]!));
  });
  bench('subscribe, 1,000 rules', () => {
    do_not_optimize(client.subscribe('site/7/line/7/#', 1));
  });
  let number = 0;
  bench('compile for a client, 1,000 rules for all', () => {
    number += 1;
    do_not_optimize(rules.compile(subject(number)));
  });
  const large = userRules(10_000);
  bench('compile for a client, 10,000 users with a rule each', () => {
    number += 1;
    do_not_optimize(large.compile(subject(number % 10_000)));
  });
  const other = large.compile(subject(77));
  bench('publish, always another topic, 10,000 users with a rule each', () => {
    next = (next + 1) & 8191;
    do_not_optimize(other.publish(many[next]!, 1, false));
  });
});

// Rule files: what they say arrives, and everything wrong with one is said at once with its place.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import t from 'tap';
import { AccessError } from '../../../src/access/access-error.ts';
import { isAllowed } from '../../../src/access/acl/decision.ts';
import { loadRules, parseRules } from '../../../src/access/acl/load-rules.ts';
import type { RuleSet } from '../../../src/access/acl/rule-set.ts';
import type { AclSubject } from '../../../src/access/acl/subject.ts';
import { atOnce } from '../../../src/access/slices.ts';
import { systemScheduler } from '../../../src/listeners/scheduler.ts';
import { certificate, subject } from './subjects.ts';

const sample = join(import.meta.dirname, '..', '..', '..', 'config', 'acl.yaml');

/** `line:column message` of each problem, or [] when the file is fine. */
function problems(text: string, name = 'f.yaml'): string[] {
  try {
    atOnce(parseRules(text, name));
    return [];
  } catch (error) {
    if (!(error instanceof AccessError)) throw error;
    return error.problems.map(({ where, message }) => `${where.slice(name.length + 1)} ${message}`);
  }
}

function mayPublish(rules: RuleSet, who: Partial<AclSubject>, topic = 't'): boolean {
  return isAllowed(rules.compile(subject(who)).publish(topic, 0, false));
}

t.test('the sample says what its comments say', async (t) => {
  const rules = await loadRules(sample, systemScheduler);
  const as = (who: Partial<AclSubject>) => rules.compile(subject(who));
  const device = as({ user: 'd', clientId: 'd7' });
  t.ok(isAllowed(device.publish('devices/d7/temperature', 1, false)));
  t.notOk(isAllowed(device.publish('devices/d7/temperature', 1, true)));
  t.ok(isAllowed(device.publish('devices/d7/state', 1, true)));
  t.notOk(isAllowed(device.publish('devices/d8/temperature', 1, false)));
  t.ok(isAllowed(device.subscribe('devices/d7/commands/#', 1)));
  t.notOk(isAllowed(device.subscribe('devices/+/commands/#', 1)));
  t.notOk(isAllowed(as({ clientId: 'd7' }).publish('devices/d7/x', 0, false)), 'anonymous');
  const historian = as({ user: 'historian', remoteAddress: '10.1.2.3' });
  t.ok(isAllowed(historian.subscribe('#', 0)));
  t.ok(historian.filtersReceive);
  t.notOk(isAllowed(historian.receive('site/7/secret/key')));
  t.ok(isAllowed(historian.receive('site/7/open')));
  t.notOk(isAllowed(as({ user: 'historian' }).subscribe('#', 0)), 'from elsewhere');
  t.ok(isAllowed(as({ claims: new Map([['role', ['x', 'admin']]]) }).publish('any', 0, false)));
  t.ok(isAllowed(as({ user: 'operations' }).subscribe('$SYS/#', 0)));
});

t.test('[class 2] a file without rules denies everything', async (t) => {
  for (const text of ['', '# nothing\n', 'rules:\n', 'rules: []\n', '---\n', '{}']) {
    const rules = atOnce(parseRules(text, 'f.yaml'));
    t.notOk(mayPublish(rules, { user: 'u' }), JSON.stringify(text));
    t.notOk(isAllowed(rules.compile(subject()).subscribe('a', 0)));
    t.notOk(isAllowed(rules.compile(subject()).receive('a')));
  }
  const other = atOnce(parseRules('# a comment\n\n', 'acl.conf'));
  t.notOk(mayPublish(other, {}));
  t.notOk(isAllowed(other.compile(subject()).subscribe('a', 0)));
});

t.test(
  '[class 2] a file that cannot be read or is broken throws, and changes nothing',
  async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'causeway-acl-'));
    t.teardown(() => rmSync(folder, { recursive: true, force: true }));
    const file = join(folder, 'acl.yaml');
    writeFileSync(file, 'rules:\n  - { allow: publish, topics: [t] }\n');
    const rules = await loadRules(file, systemScheduler);
    const client = rules.compile(subject());
    for (const text of [
      'rules: [',
      'rules:\n  - allow: publish\n',
      Buffer.from([0xff, 0xfe, 0x00]),
    ]) {
      writeFileSync(file, text);
      await t.rejects(loadRules(file, systemScheduler), AccessError);
    }
    await t.rejects(loadRules(join(folder, 'none.yaml'), systemScheduler), {
      message: /none.yaml: cannot be read: ENOENT/,
    });
    await t.rejects(loadRules(folder, systemScheduler), { message: /EISDIR/ });
    t.ok(isAllowed(client.publish('t', 0, false)), 'what was loaded before goes on');
    t.notOk(isAllowed(client.publish('u', 0, false)));
    writeFileSync(file, 'rules:\n  - { allow: publish, topics: [u] }\n');
    const next = await loadRules(file, systemScheduler);
    t.not(next.version, rules.version);
    t.ok(mayPublish(next, {}, 'u'));
  },
);

t.test('conditions', async (t) => {
  const may = (condition: string, who: Partial<AclSubject>): boolean =>
    mayPublish(
      atOnce(parseRules(`rules: [{ allow: publish, topics: [t], ${condition} }]`, 'f.yaml')),
      who,
    );
  const claims = new Map<string, string | readonly string[]>([
    ['role', ['ops', 'dev']],
    ['site', 'berlin'],
    ['__proto__', 'x'],
  ]);
  t.ok(may('users: [alice, bob]', { user: 'bob' }));
  t.notOk(may('users: [alice, bob]', { user: 'eve' }));
  t.notOk(may('users: [alice]', { user: null }));
  t.ok(may("users: '*'", { user: 'eve' }));
  t.notOk(may("users: '*'", { user: null }));
  t.ok(may('users: no', { user: 'no' }), 'text as written');
  t.ok(may('users: 0123', { user: '0123' }));
  t.ok(may('users: [~, null]', { user: 'null' }));
  t.notOk(may('users: Alice', { user: 'alice' }), 'case counts');
  t.ok(may('anonymous: true', { user: null }));
  t.notOk(may('anonymous: true', { user: 'u' }));
  t.ok(may('anonymous: false', { user: 'u' }));
  t.notOk(may('anonymous: false', { user: null }));
  t.ok(may('clients: dev1', { clientId: 'dev1' }));
  t.notOk(may('clients: dev1', { clientId: 'dev12' }));
  t.ok(may('clients: [__proto__, constructor]', { clientId: 'constructor' }));
  t.notOk(may('clients: [a]', { clientId: 'constructor' }));
  t.ok(may('tenants: [acme]', { tenant: 'acme' }));
  t.notOk(may('tenants: [acme]', { tenant: '' }));
  t.ok(may("listeners: ['mqtt://127.0.0.1:1883']", {}));
  t.notOk(may("listeners: ['mqtts://127.0.0.1:8883']", {}));
  t.ok(may('addresses: [192.0.2.0/24]', {}));
  t.ok(may('addresses: [198.51.100.1, 192.0.2.7]', {}));
  t.notOk(may('addresses: [192.0.3.0/24]', {}));
  t.ok(may('addresses: [0.0.0.0/0]', {}));
  t.ok(may("addresses: ['::1']", { remoteAddress: '0:0::1' }));
  t.ok(may("addresses: ['fe80::/10']", { remoteAddress: 'fe80::1%eth0' }));
  t.ok(may('addresses: [192.0.2.0/25]', { remoteAddress: '::ffff:192.0.2.7' }), 'IPv4 in IPv6');
  t.notOk(may('addresses: [0.0.0.0/0]', { remoteAddress: '' }), 'a Unix socket has none');
  t.ok(may('claims: { role: [admin, ops] }', { claims }));
  t.ok(may('claims: { role: dev, site: berlin }', { claims }));
  t.notOk(may('claims: { role: dev, site: paris }', { claims }));
  t.notOk(may('claims: { role: dev }', { claims: null }));
  t.ok(may('claims: { __proto__: x }', { claims }));
  t.notOk(may('claims: { constructor: x }', { claims }));
  const held = { certificate: certificate() };
  t.ok(may('certificate: { common_name: gateway-1, organization: [Acme] }', held));
  t.ok(may('certificate: { organizational_unit: Line 7, issuer: Acme Devices }', held));
  t.ok(may("certificate: { san: ['DNS:gateway-1.example'] }", held));
  t.notOk(may("certificate: { san: ['gateway-1.example'] }", held));
  t.ok(
    may(`certificate: { fingerprint: ${'ab'.repeat(32)} }`, held),
    'colons and case do not count',
  );
  t.notOk(may('certificate: { common_name: gateway-2 }', held));
  t.notOk(may('certificate: { common_name: gateway-1 }', { certificate: null }));
  t.ok(may('users: u, clients: c, tenants: t', { user: 'u', clientId: 'c', tenant: 't' }));
  t.notOk(may('users: u, clients: c, tenants: t', { user: 'u', clientId: 'c' }), 'all must hold');

  const deny = atOnce(
    parseRules(
      "rules: [{ deny: publish, topics: [t], addresses: [10.0.0.0/8] }, { allow: publish, topics: ['#'] }]",
      'f.yaml',
    ),
  );
  t.ok(mayPublish(deny, {}));
  t.notOk(mayPublish(deny, { remoteAddress: undefined }), 'an unknown address counts against');
  t.notOk(mayPublish(deny, { remoteAddress: 'nonsense' }));
});

t.test('everything wrong is said at once, with its place', async (t) => {
  const text = `rules:
  - allow: publsh
    topics: ['a/#/b', 'ok', '%x']
    user: [bob]
  - deny: [publish]
  - topics: [a]
  - allow: publish
    deny: publish
    topics: []
    users: [adm*]
    clients:
    addresses: [10.0.0.1/8, x]
    qos: [3]
    retain: maybe
  - allow: [publish, subscribe]
    topics: a
    retain: false
    claims: [a]
    certificate: { cn: x, fingerprint: ab }
  - nonsense
  - allow: receive
    topics: a
    qos: 1
    users: a
    anonymous: true
rule: []
`;
  t.strictSame(problems(text), [
    '26:1 unknown: `rule`; did you mean `rules`?',
    '4:5 unknown: `user`; did you mean `users`?',
    '2:12 unknown: `publsh`; did you mean `publish`?',
    '3:14 is no topic filter: + and # stand alone between slashes, and # comes last',
    '3:29 %x is no placeholder; %c, %u, %t and %{claim} are, and %% is a percent sign',
    "5:5 the rule names no `topics` (`['#']` is every topic outside `$`)",
    '6:5 the rule says neither `allow` nor `deny`',
    '8:11 the rule says both `allow` and `deny`',
    '9:13 expected a topic filter, found an empty list',
    '10:13 `adm*`: names are compared as they are; `*` alone is any of them',
    '11:13 expected a client id',
    '12:17 `10.0.0.1/8` is no address or network (10.0.0.0/8, no host bits set)',
    '12:29 `x` is no address or network (10.0.0.0/8, no host bits set)',
    '13:11 `3` is no QoS: 0, 1 and 2 are',
    '14:13 `retain` is `true` or `false`',
    '18:13 expected names and values, such as `role: admin`',
    '19:20 unknown: `cn`; common_name, organization, organizational_unit, issuer, san, fingerprint are known',
    '19:40 a SHA-256 fingerprint has 64 hexadecimal digits',
    '17:13 `retain` is about publishing: give `publish` a rule of its own',
    '20:5 expected a rule, such as `allow: publish` and `topics: [a/#]`',
    '25:16 `anonymous: true` and `users` never hold together',
    '23:10 `qos` is about publishing and subscribing, not about `receive`',
  ]);
});

t.test('what YAML can do and rules cannot', async (t) => {
  const refused: readonly (readonly [string, RegExp])[] = [
    ['rules: [', /^1:/],
    ['a: b: c', /^1:/],
    ['- allow: publish', /^1:1 expected `rules:`/],
    ['rules: x', /^1:8 expected a list/],
    ['rules: []\n---\nrules: []', /second/],
    ['rules: []\nrules: []', /^2:1 .*unique/],
    ['rules: [{ allow: publish, allow: publish, topics: [a] }]', /unique/],
    ['rules: [{ allow: publish, topics: !!js/function x }]', /tag/],
    ['rules: [{ allow: publish, topics: *none }]', /expected a topic filter/],
    ['rules: [{ __proto__: { allow: publish } }]', /unknown: `__proto__`/],
    ['rules: [{ allow: publish, topics: [a], constructor: x }]', /unknown: `constructor`/],
    ['rules: [{ ? [a] : b }]', /keys must be strings/],
    ['rules: [{ allow, topics: [a] }]', /`allow` has no value/],
    ['rules: [{ allow: publish, topics: [a], users: {a: b} }]', /expected a user name/],
    ['rules: [{ allow: publish, topics: [[a]] }]', /expected a topic filter/],
    ['rules: [&x { allow: publish, topics: [a], claims: { a: *x } }]', /expected the value/],
    ["rules: [{ allow: publish, topics: ['$share/g/a'] }]", /leave out \$share/],
    ['rules: [{ allow: [], topics: [a] }]', /expected an action/],
    ["rules: [{ allow: publish, topics: [''] }]", /expected a topic filter/],
  ];
  for (const [text, expected] of refused) t.match(problems(text).join('\n'), expected, text);
  const shared = 'x: &u [bob]\nrules: []';
  t.match(problems(shared).join(), /unknown: `x`/);
  const aliased = atOnce(
    parseRules(
      'rules: [{ allow: publish, topics: &t [a, b] }, { deny: publish, topics: *t }]',
      'f.yaml',
    ),
  );
  t.equal(aliased.rules[1]?.patterns?.length, 2, 'an alias is what it stands for');
});

t.test('bounds', async (t) => {
  const rule = '  - { allow: publish, topics: [a] }\n';
  t.match(problems(`rules:\n${'- a\n'.repeat(100_001)}`).join(), /more than 100000 rules/);
  const many = Array.from({ length: 1001 }, (_, i) => `t${i}`).join();
  t.match(problems(`rules: [{ allow: publish, topics: [${many}] }]`).join(), /more than 1000$/);
  const slots = Array.from(
    { length: 1001 },
    (_, i) => `  - { allow: publish, topics: ['%c${i}'] }`,
  );
  t.match(problems(`rules:\n${slots.join('\n')}`).join(), /too many different levels/);
  const list = Array.from({ length: 1000 }, (_, i) => `t${i}`).join();
  const bomb = `rules:\n  - { allow: publish, topics: &t [${list}] }\n${'  - { allow: publish, topics: *t }\n'.repeat(501)}`;
  t.match(problems(bomb).join('\n'), /more than 500000 topics and values/);
  const deep = `rules: ${'['.repeat(20_000)}`;
  t.match(problems(deep).join('\n'), /nested too deeply|call stack/);
  const wrong = problems(`rules:\n${rule.replace('publish', 'x').repeat(300)}`);
  t.equal(wrong.length, 101);
  t.match(wrong.at(-1), /and 200 more problems/);
});

t.test('any text is a rule set or problems', async (t) => {
  const words = ['rules:', '\n', '  - ', 'allow: ', 'deny: ', 'publish', 'topics: ', '[', ']', '{']
    .concat(['}', "'a/%c/#'", '&a ', '*a', ', ', '? ', '!!x ', '|\n', 'users: ', '"', '%', '\t'])
    .concat(['user ', 'topic ', 'pattern ', 'read ', 'a/#', '#', '__proto__: ', '\0', '\r', '🜁']);
  let fine = 0;
  let wrong = 0;
  fc.assert(
    fc.property(
      fc.oneof(
        fc.array(fc.constantFrom(...words), { maxLength: 30 }).map((list) => list.join('')),
        fc
          .array(fc.constantFrom(...words), { maxLength: 8 })
          .map((l) => `rules:\n  - ${l.join('')}`),
        fc.string({ unit: 'binary', maxLength: 60 }),
      ),
      fc.constantFrom('f.yaml', 'f.acl'),
      (text, name) => {
        if (problems(text, name).length === 0) fine += 1;
        else wrong += 1;
      },
    ),
    { numRuns: 300 },
  );
  t.ok(fine > 2 && wrong > 100, `${fine} fine, ${wrong} wrong`);
});

// Compiled rules against the plain model: the same rule decides, whatever the matcher.
import fc from 'fast-check';
import t from 'tap';
import type { Conditions, Names } from '../../../src/access/acl/conditions.ts';
import { Candidate, evaluate, noConditions } from '../../../src/access/acl/conditions.ts';
import { isAllowed, NO_MATCH, NO_RULES, SUPERUSER } from '../../../src/access/acl/decision.ts';
import { actionBits, qosBits } from '../../../src/access/acl/granted-layer.ts';
import type { GrantedRule } from '../../../src/access/acl/granted-rule.ts';
import { SlotTable } from '../../../src/access/acl/placeholder.ts';
import { ANY_QOS, ON_PUBLISH, type Rule } from '../../../src/access/acl/rule.ts';
import { openRules, RuleSet } from '../../../src/access/acl/rule-set.ts';
import { type AclSubject, awaySubject } from '../../../src/access/acl/subject.ts';
import { parsePattern, type TopicPattern } from '../../../src/access/acl/topic-pattern.ts';
import { type IpNetwork, parseIpNetwork } from '../../../src/util/ip-address.ts';
import { covers, decide, matches, type PlainRule, type Question, universe } from './model.ts';
import { certificate, subject } from './subjects.ts';

function ruleSet(rules: readonly PlainRule[]): RuleSet {
  const slots = new SlotTable();
  const names = (list: readonly string[] | undefined): Names | null =>
    list === undefined ? null : new Set(list);
  const compiled = rules.map((rule, i): Rule => {
    const isAnyUser = rule.users?.includes('*') === true;
    const conditions: Conditions = {
      ...noConditions,
      users: isAnyUser ? null : names(rule.users),
      isAuthenticated: isAnyUser ? true : rule.anonymous === undefined ? null : !rule.anonymous,
      clients: names(rule.clients),
      tenants: names(rule.tenants),
      listeners: names(rule.listeners),
    };
    const isEveryone = Object.values(conditions).every((value) => value === null);
    return {
      allow: rule.allow,
      actions: actionBits(rule.actions),
      patterns: rule.topics.map((topic) => {
        const pattern = parsePattern(topic, slots);
        if (typeof pattern === 'string') throw new Error(`${topic}: ${pattern}`);
        return pattern;
      }),
      conditions: isEveryone ? null : conditions,
      qosMask: rule.qos === undefined ? ANY_QOS : qosBits(rule.qos),
      retain: rule.retain ?? null,
      source: { file: 'rules', line: i + 1, column: 1 },
      text: '',
    };
  });
  return new RuleSet('rules', compiled, slots);
}

const literals = ['a', 'b', 'x', '', '$s'];
const templates = ['%c', '%u', '%t', '%{k}', 'x%c', '%c%u'];

const patterns = fc
  .tuple(
    fc.array(
      fc.oneof(
        { weight: 4, arbitrary: fc.constantFrom(...literals) },
        { weight: 2, arbitrary: fc.constant('+') },
        { weight: 2, arbitrary: fc.constantFrom(...templates) },
      ),
      { minLength: 0, maxLength: 3 },
    ),
    fc.boolean(),
  )
  .map(([levels, isOpen]) => [...levels, ...(isOpen ? ['#'] : [])].join('/'))
  .filter((filter) => filter !== '');

const rarely = <T>(values: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> =>
  fc.oneof({ weight: 4, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary: values });

const actionLists = fc.constantFrom(
  ['publish'],
  ['subscribe'],
  ['receive'],
  ['publish', 'subscribe'],
  ['publish', 'receive'],
) as fc.Arbitrary<PlainRule['actions']>;

const rules: fc.Arbitrary<PlainRule> = fc
  .record({
    allow: fc.boolean(),
    actions: actionLists,
    topics: fc.array(patterns, { minLength: 1, maxLength: 3 }),
    users: rarely(fc.subarray(['u', 'v', '*'], { minLength: 1 })),
    clients: rarely(fc.subarray(['a', 'b', '#'], { minLength: 1 })),
    tenants: rarely(fc.constant(['t'])),
    listeners: rarely(fc.subarray(['l', 'm'], { minLength: 1 })),
    anonymous: rarely(fc.boolean()),
    qos: rarely(fc.subarray([0, 1, 2], { minLength: 1 })),
    retain: rarely(fc.boolean()),
  })
  .map((rule) => {
    // What the rule file refuses.
    const { qos, retain, anonymous, ...rest } = rule;
    const isPublish = rule.actions.length === 1 && rule.actions[0] === 'publish';
    const mayQos = !rule.actions.includes('receive');
    const kept: { -readonly [K in keyof PlainRule]?: unknown } = { ...rest };
    if (rule.users === undefined) kept.anonymous = anonymous;
    if (mayQos && qos !== undefined) kept.qos = qos;
    if (isPublish && retain !== undefined) kept.retain = retain;
    const given = Object.entries(kept).filter(([, value]) => value !== undefined);
    return Object.fromEntries(given) as unknown as PlainRule;
  });

const clients = fc.record({
  clientId: fc.constantFrom('a', 'b', '#', '+', 'a/b', '$s', '%u', ''),
  user: fc.constantFrom(null, 'u', 'v', 'a', '+'),
  tenant: fc.constantFrom('', 't', 'a'),
  listener: fc.constantFrom(undefined, 'l', 'm'),
  claims: fc.constantFrom<ReadonlyMap<string, string | readonly string[]> | null | undefined>(
    undefined,
    null,
    new Map([['k', 'a']]),
    new Map([['k', ['b']]]),
    new Map([['k', '#']]),
  ),
});

const topics = universe(3, ['a', 'b', 'x', '', '$s', 'xa']);
const filters = fc
  .array(fc.constantFrom('a', 'b', 'x', '', '$s', '+'), { minLength: 1, maxLength: 3 })
  .chain((levels) => fc.constantFrom(levels.join('/'), [...levels.slice(1), '#'].join('/')))
  .filter((filter) => filter !== '');

const questions: fc.Arbitrary<Question> = fc.oneof(
  fc.record({
    action: fc.constant('publish' as const),
    topic: fc.constantFrom(...topics),
    qos: fc.constantFrom(0, 1, 2),
    retain: fc.boolean(),
  }),
  fc.record({ action: fc.constant('receive' as const), topic: fc.constantFrom(...topics) }),
  fc.record({
    action: fc.constant('subscribe' as const),
    topic: filters,
    qos: fc.constantFrom(0, 1, 2),
  }),
);

function subjectOf(client: {
  clientId: string;
  user: string | null;
  tenant: string;
  listener: string | undefined;
  claims: AclSubject['claims'];
}): AclSubject {
  const { listener, ...rest } = client;
  return subject({ ...rest, listenerName: listener });
}

function ask(compiled: ReturnType<RuleSet['compile']>, question: Question): number {
  if (question.action === 'publish') {
    return compiled.publish(question.topic, question.qos, question.retain);
  }
  if (question.action === 'receive') return compiled.receive(question.topic);
  return compiled.subscribe(question.topic, question.qos);
}

t.test('the rule that decides is the first the model finds', async (t) => {
  let decided = 0;
  let allowed = 0;
  const property = (size: { minLength: number; maxLength: number }, runs: number): void => {
    fc.assert(
      fc.property(
        fc.array(rules, size),
        clients,
        fc.array(questions, { minLength: 20, maxLength: 40 }),
        fc.boolean(),
        (list, client, asked, unknownFor) => {
          const set = ruleSet(list);
          const compiled = set.compile(subjectOf(client), unknownFor ? 'for' : 'against');
          // Twice, so that what is remembered is asked as well.
          for (const question of [...asked, ...asked]) {
            const decision = ask(compiled, question);
            const expected = decide(list, client, question, unknownFor);
            const rule = compiled.ruleOf(decision);
            const found = rule === null ? -1 : rule.source.line - 1;
            if (found !== expected) {
              throw new Error(`${JSON.stringify(question)}: ${found}, expected ${expected}`);
            }
            if (decision === NO_MATCH ? expected !== -1 : expected === -1) throw new Error('match');
            if (rule !== null && isAllowed(decision) !== rule.allow) throw new Error('verdict');
            decided += expected === -1 ? 0 : 1;
            allowed += isAllowed(decision) ? 1 : 0;
          }
        },
      ),
      { numRuns: runs },
    );
  };
  property({ minLength: 1, maxLength: 4 }, 250);
  // Enough patterns for tries.
  property({ minLength: 20, maxLength: 60 }, 60);
  t.ok(decided > 2000 && allowed > 1000, `${decided} decided, ${allowed} allowed`);
});

t.test('[class 6] what filtersReceive does not announce is not held back', async (t) => {
  const few = universe(3, ['a', 'b', 'x', '', '$s']);
  const asked = ['#', '+', 'a/#', 'a/+', '+/a', 'a', 'b/#', '$s/#', 'x/a/#'];
  let silent = 0;
  let filtered = 0;
  fc.assert(
    fc.property(fc.array(rules, { minLength: 1, maxLength: 6 }), clients, (list, client) => {
      const compiled = ruleSet(list).compile(subjectOf(client));
      if (compiled.filtersReceive) {
        filtered += 1;
        return;
      }
      silent += 1;
      for (const filter of asked) {
        if (![0, 1, 2].some((qos) => isAllowed(compiled.subscribe(filter, qos)))) continue;
        for (const topic of few) {
          if (matches(filter, topic) && !isAllowed(compiled.receive(topic))) {
            throw new Error(`${filter} is allowed and ${topic} held back`);
          }
        }
      }
    }),
    { numRuns: 1500 },
  );
  t.ok(silent > 200 && filtered > 50, `${silent} without, ${filtered} with`);
});

t.test('filtersReceive is off where nothing can be held back', async (t) => {
  const filters = (...list: PlainRule[]): boolean =>
    ruleSet(list).compile(subject()).filtersReceive;
  const all: PlainRule = { allow: true, actions: ['subscribe'], topics: ['#'] };
  const deny = (...topics: string[]): PlainRule => ({
    allow: false,
    actions: ['subscribe'],
    topics,
  });
  t.notOk(filters(all));
  t.notOk(filters(all, deny('#')), 'a rule that denies comes too late');
  t.notOk(filters(deny('$SYS/#'), all), '# has no part in $SYS');
  t.notOk(filters({ ...deny('a/#'), actions: ['publish'] }, all));
  t.notOk(filters(deny('a/#'), { ...all, topics: ['b/#'] }), 'other topics');
  t.notOk(filters({ ...deny('a/#'), users: ['bob'] }, all), 'other people');
  t.notOk(filters({ ...deny('a/#'), qos: [2] }, all), 'decided at SUBSCRIBE');
  t.ok(filters(deny('a/#'), all));
  t.ok(filters(deny('a/%c'), { ...all, topics: ['a/+'] }));
  t.ok(filters({ ...deny('a/#'), actions: ['receive'] }, all));
});

t.test('rules that came with credentials', async (t) => {
  const grant = (allow: boolean, topic: string, known: Partial<GrantedRule> = {}): GrantedRule => ({
    allow,
    actions: ['publish', 'subscribe'],
    topic,
    qos: null,
    retain: null,
    source: 'token claim acl',
    ...known,
  });
  const set = ruleSet([
    { allow: true, actions: ['publish', 'subscribe'], topics: ['a/#'] },
    { allow: false, actions: ['publish'], topics: ['b/#'] },
  ]);
  const compile = (grants: readonly GrantedRule[] | null, rules = set) =>
    rules.compile(subject({ grants }));
  const own = compile([grant(true, 'b/%c'), grant(false, 'a/secret')]);
  t.ok(isAllowed(own.publish('b/dev1', 0, false)), 'before the file');
  t.equal(own.ruleOf(own.publish('b/dev1', 0, false))?.source.file, 'token claim acl');
  t.notOk(isAllowed(own.publish('b/dev2', 0, false)));
  t.notOk(isAllowed(own.publish('a/secret', 0, false)));
  t.ok(isAllowed(own.publish('a/open', 0, false)), 'then the file');
  t.ok(own.filtersReceive);
  t.notOk(isAllowed(own.receive('a/secret')));
  t.notOk(compile([grant(true, 'b/%c')]).filtersReceive);

  const open = openRules();
  t.equal(compile(null, open).publish('any', 0, false), NO_RULES);
  t.equal(compile([], open).publish('any', 0, false), NO_MATCH, 'an empty list allows nothing');
  t.ok(isAllowed(compile([grant(true, '#')], open).subscribe('#', 1)));
  t.equal(
    open.compile(subject({ isSuperuser: true, grants: [] })).publish('x', 0, false),
    SUPERUSER,
  );

  const broken = compile([grant(true, 'a/#/b'), grant(true, '%x'), grant(true, 'b/x')], open);
  t.notOk(isAllowed(broken.publish('a/1/b', 0, false)), 'a rule without sense allows nothing');
  t.ok(isAllowed(broken.publish('b/x', 0, false)));
  const barred = compile([grant(true, 'c'), grant(false, 'a/#/b'), grant(true, '#')]);
  t.notOk(isAllowed(barred.publish('a/1', 0, false)), 'and denies everything when it denies');
  t.notOk(isAllowed(barred.subscribe('$SYS/#', 0)));
  t.ok(isAllowed(barred.publish('c', 0, false)));
  const none = compile([grant(false, 'd', { qos: [] }), grant(true, '#')], open);
  t.notOk(isAllowed(none.publish('d', 1, false)));
  const many = Array.from({ length: 1001 }, (_, i) => grant(true, `t/${i}`));
  t.notOk(isAllowed(compile(many).publish('t/1', 0, false)), 'more than can be kept');
  t.ok(isAllowed(compile(many.slice(1)).publish('t/1000', 0, false)));
  t.notOk(isAllowed(compile(many.slice(1)).publish('t/x', 0, false)));
});

t.test('QoS and RETAIN', async (t) => {
  const client = ruleSet([
    { allow: false, actions: ['publish'], topics: ['a'], retain: true },
    { allow: true, actions: ['publish'], topics: ['a'], qos: [0, 1] },
    { allow: true, actions: ['subscribe'], topics: ['s/#'], qos: [0] },
    { allow: false, actions: ['subscribe'], topics: ['m/secret'], qos: [2] },
    { allow: true, actions: ['subscribe'], topics: ['m/#'] },
  ]).compile(subject());
  const answers = [0, 1, 2].flatMap((qos) =>
    [false, true].map((retain) => isAllowed(client.publish('a', qos, retain))),
  );
  t.strictSame(answers, [true, false, true, false, false, false]);
  t.ok(isAllowed(client.subscribe('s/x', 0)));
  t.notOk(isAllowed(client.subscribe('s/x', 1)));
  t.ok(isAllowed(client.receive('s/x')));
  t.ok(isAllowed(client.subscribe('m/#', 1)));
  t.notOk(isAllowed(client.subscribe('m/#', 2)), 'reaches into what is denied at QoS 2');
  t.ok(isAllowed(client.subscribe('m/open', 2)));
  t.ok(isAllowed(client.receive('m/secret')), 'for those who subscribed at QoS 1');
});

t.test('[class 5] a will is decided by its topic, QoS and RETAIN, away as well', async (t) => {
  const set = ruleSet([
    { allow: false, actions: ['publish'], topics: ['w/%c'], listeners: ['inner'] },
    { allow: true, actions: ['publish'], topics: ['w/%c'], retain: false },
    { allow: true, actions: ['publish'], topics: ['only/inner'], listeners: ['inner'] },
    { allow: true, actions: ['publish'], topics: ['claim/%{site}'] },
    { allow: true, actions: ['subscribe'], topics: ['in/#'], listeners: ['inner'] },
    { allow: true, actions: ['subscribe'], topics: ['site/%{site}/#'] },
  ]);
  const here = set.compile(subject({ listenerName: 'outer' }));
  t.ok(isAllowed(here.publish('w/dev1', 1, false)));
  t.notOk(isAllowed(here.publish('w/dev1', 1, true)), 'retained');
  t.notOk(isAllowed(here.publish('w/dev2', 1, false)));
  const away = awaySubject({ clientId: 'dev1', identity: null, tenant: '' });
  const fired = set.compile(away);
  t.notOk(isAllowed(fired.publish('w/dev1', 1, false)), 'what is not known counts against it');
  t.notOk(isAllowed(fired.publish('only/inner', 1, false)));
  t.notOk(isAllowed(fired.publish('claim/x', 1, false)));
  t.notOk(isAllowed(fired.subscribe('in/x', 1)));
  const kept = set.compile(away, 'for');
  t.ok(isAllowed(kept.subscribe('in/x', 1)), 'looked at again when it comes back');
  t.ok(isAllowed(kept.subscribe('site/berlin/#', 1)));
  t.notOk(isAllowed(kept.subscribe('other/#', 1)));
});

t.test('[class 8] each filter has its own decision', async (t) => {
  const client = ruleSet([
    { allow: false, actions: ['subscribe'], topics: ['a/secret/#'] },
    { allow: true, actions: ['subscribe'], topics: ['a/#'] },
  ]).compile(subject());
  const asked = ['a/#', 'a/secret', 'a/secret/x', 'b', '#', 'a/+', '+/secret', 'a/secret/#'];
  t.strictSame(
    asked.filter((filter) => isAllowed(client.subscribe(filter, 0))),
    ['a/#', 'a/+'],
  );
  t.ok(client.filtersReceive);
  t.notOk(isAllowed(client.receive('a/secret')), 'delivery below the wildcard is held back');
  t.ok(isAllowed(client.receive('a/open')));
});

t.test('`receive` holds back without refusing the subscription', async (t) => {
  const client = ruleSet([
    { allow: true, actions: ['receive'], topics: ['a/#'] },
    { allow: false, actions: ['receive'], topics: ['#'] },
    { allow: true, actions: ['subscribe'], topics: ['#'] },
  ]).compile(subject());
  t.ok(isAllowed(client.subscribe('#', 0)));
  t.ok(client.filtersReceive);
  t.ok(isAllowed(client.receive('a/b')));
  t.notOk(isAllowed(client.receive('b')));
});

t.test(
  'clients with the same rules share them, and the store of shared ones is bounded',
  async (t) => {
    const list: PlainRule[] = Array.from({ length: 3000 }, (_, i) => ({
      allow: true,
      actions: ['publish'],
      topics: [`t/${i}/%c`],
      users: [`u${i}`],
    }));
    list.push({ allow: true, actions: ['publish'], topics: ['v/%u'], users: ['*'] });
    const set = ruleSet(list);
    for (let i = 0; i < 3000; i += 1) {
      const client = set.compile(subject({ user: `u${i}`, clientId: `c${i}` }));
      const other = (i + 1) % 3000;
      const answers = [
        client.publish(`t/${i}/c${i}`, 0, false),
        client.publish(`t/${other}/c${i}`, 0, false),
        client.publish(`v/u${i}`, 0, false),
      ].map(isAllowed);
      if (answers.join() !== 'true,false,true') t.fail(`client ${i}: ${answers.join()}`);
    }
    t.pass('each had its own rule and the common one');
  },
);

t.test('[class 17] many levels through a trie', async (t) => {
  const list: PlainRule[] = Array.from({ length: 40 }, (_, i) => ({
    allow: true,
    actions: ['publish', 'subscribe'],
    topics: [`${'+/'.repeat(i * 4)}end`, `${'a/'.repeat(i * 4)}#`],
  }));
  const client = ruleSet(list.toReversed()).compile(subject());
  const deep = '/'.repeat(65_535);
  t.equal(client.publish(deep, 0, false) < 0, false, 'the widest rule takes it');
  t.ok(isAllowed(client.publish(`${'a/'.repeat(30_000)}end`, 0, false)));
  t.ok(isAllowed(client.subscribe(`${'+/'.repeat(30_000)}end`, 0)));
  const narrow = ruleSet(list.slice(1).map((rule) => ({ ...rule, topics: [rule.topics[0]!] })));
  t.notOk(isAllowed(narrow.compile(subject()).publish(deep, 0, false)));
  t.notOk(isAllowed(narrow.compile(subject()).publish('x'.repeat(65_535), 0, false)));
});

t.test('the model covers what it should', async (t) => {
  t.ok(covers('a/#', 'a/+'));
  t.notOk(covers('a/+', 'a/#'));
});

t.test('rules by claim, certificate, address or listener: found, and no others', async (t) => {
  const value = fc.constantFrom('a', 'b', 'c');
  const names = fc.uniqueArray(value, { minLength: 1, maxLength: 2 }).map((list) => new Set(list));
  const maybe = <Value>(what: fc.Arbitrary<Value>): fc.Arbitrary<Value | null> =>
    fc.oneof({ weight: 4, arbitrary: fc.constant(null) }, { weight: 1, arbitrary: what });
  const claims = fc.array(fc.record({ name: fc.constantFrom('k', 'l'), values: names }), {
    minLength: 1,
    maxLength: 2,
  });
  const fields = fc.array(
    fc.record({ field: fc.constantFrom('common_name' as const, 'san' as const), values: names }),
    { minLength: 1, maxLength: 2 },
  );
  const condition: fc.Arbitrary<Conditions> = fc.record({
    users: maybe(names),
    isAuthenticated: maybe(fc.boolean()),
    clients: fc.constant(null),
    networks: maybe(fc.constantFrom(...['10.0.0.0/8', '10.1.0.0/16'].map((n) => [network(n)]))),
    listeners: maybe(names),
    tenants: maybe(names),
    claims: maybe(claims),
    certificate: maybe(fields),
  });
  const who = fc.record({
    user: maybe(value),
    tenant: fc.constantFrom('', 'a', 'b'),
    remoteAddress: fc.constantFrom('10.1.2.3', '10.2.0.1', '192.0.2.1', '', undefined),
    listenerName: fc.constantFrom('a', 'b', undefined),
    claims: fc.constantFrom(
      null,
      undefined,
      new Map<string, string | string[]>([['k', 'a']]),
      new Map<string, string | string[]>([
        ['k', ['a', 'b']],
        ['l', 'c'],
      ]),
    ),
    certificate: fc.constantFrom(
      null,
      undefined,
      certificate({ subjectCommonName: 'a', subjectAltNames: ['b', 'c'] }),
      certificate({ subjectCommonName: '', subjectAltNames: [] }),
    ),
  });
  let held = 0;
  fc.assert(
    fc.property(fc.array(condition, { maxLength: 12 }), who, (conditions, known) => {
      const slots = new SlotTable();
      const rules = conditions.map((asked, i): Rule => {
        const pattern = parsePattern(`t${i}`, slots) as TopicPattern;
        const source = { file: 'f', line: i + 1, column: 1 };
        const what = { allow: true, actions: ON_PUBLISH, qosMask: ANY_QOS, retain: null, text: '' };
        return { ...what, patterns: [pattern], conditions: asked, source };
      });
      const client = new RuleSet('f', rules, slots).compile(subject(known));
      const candidate = new Candidate(subject(known));
      return rules.every((rule, i) => {
        const holds = evaluate(rule.conditions!, candidate).kind === 'holds';
        if (holds) held += 1;
        return isAllowed(client.publish(`t${i}`, 0, false)) === holds;
      });
    }),
    { numRuns: 500 },
  );
  t.ok(held > 50, `${held} rules held`);
});

function network(text: string): IpNetwork {
  const parsed = parseIpNetwork(text);
  if (parsed === null) throw new Error(text);
  return parsed;
}

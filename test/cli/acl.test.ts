// `causeway acl test`: the deciding rule, from a file or from a node, and exit codes that scripts trust.
import { join } from 'node:path';
import t from 'tap';
import { temporaryFolder } from '../config/temporary-folder.ts';
import { type Asked, FakeApi, problem, TOKEN } from './fake-api.ts';
import type { Outcome } from './run.ts';
import { runMany } from './run-many.ts';

const rules = `rules:
  - deny: publish
    users: [alice]
    topics: ['a/secret']
  - allow: [publish, subscribe]
    users: [alice]
    topics: ['a/#']
    qos: [0, 1]
  - allow: publish
    claims: {role: [admin, chief]}
    topics: ['admin/#']
  - allow: receive
    addresses: [10.0.0.0/8]
    topics: ['inside/#']
  - allow: publish
    tenants: [acme]
    listeners: [wide]
    topics: ['t/%t/%c']
  - allow: publish
    anonymous: true
    topics: ['public/#']
`;

type Case = readonly [words: string, code: number, said: RegExp];

t.test('from the rule file', async (t) => {
  const hash = `$7$101$AAAAAAAAAAAAAAAA$${Buffer.alloc(64, 1).toString('base64')}`;
  const folder = temporaryFolder(t, {
    'acl.yaml': rules,
    pw: `alice:${hash}\nroot:${hash}:superuser\nanna:${hash}:tenant=acme\n`,
    'c.yaml':
      'authorization: {rulesFile: acl.yaml}\nauthentication: {chain: [password], password: {file: pw}}\n',
    'none.yaml': 'store: memory\n',
    'bad.yaml': 'authorization: {rulesFile: bad-rules.yaml}\n',
    'bad-rules.yaml': 'rules:\n  - allow: publich\n    topics: [a]\n',
  });
  const cases: Case[] = [
    ['alice c1 publish a/b', 0, /^allow\nrule 2 \(\S+acl\.yaml:5\) allows it: allow publish/],
    ['alice c1 publish a/b --qos 2', 1, /^deny\nno rule speaks about it/],
    ['alice c1 publish a/secret', 1, /^deny\nrule 1 \(\S+acl\.yaml:2\) denies it/],
    ['alice c1 subscribe a/+', 0, /^allow\nrule 2/],
    ['alice c1 subscribe $share/g/a/#', 0, /^allow\nrule 2/],
    ['alice c1 subscribe #', 1, /^deny/],
    ['bob c1 publish admin/x', 1, /would allow it if the claims were known/],
    ['bob c1 publish admin/x --claim role=chief', 0, /^allow\nrule 3/],
    ['bob c1 publish admin/x --claim role=x --claim role=admin', 0, /^allow\nrule 3/],
    ['bob c1 publish admin/x --claim role=x', 1, /^deny/],
    ['bob c1 receive inside/x --address 10.1.2.3', 0, /^allow\nrule 4/],
    ['bob c1 receive inside/x --address 11.1.2.3', 1, /^deny/],
    ['anna c1 publish t/acme/c1 --listener wide', 0, /^allow\nrule 5/],
    ['bob c1 publish t/acme/c1 --listener wide', 1, /^deny/],
    ['bob c1 publish t/acme/c1 --listener wide --tenant acme', 0, /^allow\nrule 5/],
    ['- c1 publish public/x', 0, /^allow\nrule 6/],
    ['bob c1 publish public/x', 1, /^deny/],
    ['root c1 publish anything', 0, /^allow\na superuser may do everything/],
    ['root c1 publish $SYS/x', 1, /^deny\nno client may publish to a topic that starts with/],
    ['alice c1 publish a/#', 1, /^deny\nthis is no topic name/],
  ];
  const lines = cases.map(([words]) => ['acl', 'test', ...words.split(' '), '-c', 'c.yaml']);
  const outcomes = await runMany(lines, { cwd: folder });
  for (const [index, outcome] of outcomes.entries()) {
    const [words, code, said] = cases[index]!;
    t.equal(outcome.code, code, `${words}: ${outcome.stderr}`);
    t.match(outcome.stdout, said, words);
  }

  const more = await runMany(
    [
      ['acl', 'test', 'x', 'c', 'publish', 'a', '-c', 'none.yaml'],
      ['acl', 'test', 'x', 'c', 'publish', 'a', '-c', 'bad.yaml'],
      ['acl', 'test', 'x', 'c', 'publish', 'a', '-c', 'missing.yaml'],
      ['acl', 'test', 'alice', 'c', 'publish', 'a/b', '-c', 'c.yaml', '--json'],
      ['acl', 'test', 'alice', 'c\u001b[2J', 'publish', 't/x', '-c', 'c.yaml'],
    ],
    { cwd: folder },
  );
  const [open, bad, missing, json, hostile] = more as [Outcome, Outcome, Outcome, Outcome, Outcome];
  t.match(open, { code: 0, stdout: /there are no rules/ });
  t.match(bad, { code: 2, stdout: '', stderr: /bad-rules\.yaml:2:\d+: .*publich/ });
  t.match(missing, { code: 2, stderr: /missing\.yaml: cannot be read/ });
  t.match(JSON.parse(json.stdout), {
    allowed: true,
    rule: { index: 2, file: join(folder, 'acl.yaml'), line: 5 },
  });
  t.notMatch(hostile.stdout + hostile.stderr, /\x1b/);
});

t.test('from a running node', async (t) => {
  const api = await FakeApi.start(({ method, path, body }: Asked) => {
    if (method !== 'POST' || path !== '/api/v1/acl/test') return undefined;
    const { user } = body as { user: string | null };
    if (user === 'weak') return problem(403, 'this needs the role operator');
    if (user === 'wrong') return problem(400, 'that is no topic');
    const allowed = user === 'alice';
    return { body: { allowed, rule: 'x', file: 'acl.yaml', line: 3, reason: 'rule\x1b 1' } };
  });
  t.teardown(() => api.close());
  const ask = (user: string, ...more: string[]): string[] => [
    ...['acl', 'test', user, 'c1', 'publish', 'a/b', '--url', api.url, ...more],
  ];
  const env = { CAUSEWAY_API_TOKEN: TOKEN };
  const outcomes = await runMany(
    [
      ask('alice', '--qos', '1', '--retain', '--claim', 'a=1', '--claim', 'a=2', '--tenant', 'x'),
      ask('-'),
      ask('weak'),
      ask('wrong'),
      ['acl', 'test', 'a', 'b', 'publish', 't', '--url', 'http://127.0.0.1:1'],
    ],
    { env },
  );
  t.strictSame(
    outcomes.map(({ code }) => code),
    [0, 1, 3, 2, 2],
    'never 1 for what is no denial',
  );
  t.equal(outcomes[0]!.stdout, 'allow\nrule\\x1b 1\n');
  t.strictSame(api.asked[0]!.body, {
    user: 'alice',
    clientId: 'c1',
    action: 'publish',
    topic: 'a/b',
    qos: 1,
    retain: true,
    tenant: 'x',
    claims: { a: ['1', '2'] },
  });
  t.match(api.asked[1]!.body, { user: null, qos: 0, retain: false });
});

t.test('a wrong command line is no denial', async (t) => {
  const cases: [string[], RegExp][] = [
    [[], /what can be done: acl test/],
    [['test', 'a', 'b'], /test needs USER, CLIENTID/],
    [['test', 'a', 'b', 'write', 'c'], /the action is one of publish, subscribe, receive/],
    [['test', 'a', 'b', 'publish', 'c', '--qos', '3'], /--qos is 0, 1 or 2/],
    [['test', 'a', 'b', 'publish', 'c', '--claim', 'x'], /--claim needs NAME=VALUE/],
    [['test', 'a', 'b', 'publish', 'c', '--ca', 'x'], /--ca needs --url/],
    [['test', 'a', 'b', 'publish', 'c', '--tokenfile', 'x'], /did you mean --token-file/],
  ];
  const outcomes = await runMany(cases.map(([args]) => ['acl', ...args]));
  for (const [index, outcome] of outcomes.entries()) {
    const [args, said] = cases[index]!;
    t.match(outcome, { code: 2, stdout: '', stderr: said }, args.join(' '));
  }
});

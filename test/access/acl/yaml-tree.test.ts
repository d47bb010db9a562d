// A document read in steps is the one the library reads at once: the same nodes at the same places,
// and the same problems.
import fc from 'fast-check';
import t from 'tap';
import { isAlias, isMap, isScalar, isSeq, parseDocument } from 'yaml';
import { anchoredNodes, readYaml, YAML_KEYS_MAX } from '../../../src/access/acl/yaml-tree.ts';
import { atOnce } from '../../../src/access/slices.ts';

interface Read {
  readonly problems: readonly string[];
  /** Empty when there are problems. */
  readonly nodes: readonly string[];
}

/** Every node with its place, value, tag and anchor, in the order of the text. */
function* shown(node: unknown, depth = 0): Generator<string> {
  if (isMap(node)) {
    yield `${depth} map ${node.range} ${node.tag} ${node.anchor}`;
    for (const { key, value } of node.items) {
      yield* shown(key, depth + 1);
      yield* shown(value, depth + 1);
    }
  } else if (isSeq(node)) {
    yield `${depth} seq ${node.range?.slice(0, 2)} ${node.tag} ${node.anchor}`;
    for (const item of node.items) yield* shown(item, depth + 1);
  } else if (isScalar(node)) {
    yield `${depth} ${node.range?.slice(0, 2)} ${node.tag} ${node.anchor} ${JSON.stringify(node.value)}`;
  } else if (isAlias(node)) yield `${depth} *${node.source} ${node.range?.slice(0, 2)}`;
  else yield `${depth} ${JSON.stringify(node)}`;
}

function inSteps(text: string): Read {
  const { root, problems } = atOnce(readYaml(text));
  const messages = problems.map(({ offset, message }) => `${offset} ${message}`);
  return { problems: messages, nodes: problems.length > 0 ? [] : [...shown(root)] };
}

function atOneGo(text: string): Read {
  const document = parseDocument(text, {
    prettyErrors: false,
    stringKeys: true,
    schema: 'failsafe',
  });
  const problems = [...document.errors, ...document.warnings].map(({ pos, code, message }) => ({
    offset: pos[0],
    message:
      code === 'MULTIPLE_DOCS'
        ? 'expected one document, found a second'
        : message.split('\n')[0]!.trim(),
  }));
  problems.sort((a, b) => a.offset - b.offset);
  const messages = problems.map(({ offset, message }) => `${offset} ${message}`);
  return { problems: messages, nodes: problems.length > 0 ? [] : [...shown(document.contents)] };
}

/** '': there is no problem. */
function firstPlace({ problems }: Read): string {
  return problems[0]?.split(' ')[0] ?? '';
}

const rule = fc.constantFrom(
  '- allow: publish\n    topics: [a/#, b]',
  "- { allow: [publish, subscribe], topics: ['x/%c'], users: [u1, 'u2'] }",
  '# a comment\n  - deny: receive # and another\n    topics:\n    - a\n    -   b\n\n    - c',
  '- &r\n    allow: publish\n    topics: &t\n      - "a\\u0062"\n      - |\n        text\n      - >-\n        b\n        c',
  '- *r',
  '- allow: publish\n    topics: *t',
  `- { allow: publish, topics: [${Array.from({ length: 40 }, (_, i) => `t/${i}`)}] }`,
  `- users:\n${Array.from({ length: 36 }, (_, i) => `    - user-${i}\n`).join('')}    topics: [a]`,
  '- [a, , b]',
  '-',
  '- !!map { a: b }',
  '- ? a\n    : b',
);
const rules = fc.array(rule, { minLength: 1, maxLength: 60 });
const block = rules.map((list) => `rules:\n  ${list.join('\n  ')}\n`);
const flow = fc.array(
  fc.constantFrom("{ allow: publish, topics: ['a'] }", '[a, b]', '"x"', 'plain', '&a x', '*a', ''),
  { maxLength: 60 },
);
const json = flow.map((list) => `{ "rules": [${list.join(',\n ')}] }`);
const nested = fc
  .tuple(flow, fc.constantFrom('rules: [', '- - - [', '---\nrules:\n  ['), fc.constantFrom(']', ''))
  .map(([list, start, end]) => `${start}${list.join(', ')}${end}\n`);
const damage = fc.tuple(
  fc.nat(),
  fc.nat(3),
  fc
    .constantFrom('', '', ' ', '\n', '\n  ', ',', '[', ']', '{', '}', '-', ': ', '\t', '"', '&a ')
    .chain((text) =>
      fc.constantFrom(text, text, '\n---\n', '\n...\n', '*', '!x ', '%TAG ! x\n---\n'),
    ),
);
const broken = fc
  .tuple(fc.oneof(block, json, nested), fc.array(damage, { maxLength: 3 }))
  .map(([text, damages]) => {
    let damaged = text;
    for (const [at, removed, added] of damages) {
      const from = at % (damaged.length + 1);
      damaged = damaged.slice(0, from) + added + damaged.slice(from + removed);
    }
    return damaged;
  });

t.test('sound and broken documents', async (t) => {
  let sound = 0;
  let unsound = 0;
  fc.assert(
    fc.property(broken, (text) => {
      const [expected, actual] = [atOneGo(text), inSteps(text)];
      if (expected.problems.length === 0) sound += 1;
      else unsound += 1;
      // After the first problem brackets may stand for something else, and a list be cut elsewhere.
      return (
        firstPlace(expected) === firstPlace(actual) &&
        actual.nodes.join('\n') === expected.nodes.join('\n')
      );
    }),
    { numRuns: 400 },
  );
  t.ok(sound > 50 && unsound > 50, `${sound} sound, ${unsound} unsound`);
});

t.test('what an alias stands for, across steps', async (t) => {
  const items = Array.from({ length: 100 }, (_, i) => `- &a v${i}\n- *a\n`).join('');
  const { root } = atOnce(readYaml(`- &a first\n- *a\n- *none\n${items}`));
  const meant = [...atOnce(anchoredNodes(root)).values()].map(
    (node) => isScalar(node) && node.value,
  );
  t.strictSame(meant, ['first', ...Array.from({ length: 100 }, (_, i) => `v${i}`)]);
});

t.test('bounds', async (t) => {
  const keys = (count: number): string =>
    Array.from({ length: count }, (_, i) => `k${i}: v\n`).join('');
  t.strictSame(inSteps(keys(YAML_KEYS_MAX)).problems, []);
  t.match(inSteps(keys(YAML_KEYS_MAX + 1)).problems, ['0 more than 1000 keys']);
  t.match(inSteps(`a: "${'x'.repeat(1024 * 1024)}"`).problems, ['3 a text of more than 1048576']);
  t.match(inSteps('['.repeat(20_000)).problems.join('\n'), /call stack|must end with a ]/);
});

t.test('no step grows with the document', async (t) => {
  // Time of this thread alone: the machine may have more to do.
  const cpuMs = (): number => process.threadCpuUsage().user / 1000;
  const documents: readonly (readonly [string, string])[] = [
    ['rules', `rules:\n${'  - { allow: publish, topics: [a/#, b], users: [u] }\n'.repeat(3000)}`],
    ['JSON', JSON.stringify({ rules: Array(3000).fill({ allow: 'publish', topics: ['a'] }) })],
    ['one rule', `rules: [{ users: [${'user,'.repeat(20_000)}] }]`],
  ];
  for (const [name, text] of documents) {
    const steps = readYaml(text);
    const times: number[] = [];
    const startMs = cpuMs();
    for (let isDone: boolean | undefined; !isDone; ) {
      const beforeMs = cpuMs();
      isDone = steps.next().done;
      times.push(cpuMs() - beforeMs);
    }
    const totalMs = cpuMs() - startMs;
    times.sort((a, b) => b - a);
    // The longest are those into which the collector of garbage came.
    const longMs = times[3]!;
    t.ok(times.length > 1000, `${name}: ${times.length} steps`);
    t.ok(longMs < totalMs / 8, `${name}: ${longMs} ms of ${totalMs} ms`);
  }
});

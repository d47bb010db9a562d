/**
 * The normative statements of both specifications, which tests carry their tags, and the table
 * docs/reference/mqtt-statements.md made of them. Run as a program it writes that table; the
 * statements test checks it. It reads the titles from the test files and starts no server.
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { type Difference, MOSQUITTO } from './known-differences.ts';
import { MQTT5_ROWS } from './statements-5.ts';
import { MQTT311_ROWS } from './statements-311.ts';

export type Concerns = 'server' | 'client' | 'both';

/** Number in the specification, whom it binds, what it says, and why it is not tested. */
export type Row = readonly [number: string, concerns: Concerns, says: string, reason?: string];

export interface Statement {
  readonly tag: string;
  readonly number: string;
  readonly concerns: Concerns;
  readonly says: string;
  /** Why no test carries the tag; empty where tests do. */
  readonly reason: string;
}

export interface TaggedTest {
  readonly file: string;
  readonly title: string;
  readonly tags: readonly string[];
}

function statements(prefix: string, rows: readonly Row[]): readonly Statement[] {
  return rows.map(([number, concerns, says, reason = '']) => ({
    tag: `${prefix}-${number}`,
    number,
    concerns,
    says,
    reason,
  }));
}

export const MQTT5_STATEMENTS: readonly Statement[] = statements('MQTT5', MQTT5_ROWS);
export const MQTT311_STATEMENTS: readonly Statement[] = statements('MQTT311', MQTT311_ROWS);
export const STATEMENTS_PAGE: string = fileURLToPath(
  new URL('../../docs/reference/mqtt-statements.md', import.meta.url),
);

/** A registration: the function of the harness, then the title as one quoted string. */
const REGISTRATION = /^(?:both|every|v5|v311|v31)\(\s*'((?:[^'\\\n]|\\.)*)'/gm;
const TAG = /\[(MQTT(?:5|311)-[\d.]+-\d+)\]/g;

/** Every test registered in the test files beside this one, with the tags of its title. */
export function readTests(): readonly TaggedTest[] {
  const folder = fileURLToPath(new URL('.', import.meta.url));
  const tests: TaggedTest[] = [];
  for (const file of readdirSync(folder).sort()) {
    if (!file.endsWith('.test.ts')) continue;
    const source = readFileSync(`${folder}${file}`, 'utf8');
    for (const [, title = ''] of source.matchAll(REGISTRATION)) {
      tests.push({ file, title, tags: [...title.matchAll(TAG)].map(([, tag = '']) => tag) });
    }
  }
  return tests;
}

/** The tests of each tag. */
export function testsByTag(tests: readonly TaggedTest[]): ReadonlyMap<string, TaggedTest[]> {
  const byTag = new Map<string, TaggedTest[]>();
  for (const one of tests) {
    for (const tag of new Set(one.tags)) byTag.set(tag, [...(byTag.get(tag) ?? []), one]);
  }
  return byTag;
}

/** What a title says without its tags. */
function plain(title: string): string {
  return title.replaceAll(TAG, '').replaceAll("\\'", "'").trim();
}

function cell(text: string): string {
  return text.replaceAll('|', '\\|').replaceAll('<', '&lt;');
}

function table(list: readonly Statement[], byTag: ReadonlyMap<string, TaggedTest[]>): string {
  const rows = list.map((one) => {
    const tests = (byTag.get(one.tag) ?? []).map(
      ({ file, title }) => `${file.replace('.test.ts', '')}: ${plain(title)}`,
    );
    const proof = tests.length > 0 ? tests.join('<br>') : proofWithout(one);
    return `| ${one.number} | ${one.concerns} | ${cell(one.says)} | ${
      tests.length > 0 ? proof.split('<br>').map(cell).join('<br>') : cell(proof)
    } |`;
  });
  return ['| Statement | Concerns | Says | Tests, or why not |', '|---|---|---|---|', ...rows].join(
    '\n',
  );
}

function proofWithout(one: Statement): string {
  if (one.reason !== '') return `*Not tested.* ${one.reason}`;
  return one.concerns === 'client' ? '*Binds the client only.*' : '*Missing.*';
}

function summary(
  name: string,
  list: readonly Statement[],
  byTag: ReadonlyMap<string, TaggedTest[]>,
): string {
  const server = list.filter(({ concerns }) => concerns !== 'client');
  const tested = server.filter(({ tag }) => byTag.has(tag)).length;
  return (
    `| ${name} | ${list.length} | ${server.length} | ${tested} | ${server.length - tested} | ` +
    `${list.filter(({ tag, concerns }) => concerns === 'client' && byTag.has(tag)).length} |`
  );
}

const VERSION_NAMES = { 3: '3.1', 4: '3.1.1', 5: '5' } as const;

function difference(one: Difference): string {
  const versions = one.versions.map((version) => VERSION_NAMES[version]).join(', ');
  const where = versions === '' ? '' : ` (MQTT ${versions})`;
  return `- ${one.reason}${where}: ${one.titles.join('; ')}`;
}

/** The whole page. */
export function renderPage(): string {
  const tests = readTests();
  const byTag = testsByTag(tests);
  const choices = tests.filter(
    ({ title }) => title.startsWith('choice: ') || / choice: /.test(title),
  );
  return `# Normative statements of MQTT and their tests

<!-- Written by test/conformance/statements.ts; change the statements or the tests, then run it. -->

Every numbered normative statement of MQTT 5.0 and MQTT 3.1.1, in our words, with the conformance
tests that carry its tag, or the reason why none does. The text that counts is the OASIS standard.
A test title begins with its tags: \`[MQTT5-3.1.0-1]\`, \`[MQTT311-3.1.0-1]\`.

The tests speak to a server over real sockets, with an MQTT client of their own. By default they
start Causeway; any other server can be named:

\`\`\`
npx tap test/conformance/*.test.ts
MQTT_HOST=127.0.0.1 MQTT_PORT=1883 CONFORMANCE_PEER=mosquitto npx tap test/conformance/*.test.ts
\`\`\`

\`MQTT_WS_URL\` names the WebSocket address of such a server. With \`CONFORMANCE_PEER\` the tests in
\`known-differences.ts\` are expected to fail there, each for the reason it gives.

| Specification | Statements | Bind a server | Tested | With a reason | Binding clients only, yet tested |
|---|---|---|---|---|---|
${summary('MQTT 5.0', MQTT5_STATEMENTS, byTag)}
${summary('MQTT 3.1.1', MQTT311_STATEMENTS, byTag)}

## MQTT 5.0

${table(MQTT5_STATEMENTS, byTag)}

## MQTT 3.1.1

${table(MQTT311_STATEMENTS, byTag)}

## Choices of Causeway

Where the specifications leave the server a choice, these tests pin ours.

${choices.map(({ file, title }) => `- ${plain(title).replace(/^choice: /, '')} (${file.replace('.test.ts', '')})`).join('\n')}

## Known differences of mosquitto 2.0.11

Run against mosquitto, all tests pass but these, each for its reason.

${MOSQUITTO.map(difference).join('\n')}
`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  writeFileSync(STATEMENTS_PAGE, renderPage());
}

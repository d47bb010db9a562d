// `causeway ctl`: what it asks of the API, what it prints for people and programs, and exit codes.
import { join } from 'node:path';
import t from 'tap';
import { routeTable } from '../../src/admin/api/route-table.ts';
import { shapes } from '../../src/admin/api/routes/shapes.ts';
import type { JsonSchema } from '../../src/admin/api/schema.ts';
import { UsageError } from '../../src/cli/command.ts';
import { loadCommand } from '../../src/cli/commands.ts';
import { type Action, Call } from '../../src/cli/ctl/action.ts';
import { actions } from '../../src/cli/ctl/actions.ts';
import { ApiClient, pathPart, type Query } from '../../src/cli/ctl/api-client.ts';
import { durationS } from '../../src/cli/ctl/duration.ts';
import { renderTable } from '../../src/cli/ctl/table.ts';
import { cellWidth, fitCells, safeJson, safeText } from '../../src/cli/ctl/terminal-text.ts';
import { pairsOf } from '../../src/cli/ctl/value-text.ts';
import { temporaryFolder } from '../config/temporary-folder.ts';
import { type Asked, FakeApi, problem, type Reply, TOKEN } from './fake-api.ts';
import { type Outcome, runCli } from './run.ts';
import { runMany } from './run-many.ts';

/** A name that would clear the screen and write in red, and one that reads backwards. */
const HOSTILE = 'a\x1b[2J\x1b[31m\u202eb\u009b0m\r\n';

const clients = Array.from({ length: 2500 }, (_, index) => ({
  clientId: index === 0 ? HOSTILE : `client-${index}`,
  protocolVersion: 5,
  listener: 'mqtt://127.0.0.1:1883',
  remoteAddress: '192.0.2.1',
  remotePort: 5000,
  identity: index === 0 ? null : 'alice',
  tenant: '',
  connectedAtMs: 1_700_000_000_000,
  keepAliveS: 60,
  certificate: null,
  outboxBytes: 0,
}));

/** Pages as the node makes them: short ones, and one that is empty though more follow. */
function page(asked: Asked): Reply {
  const limit = Number(asked.query.get('limit'));
  const cursor = asked.query.get('cursor');
  if (cursor === 'empty') return { body: { items: [], cursor: '1000' } };
  const from = Number(cursor ?? 0);
  const items = clients.slice(from, from + limit);
  const next = from + items.length;
  const isLast = next >= clients.length;
  return { body: { items, cursor: isLast ? null : next === 1000 ? 'empty' : String(next) } };
}

/** Deleted 40 at a time. */
let retained = 100;

function answer(asked: Asked): Reply | undefined {
  const { method, path } = asked;
  switch (`${method} ${path}`) {
    case 'GET /api/v1/clients':
      return page(asked);
    case 'GET /api/v1/stats':
      return { body: { connects: 3, messages: { received: 7 }, since: HOSTILE } };
    case 'GET /api/v1/tokens':
      return problem(403, 'this needs the role admin');
    case 'GET /api/v1/limits':
      return problem(503, 'the node is about to stop');
    case 'DELETE /api/v1/clients/gone':
      return problem(404, 'there is no such client');
    case 'POST /api/v1/tokens':
      return { status: 201, body: { name: 'ops', role: 'viewer', token: 'cwt_new' } };
    case 'POST /api/v1/bans':
      return { status: 201, body: { id: 'b1', kind: 'address' } };
    case 'POST /api/v1/config/reload':
      return problem(422, 'nothing was changed', [
        { field: 'acl.yaml:3:5', message: 'bad\x1b rule' },
      ]);
    case 'DELETE /api/v1/retained':
      retained -= 40;
      return { body: { deleted: Math.min(40, retained + 40), complete: retained <= 0 } };
    case 'GET /api/v1/routes':
      return {
        body: {
          items: [
            {
              filter: 'a/+',
              subscribers: [
                { clientId: 'one', qos: 1 },
                { clientId: 'two', qos: 0 },
              ],
            },
          ],
          cursor: null,
        },
      };
    default:
      return method === 'GET' ? undefined : { status: 204 };
  }
}

const api = await FakeApi.start(answer);
t.teardown(() => api.close());

const env = { CAUSEWAY_API_URL: api.url, CAUSEWAY_API_TOKEN: TOKEN };

function ctl(...lines: (readonly string[])[]): Promise<Outcome[]> {
  return runMany(
    lines.map((line) => ['ctl', ...line]),
    { env },
  );
}

t.test('lists: a table, and cursors followed to the limit', async (t) => {
  const [table, many, document] = (await ctl(
    ['clients', '--limit', '3', '--user', 'al*'],
    ['clients', 'list', '--limit', '2600'],
    ['clients', '--limit', '1200', '--json'],
  )) as [Outcome, Outcome, Outcome];
  t.equal(table.code, 0, table.stderr);
  const lines = table.stdout.split('\n');
  t.match(lines[0], /^CLIENT ID +USER +TENANT +ADDRESS +LISTENER +MQTT +CONNECTED$/);
  t.equal(lines.length, 5, 'a hostile name makes no line of its own');
  t.ok(lines[1]!.startsWith('a\\x1b[2J\\x1b[31m\\u{202e}b\\x9b0m\\r\\n  -'), String(lines[1]));
  t.match(lines[2], /^client-1 +alice +- +192\.0\.2\.1 +mqtt:\S+ +5 +2023-11-14T22:13:20\.000Z$/);
  t.match(table.stderr, /there are more; --limit N shows more than 3/);
  const asked = api.asked.find(({ query }) => query.get('user') === 'al*');
  t.equal(asked?.query.get('limit'), '3');

  t.equal(many.stdout.split('\n').length, 2502, 'all of them, an empty page in between');
  t.equal(many.stderr, '');

  const parsed = JSON.parse(document.stdout) as { items: typeof clients; cursor: string };
  t.strictSame(parsed.items, clients.slice(0, 1200));
  t.equal(parsed.cursor, '1200');
  t.notMatch(document.stdout, /[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]/, 'safe on a terminal as well');
});

t.test('changes: what is asked, and what is said', async (t) => {
  const folder = temporaryFolder(t, { token: `${TOKEN}\n`, payload: 'from a file' });
  const before = api.asked.length;
  const outcomes = await ctl(
    ['clients', 'disconnect', '../a b/..'],
    ['sessions', 'delete', '..'],
    ['bans', 'add', 'address', '192.0.2.0/24', '--reason', 'noise', '--expires', '2h'],
    ['publish', 'a/b', '-m', 'höchst', '-q', '1', '--retain', '--expiry', '90'],
    ['publish', 'a/c', '--file', join(folder, 'payload')],
    ['retained', 'delete', '--filter', 'a/#'],
    ['tokens', 'create', 'ops', '--role', 'viewer', '--expires', '30d'],
  );
  const byFile = ['sessions', 'unsubscribe', 'x', 'a/#', '--url', api.url, '--token-file', 'token'];
  outcomes.push(await runCli(['ctl', ...byFile], { cwd: folder }));
  for (const { code, stderr } of outcomes) t.equal(code, 0, stderr);
  const asked = api.asked.slice(before).map(({ method, path, query, body }) => {
    return `${method} ${path}?${query} ${JSON.stringify(body)}`;
  });
  const b64 = (text: string): string => Buffer.from(text).toString('base64');
  const expected = [
    'DELETE /api/v1/clients/..%2Fa%20b%2F..? undefined',
    'DELETE /api/v1/sessions/%2E%2E? undefined',
    'POST /api/v1/bans? {"kind":"address","value":"192.0.2.0/24","reason":"noise","expiresInS":7200}',
    `POST /api/v1/publish? {"topic":"a/b","payload":"${b64('höchst')}","encoding":"base64","qos":1,"retain":true,"messageExpiryS":90}`,
    `POST /api/v1/publish? {"topic":"a/c","payload":"${b64('from a file')}","encoding":"base64","qos":0,"retain":false}`,
    ...Array<string>(3).fill('DELETE /api/v1/retained?filter=a%2F%23 undefined'),
    'POST /api/v1/tokens? {"name":"ops","role":"viewer","expiresInS":2592000}',
    'DELETE /api/v1/sessions/x/subscriptions?filter=a%2F%23 undefined',
  ];
  t.strictSame(asked.toSorted(), expected.toSorted());
  t.equal(outcomes[0]!.stdout, 'disconnected ../a b/..\n');
  t.equal(outcomes[5]!.stdout, 'deleted 100 retained messages of a/#\n', 'in three parts');
  t.equal(outcomes[6]!.stdout, 'cwt_new\n', 'the token alone, for a script');
});

t.test('one thing as pairs, routes as rows', async (t) => {
  const [stats, routes] = (await ctl(['stats'], ['routes', 'a/b'])) as [Outcome, Outcome];
  t.equal(stats.stdout.split('\n')[0], 'connects           3');
  t.equal(stats.stdout.split('\n')[1], 'messages.received  7');
  t.notMatch(stats.stdout, /\x1b/);
  t.equal(
    routes.stdout,
    'FILTER  CLIENT ID  QOS\na/+     one          1\na/+     two          0\n',
  );
});

t.test('errors: one line, no token, an exit code for each kind', async (t) => {
  const as = (token: string, url: string): Promise<Outcome[]> =>
    runMany([['ctl', 'node']], { env: { CAUSEWAY_API_URL: url, CAUSEWAY_API_TOKEN: token } });
  const outcomes = [
    ...(await ctl(['tokens'], ['clients', 'disconnect', 'gone'], ['limits'], ['config', 'reload'])),
    ...(await as('cwt_bad', api.url)),
    ...(await as('', api.url)),
    ...(await as('cwt_secret', 'http://127.0.0.1:1')),
  ];
  const expected: [number, RegExp][] = [
    [3, /^causeway ctl: this needs the role admin \(403\)$/m],
    [4, /there is no such client \(404\)/],
    [2, /the node is about to stop \(503\)/],
    [1, /nothing was changed \(422\)\n {2}acl\.yaml:3:5: bad\\x1b rule$/m],
    [3, /no such token \(401\)/],
    [3, /\(401\)/],
    [2, /cannot reach http:\/\/127\.0\.0\.1:1: nobody/],
  ];
  for (const [index, outcome] of outcomes.entries()) {
    const [code, said] = expected[index]!;
    t.equal(outcome.code, code, outcome.stderr);
    t.match(outcome.stderr, said);
    t.equal(outcome.stdout, '');
    t.notMatch(outcome.stderr, /cwt_/);
  }
});

t.test('wrong command lines never reach a node', async (t) => {
  const folder = temporaryFolder(t, { empty: '\n', binary: 'a b\n' });
  const command = await loadCommand('ctl');
  const cases: [string[], string][] = [
    [[], 'which resource?'],
    [['client'], 'unknown resource client, did you mean clients?'],
    [['clients', 'kick', 'x'], 'clients can do: list, show, disconnect'],
    [['clients', 'show'], 'clients show needs CLIENT_ID'],
    [['clients', 'show', ''], 'clients show: an argument is empty'],
    [['clients', 'show', 'a', 'b'], 'unexpected argument "b"'],
    [['clients', '--role', 'x'], 'clients list takes no --role'],
    [['bans', 'add', 'planet', 'x'], 'KIND is one of client, user, address, certificate'],
    [['tokens', 'create', 'x'], '--role is one of viewer, operator, admin'],
    [
      ['publish', 'a', '-m', 'x', '-n'],
      'publish needs one of --message TEXT, --file FILE, --stdin and --null',
    ],
    [['retained', 'delete'], 'retained delete needs TOPIC, or --filter FILTER for many'],
    [['stats', '--limit', '0'], '--limit is 1 to 1000000'],
    [['stats', '--url', 'mqtt://x'], '--url needs http(s)://HOST:PORT'],
    [['stats', '--url', 'http://a:b@x'], '--url takes no user, query or fragment'],
    [['stats', '--token-file', join(folder, 'empty')], '--token-file: the first line is empty'],
    [['stats', '--token-file', join(folder, 'binary')], '--token-file holds no token'],
    [['stats', '--token', 'x'], 'unknown flag --token'],
  ];
  for (const [args, message] of cases) {
    await t.rejects(command!.run(args), UsageError, args.join(' '));
    await command!
      .run(args)
      .catch((error: Error) => t.ok(error.message.startsWith(message), error.message));
  }
});

t.test('text for terminals', async (t) => {
  t.equal(safeText('a\\b\tc\x00\u200bé\ud800'), 'a\\\\b\\tc\\x00\\u{200b}é\\u{d800}');
  t.equal(safeText('Straße 東京 ✓'), 'Straße 東京 ✓');
  t.strictSame(JSON.parse(safeJson({ a: HOSTILE })), { a: HOSTILE });
  t.equal(cellWidth('東京e\u0301'), 5);
  t.equal(fitCells('東京大学', 5), '東京…');
  t.equal(fitCells('abc', 3), 'abc');
  t.strictSame(pairsOf({ a: [1, 2], b: { c: null }, d: [{ e: 1 }] }), [
    ['a', '1, 2'],
    ['b.c', '-'],
    ['d[0].e', '1'],
  ]);
  for (const [text, seconds] of [
    ['90', 90],
    ['15min', 900],
    ['2h', 7200],
  ] as const) {
    t.equal(durationS('--expires', text), seconds);
  }
  t.throws(() => durationS('--expires', '1y'), UsageError);
});

t.test('tables fit the terminal', async (t) => {
  const columns = [{ title: 'NAME' }, { title: 'TOPIC' }, { title: 'N', isNumber: true }];
  const rows = [
    ['short', `${'deep/'.repeat(20)}end`, '1'],
    ['a-rather-long-client-identifier', 'x', '12345'],
  ];
  const lines = renderTable(columns, rows, 50).split('\n');
  for (const line of lines) t.ok(cellWidth(line) <= 50, line);
  t.match(lines[1], /deep\/\S*… +1$/);
  t.match(renderTable(columns, rows, null), /a-rather-long-client-identifier +x +12345\n/);
  t.ok(renderTable(columns, rows, 5).length > 0, 'a terminal too narrow for anything');
});

t.test('a path part is never a step or a separator', async (t) => {
  t.equal(pathPart('..'), '%2E%2E');
  t.equal(pathPart('a/../b?c#d'), 'a%2F..%2Fb%3Fc%23d');
  const client = new ApiClient({ url: new URL(`${api.url}/`), token: TOKEN, ca: null });
  await client.send('DELETE', `/sessions/${pathPart('.')}`);
  t.equal(api.asked.at(-1)?.path, '/api/v1/sessions/%2E');
  client.close();
});

t.test('every action is in the help, each once', async (t) => {
  const command = await loadCommand('ctl');
  const words = actions.map(({ resource, verb }) => `${resource} ${verb}`.trim());
  t.equal(new Set(words).size, words.length);
  for (const word of words) t.ok(command!.usage.includes(`\n  ${word}`), word);
});

/** What an action asks of the API, without a node. */
interface Use {
  readonly method: string;
  readonly path: string;
  readonly query: readonly string[];
  readonly body: Readonly<Record<string, unknown>> | undefined;
  readonly isList: boolean;
}

/** Runs an action with an argument for each it takes and a value for each flag it has. */
async function usesOf(action: Action): Promise<Use[]> {
  const uses: Use[] = [];
  const note = (method: string, path: string, query: Query, body: unknown, isList: boolean) => {
    const given = Object.keys(query).filter((name) => query[name] !== undefined);
    uses.push({ method, path, query: given, body: body as Use['body'], isList });
  };
  const api = {
    list: async (path: string, query: Query) => {
      note('GET', path, query, undefined, true);
      return { items: [], cursor: null };
    },
    get: async (path: string, query: Query = {}) => note('GET', path, query, undefined, false),
    send: async (method: string, path: string, query: Query = {}, body?: unknown) => {
      note(method, path, query, body, false);
      return { deleted: 0, complete: true };
    },
  } as unknown as ApiClient;
  const values = new Map<string, readonly string[]>([['json', ['']]]);
  const sample = new Map([
    ['role', 'admin'],
    ['expires', '1h'],
    ['expiry', '1h'],
    ['qos', '1'],
    ['rate', '10'],
  ]);
  for (const name of Object.keys(action.flags)) {
    if (['file', 'stdin', 'null', 'filter'].includes(name) && action.resource !== 'subscriptions') {
      continue;
    }
    // Other ways to use it, which test/cli/ctl-cluster.test.ts goes.
    if (action.resource === 'drain' && ['wait', 'stop', 'show'].includes(name)) continue;
    values.set(name, [sample.get(name) ?? 'x']);
  }
  const args = action.args.map((name) => (name === 'KIND' ? 'user' : 'ARG'));
  await action.run(new Call(api, { values, positionals: [] }, args, 10));
  return uses;
}

t.test('every action fits the route table of the API', async (t) => {
  const write = process.stdout.write;
  t.teardown(() => {
    process.stdout.write = write;
  });
  const schemaOf = (schema: JsonSchema | undefined): JsonSchema => {
    const name = /#\/components\/schemas\/(.*)$/.exec(String(schema?.$ref ?? ''))?.[1];
    return name === undefined ? (schema ?? {}) : shapes[name]!;
  };
  for (const action of actions) {
    const name = `${action.resource} ${action.verb}`.trim();
    // What it prints is not looked at here, and would not be TAP.
    process.stdout.write = () => true;
    const uses = await usesOf(action).finally(() => {
      process.stdout.write = write;
    });
    t.ok(uses.length > 0, name);
    for (const use of uses) {
      const route = routeTable.find(
        ({ method, path }) =>
          method === use.method &&
          path.replaceAll(/\{\w+\}/g, 'ARG') === use.path.replaceAll('x', 'ARG'),
      );
      t.ok(route, `${name}: ${use.method} ${use.path}`);
      const known = Object.keys(route?.query ?? {});
      t.strictSame(
        use.query.filter((one) => !known.includes(one)),
        [],
        `${name}: query`,
      );
      const success = Object.entries(route?.answers ?? {}).find(([status]) => status < '300')?.[1];
      const properties = schemaOf(success?.schema).properties as
        | Record<string, JsonSchema>
        | undefined;
      t.equal(use.isList, properties?.cursor !== undefined, `${name}: is it a list?`);
      const body = schemaOf(route?.body);
      const fields = Object.keys((body.properties ?? {}) as object);
      const given = Object.keys(use.body ?? {});
      t.strictSame(
        given.filter((one) => !fields.includes(one)),
        [],
        `${name}: body`,
      );
      const required = (body.required ?? []) as string[];
      t.strictSame(
        required.filter((one) => !given.includes(one)),
        [],
        `${name}: required`,
      );
      if (!use.isList) continue;
      const items = schemaOf(properties?.items).items as JsonSchema;
      const kinds = ((items.oneOf as JsonSchema[] | undefined) ?? [items]).map(schemaOf);
      const columns = kinds.flatMap((kind) => Object.keys(kind.properties as object));
      const routed = name === 'routes' ? ['clientId', 'qos'] : [];
      const missing = (action.columns ?? []).filter(
        ({ field }) => ![...columns, ...routed].includes(field),
      );
      t.strictSame(missing, [], `${name}: columns`);
      t.ok((action.columns ?? []).length > 0, `${name} has columns`);
    }
  }
});

// Makes docs/reference/api.md from the OpenAPI document, which is made from the route table; a test
// compares the file with it. Run after changing an endpoint: node test/admin/api-reference.ts
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { openApiDocument } from '../../src/admin/api/openapi.ts';
import { roles } from '../../src/admin/api/role.ts';
import { routeTable } from '../../src/admin/api/route-table.ts';

export const apiReferencePath: string = join(import.meta.dirname, '../../docs/reference/api.md');

interface Schema {
  readonly $ref?: string;
  readonly type?: string | readonly string[];
  readonly description?: string;
  readonly const?: string;
  readonly enum?: readonly (string | number)[];
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  readonly items?: Schema;
  readonly oneOf?: readonly Schema[];
  readonly anyOf?: readonly Schema[];
  readonly additionalProperties?: boolean | Schema;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly default?: unknown;
}

interface Operation {
  readonly summary: string;
  readonly description: string;
  readonly parameters?: readonly {
    readonly name: string;
    readonly in: string;
    readonly required: boolean;
    readonly description: string;
    readonly schema: Schema;
  }[];
  readonly requestBody?: {
    readonly content: Readonly<Record<string, { readonly schema: Schema }>>;
  };
  readonly responses: Readonly<Record<string, Response>>;
}

interface Response {
  readonly description: string;
  readonly content?: Readonly<Record<string, { readonly schema: Schema }>>;
}

interface Document {
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  readonly components: { readonly schemas: Readonly<Record<string, Schema>> };
}

function row(...cells: readonly string[]): string {
  return `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  return [row(...head), row(...head.map(() => '---')), ...rows.map((cells) => row(...cells))].join(
    '\n',
  );
}

function code(text: string): string {
  return `\`${text}\``;
}

/** A type in few words; what has a name is a link. */
function typeOf(schema: Schema): string {
  const { $ref, type, items, enum: values, oneOf, anyOf, const: only } = schema;
  if ($ref !== undefined) {
    const name = $ref.split('/').at(-1)!;
    return `[${name}](#${name.toLowerCase()})`;
  }
  if (only !== undefined) return code(only);
  if (values !== undefined) return values.map((value) => code(String(value))).join(', ');
  const choices = oneOf ?? anyOf;
  if (choices !== undefined) return choices.map(typeOf).join(' or ');
  if (items !== undefined) return `list of ${typeOf(items)}`;
  const { minimum, maximum } = schema;
  const bounds =
    minimum === undefined && maximum === undefined ? '' : ` ${minimum ?? ''} to ${maximum ?? ''}`;
  return `${Array.isArray(type) ? type.join(' or ') : (type ?? 'anything')}${bounds.trimEnd()}`;
}

function members(schema: Schema): string {
  const { properties = {}, required = [] } = schema;
  return table(
    ['Field', 'Type', 'Meaning'],
    Object.entries(properties).flatMap(([name, member]) => nested(name, member, required)),
  );
}

/** A member, and below it those of an object without a name of its own. */
function nested(name: string, member: Schema, required: readonly string[]): string[][] {
  const last = name.split('.').at(-1)!.replace('[]', '');
  const optional = required.includes(last) ? '' : ' (may be absent)';
  const inner =
    (member.items?.properties && { schema: member.items, path: `${name}[]` }) ??
    (member.properties && { schema: member, path: name }) ??
    member.anyOf
      ?.filter(({ properties }) => properties)
      .map((schema) => ({ schema, path: name }))[0];
  const type = inner === undefined ? typeOf(member) : kindOf(member);
  const own = [code(name), `${type}${optional}`, member.description ?? ''];
  if (inner === undefined) return [own];
  const { schema, path } = inner;
  const inside = Object.entries(schema.properties ?? {});
  if (inside.every(([, { type: one }]) => one === 'number')) {
    return [[code(name), 'numbers by name', inside.map(([key]) => code(key)).join(', ')]];
  }
  return [
    own,
    ...inside.flatMap(([sub, one]) => nested(`${path}.${sub}`, one, schema.required ?? [])),
  ];
}

function kindOf({ items, anyOf }: Schema): string {
  if (items !== undefined) return 'list of objects';
  return anyOf === undefined ? 'object' : 'object or null';
}

/** The items of a list, or nothing. */
function pageItems({ properties }: Schema): Schema | null {
  return properties?.cursor !== undefined ? (properties.items?.items ?? null) : null;
}

function answer(status: string, { description, content }: Response): string {
  if (content === undefined) return `**${status}** ${description}`;
  const [[type, { schema }]] = Object.entries(content) as [[string, { schema: Schema }]];
  const items = pageItems(schema);
  const head = `**${status}** ${description}`;
  if (items !== null) {
    if (items.properties === undefined) return `${head} A page of ${typeOf(items)}.`;
    return `${head} A page of:\n\n${members(items)}`;
  }
  if (schema.$ref !== undefined) {
    const lines = type === 'application/x-ndjson' ? 'Each: ' : '';
    return `${head} ${lines}${typeOf(schema)}.`;
  }
  const { properties } = schema;
  if (properties === undefined) return head;
  return `${head}\n\n${members(schema)}`;
}

function operation(method: string, path: string, of: Operation): string {
  const parts = [`### ${method.toUpperCase()} ${path.replace('/api/v1', '')}`, `${of.summary}.`];
  parts.push(of.description);
  if (of.parameters !== undefined) {
    parts.push(
      table(
        ['Parameter', 'In', 'Type', 'Meaning'],
        of.parameters.map(({ name, in: place, required, description, schema }) => [
          code(name),
          place,
          `${typeOf(schema)}${required ? '' : ' (may be absent)'}`,
          schema.default === undefined ? description : `${description} Default ${schema.default}.`,
        ]),
      ),
    );
  }
  if (of.requestBody !== undefined) {
    parts.push('Body:', members(of.requestBody.content['application/json']!.schema));
  }
  const own = Object.entries(of.responses).filter(
    ([status]) => Number(status) < 400 || [404, 409, 422].includes(Number(status)),
  );
  parts.push(...own.map(([status, response]) => answer(status, response)));
  return parts.join('\n\n');
}

function named(name: string, schema: Schema): string {
  const head = `### ${name}\n\n${schema.description ?? ''}`;
  if (schema.oneOf === undefined) return `${head}\n\n${members(schema)}`;
  return [head, ...schema.oneOf.map((one) => `${one.description}\n\n${members(one)}`)].join('\n\n');
}

export function apiReference(): string {
  const { paths, components } = openApiDocument(routeTable, '') as Document;
  const overview = routeTable.map(({ method, path, role, summary }) => [
    `[${code(`${method} ${path}`)}](#${`${method}-${path}`.toLowerCase().replace(/[^a-z0-9-]/g, '')})`,
    role ?? 'no token',
    summary,
  ]);
  const operations = Object.entries(paths).flatMap(([path, byMethod]) =>
    Object.entries(byMethod).map(([method, of]) => operation(method, path, of)),
  );
  return `# The operator's API

<!-- Made by \`node test/admin/api-reference.ts\` from the route table; do not edit. -->

JSON over HTTP on the admin address, below \`/api/v1\`. \`GET /api/v1/openapi.json\` is the same as an
OpenAPI 3.1 document. \`causeway ctl\` is the same from the shell.

**Tokens.** Every call needs \`Authorization: Bearer TOKEN\`, and is taken in no other way: no cookie, no
parameter. A token has a role, ${roles.map(code).join(' < ')}; each may all that the ones before it may.
\`causeway init\` prints the first one; \`CAUSEWAY_ADMIN_TOKEN\` (at least 24 characters) is another. The
node keeps hashes only.

**Lists** answer \`{"items": […], "cursor": …}\`. Hand the cursor in with otherwise the same parameters
for the next page; null means that this was the last one. A page may have fewer items than \`limit\`, even
none, before the end. What is there from the first page to the last is seen once; what comes or goes
meanwhile may be seen or not. A cursor is good for one token, for a minute after its page, and for a
quarter of an hour after the first; then the answer is 410. The page before can be asked for again.

**Names** of clients, topics and filters may hold any character: percent-encode them, \`/\` as \`%2F\` in a
path. A filter of a list is the exact text, or has \`*\` for any characters.

**Errors** are \`application/problem+json\`: \`detail\` is a sentence, \`errors\` names the fields that are
wrong. Unknown fields and parameters are errors. Every endpoint can answer 401 (no good token), 403 (the
role is not enough), 421 (a host name that is not this address'), 429 (too many calls, or too many failed
logins from this address; see \`Retry-After\`) and 500 (the log has the cause), and 400, 410, 413 and 415
where the request can be wrong.

**Changes** are written to the log with \`audit: true\`: who, from where, what, and the status; also those
that were refused to a known token. The last 1000 are at \`GET /audit\`.

## Endpoints

${table(['Endpoint', 'Role', 'What it does'], overview)}

${operations.join('\n\n')}

## Schemas

${Object.entries(components.schemas)
  .map(([name, schema]) => named(name, schema))
  .join('\n\n')}
`;
}

if (process.argv[1] === import.meta.filename) {
  writeFileSync(apiReferencePath, apiReference());
}

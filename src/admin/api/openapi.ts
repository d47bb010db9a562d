/** The OpenAPI 3.1 document, made from the route table. Pure. */
import type { AnswerSpec, ApiRoute } from './route.ts';
import { BASE_PATH } from './route-table.ts';
import { shapes } from './routes/shapes.ts';
import type { JsonSchema } from './schema.ts';
import { named } from './schema.ts';

const PROBLEM = 'application/problem+json';

/** What any endpoint can answer; each that it can is in the document. */
export function commonProblems(route: ApiRoute): number[] {
  const statuses = [421, 429, 500];
  if (route.role !== null) statuses.push(401, 403);
  if (route.params !== undefined || route.query !== undefined) statuses.push(400);
  if (route.query?.cursor !== undefined) statuses.push(410);
  if (route.body !== undefined) statuses.push(400, 413, 415);
  return [...new Set(statuses)].sort();
}

const said: Readonly<Record<number, string>> = {
  400: 'A parameter or the body is not as described; `errors` names what.',
  401: 'No token, or one that is not good.',
  403: 'The role of the token is not enough.',
  410: 'The cursor is no longer good: begin again without it.',
  413: 'The body is too large.',
  415: 'The body is not `application/json`.',
  421: 'The host name is not one of this address.',
  429: 'Too many calls, or too many failed ones from this address; `Retry-After` says when.',
  500: 'The node failed; its log has the cause.',
};

export function openApiDocument(routes: readonly ApiRoute[], version: string): object {
  const paths: Record<string, Record<string, JsonSchema>> = {};
  for (const route of routes) {
    const path = `${BASE_PATH}${route.path}`;
    paths[path] ??= {};
    paths[path][route.method.toLowerCase()] = operation(route);
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'Causeway operator API',
      version,
      description:
        "What an operator sees of a node and does to it. Every call needs a token: its role is in the operation's description.",
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    servers: [{ url: '/' }],
    paths,
    components: {
      schemas: shapes,
      securitySchemes: {
        token: { type: 'http', scheme: 'bearer', description: 'A token of the API.' },
      },
    },
  };
}

function operation(route: ApiRoute): JsonSchema {
  const { role, id, summary, description, body, queryRequired = [] } = route;
  const asked = role === null ? 'Needs no token.' : `Needs a token with the role ${role}.`;
  const parameters = [
    ...Object.entries(route.params ?? {}).map(([name, schema]) => ({
      name,
      in: 'path',
      required: true,
      description: schema.description,
      schema: bare(schema),
    })),
    ...Object.entries(route.query ?? {}).map(([name, schema]) => ({
      name,
      in: 'query',
      required: queryRequired.includes(name),
      description: schema.description,
      schema: bare(schema),
    })),
  ];
  const responses: Record<string, JsonSchema> = {};
  for (const status of commonProblems(route)) responses[status] = problem(said[status]!);
  for (const [status, answer] of Object.entries(route.answers)) {
    responses[status] = Number(status) < 400 ? success(answer) : problem(answer.description);
  }
  return {
    operationId: id,
    summary,
    description: description === undefined ? asked : `${description} ${asked}`,
    ...(parameters.length === 0 ? {} : { parameters }),
    ...(body === undefined
      ? {}
      : { requestBody: { required: true, content: { 'application/json': { schema: body } } } }),
    responses,
    security: role === null ? [] : [{ token: [] }],
    'x-role': role,
  };
}

function success({
  description,
  schema,
  contentType = 'application/json',
}: AnswerSpec): JsonSchema {
  return schema === undefined
    ? { description }
    : { description, content: { [contentType]: { schema } } };
}

function problem(description: string): JsonSchema {
  return { description, content: { [PROBLEM]: { schema: named('Problem') } } };
}

/** A parameter has its description beside the schema. */
function bare(schema: JsonSchema): JsonSchema {
  const { description: _, ...rest } = schema;
  return rest;
}

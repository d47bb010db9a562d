/** /tokens: who may call the API; and /audit: what they changed. */
import { ApiError } from '../api-error.ts';
import { type Role, roles } from '../role.ts';
import { type ApiRoute, noBody, nothing, ok, PROBLEM_404, pageQuery } from '../route.ts';
import { integer, named, nullable, object, oneOf, page, string } from '../schema.ts';
import { TokenError } from '../token-store.ts';
import { IterableSource } from '../walks.ts';

interface TokenBody {
  readonly name: string;
  readonly role: Role;
  readonly expiresInS?: number | null;
}

const statusOf: Readonly<Record<TokenError['code'], number>> = {
  name: 400,
  unknown: 404,
  taken: 409,
  full: 409,
  environment: 409,
  last_admin: 409,
};

async function saying<T>(work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    if (!(error instanceof TokenError)) throw error;
    throw new ApiError(statusOf[error.code], error.message);
  }
}

export const tokenRoutes: readonly ApiRoute[] = [
  {
    method: 'GET',
    path: '/tokens',
    role: 'admin',
    id: 'listTokens',
    summary: 'Tokens of the API, without the tokens',
    query: pageQuery,
    answers: { 200: { description: 'Tokens.', schema: page(named('Token')) } },
    changes: false,
    handle: async (call, { tokens, walks }) =>
      ok(
        await walks.page(
          call,
          () => new IterableSource(tokens.list()),
          (token) => token,
        ),
      ),
  },
  {
    method: 'POST',
    path: '/tokens',
    role: 'admin',
    id: 'createToken',
    summary: 'Make a token',
    body: object(
      'The token.',
      {
        name: string('Letters, digits, dots, - and _.', { minLength: 1, maxLength: 64 }),
        role: oneOf('What it may do.', roles),
        expiresInS: nullable(
          integer('Seconds; null or absent: never.', { minimum: 1, maximum: 10_000_000_000 }),
        ),
      },
      ['expiresInS'],
    ),
    answers: {
      201: { description: 'The token, shown this once.', schema: named('NewToken') },
      409: { description: 'The name is taken, or there are too many.' },
    },
    changes: true,
    target: (call) => {
      const { name, role } = call.body as TokenBody;
      return `${name} ${role}`;
    },
    handle: async (call, { tokens }) => {
      const { name, role, expiresInS = null } = call.body as TokenBody;
      return { status: 201, body: await saying(tokens.create({ name, role, expiresInS })) };
    },
  },
  {
    method: 'DELETE',
    path: '/tokens/{name}',
    role: 'admin',
    id: 'deleteToken',
    summary: 'Refuse a token from now on',
    description: 'Its traces end. The last admin token cannot be deleted.',
    params: { name: string('Of the token.', { minLength: 1 }) },
    answers: {
      204: noBody('It is refused.'),
      404: { description: PROBLEM_404 },
      409: { description: 'It is the last admin token, or comes from the environment.' },
    },
    changes: true,
    target: (call) => call.param('name'),
    handle: async (call, { tokens, traces }) => {
      const name = call.param('name');
      await saying(tokens.remove(name));
      traces.endOf(name);
      return nothing;
    },
  },
  {
    method: 'GET',
    path: '/audit',
    role: 'admin',
    id: 'listAudit',
    summary: 'The last calls that changed something, the newest first',
    description: 'Since the start, the last 1000. The log has them all.',
    query: pageQuery,
    answers: { 200: { description: 'Calls.', schema: page(named('AuditEntry')) } },
    changes: false,
    handle: async (call, { audit, walks }) =>
      ok(
        await walks.page(
          call,
          () => new IterableSource(audit.list()),
          (entry) => entry,
        ),
      ),
  },
];

/** /bans: who is kept out. */
import { ApiError } from '../api-error.ts';
import { type Ban, type BanKind, banKinds } from '../ports.ts';
import { type ApiRoute, noBody, nothing, ok, PROBLEM_404, pageQuery } from '../route.ts';
import { integer, named, nullable, object, oneOf, page, string } from '../schema.ts';
import { IterableSource } from '../walks.ts';

interface BanBody {
  readonly kind: BanKind;
  readonly value: string;
  readonly reason?: string;
  readonly expiresInS?: number | null;
}

/** Field by field: what else the table knows of a ban stays there. */
function shown(ban: Ban): object {
  const { id, kind, value, user, origin, reason, by, createdAtMs, expiresAtMs, hits } = ban;
  const rest = { origin, reason, by, createdAtMs, expiresAtMs, hits };
  return { id, kind, value, ...(user === undefined ? {} : { user }), ...rest };
}

export const banRoutes: readonly ApiRoute[] = [
  {
    method: 'GET',
    path: '/bans',
    role: 'viewer',
    id: 'listBans',
    summary: 'Who is kept out, why and until when',
    query: pageQuery,
    answers: { 200: { description: 'Bans in force.', schema: page(named('Ban')) } },
    changes: false,
    handle: async (call, { bans, walks }) =>
      ok(
        await walks.page(
          call,
          () => new IterableSource(bans.list()),
          shown,
          ({ value, reason }) => value.length + reason.length,
        ),
      ),
  },
  {
    method: 'POST',
    path: '/bans',
    role: 'operator',
    id: 'addBan',
    summary: 'Keep somebody out',
    description: 'Holds at once: those who are connected are disconnected. Kept over a restart.',
    body: object(
      'The ban.',
      {
        kind: oneOf('What `value` is.', banKinds),
        value: string('Client identifier, user, address or CIDR network, or the fingerprint.', {
          minLength: 1,
          maxLength: 65_535,
        }),
        reason: string('For people.', { maxLength: 1000 }),
        expiresInS: nullable(
          integer('Seconds; null or absent: until it is lifted.', {
            minimum: 1,
            maximum: 10_000_000_000,
          }),
        ),
      },
      ['reason', 'expiresInS'],
    ),
    bodyBytesMax: 512 * 1024,
    answers: {
      201: { description: 'The ban.', schema: named('Ban') },
      409: { description: 'There are too many bans.' },
      422: { description: 'The value is none of its kind, such as an address that is no address.' },
    },
    changes: true,
    target: (call) => {
      const { kind, value } = call.body as BanBody;
      return `${kind} ${value}`;
    },
    handle: async (call, { bans }) => {
      const { kind, value, reason = '', expiresInS = null } = call.body as BanBody;
      const ban = await bans.add({ kind, value, reason, expiresInS, by: call.caller.name });
      return { status: 201, body: shown(ban) };
    },
  },
  {
    method: 'DELETE',
    path: '/bans/{id}',
    role: 'operator',
    id: 'liftBan',
    summary: 'Lift a ban',
    params: { id: string('Of the ban.', { minLength: 1 }) },
    answers: { 204: noBody('It is lifted.'), 404: { description: PROBLEM_404 } },
    changes: true,
    target: (call) => call.param('id'),
    handle: async (call, { bans }) => {
      if (await bans.remove(call.param('id'))) return nothing;
      throw new ApiError(404, 'there is no such ban');
    },
  },
];

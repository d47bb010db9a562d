/** /sessions: what outlives a connection, its subscriptions and its queue. */
import type { SessionState } from '../../../core/ports.ts';
import { ApiError } from '../api-error.ts';
import type { Call } from '../call.ts';
import {
  type ApiParts,
  type ApiRoute,
  noBody,
  nothing,
  ok,
  PROBLEM_404,
  pageQuery,
} from '../route.ts';
import { boolean, named, page, string } from '../schema.ts';
import { IterableSource } from '../walks.ts';
import { clientIdPath, ownedSource, ownerQuery } from './owner-filter.ts';
import { checkFilter } from './topic-check.ts';

const NO_SESSION = 'there is no session with this client identifier';

function source(call: Call, { core, stats }: ApiParts): IterableSource<SessionState> {
  const connected = call.flag('connected');
  return ownedSource(
    call,
    { one: (id) => core.session(id), all: () => core.sessions(), size: stats.sessions },
    (session) => connected === null || connected === session.connected,
  );
}

export const sessionRoutes: readonly ApiRoute[] = [
  {
    method: 'GET',
    path: '/sessions',
    role: 'viewer',
    id: 'listSessions',
    summary: 'Sessions, connected or not',
    query: {
      ...ownerQuery,
      connected: boolean('Only those that a client holds, or that none does.'),
      ...pageQuery,
    },
    answers: { 200: { description: 'Sessions.', schema: page(named('Session')) } },
    changes: false,
    handle: async (call, parts) =>
      ok(
        await parts.walks.page(
          call,
          () => source(call, parts),
          (session) => session,
          ({ clientId, will }) => clientId.length + (will?.topic.length ?? 0),
        ),
      ),
  },
  {
    method: 'GET',
    path: '/sessions/{clientId}',
    role: 'viewer',
    id: 'getSession',
    summary: 'One session',
    params: clientIdPath,
    answers: {
      200: { description: 'The session.', schema: named('Session') },
      404: { description: PROBLEM_404 },
    },
    changes: false,
    handle: (call, { core }) => {
      const session = core.session(call.param('clientId'));
      if (session === null) throw new ApiError(404, NO_SESSION);
      return ok(session);
    },
  },
  {
    method: 'DELETE',
    path: '/sessions/{clientId}',
    role: 'operator',
    id: 'deleteSession',
    summary: 'End a session',
    description: 'Its client is disconnected, its subscriptions and its queue are gone.',
    params: clientIdPath,
    answers: { 204: noBody('It is ended.'), 404: { description: PROBLEM_404 } },
    changes: true,
    target: (call) => call.param('clientId'),
    handle: (call, { core }) => {
      if (core.endSession(call.param('clientId'))) return nothing;
      throw new ApiError(404, NO_SESSION);
    },
  },
  {
    method: 'GET',
    path: '/sessions/{clientId}/subscriptions',
    role: 'viewer',
    id: 'listSubscriptionsOfSession',
    summary: 'What a session is subscribed to',
    params: clientIdPath,
    query: pageQuery,
    answers: {
      200: { description: 'Subscriptions.', schema: page(named('Subscription')) },
      404: { description: PROBLEM_404 },
    },
    changes: false,
    handle: async (call, { core, walks }) => {
      const find = () => {
        const records = core.subscriptions(call.param('clientId'));
        if (records === null) throw new ApiError(404, NO_SESSION);
        return new IterableSource(records);
      };
      return ok(
        await walks.page(
          call,
          find,
          (record) => record,
          ({ filter }) => filter.length,
        ),
      );
    },
  },
  {
    method: 'DELETE',
    path: '/sessions/{clientId}/subscriptions',
    role: 'operator',
    id: 'deleteSubscription',
    summary: 'End one subscription of a session',
    description: 'As if the client had unsubscribed; MQTT has no word to tell it.',
    params: clientIdPath,
    query: { filter: string('As subscribed, `$share/…` included.', { minLength: 1 }) },
    queryRequired: ['filter'],
    answers: { 204: noBody('It is ended.'), 404: { description: PROBLEM_404 } },
    changes: true,
    target: (call) => `${call.param('clientId')} ${call.text('filter')}`,
    handle: (call, { core }) => {
      const filter = call.text('filter')!;
      checkFilter('filter', filter);
      if (core.unsubscribe(call.param('clientId'), filter)) return nothing;
      throw new ApiError(404, 'there is no such subscription');
    },
  },
  {
    method: 'GET',
    path: '/sessions/{clientId}/queue',
    role: 'viewer',
    id: 'listQueue',
    summary: 'Messages that wait for a session',
    description:
      'The first ones that memory holds, those in flight before the others, without payloads. ' +
      '`queuedMessages` of the session says how many there are.',
    params: clientIdPath,
    query: { limit: pageQuery.limit! },
    answers: {
      200: { description: 'Messages.', schema: page(named('QueuedMessage')) },
      404: { description: PROBLEM_404 },
    },
    changes: false,
    handle: (call, { core }) => {
      const items = core.queue(call.param('clientId'), call.number('limit') ?? 100);
      if (items === null) throw new ApiError(404, NO_SESSION);
      return ok({ items, cursor: null });
    },
  },
];

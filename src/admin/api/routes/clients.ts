/** /clients: connections of clients. */
import type { ClientState } from '../../../core/ports.ts';
import { ApiError } from '../api-error.ts';
import type { Call } from '../call.ts';
import { globTest } from '../glob.ts';
import {
  type ApiParts,
  type ApiRoute,
  noBody,
  nothing,
  ok,
  PROBLEM_404,
  pageQuery,
} from '../route.ts';
import { named, page } from '../schema.ts';
import type { IterableSource } from '../walks.ts';
import { clientIdPath, globParameter, ownedSource, ownerQuery } from './owner-filter.ts';

function source(call: Call, { core, stats }: ApiParts): IterableSource<ClientState> {
  const listener = globTest(call.text('listener'));
  const address = globTest(call.text('address'));
  return ownedSource(
    call,
    { one: (id) => core.client(id), all: () => core.clients(), size: stats.connections },
    (client) =>
      (listener === null || listener(client.listener)) &&
      (address === null || address(client.remoteAddress)),
  );
}

export const clientRoutes: readonly ApiRoute[] = [
  {
    method: 'GET',
    path: '/clients',
    role: 'viewer',
    id: 'listClients',
    summary: 'Connected clients',
    query: {
      ...ownerQuery,
      listener: globParameter('Likewise.'),
      address: globParameter('Likewise.'),
      ...pageQuery,
    },
    answers: { 200: { description: 'Clients.', schema: page(named('Client')) } },
    changes: false,
    handle: async (call, parts) =>
      ok(
        await parts.walks.page(
          call,
          () => source(call, parts),
          (client) => client,
          ({ clientId }) => clientId.length,
        ),
      ),
  },
  {
    method: 'GET',
    path: '/clients/{clientId}',
    role: 'viewer',
    id: 'getClient',
    summary: 'One connected client',
    params: clientIdPath,
    answers: {
      200: { description: 'The client.', schema: named('Client') },
      404: { description: PROBLEM_404 },
    },
    changes: false,
    handle: (call, { core }) => {
      const client = core.client(call.param('clientId'));
      if (client === null) throw new ApiError(404, 'no client is connected with this identifier');
      return ok(client);
    },
  },
  {
    method: 'DELETE',
    path: '/clients/{clientId}',
    role: 'operator',
    id: 'disconnectClient',
    summary: 'End the connection of a client',
    description: 'The client is told 0x98 and its will is published; a durable session stays.',
    params: clientIdPath,
    answers: { 204: noBody('It is ended.'), 404: { description: PROBLEM_404 } },
    changes: true,
    target: (call) => call.param('clientId'),
    handle: (call, { core }) => {
      if (core.disconnect(call.param('clientId'), 'admin_disconnect')) return nothing;
      throw new ApiError(404, 'no client is connected with this identifier');
    },
  },
];

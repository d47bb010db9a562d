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
import { named, page, string } from '../schema.ts';
import { IterableSource } from '../walks.ts';

const glob = { minLength: 1, maxLength: 256 };
const ofOne = { clientId: string('Client identifier, percent-encoded.', { minLength: 1 }) };

function belongs(call: Call): (client: ClientState) => boolean {
  const clientId = globTest(call.text('clientId'));
  const user = globTest(call.text('user'));
  const tenant = globTest(call.text('tenant'));
  const listener = globTest(call.text('listener'));
  const address = globTest(call.text('address'));
  return (client) =>
    (clientId === null || clientId(client.clientId)) &&
    (user === null || user(client.identity)) &&
    (tenant === null || tenant(client.tenant)) &&
    (listener === null || listener(client.listener)) &&
    (address === null || address(client.remoteAddress));
}

/** One client is looked up, many are walked. */
function source(call: Call, { core, stats }: ApiParts): IterableSource<ClientState> {
  const clientId = call.text('clientId');
  if (clientId !== null && !clientId.includes('*')) {
    const client = core.client(clientId);
    return new IterableSource(client === null ? [] : [client], belongs(call));
  }
  return new IterableSource(core.clients(), belongs(call), stats.connections);
}

export const clientRoutes: readonly ApiRoute[] = [
  {
    method: 'GET',
    path: '/clients',
    role: 'viewer',
    id: 'listClients',
    summary: 'Connected clients',
    query: {
      clientId: string('Exact, or with * for any characters.', glob),
      user: string('Likewise.', glob),
      tenant: string('Likewise.', glob),
      listener: string('Likewise.', glob),
      address: string('Likewise.', glob),
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
    params: ofOne,
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
    params: ofOne,
    answers: { 204: noBody('It is ended.'), 404: { description: PROBLEM_404 } },
    changes: true,
    target: (call) => call.param('clientId'),
    handle: (call, { core }) => {
      if (core.disconnect(call.param('clientId'), 'admin_disconnect')) return nothing;
      throw new ApiError(404, 'no client is connected with this identifier');
    },
  },
];

/** /cluster/drain: moving the clients of every node of a datacenter elsewhere, to another region. */
import { ApiError } from '../api-error.ts';
import type { Call } from '../call.ts';
import type { RegionDrainPort, RegionDrainReport } from '../ports.ts';
import { type ApiParts, type ApiRoute, ok } from '../route.ts';
import { boolean, integer, list, nullable, object, string } from '../schema.ts';
import { drainBody, drainOptions } from './drain.ts';

const ALONE = 'The node is alone.';

const shape = object('How far it is.', {
  draining: boolean('Clients of the whole datacenter are sent elsewhere, and whoever comes is.'),
  drained: boolean('They are, and nobody is left at any node that was heard of.'),
  moved: integer('Clients that were told to go.'),
  remaining: integer('Connections that are still there.'),
  clientsPerS: nullable(integer('Clients told to go in a second, of all nodes; null: none are.')),
  serverReference: nullable(string('What clients are told to use; null: nothing.')),
  startedAtMs: integer('Wall-clock ms; 0: it is not being drained.'),
  by: nullable(string('Name of the token that asked for it; null: nobody has.')),
  isTold: boolean('The other nodes know; false: they will as soon as Redis is back.'),
  nodes: list(
    'This one, and the others that were heard of within the last seconds.',
    object('A node.', {
      nodeId: string('Its name.'),
      draining: boolean('It sends its clients elsewhere.'),
      moved: integer('Clients that it told to go.'),
      remaining: integer('Connections that are still there.'),
    }),
  ),
});

function portOf({ regionDrain }: ApiParts): RegionDrainPort {
  if (regionDrain === null) throw new ApiError(404, 'this node is in no datacenter');
  return regionDrain;
}

function shown(report: RegionDrainReport, isTold: boolean): object {
  const { draining, nodes } = report;
  const sum = (of: 'moved' | 'remaining'): number =>
    nodes.reduce((total, node) => total + node[of], 0);
  const remaining = sum('remaining');
  const isDone = draining && remaining === 0 && nodes.every((node) => node.draining);
  return { ...report, drained: isDone, moved: sum('moved'), remaining, isTold };
}

export const regionDrainRoutes: readonly ApiRoute[] = [
  {
    method: 'GET',
    path: '/cluster/drain',
    role: 'viewer',
    id: 'getRegionDrain',
    summary: 'Whether the whole datacenter is being drained, and how far it is',
    answers: {
      200: { description: 'How far it is.', schema: shape },
      404: { description: ALONE },
    },
    changes: false,
    handle: (_call, parts) => ok(shown(portOf(parts).report(), true)),
  },
  {
    method: 'POST',
    path: '/cluster/drain',
    role: 'operator',
    id: 'drainRegion',
    summary: 'Move all clients of the datacenter elsewhere',
    description:
      'As `/drain` at every node at one time, at a rate for all of them together; nodes that are started meanwhile do the same before they take a client. It holds until it is ended, also over restarts. Again: other options from now on.',
    body: drainBody('of all nodes together'),
    answers: {
      200: { description: 'It has begun.', schema: shape },
      404: { description: ALONE },
      409: { description: 'The node is stopping.' },
    },
    changes: true,
    target: (call: Call) => {
      const { clientsPerS, serverReference } = drainOptions(call);
      return `${clientsPerS}/s${serverReference === null ? '' : ` to ${serverReference}`}`;
    },
    handle: async (call, parts) => {
      if (parts.readiness().isDraining) throw new ApiError(409, 'the node is stopping');
      const port = portOf(parts);
      const isTold = await port.begin(drainOptions(call), call.caller.name);
      return ok(shown(port.report(), isTold));
    },
  },
  {
    method: 'DELETE',
    path: '/cluster/drain',
    role: 'operator',
    id: 'endRegionDrain',
    summary: 'Let clients come to the datacenter again',
    answers: {
      200: { description: 'It is ended.', schema: shape },
      404: { description: 'It is not being drained, or the node is alone.' },
    },
    changes: true,
    handle: async (call, parts) => {
      const port = portOf(parts);
      const isTold = await port.end(call.caller.name);
      if (isTold === null) throw new ApiError(404, 'the datacenter is not being drained');
      return ok(shown(port.report(), isTold));
    },
  },
];

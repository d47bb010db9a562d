/** /drain: moving all clients elsewhere before the node stops. Of a node alone, too. */
import { ApiError } from '../api-error.ts';
import type { Call } from '../call.ts';
import type { DrainControl } from '../drain-control.ts';
import { type ApiParts, type ApiRoute, noBody, nothing, ok } from '../route.ts';
import { boolean, integer, type JsonSchema, nullable, object, string } from '../schema.ts';

const CLIENTS_PER_S_DEFAULT = 100;
const CANNOT = 'Nothing here could move clients.';

interface DrainBody {
  readonly clientsPerS?: number;
  readonly serverReference?: string;
}

/** `whose` clients the rate counts. */
export function drainBody(whose: string): JsonSchema {
  return object(
    'How.',
    {
      clientsPerS: integer(
        `Clients told to go in a second, ${whose}; default ${CLIENTS_PER_S_DEFAULT}.`,
        { minimum: 1, maximum: 100_000 },
      ),
      serverReference: string(
        'What MQTT 5 clients are told to use instead, such as `other.example:8883`; absent: nothing.',
        {
          minLength: 1,
          maxLength: 1024,
          // What a UTF-8 string of MQTT should not hold [MQTT5-1.5.4].
          pattern: '^[^\\u0000-\\u001f\\u007f-\\u009f\\ud800-\\udfff]+$',
        },
      ),
    },
    ['clientsPerS', 'serverReference'],
  );
}

const shape = object('How far it is.', {
  draining: boolean('Clients are sent elsewhere, and whoever comes is.'),
  drained: boolean('It is, and nobody is left: the node can be stopped.'),
  moved: integer('Clients that were told to go since `startedAtMs`.'),
  remaining: integer('Connections that are still there.'),
  clientsPerS: nullable(integer('Clients told to go in a second; null: none are.')),
  serverReference: nullable(string('What clients are told to use; null: nothing.')),
  startedAtMs: integer('Wall-clock ms; 0: the node is not being drained.'),
  drainedAtMs: integer('Wall-clock ms at which the last client was gone; 0: some are left.'),
  by: nullable(string('Name of the token that asked for it; null: nobody has.')),
});

/** Throws when there is nothing that could move clients. */
function drainOf({ drain }: ApiParts): DrainControl {
  if (drain === null) throw new ApiError(404, 'this node cannot be drained');
  return drain;
}

function shown(drain: DrainControl, { stats }: ApiParts): object {
  const { state } = drain;
  return {
    draining: state !== null,
    drained: state !== null && state.drainedAtMs > 0,
    moved: state?.moved ?? 0,
    remaining: state?.remaining ?? stats.connections,
    clientsPerS: state?.clientsPerS ?? null,
    serverReference: state?.serverReference ?? null,
    startedAtMs: state?.startedAtMs ?? 0,
    drainedAtMs: state?.drainedAtMs ?? 0,
    by: state?.by ?? null,
  };
}

export function drainOptions(call: Call): { clientsPerS: number; serverReference: string | null } {
  const body = call.body as DrainBody;
  const { clientsPerS = CLIENTS_PER_S_DEFAULT, serverReference = null } = body;
  return { clientsPerS, serverReference };
}

export const drainRoutes: readonly ApiRoute[] = [
  {
    method: 'GET',
    path: '/drain',
    role: 'viewer',
    id: 'getDrain',
    summary: 'Whether the node is being drained, and how far it is',
    answers: {
      200: { description: 'How far it is.', schema: shape },
      404: { description: CANNOT },
    },
    changes: false,
    handle: (_call, parts) => ok(shown(drainOf(parts), parts)),
  },
  {
    method: 'POST',
    path: '/drain',
    role: 'operator',
    id: 'drain',
    summary: 'Move all clients elsewhere',
    description:
      '`/health/ready` says no at once. Then clients are disconnected at the given rate: those of MQTT 5 with 0x9C and the Server Reference, others are closed; whoever connects is sent on. Sessions stay. Again: other options from now on.',
    body: drainBody('of this node'),
    answers: {
      200: { description: 'It has begun.', schema: shape },
      404: { description: CANNOT },
      409: { description: 'The node is stopping.' },
    },
    changes: true,
    target: (call) => {
      const { clientsPerS: rate, serverReference } = drainOptions(call);
      return `${rate}/s${serverReference === null ? '' : ` to ${serverReference}`}`;
    },
    handle: (call, parts) => {
      if (parts.readiness().isDraining) throw new ApiError(409, 'the node is stopping');
      const drain = drainOf(parts);
      drain.begin(drainOptions(call), call.caller.name);
      return ok(shown(drain, parts));
    },
  },
  {
    method: 'DELETE',
    path: '/drain',
    role: 'operator',
    id: 'endDrain',
    summary: 'Let clients come again',
    answers: {
      204: noBody('Clients may come again.'),
      404: { description: 'The node is not being drained, or cannot be.' },
    },
    changes: true,
    handle: (call, parts) => {
      if (drainOf(parts).end(call.caller.name)) return nothing;
      throw new ApiError(404, 'the node is not being drained');
    },
  },
];

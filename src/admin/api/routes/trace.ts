/** /trace: what happens to one client or on one topic, live. */
import { ApiError } from '../api-error.ts';
import type { ApiRoute } from '../route.ts';
import { integer, named, string } from '../schema.ts';
import { TRACES_MAX } from '../trace-hub.ts';
import { checkPlainFilter } from './topic-check.ts';

const DURATION_S = 600;

export const traceRoutes: readonly ApiRoute[] = [
  {
    method: 'GET',
    path: '/trace',
    role: 'operator',
    id: 'trace',
    summary: 'Follow a client or a topic live',
    description:
      'JSON lines until the reader goes, the duration is over or the token is no longer good; ' +
      'payloads are never shown. With both parameters: what fits both. What comes faster than a ' +
      'trace takes is counted in `missed` lines.',
    query: {
      client: string('Client identifier.', { minLength: 1, maxLength: 65_535 }),
      topic: string('Topic filter.', { minLength: 1, maxLength: 65_535 }),
      durationS: integer('The trace ends by itself.', {
        minimum: 1,
        maximum: 3600,
        default: DURATION_S,
      }),
    },
    answers: {
      200: {
        description: 'A line for each event.',
        schema: named('TraceLine'),
        contentType: 'application/x-ndjson',
      },
    },
    changes: false,
    handle: (call, { traces }) => {
      const clientId = call.text('client');
      const filter = call.text('topic');
      if (clientId === null && filter === null) throw new ApiError(400, 'give client or topic');
      if (filter !== null) checkPlainFilter('topic', filter);
      const durationS = call.number('durationS') ?? DURATION_S;
      const stream = traces.open({ clientId, filter, durationS, caller: call.caller.name });
      if (stream === null) throw new ApiError(429, `${TRACES_MAX} traces run already`);
      return { status: 200, stream };
    },
  },
];

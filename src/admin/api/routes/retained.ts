/** /retained: retained messages, read and deleted one by one or by filter. */

import { isUtf8 } from 'node:buffer';
import { isSameRetained, type Message } from '../../../core/message.ts';
import { ApiError } from '../api-error.ts';
import { type ApiRoute, ok, PROBLEM_404, pageQuery } from '../route.ts';
import { boolean, integer, named, object, page, string } from '../schema.ts';
import { checkMember, noMember } from './member-check.ts';
import { checkOpen, checkPlainFilter, checkTopic } from './topic-check.ts';

const filterParameter = string('Topic filter.', { minLength: 1, maxLength: 65_535 });
const topicParameter = string('Topic name.', { minLength: 1, maxLength: 65_535 });
/** Payload bytes one answer shows. */
const SHOWN_BYTES_MAX = 1024 * 1024;
/** Topics one request to delete looks at. */
const DELETED_ENTRIES_MAX = 100_000;

function headOf(message: Message): object {
  const { topic, qos, bytes, source, expiresAtMs } = message;
  return {
    topic,
    qos,
    bytes,
    publisherId: source?.clientId ?? null,
    publisherUser: source?.identity ?? null,
    expiresAtMs,
  };
}

function wholeOf(message: Message): object {
  const { payload } = message;
  const truncated = payload.length > SHOWN_BYTES_MAX;
  const shown = truncated ? payload.subarray(0, SHOWN_BYTES_MAX) : payload;
  // What was cut may have been cut within a character.
  const encoding = !truncated && isUtf8(shown) ? 'utf8' : 'base64';
  return {
    ...headOf(message),
    payload: shown.toString(encoding),
    encoding,
    payloadBytes: payload.length,
    truncated,
  };
}

export const retainedRoutes: readonly ApiRoute[] = [
  {
    method: 'GET',
    path: '/retained',
    role: 'operator',
    id: 'listRetained',
    summary: 'Retained messages without payloads',
    query: {
      filter: { ...filterParameter, description: 'Topic filter; default `#`.' },
      ...pageQuery,
    },
    answers: { 200: { description: 'Messages.', schema: page(named('RetainedMessage')) } },
    changes: false,
    handle: async (call, { core, walks }) => {
      const filter = call.text('filter') ?? '#';
      checkPlainFilter('filter', filter);
      return ok(
        await walks.page(
          call,
          () => core.retainedWalk(filter),
          headOf,
          ({ topic }) => topic.length,
        ),
      );
    },
  },
  {
    method: 'GET',
    path: '/retained/message',
    role: 'operator',
    id: 'getRetained',
    summary: 'One retained message with its payload',
    query: { topic: topicParameter },
    queryRequired: ['topic'],
    answers: {
      200: { description: 'The message.', schema: named('RetainedPayload') },
      404: { description: PROBLEM_404 },
    },
    changes: false,
    handle: (call, { core }) => {
      const topic = call.text('topic')!;
      checkTopic('topic', topic);
      const message = core.retainedMessage(topic);
      if (message === null) throw new ApiError(404, 'nothing is retained for this topic');
      return ok(wholeOf(message));
    },
  },
  {
    method: 'DELETE',
    path: '/retained',
    role: 'operator',
    id: 'deleteRetained',
    summary: 'Delete what is retained for a topic, or for all that a filter matches',
    description: 'Exactly one of `topic` and `filter`. Subscribers are not told.',
    query: { topic: topicParameter, filter: filterParameter },
    answers: {
      200: {
        description: 'What was done.',
        schema: object('Messages deleted.', {
          deleted: integer('How many.'),
          complete: boolean('False: there may be more; ask again.'),
        }),
      },
      503: noMember,
    },
    changes: true,
    target: (call) => call.text('topic') ?? call.text('filter') ?? '',
    handle: async (call, { core, walks, cluster }) => {
      checkMember(cluster);
      const topic = call.text('topic');
      const filter = call.text('filter');
      if ((topic === null) === (filter === null)) {
        throw new ApiError(400, 'give one of topic and filter');
      }
      if (topic !== null) {
        checkTopic('topic', topic);
        checkOpen('topic', topic);
        return ok({ deleted: core.deleteRetained(topic) ? 1 : 0, complete: true });
      }
      checkPlainFilter('filter', filter!);
      checkOpen('filter', filter!);
      const walk = core.retainedWalk(filter!);
      let deleted = 0;
      await walks.run(walk, DELETED_ENTRIES_MAX, (found) => {
        for (const message of found) {
          // What was published anew meanwhile is another message.
          const current = core.retainedMessage(message.topic);
          if (current === null || !isSameRetained(current, message)) continue;
          if (core.deleteRetained(message.topic)) deleted++;
        }
      });
      return ok({ deleted, complete: walk.done });
    },
  },
];

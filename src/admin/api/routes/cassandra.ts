/** /cassandra: the record of retained messages that all regions share, as this node sees it. */
import { cassandraStates } from '../../cassandra-view.ts';
import { ApiError } from '../api-error.ts';
import { type ApiRoute, ok } from '../route.ts';
import { boolean, integer, list, nullable, number, object, oneOf, string } from '../schema.ts';

const shape = object('Cassandra, and the retained messages there.', {
  state: oneOf(
    '`degraded`: a node or some keys cannot be had; `down`: nobody answers, or LOCAL_QUORUM cannot be had.',
    cassandraStates,
  ),
  reasons: list('Why it is not up.', string('One sentence.')),
  localDatacenter: string('Of Cassandra, as this node is set to.'),
  keyspace: string('With the tables of this region.'),
  warning: string("What is wrong for retained messages; '' when nothing is."),
  isFilling: boolean('No listener is open yet: retained messages are being read.'),
  round: nullable(
    object('The round this node is on; null: none.', {
      progress: number('How much of the ring is read, from 0 to 1.'),
      rowsRead: integer('Rows this node has read since it was started.'),
    }),
  ),
  isComparing: boolean('This node is the one of its datacenter that goes round.'),
  lastRoundMs: integer(
    'Wall-clock ms at which the last whole round began that this node knows of; 0: none.',
  ),
  waitingTopics: integer('Topics with a change that Cassandra has not confirmed.'),
  lagMs: number('How long the oldest of these has waited.'),
  requests: integer('Requests taken and not finished.'),
  requestBytes: integer('Bytes of these.'),
  retained: object('Since this node was started.', {
    writes: integer('Changes handed to Cassandra.'),
    coalesced: integer('Changes that a later one of the same topic replaced before.'),
    failures: integer('Writes that failed, and were repeated.'),
    rejected: integer('Changes it will never take.'),
    kept: integer('Acknowledged before it had them, as this node and another one did.'),
    rounds: integer('Whole rounds.'),
    rowsRead: integer('Rows read by rounds.'),
    takenOver: integer('Taken over from it.'),
    rewritten: integer('Written to it again.'),
    forgotten: integer('Removed here: cleared so long ago that it has forgotten it.'),
    expired: integer('Rows removed, as their message had expired.'),
    damaged: integer('Rows that could not be read.'),
  }),
});

export const cassandraRoutes: readonly ApiRoute[] = [
  {
    method: 'GET',
    path: '/cassandra',
    role: 'viewer',
    id: 'getCassandra',
    summary: 'The Cassandra that regions share: connection, lag of retained messages, rounds',
    answers: {
      200: { description: 'Cassandra as this node sees it.', schema: shape },
      404: { description: 'The node has no Cassandra.' },
    },
    changes: false,
    handle: (_call, { cassandra }) => {
      if (cassandra === null) {
        throw new ApiError(404, 'this node has no Cassandra: retained messages are on the nodes');
      }
      const { writes, coalesced, failures, rejected, kept, rounds, rowsRead } = cassandra.retained;
      const { takenOver, rewritten, forgotten, expired, damaged } = cassandra.retained;
      const { lagMs, ...report } = cassandra.report();
      return ok({
        ...report,
        lagMs: Math.round(lagMs),
        retained: {
          ...{ writes, coalesced, failures, rejected, kept, rounds, rowsRead },
          ...{ takenOver, rewritten, forgotten, expired, damaged },
        },
      });
    },
  },
];

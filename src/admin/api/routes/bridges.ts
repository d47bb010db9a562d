/** /bridges: bridges to other brokers. */
import { ApiError } from '../api-error.ts';
import { type ApiRoute, ok } from '../route.ts';
import { boolean, integer, list, object, string } from '../schema.ts';

const shape = object('Bridges to other brokers.', {
  isHolder: boolean('This node has the bridges; another one shows none of them.'),
  bridges: list(
    'Those this node has.',
    object('A bridge.', {
      name: string('As configured.'),
      url: string('Of the other broker, without user and password.'),
      isUp: boolean('It is connected.'),
      problem: string("Why not; '' when it is."),
      upSinceMs: integer('Wall-clock ms; 0: it is down.'),
      queuedMessages: integer('That wait for the other broker, or for its acknowledgement.'),
      queuedBytes: integer('Bytes of these.'),
      budgetBytes: integer('That may wait.'),
      overBudget: integer('Messages this node has dropped over the budget, by bytes or by age.'),
      refusedFilters: integer('Filters the other broker has refused.'),
      connects: integer('Times it came up.'),
      failures: integer('Connections lost, and attempts that failed.'),
      received: integer('Messages taken from there.'),
      receivedBytes: integer('Their payload.'),
      sent: integer('Messages the other broker has taken.'),
      sentBytes: integer('Their payload.'),
      echoes: integer('Messages that came back from there: not taken.'),
      refusedIn: integer('Messages from there that are not bridged any more, or refused here.'),
      refusedOut: integer('Messages the other broker has refused for good: given up.'),
      dropped: integer('QoS 0 messages that came while the bridge was down.'),
      gaps: integer('Times the other broker had lost the session, with what was queued there.'),
    }),
  ),
});

export const bridgeRoutes: readonly ApiRoute[] = [
  {
    method: 'GET',
    path: '/bridges',
    role: 'viewer',
    id: 'getBridges',
    summary: 'Bridges to other brokers: state, backlog, what was carried and what was not',
    answers: {
      200: { description: 'The bridges.', schema: shape },
      404: { description: 'The node has no bridges.' },
    },
    changes: false,
    handle: (_call, { bridges }) => {
      if (bridges === null) throw new ApiError(404, 'this node has no bridges');
      return ok(bridges.report());
    },
  },
];

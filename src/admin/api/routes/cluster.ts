/** /cluster: the datacenter as this node sees it. */
import { degradedModes } from '../../../core/limits.ts';
import { nodeStates } from '../../cluster-view.ts';
import { stateTexts } from '../../readiness.ts';
import { ApiError } from '../api-error.ts';
import { type ApiRoute, ok } from '../route.ts';
import { boolean, integer, list, nullable, number, object, oneOf, string } from '../schema.ts';

const identity = {
  nodeId: string('Its label; two may have the same.'),
  incarnation: string('Of this life of it.'),
  address: string('Where other nodes reach it.'),
  release: string('Of Causeway.'),
  protocol: integer('Version of what nodes speak with each other.'),
};

const shape = object('The datacenter as this node sees it.', {
  node: object('This node.', {
    ...identity,
    state: oneOf(
      nodeStates
        .map((state) => `\`${state}\`: ${stateTexts[state]}`)
        .join('; ')
        .concat('.'),
      nodeStates,
    ),
    sinceMs: integer('Wall-clock ms since when it is in that state; 0: not known.'),
    reason: string('What that means, or more about it.'),
    waitsFor: list('What must come first.', string('Name of a node or a service.')),
    leaseRemainingMs: number('Ms it may go on without a renewal; 0: it may not serve.'),
  }),
  redis: object('What the nodes share.', {
    isUp: boolean('It can be asked.'),
    problem: string("Why not; '' when it can."),
    servers: list(
      'One, or those of a Redis Cluster.',
      object('A server.', {
        server: string('Host and port.'),
        state: string('Of the connection.'),
        version: string("Of Redis; '' when it is not known."),
        problem: string("Why it cannot be asked; '' when it can."),
      }),
    ),
    promises: list(
      "Promises that depend on the server's settings.",
      object('A promise.', {
        promise: string('`P1`.'),
        holds: boolean('It holds with these settings.'),
        detail: string('Because of what.'),
      }),
    ),
    waitingCalls: integer('Calls without an answer.'),
    waitingBytes: integer('Bytes of these.'),
    waitingMessages: integer('Messages for durable sessions that it does not have yet.'),
    roundTripP50Ms: nullable(number('Of the last while, estimated; null: it was not asked.')),
    roundTripP99Ms: nullable(number('Of the last while, estimated; null: it was not asked.')),
    breakerTrips: integer('Times calls were stopped because it would not or could not do them.'),
    lostMessages: integer('Acknowledged messages that were gone when it came back empty.'),
  }),
  degraded: object('What is missing that the promises need.', {
    mode: oneOf('What acks do when neither Redis nor a peer can keep a message.', degradedModes),
    isActive: boolean('Something is missing.'),
    reason: string("What; '' when nothing is."),
    journaledMessages: integer(
      'Messages, and changes to QoS 2 packet ids, in the journal of this node until Redis has them.',
    ),
    journaledBytes: integer('Bytes of these.'),
    journalCopies: integer('Messages this node keeps for others.'),
  }),
  members: list(
    'The other nodes.',
    object('A node.', {
      ...identity,
      state: oneOf('`joining` until it counts this node in and is counted in by it.', nodeStates),
      sinceMs: integer('Wall-clock ms since when it is a member; 0: not known.'),
      sessionsOwned: integer('Durable sessions it owns.'),
      answersWaiting: integer('Answers to clients here that wait until it has applied something.'),
      routeDrifts: integer('Times the routes held of it were not what it had announced.'),
    }),
  ),
  links: list(
    'With each peer, in each direction.',
    object('One direction.', {
      peer: string('Incarnation of the peer.'),
      nodeId: string('Its label.'),
      direction: oneOf('`out`: this node sends.', ['out', 'in']),
      isUp: boolean('It is connected.'),
      unackedFrames: integer('Sent and not yet applied there.'),
      unackedBytes: integer('Bytes of these.'),
      framesTotal: integer('Since the link began.'),
      bytesTotal: integer('Since the link began.'),
      reconnects: integer('Times it came up again.'),
      dropped: integer('QoS 0 publications not sent because the peer was behind.'),
      roundTripMs: nullable(number('Of the last heartbeat; null: none yet.')),
      release: string('Of the peer.'),
    }),
  ),
  routeDrifts: integer('Times the routes held of a peer were not what it had announced.'),
  barrierWaiting: integer('Answers to clients that wait until every node has applied something.'),
  sessionsOwned: integer('Durable sessions this node owns.'),
  sessionsKnown: integer('Durable sessions of the datacenter.'),
});

export const clusterRoutes: readonly ApiRoute[] = [
  {
    method: 'GET',
    path: '/cluster',
    role: 'viewer',
    id: 'getCluster',
    summary: 'The datacenter as this node sees it: members, links, Redis',
    answers: {
      200: { description: 'The datacenter.', schema: shape },
      404: { description: 'The node is alone.' },
    },
    changes: false,
    handle: (_call, { cluster, clock, roundTrips }) => {
      if (cluster === null) {
        throw new ApiError(404, 'this node is alone: it was started without a Redis');
      }
      const { node, redis, links, ...rest } = cluster.report();
      const { p50Ms, p99Ms } = roundTrips.read(cluster.redis.roundTrips, clock.monotonicMs());
      return ok({
        ...rest,
        node: { ...node, reason: node.reason === '' ? stateTexts[node.state] : node.reason },
        redis: {
          ...redis,
          roundTripP50Ms: p50Ms,
          roundTripP99Ms: p99Ms,
          breakerTrips: cluster.redis.trips,
          lostMessages: cluster.counters.redisLostMessages,
        },
        links: links.map((link) => ({
          ...link,
          roundTripMs: link.roundTripMs < 0 ? null : Math.round(link.roundTripMs * 1000) / 1000,
        })),
        routeDrifts: cluster.counters.routeDrifts,
      });
    },
  },
];

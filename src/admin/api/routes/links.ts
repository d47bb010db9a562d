/** /links: links to other regions, in both directions. */
import { ApiError } from '../api-error.ts';
import { type ApiRoute, ok } from '../route.ts';
import { boolean, integer, list, object, string } from '../schema.ts';

const shape = object('Links between this region and others.', {
  region: string('This one.'),
  isHolder: boolean('This node has the links of the region; another one shows none of them.'),
  links: list(
    'Regions that messages are fetched from.',
    object('A link.', {
      region: string('The other one.'),
      url: string('Without user and password.'),
      isUp: boolean('It is connected, and is that region.'),
      problem: string("Why not; '' when it is."),
      upSinceMs: integer('Wall-clock ms; 0: it is down.'),
      subscriptions: integer('Filters the other region serves.'),
      refusedFilters: integer('Filters it has refused.'),
      connects: integer('Times it came up.'),
      failures: integer('Connections lost, and attempts that failed.'),
      received: integer('Messages taken.'),
      receivedBytes: integer('Their payload.'),
      duplicates: integer('Messages that had come before, over this or another way.'),
      deferred: integer(
        'Messages of a third region whose own link brings them: taken from that one.',
      ),
      loops: integer('Messages that had been in this region: not taken.'),
      refused: integer('Messages of topics the link may not bring: not taken.'),
      malformed: integer('Messages without a name that can be read: not taken.'),
      failed: integer('Messages that could not be stored: they come again.'),
      gaps: integer('Times the other region had lost the session, with what was queued there.'),
      lagMs: integer('Of a message that came lately, from its publication to its arrival here.'),
    }),
  ),
  unlinked: list(
    'Regions that are heard of without a link to them, where sessions roam: each two have to be linked.',
    string('Its name.'),
  ),
  fetchers: list(
    'Regions that fetch messages here.',
    object('Another region as a receiver.', {
      region: string('The other one.'),
      isConnected: boolean('Its link is up.'),
      subscriptions: integer('Filters it wants.'),
      queuedMessages: integer('That wait for it, or for its acknowledgement.'),
      queuedBytes: integer('Bytes of these.'),
      budgetBytes: integer('That may wait for it.'),
      handed: integer('Messages given to its session.'),
      returned: integer('Not given to it as they came from there, or through there.'),
      withheld: integer('Not given to it as it may not have the topic.'),
      dropped: integer('Dropped over its budget of age or bytes.'),
    }),
  ),
  waiting: integer('Messages of other regions that are not safe here yet.'),
  windowPages: integer('Pages of names that are remembered, of 1024 messages each.'),
  windowOverflows: integer('Pages forgotten before their time, as there were too many.'),
  refusedConnects: integer('Clients that said to be a link and had not proven it.'),
});

export const linkRoutes: readonly ApiRoute[] = [
  {
    method: 'GET',
    path: '/links',
    role: 'viewer',
    id: 'getLinks',
    summary: 'Links to other regions: state, lag, backlog, drops and duplicates',
    answers: {
      200: { description: 'The links.', schema: shape },
      404: { description: 'The node has no regions.' },
    },
    changes: false,
    handle: (_call, { links }) => {
      if (links === null) throw new ApiError(404, 'this node is linked to no other region');
      return ok(links.report());
    },
  },
];

/** /subscriptions of all sessions, and /routes: who receives a topic. */
import type { RouteMember } from '../../../core/inspection.ts';
import type { SessionState, SubscriptionRecord } from '../../../core/ports.ts';
import type { Call } from '../call.ts';
import { globTest } from '../glob.ts';
import type { OperatorCore } from '../ports.ts';
import { type ApiParts, type ApiRoute, ok, pageQuery } from '../route.ts';
import { named, page, string } from '../schema.ts';
import { IterableSource, type Source } from '../walks.ts';
import { clientIdQuery, globParameter, oneClientId } from './owner-filter.ts';
import { checkTopic } from './topic-check.ts';

const topicParameter = string('Topic name.', { minLength: 1, maxLength: 65_535 });

interface Found extends SubscriptionRecord {
  readonly clientId: string;
}

/** Sessions one after the other; those that cannot matter are looked at and left out. */
class SubscriptionSource implements Source<Found> {
  readonly #sessions: IterableSource<SessionState>;
  readonly #core: OperatorCore;
  readonly #belongs: ((filter: string) => boolean) | null;
  readonly #next: SessionState[] = [];
  /** Of the session that is under way. */
  #records: readonly SubscriptionRecord[] = [];
  #clientId = '';
  #at = 0;

  constructor(call: Call, { core, stats }: ApiParts) {
    this.#core = core;
    this.#belongs = globTest(call.text('filter')) as ((filter: string) => boolean) | null;
    const isClient = globTest(call.text('clientId'));
    const wanted = oneClientId(call);
    if (wanted !== null) {
      const session = core.session(wanted);
      this.#sessions = new IterableSource(session === null ? [] : [session]);
    } else {
      this.#sessions = new IterableSource(
        core.sessions(),
        ({ clientId, subscriptions }) =>
          subscriptions > 0 && (isClient === null || isClient(clientId)),
        stats.sessions,
      );
    }
  }

  get done(): boolean {
    return this.#sessions.done && this.#at >= this.#records.length;
  }

  take(budget: number, out: Found[]): number {
    let looked = 0;
    while (looked < budget && !this.done) {
      const record = this.#records[this.#at];
      looked++;
      if (record === undefined) {
        this.#beginNext();
        continue;
      }
      this.#at++;
      if (this.#belongs === null || this.#belongs(record.filter)) {
        out.push({ clientId: this.#clientId, ...record });
      }
    }
    return looked;
  }

  #beginNext(): void {
    this.#sessions.take(1, this.#next);
    const session = this.#next.pop();
    this.#at = 0;
    this.#clientId = session?.clientId ?? '';
    this.#records = session === undefined ? [] : (this.#core.subscriptions(this.#clientId) ?? []);
  }
}

/** Subscriptions by which a topic is received. */
class MatchingSource implements Source<Found> {
  readonly #members: IterableSource<RouteMember>;
  readonly #core: OperatorCore;
  readonly #found: RouteMember[] = [];

  constructor(call: Call, topic: string, { core }: ApiParts) {
    const filter = globTest(call.text('filter'));
    const clientId = globTest(call.text('clientId'));
    this.#core = core;
    this.#members = new IterableSource(
      core.routeMembers(topic),
      (member) =>
        (filter === null || filter(member.filter)) &&
        (clientId === null || clientId(member.clientId)),
    );
  }

  get done(): boolean {
    return this.#members.done;
  }

  take(budget: number, out: Found[]): number {
    const looked = this.#members.take(budget, this.#found);
    for (const { clientId, filter } of this.#found.splice(0)) {
      const record = this.#core.subscription(clientId, filter);
      if (record !== null) out.push({ clientId, ...record });
    }
    return looked;
  }
}

export const subscriptionRoutes: readonly ApiRoute[] = [
  {
    method: 'GET',
    path: '/subscriptions',
    role: 'viewer',
    id: 'listSubscriptions',
    summary: 'Subscriptions of all sessions',
    query: {
      filter: globParameter('The filter itself: exact, or with * for any characters.'),
      clientId: clientIdQuery,
      matches: { ...topicParameter, description: 'Only those that receive this topic.' },
      ...pageQuery,
    },
    answers: {
      200: { description: 'Subscriptions.', schema: page(named('SubscriptionOfClient')) },
    },
    changes: false,
    handle: async (call, parts) => {
      const topic = call.text('matches');
      if (topic !== null) checkTopic('matches', topic);
      const begin = (): Source<Found> =>
        topic === null
          ? new SubscriptionSource(call, parts)
          : new MatchingSource(call, topic, parts);
      return ok(
        await parts.walks.page(
          call,
          begin,
          (found) => found,
          ({ clientId, filter }) => clientId.length + filter.length,
        ),
      );
    },
  },
  {
    method: 'GET',
    path: '/routes',
    role: 'viewer',
    id: 'listRoutes',
    summary: 'Who receives what is published to a topic',
    description: '`limit` counts subscribers.',
    query: { topic: topicParameter, ...pageQuery },
    queryRequired: ['topic'],
    answers: {
      200: { description: 'Filters with their subscribers.', schema: page(named('Route')) },
    },
    changes: false,
    handle: async (call, { core, walks }) => {
      const topic = call.text('topic')!;
      checkTopic('topic', topic);
      const { items, cursor } = await walks.page(
        call,
        () => new IterableSource(core.routeMembers(topic)),
        (member) => member,
        ({ clientId, filter }) => clientId.length + filter.length,
      );
      return ok({ items: byFilter(items as readonly RouteMember[]), cursor });
    },
  },
];

function byFilter(members: readonly RouteMember[]): object[] {
  const groups = Map.groupBy(members, ({ filter }) => filter);
  return Array.from(groups, ([filter, of]) => ({
    filter,
    subscribers: of.map(({ clientId, qos }) => ({ clientId, qos })),
  }));
}

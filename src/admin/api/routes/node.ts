/** /node, /stats, /listeners and /limits: the node itself. */
import type { LimitName } from '../../../core/limits.ts';
import { limitTable } from '../../../core/limits.ts';
import { Stats } from '../../../core/stats.ts';
import { checkNames } from '../../readiness.ts';
import type { QuotaUse } from '../ports.ts';
import { type ApiParts, type ApiRoute, ok, pageQuery } from '../route.ts';
import {
  boolean,
  integer,
  type JsonSchema,
  list,
  named,
  number,
  object,
  oneOf,
  page,
  string,
} from '../schema.ts';
import { statsJson } from '../stats-json.ts';
import { IterableSource } from '../walks.ts';

/** Use of the limits that are one number for the whole node. */
const used: ReadonlyMap<LimitName, (stats: Stats) => number> = new Map([
  ['connectionsMax', (stats: Stats) => stats.connections],
  ['sessionsMax', (stats: Stats) => stats.sessions],
  ['retainedMessagesMax', (stats: Stats) => stats.retainedMessages],
  ['retainedBytesMax', (stats: Stats) => stats.retainedBytes],
]);

function* limitsAndQuotas({ limits, stats, quotas }: ApiParts): Generator<object> {
  const inForce = limits();
  for (const [name, spec] of Object.entries(limitTable) as [
    LimitName,
    typeof limitTable.lingerMs,
  ][]) {
    const { unit, told, help } = spec;
    const use = used.get(name)?.(stats) ?? null;
    yield { kind: 'limit', name, unit, used: use, max: inForce[name], told, help };
  }
  for (const use of quotas.use()) yield shown(use);
}

function shown({ name, of, per, subject, used: use, max, action, reached }: QuotaUse): object {
  return { kind: 'quota', name, of, per, subject, used: use, max, action, reached };
}

/** As the counters are: every field a number, or numbers by name. */
function statsSchema(): JsonSchema {
  const fields = Object.entries(statsJson(new Stats())).map(([name, value]) => [
    name,
    typeof value === 'number'
      ? number('A counter or a gauge; the metrics reference says more.')
      : object(
          'The same by name.',
          Object.fromEntries(Object.keys(value).map((key) => [key, number('One of them.')])),
        ),
  ]);
  return object('All counters of the node since its start.', Object.fromEntries(fields));
}

const listenerCounters = ['accepted', 'refused', 'handshakesFailed', 'untrusted', 'acceptErrors'];

export const nodeRoutes: readonly ApiRoute[] = [
  {
    method: 'GET',
    path: '/node',
    role: 'viewer',
    id: 'getNode',
    summary: 'Version, uptime and state',
    answers: {
      200: {
        description: 'The node.',
        schema: object('The node.', {
          version: string('Of Causeway.'),
          nodeVersion: string('Of Node.js.'),
          platform: string('Operating system and processor.'),
          startedAtMs: integer('Wall-clock ms.'),
          uptimeS: integer('Seconds since then.'),
          ready: boolean('It should be given clients.'),
          checks: list(
            'As in `/health/ready`.',
            object(
              'A check.',
              {
                name: oneOf('What is checked.', checkNames),
                ok: boolean('Is it well?'),
                reason: string('Why not.'),
                warning: string('What is wrong although the node should have clients.'),
              },
              ['reason', 'warning'],
            ),
          ),
        }),
      },
    },
    changes: false,
    handle: (_call, parts) => {
      const { version } = parts;
      const checks = parts.checks();
      const uptimeS = Math.floor(process.uptime());
      return ok({
        version,
        nodeVersion: process.version,
        platform: `${process.platform} ${process.arch}`,
        startedAtMs: Math.round(performance.timeOrigin),
        uptimeS,
        ready: checks.every((check) => check.ok),
        checks,
      });
    },
  },
  {
    method: 'GET',
    path: '/stats',
    role: 'viewer',
    id: 'getStats',
    summary: 'Counters since the start',
    answers: { 200: { description: 'Counters.', schema: statsSchema() } },
    changes: false,
    handle: (_call, { stats }) => ok(statsJson(stats)),
  },
  {
    method: 'GET',
    path: '/listeners',
    role: 'viewer',
    id: 'listListeners',
    summary: 'Where clients connect',
    query: pageQuery,
    answers: {
      200: {
        description: 'Listeners.',
        schema: page(
          object('A listener.', {
            name: string('For logs, metrics and rules.'),
            transport: oneOf('What it speaks.', ['tcp', 'tls', 'ws', 'wss', 'unix']),
            address: string('The URL with the port in use.'),
            connections: integer('Open sockets, those in handshakes included.'),
            counters: object(
              'Since the start.',
              Object.fromEntries(listenerCounters.map((name) => [name, integer('Sockets.')])),
            ),
          }),
        ),
      },
    },
    changes: false,
    handle: async (call, { listeners, walks }) =>
      ok(
        await walks.page(
          call,
          () => new IterableSource(listeners()),
          ({ info, address, connections, counters }) => {
            const { accepted, refused, handshakesFailed, untrusted, acceptErrors } = counters;
            return {
              name: info.name,
              transport: info.transport,
              address,
              connections,
              counters: { accepted, refused, handshakesFailed, untrusted, acceptErrors },
            };
          },
        ),
      ),
  },
  {
    method: 'GET',
    path: '/limits',
    role: 'viewer',
    id: 'listLimits',
    summary: 'Limits and quotas with their current use',
    query: pageQuery,
    answers: {
      200: {
        description: 'Limits, then quotas.',
        schema: page({ oneOf: [named('Limit'), named('Quota')] }),
      },
    },
    changes: false,
    handle: async (call, parts) =>
      ok(
        await parts.walks.page(
          call,
          () => new IterableSource(limitsAndQuotas(parts)),
          (item) => item,
        ),
      ),
  },
];

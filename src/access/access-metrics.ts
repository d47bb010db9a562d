/**
 * What access counts, as samples for the metrics page: decisions, bans, authenticators and sources.
 * Refused CONNECTs by reason are the core's to count.
 */
import type { AnyRuleSource } from './acl/source.ts';
import type { AuthenticationChain } from './authn/chain.ts';
import type { ScramUsers } from './authn/scram-users.ts';
import type { BanExchange } from './ban-exchange.ts';
import type { Bans } from './bans.ts';
import type { AccessGate } from './gate.ts';

/** As the metrics page takes samples of rooms it does not know. */
export interface AccessMetric {
  readonly name: string;
  readonly type: 'counter' | 'gauge';
  readonly help: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

export interface AccessMetricSources {
  readonly gate: AccessGate;
  readonly bans: Bans;
  /** Null: this node is alone. */
  readonly exchange: BanExchange | null;
  readonly chain: AuthenticationChain | null;
  readonly scram: ScramUsers | null;
  readonly sources: readonly AnyRuleSource[];
}

type Sample = readonly [labels: Readonly<Record<string, string>>, value: number];

/** Samples of one metric follow each other. */
export function accessMetrics(of: AccessMetricSources): AccessMetric[] {
  return [
    ...decisionMetrics(of),
    ...banMetrics(of),
    ...exchangeMetrics(of),
    ...loginMetrics(of),
    ...sourceMetrics(of),
  ];
}

function decisionMetrics({ gate }: AccessMetricSources): AccessMetric[] {
  const { decisions } = gate.live;
  const both = (action: string, allowed: number, denied: number): Sample[] => [
    [{ action, decision: 'allow' }, allowed],
    [{ action, decision: 'deny' }, denied],
  ];
  return [
    ...counter('causeway_access_decisions_total', 'Decisions of rules and rule sources.', [
      ...both('publish', decisions.publishAllowed, decisions.publishDenied),
      ...both('subscribe', decisions.subscribeAllowed, decisions.subscribeDenied),
      ...both('receive', decisions.receiveAllowed, decisions.receiveDenied),
      ...both('will', decisions.willAllowed, decisions.willDenied),
    ]),
    ...counter(
      'causeway_access_retained_denied_total',
      'Retained messages held back because who published them no longer may.',
      [[{}, decisions.retainedDenied]],
    ),
    ...counter(
      'causeway_access_errors_total',
      'Failures inside access; what was asked was refused for that.',
      [[{}, gate.failures.count]],
    ),
    ...counter(
      'causeway_access_connections_ended_total',
      'Connections that a ban or a removed user had ended.',
      [[{}, gate.live.ended]],
    ),
  ];
}

function banMetrics({ gate, bans }: AccessMetricSources): AccessMetric[] {
  const { counters } = bans;
  return [
    ...samples('gauge', 'causeway_bans', 'Bans in force.', [
      [{ origin: 'operator' }, bans.activeOf('operator')],
      [{ origin: 'flapping' }, bans.activeOf('flapping')],
      [{ origin: 'login' }, bans.activeOf('login')],
    ]),
    ...counter('causeway_ban_hits_total', 'Sockets and CONNECTs refused by a ban.', [
      [{}, counters.hits],
    ]),
    ...counter('causeway_ban_changes_total', 'Bans that came and went.', [
      [{ change: 'added' }, counters.added],
      [{ change: 'lifted' }, counters.lifted],
      [{ change: 'expired' }, counters.expired],
      [{ change: 'displaced' }, counters.displaced],
    ]),
    ...counter('causeway_ban_save_errors_total', 'Times the bans could not be written.', [
      [{}, counters.saveErrors],
    ]),
    ...counter(
      'causeway_logins_blocked_total',
      'CONNECTs refused unasked, for failed logins before.',
      [[{}, gate.loginsBlocked]],
    ),
  ];
}

function exchangeMetrics({ exchange }: AccessMetricSources): AccessMetric[] {
  if (exchange === null) return [];
  const { counters } = exchange;
  return [
    ...counter(
      'causeway_shared_ban_changes_total',
      'Bans and lifts that nodes told each other, by what became of them.',
      [
        [{ change: 'received' }, counters.received],
        [{ change: 'sent' }, counters.sent],
        [{ change: 'refused' }, counters.refused],
        [{ change: 'broken' }, counters.broken],
      ],
    ),
    ...samples('gauge', 'causeway_shared_bans_waiting', 'Changes of bans that Redis has not got.', [
      [{}, exchange.waiting],
    ]),
    ...counter(
      'causeway_shared_ban_errors_total',
      'Times bans could not be exchanged with Redis.',
      [[{}, counters.errors]],
    ),
  ];
}

function loginMetrics({ chain, scram }: AccessMetricSources): AccessMetric[] {
  const answers: Sample[] = [];
  const errors: Sample[] = [];
  const cacheHits: Sample[] = [];
  for (const { kind, counters } of chain?.links ?? []) {
    answers.push([{ authenticator: kind, result: 'accepted' }, counters.accepted]);
    answers.push([{ authenticator: kind, result: 'refused' }, counters.refused]);
    answers.push([{ authenticator: kind, result: 'ignored' }, counters.ignored]);
    errors.push([{ authenticator: kind }, counters.errors]);
    cacheHits.push([{ authenticator: kind }, counters.cacheHits]);
  }
  if (scram !== null) {
    const { accepted, refused } = scram.counters;
    answers.push([{ authenticator: 'scram', result: 'accepted' }, accepted]);
    answers.push([{ authenticator: 'scram', result: 'refused' }, refused]);
  }
  const chains: Sample[] =
    chain === null
      ? []
      : [
          [{ result: 'accepted' }, chain.counters.accepted],
          [{ result: 'refused' }, chain.counters.refused],
        ];
  return [
    ...counter('causeway_logins_total', 'Logins the authentication chain decided.', chains),
    ...counter('causeway_authentications_total', 'Answers of each authenticator.', answers),
    ...counter('causeway_authentication_errors_total', 'Authenticators that failed.', errors),
    ...counter(
      'causeway_authentication_cache_hits_total',
      'Answers an authenticator remembered.',
      cacheHits,
    ),
  ];
}

function sourceMetrics({ sources }: AccessMetricSources): AccessMetric[] {
  const answers: Sample[] = [];
  const errors: Sample[] = [];
  const cacheHits: Sample[] = [];
  for (const { kind, counters } of sources) {
    answers.push([{ source: kind, result: 'allowed' }, counters.allowed]);
    answers.push([{ source: kind, result: 'denied' }, counters.denied]);
    answers.push([{ source: kind, result: 'ignored' }, counters.ignored]);
    errors.push([{ source: kind }, counters.errors]);
    cacheHits.push([{ source: kind }, counters.cacheHits]);
  }
  return [
    ...counter('causeway_rule_source_answers_total', 'Answers of each rule source.', answers),
    ...counter('causeway_rule_source_errors_total', 'Rule sources that failed.', errors),
    ...counter(
      'causeway_rule_source_cache_hits_total',
      'Answers of rule sources that were remembered.',
      cacheHits,
    ),
  ];
}

function counter(name: string, help: string, of: readonly Sample[]): AccessMetric[] {
  return samples('counter', name, help, of);
}

function samples(
  type: 'counter' | 'gauge',
  name: string,
  help: string,
  of: readonly Sample[],
): AccessMetric[] {
  return of.map(([labels, value]) => ({ name, type, help, labels, value }));
}

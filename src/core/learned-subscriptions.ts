/**
 * What the client of a session that goes from region to region has asked for where, while its regions did not see
 * each other (docs/adr/0023): what a home has that could not be asked when its client went on elsewhere, and what
 * that one gave up since, for which the home goes on collecting. Used by roaming.ts and geo/roaming.
 */
import { filterMatches } from '../wire/topic-match.ts';
import type { MovedEntry } from './moved-entry.ts';
import type { SubscriptionRecord } from './ports.ts';
import type { Services } from './services.ts';
import type { Session } from './session.ts';

/** As there, but for what the client has asked for or given up here: that is later. */
export function learnSubscriptions(
  { core, sessions }: Services,
  session: Session,
  there: readonly SubscriptionRecord[],
): void {
  const { changed } = session.roam!;
  const known = new Set<string>();
  for (const subscription of there) {
    known.add(subscription.filter);
    if (!changed.has(subscription.filter)) sessions.subscribe(session, subscription);
  }
  for (const { group, fullFilter } of [...(session.subscriptions?.values() ?? [])]) {
    // Shared ones are those of the region the client is in.
    if (group !== null || known.has(fullFilter) || changed.has(fullFilter)) continue;
    sessions.unsubscribe(session, fullFilter);
  }
  sessions.countQuota(session);
  sessions.revokeDenied(session);
  core.directory?.changed(session);
}

/** Of what waited elsewhere: the client has given up here all that it was for. */
export function isGivenUp(session: Session, { id, message: { topic } }: MovedEntry): boolean {
  const { roam, subscriptions } = session;
  // What it may have been sent is brought to its end [MQTT5-3.10.4-3].
  if (roam === null || roam.changed.size === 0 || id !== 0) return false;
  let isEnded = false;
  for (const filter of roam.changed) {
    if (subscriptions?.has(filter) !== true && filterMatches(filter, topic)) isEnded = true;
  }
  if (!isEnded) return false;
  for (const { filter } of subscriptions?.values() ?? []) {
    if (filterMatches(filter, topic)) return false;
  }
  return true;
}

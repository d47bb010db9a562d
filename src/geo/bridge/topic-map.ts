/** Topics of a bridge in both directions: what is asked for at each end, and what a topic becomes. Pure. */
import { filterMatches } from '../../wire/topic-match.ts';

export interface BridgeTopic {
  readonly filter: string;
  readonly direction: 'in' | 'out' | 'both';
  readonly localPrefix: string;
  readonly remotePrefix: string;
  readonly qos: 0 | 1 | 2;
  readonly retain: 'keep' | 'live' | 'clear';
}

/** One direction of an entry. */
export interface TopicWay {
  /** Subscribed to at the end messages come from. */
  readonly filter: string;
  readonly from: string;
  readonly to: string;
  readonly qos: 0 | 1 | 2;
  readonly retain: 'keep' | 'live' | 'clear';
}

export interface Mapped {
  readonly topic: string;
  readonly way: TopicWay;
}

/** An entry for each filter: of entries with the same one the first holds. */
export function waysOf(topics: readonly BridgeTopic[], direction: 'in' | 'out'): TopicWay[] {
  const ways = new Map<string, TopicWay>();
  for (const { filter, direction: of, localPrefix, remotePrefix, qos, retain } of topics) {
    if (of !== 'both' && of !== direction) continue;
    const [from, to] =
      direction === 'in' ? [remotePrefix, localPrefix] : [localPrefix, remotePrefix];
    const whole = from + filter;
    if (!ways.has(whole)) ways.set(whole, { filter: whole, from, to, qos, retain });
  }
  return [...ways.values()];
}

/** By the first entry that matches; null: none does any more. */
export function mapTopic(ways: readonly TopicWay[], topic: string): Mapped | null {
  for (const way of ways) {
    if (!topic.startsWith(way.from) || !filterMatches(way.filter, topic)) continue;
    const mapped = way.to + topic.slice(way.from.length);
    // `a/#` matches `a` too, and may leave nothing of it.
    return mapped === '' ? null : { topic: mapped, way };
  }
  return null;
}

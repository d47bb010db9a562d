/**
 * The shape of topic names and topic filters (MQTT 5 §4.7, §4.8), on text that already passed
 * utf8.ts. Client-controlled and up to 64 KiB long: one pass, no recursion, no regular expression.
 */

const SLASH = 0x2f;
const PLUS = 0x2b;
const HASH = 0x23;

/** First level of every shared subscription. */
const SHARE = '$share';

export interface SharedFilter {
  readonly group: string;
  readonly filter: string;
}

/** At least one character [MQTT5-4.7.3-1], no wildcard [MQTT5-3.3.2-2], no U+0000. */
export function isValidTopicName(name: string): boolean {
  for (let i = 0; i < name.length; i++) {
    const code = name.charCodeAt(i);
    if (code === PLUS || code === HASH || code === 0) return false;
  }
  return name.length > 0;
}

/**
 * At least one character, `#` alone on the last level [MQTT5-4.7.1-1], `+` alone on its level
 * [MQTT5-4.7.1-2]. A filter whose first level is `$share` must be a whole shared subscription.
 */
export function isValidTopicFilter(filter: string): boolean {
  if (isSharedFilter(filter)) return parseSharedFilter(filter) !== null;
  return isPlainFilter(filter, 0);
}

/** Levels of a topic name or filter: its slashes, and one. */
export function topicLevelCount(topic: string): number {
  let count = 1;
  let slash = topic.indexOf('/');
  while (slash !== -1) {
    count++;
    slash = topic.indexOf('/', slash + 1);
  }
  return count;
}

/** Whether the first level is `$share`, well-formed or not. */
export function isSharedFilter(filter: string): boolean {
  return (
    filter.startsWith(SHARE) &&
    (filter.length === SHARE.length || filter.charCodeAt(SHARE.length) === SLASH)
  );
}

/**
 * Group and filter of `$share/group/filter`; null for an ordinary filter and for a malformed shared
 * one (`isValidTopicFilter` tells them apart). [MQTT5-4.8.2-1] [MQTT5-4.8.2-2]
 */
export function parseSharedFilter(filter: string): SharedFilter | null {
  if (!isSharedFilter(filter)) return null;
  const groupStart = SHARE.length + 1;
  const groupEnd = filter.indexOf('/', groupStart);
  if (groupEnd === -1) return null;
  const group = filter.slice(groupStart, groupEnd);
  if (!isValidTopicName(group)) return null;
  if (!isPlainFilter(filter, groupEnd + 1)) return null;
  return { group, filter: filter.slice(groupEnd + 1) };
}

function isPlainFilter(filter: string, start: number): boolean {
  let previous = SLASH;
  const last = filter.length - 1;
  for (let i = start; i <= last; i++) {
    const code = filter.charCodeAt(i);
    switch (code) {
      case HASH:
        if (previous !== SLASH || i !== last) return false;
        break;
      case PLUS:
        if (previous !== SLASH) return false;
        break;
      case 0:
        return false;
      default:
        if (previous === PLUS && code !== SLASH) return false;
    }
    previous = code;
  }
  return filter.length > start;
}

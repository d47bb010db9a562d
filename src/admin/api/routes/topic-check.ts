/** Topics and filters that come in as parameters: the rules of MQTT as answers of the API. */
import { isValidTopicFilter, isValidTopicName, parseSharedFilter } from '../../../wire/topic.ts';
import { ApiError } from '../api-error.ts';

export function checkTopic(field: string, topic: string): void {
  if (isValidTopicName(topic) && topic.isWellFormed()) return;
  refuse(field, 'is no topic name: at least one character, and neither + nor #');
}

/** A filter as subscriptions have it, shared ones included. */
export function checkFilter(field: string, filter: string): void {
  if (isValidTopicFilter(filter) && filter.isWellFormed()) return;
  refuse(field, 'is no topic filter: # only as the last level, + only as a whole one');
}

/** A filter of topics: `$share/…` is none. */
export function checkPlainFilter(field: string, filter: string): void {
  checkFilter(field, filter);
  if (parseSharedFilter(filter) !== null) refuse(field, 'is a shared subscription');
}

/** `$` belongs to the broker (FIELD class 10). */
export function checkOpen(field: string, topicOrFilter: string): void {
  if (topicOrFilter.startsWith('$')) refuse(field, 'starts with $: such topics are closed');
}

function refuse(field: string, message: string): never {
  throw new ApiError(400, `${field} ${message}`, [{ field, message }]);
}

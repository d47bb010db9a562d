/**
 * Every metric of the directory of sessions and of what it moves; tables like `metric-table.ts`, shown only where
 * there is a directory, and where sessions roam.
 */
import type { DirectoryCounts, DirectoryView, MoveCounts, MovesView } from './directory-view.ts';
import type { Sample } from './metric-table.ts';

interface MetricSpec<View> {
  readonly name: string;
  readonly type: 'counter' | 'gauge';
  readonly help: string;
  readonly labels: readonly string[];
  readonly read: (view: View) => readonly Sample[];
}

export type DirectoryMetricSpec = MetricSpec<DirectoryView>;
export type MoveMetricSpec = MetricSpec<MovesView>;

const NO_LABELS: readonly string[] = [];

function counter(name: string, help: string, field: keyof DirectoryCounts): DirectoryMetricSpec {
  return {
    name: `causeway_directory_${name}_total`,
    type: 'counter',
    help,
    labels: NO_LABELS,
    read: ({ counters }) => [[NO_LABELS, counters[field]]],
  };
}

export const directoryMetricTable: readonly DirectoryMetricSpec[] = [
  {
    name: 'causeway_directory_waiting_sessions',
    type: 'gauge',
    help: 'Sessions that the directory of all regions does not have as they are.',
    labels: NO_LABELS,
    read: ({ waiting }) => [[NO_LABELS, waiting]],
  },
  counter('writes', 'Sessions written to the directory, or removed from it.', 'writes'),
  counter(
    'coalesced',
    'Changes of sessions that were written together with a later one.',
    'coalesced',
  ),
  counter(
    'failures',
    'Calls for the directory that failed; all but those of a CONNECT are repeated.',
    'failures',
  ),
  counter('rejected', 'Changes of sessions that Cassandra will never take.', 'rejected'),
  counter(
    'dropped',
    'Ends of sessions that the directory was not told of, as too many waited.',
    'dropped',
  ),
  counter(
    'late',
    'Answers to SUBSCRIBE and UNSUBSCRIBE that were sent before the directory had what they are about.',
    'late',
  ),
  counter('lookups', 'CONNECTs that asked for a session in another region.', 'lookups'),
  counter('found', 'Of these, the ones that found one.', 'found'),
  counter(
    'unanswered',
    'Of these, the ones that nobody answered in time; they began without a session.',
    'unanswered',
  ),
];

function moveCounter(name: string, help: string, field: keyof MoveCounts): MoveMetricSpec {
  return {
    name: `causeway_roaming_${name}_total`,
    type: 'counter',
    help,
    labels: NO_LABELS,
    read: ({ counters }) => [[NO_LABELS, counters[field]]],
  };
}

export const moveMetricTable: readonly MoveMetricSpec[] = [
  {
    name: 'causeway_roaming_moving_sessions',
    type: 'gauge',
    help: 'Sessions that are here and have something in another region.',
    labels: NO_LABELS,
    read: ({ moving }) => [[NO_LABELS, moving]],
  },
  moveCounter('arrived', 'Sessions that another region let go of for this one.', 'arrived'),
  moveCounter(
    'served_away',
    'Sessions served from the directory, as their home did not answer in time.',
    'servedAway',
  ),
  moveCounter('left', 'Sessions given to another region whole, and forgotten here.', 'left'),
  moveCounter(
    'ended_elsewhere',
    'Sessions whose client began anew in another region.',
    'endedElsewhere',
  ),
  moveCounter(
    'handed_over_messages',
    'Messages handed to other regions with their session; repeated ones count again.',
    'handedOver',
  ),
  moveCounter(
    'taken_in_messages',
    'Messages taken from other regions with their session.',
    'takenIn',
  ),
  moveCounter(
    'order_given_up',
    'Times that messages did not wait for older ones of another region any more.',
    'orderGivenUp',
  ),
];

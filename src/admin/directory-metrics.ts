/** Every metric of the directory of sessions; a table like `metric-table.ts`, shown only where there is one. */
import type { DirectoryCounts, DirectoryView } from './directory-view.ts';
import type { Sample } from './metric-table.ts';

export interface DirectoryMetricSpec {
  readonly name: string;
  readonly type: 'counter' | 'gauge';
  readonly help: string;
  readonly labels: readonly string[];
  readonly read: (view: DirectoryView) => readonly Sample[];
}

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
  counter('lookups', 'CONNECTs that asked for a session in another region.', 'lookups'),
  counter('found', 'Of these, the ones that found one and went on with it here.', 'found'),
  counter(
    'unanswered',
    'Of these, the ones that nobody answered in time; they began without a session.',
    'unanswered',
  ),
];

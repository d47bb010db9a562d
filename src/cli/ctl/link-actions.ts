/** The action of `ctl` about links to other regions. */
import { type Action, type Call, type Column, terminalWidth } from './action.ts';
import { renderPairs, renderTable } from './table.ts';
import { valueText } from './value-text.ts';

type Fields = Readonly<Record<string, unknown>>;

const linkColumns: readonly Column[] = [
  { field: 'region', title: 'FROM' },
  { field: 'isUp', title: 'UP' },
  { field: 'subscriptions', title: 'FILTERS', isNumber: true },
  { field: 'received', title: 'RECEIVED', isNumber: true },
  { field: 'duplicates', title: 'DUPLICATES', isNumber: true },
  { field: 'loops', title: 'LOOPS', isNumber: true },
  { field: 'refused', title: 'REFUSED', isNumber: true },
  { field: 'gaps', title: 'GAPS', isNumber: true },
  { field: 'lagMs', title: 'LAG MS', isNumber: true },
  { field: 'problem', title: 'PROBLEM' },
];

const fetcherColumns: readonly Column[] = [
  { field: 'region', title: 'TO' },
  { field: 'isConnected', title: 'UP' },
  { field: 'subscriptions', title: 'FILTERS', isNumber: true },
  { field: 'handed', title: 'HANDED', isNumber: true },
  { field: 'queuedMessages', title: 'QUEUED', isNumber: true },
  { field: 'queuedBytes', title: 'BYTES', isNumber: true },
  { field: 'budgetBytes', title: 'BUDGET', isNumber: true },
  { field: 'dropped', title: 'DROPPED', isNumber: true },
  { field: 'withheld', title: 'WITHHELD', isNumber: true },
];

async function links(call: Call): Promise<void> {
  const answer = (await call.api.get('/links')) as Fields | undefined;
  if (call.isJson) return call.json(answer ?? null);
  const { region, isHolder, waiting, refusedConnects, unlinked = [] } = answer ?? {};
  const pairs = Object.entries({ region, isHolder, waiting, refusedConnects });
  // Nobody looks for what is as it should be.
  if ((unlinked as string[]).length > 0) pairs.push(['unlinked', unlinked]);
  process.stdout.write(renderPairs(pairs.map(([name, value]) => [name, valueText(name, value)])));
  for (const [field, columns] of [
    ['links', linkColumns],
    ['fetchers', fetcherColumns],
  ] as const) {
    const rows = rowsOf(answer?.[field], columns);
    if (rows.length > 0) {
      process.stdout.write(`\n${renderTable(columns, rows, terminalWidth())}`);
    }
  }
}

function rowsOf(value: unknown, columns: readonly Column[]): string[][] {
  if (!Array.isArray(value)) return [];
  return (value as Fields[]).map((one) =>
    columns.map(({ field }) => {
      const cell = one[field];
      if (typeof cell === 'boolean') return cell ? 'yes' : 'no';
      return valueText(field, cell);
    }),
  );
}

export const linkActions: readonly Action[] = [
  {
    resource: 'links',
    verb: '',
    args: [],
    flags: {},
    summary: 'links to other regions: state, lag, backlog, drops and duplicates',
    run: links,
  },
];

/** The action of `ctl` about bridges to other brokers. */
import { type Action, type Call, type Column, terminalWidth } from './action.ts';
import { renderPairs, renderTable } from './table.ts';
import { valueText } from './value-text.ts';

type Fields = Readonly<Record<string, unknown>>;

const columns: readonly Column[] = [
  { field: 'name', title: 'BRIDGE' },
  { field: 'isUp', title: 'UP' },
  { field: 'sent', title: 'SENT', isNumber: true },
  { field: 'received', title: 'RECEIVED', isNumber: true },
  { field: 'queuedMessages', title: 'QUEUED', isNumber: true },
  { field: 'queuedBytes', title: 'BYTES', isNumber: true },
  { field: 'budgetBytes', title: 'BUDGET', isNumber: true },
  { field: 'overBudget', title: 'OVER', isNumber: true },
  { field: 'echoes', title: 'ECHOES', isNumber: true },
  { field: 'refusedOut', title: 'REFUSED', isNumber: true },
  { field: 'dropped', title: 'DROPPED', isNumber: true },
  { field: 'gaps', title: 'GAPS', isNumber: true },
  { field: 'problem', title: 'PROBLEM' },
];

async function bridges(call: Call): Promise<void> {
  const answer = (await call.api.get('/bridges')) as Fields | undefined;
  if (call.isJson) return call.json(answer ?? null);
  process.stdout.write(renderPairs([['isHolder', valueText('isHolder', answer?.isHolder)]]));
  if (!Array.isArray(answer?.bridges) || answer.bridges.length === 0) return;
  const rows = (answer.bridges as Fields[]).map((one) =>
    columns.map(({ field }) => {
      const cell = one[field];
      if (typeof cell === 'boolean') return cell ? 'yes' : 'no';
      return valueText(field, cell);
    }),
  );
  process.stdout.write(`\n${renderTable(columns, rows, terminalWidth())}`);
}

export const bridgeActions: readonly Action[] = [
  {
    resource: 'bridges',
    verb: '',
    args: [],
    flags: {},
    summary: 'bridges to other brokers: state, backlog, what was carried and what was not',
    run: bridges,
  },
];

// Turns the records of all runs into markdown: one table per figure, medians over the rounds, the
// ratio of each broker's CPU to the base's, and every problem by name. Writes into the marked part
// of a file, so that what others wrote around it stays.

import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import type { Column, Figure } from './figure.ts';
import { columnOrder, columns } from './figure.ts';
import type { Machine } from './machine.ts';

export interface RunRecord {
  readonly scenario: string;
  readonly title: string;
  readonly broker: string;
  readonly round: number;
  readonly startedAfterMs: number;
  readonly figures: readonly Figure[];
  readonly problems: readonly string[];
  readonly remarks: readonly string[];
  /** Why there are no figures. */
  readonly failure?: string;
}

export interface Report {
  readonly machine: Machine;
  readonly versions: ReadonlyMap<string, string>;
  readonly skipped: ReadonlyMap<string, string>;
  readonly records: readonly RunRecord[];
  readonly invocation: string;
  readonly began: Date;
}

const BEGIN = '<!-- macro:begin, written by bench/macro/run.ts -->';
const END = '<!-- macro:end -->';
/** A broker this idle was waiting for the load, not the load for it. */
const SATURATED = 0.9;
/** Above this share of the broker's core in use by others, rates say little. */
const DISTURBED = 0.05;

function median(values: readonly number[]): number {
  const sorted = values.filter((value) => !Number.isNaN(value)).sort((a, b) => a - b);
  const middle = sorted.length / 2;
  if (sorted.length === 0) {
    return Number.NaN;
  }
  return sorted.length % 2 === 1
    ? sorted[Math.floor(middle)]!
    : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

function write(column: Column, value: number): string {
  return Number.isFinite(value) ? columns[column].write(value) : '–';
}

function table(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  const rule = header.map((_, index) => (index === 0 ? '---' : '---:'));
  return [line(header), line(rule), ...rows.map(line)].join('\n');
}

function unique(values: readonly string[]): string[] {
  return [...new Set(values)];
}

/** All runs of one broker for one operation of one scenario. */
class Row {
  readonly broker: string;
  readonly figures: readonly Figure[];

  constructor(broker: string, figures: readonly Figure[]) {
    this.broker = broker;
    this.figures = figures;
  }

  values(column: Column): number[] {
    return this.figures.flatMap((figure) => figure.values[column] ?? []);
  }

  median(column: Column): number {
    return median(this.values(column));
  }

  /** `all`, or the worst run's share rounded down. */
  delivered(): string {
    let worst = 1;
    let most = 1;
    for (const { expected, happened } of this.figures) {
      worst = Math.min(worst, expected === 0 ? 1 : happened / expected);
      most = Math.max(most, expected === 0 ? 1 : happened / expected);
    }
    if (worst < 1) {
      return `**${(Math.floor(worst * 10_000) / 100).toFixed(2)} %**`;
    }
    return most > 1 ? '**more than all**' : 'all';
  }

  spread(): string {
    const values = this.values('cpuUs').filter(Number.isFinite);
    return values.length > 1
      ? `${write('cpuUs', Math.min(...values))}–${write('cpuUs', Math.max(...values))}`
      : '–';
  }
}

function rowsOf(records: readonly RunRecord[], operation: string): Row[] {
  return unique(records.map((record) => record.broker)).flatMap((broker) => {
    const figures = records
      .filter((record) => record.broker === broker)
      .flatMap((record) => record.figures.filter((figure) => figure.operation === operation));
    return figures.length > 0 ? [new Row(broker, figures)] : [];
  });
}

function figureTable(rows: readonly Row[]): string {
  const used = columnOrder.filter((column) => rows.some((row) => row.values(column).length > 0));
  const withCpu = used.includes('cpuUs');
  const base = rows[0]!.median('cpuUs');
  const header = [
    'broker',
    ...used.flatMap((column) =>
      column === 'cpuUs'
        ? [columns[column].title, 'min–max', `× ${rows[0]!.broker}`]
        : [columns[column].title],
    ),
    'happened',
  ];
  const body = rows.map((row) => [
    row.broker,
    ...used.flatMap((column) => {
      const value = write(column, row.median(column));
      return column === 'cpuUs' && withCpu
        ? [`**${value}**`, row.spread(), (row.median('cpuUs') / base).toFixed(2)]
        : [value + multiple(column, row, rows[0]!)];
    }),
    row.delivered(),
  ]);
  return table(header, body);
}

/** ` (1.03×)`: of the first row's. */
function multiple(column: Column, row: Row, base: Row): string {
  const ratio = row.median(column) / base.median(column);
  const isTold = columns[column].isCompared === true && row !== base && Number.isFinite(ratio);
  return isTold ? ` (${ratio.toFixed(2)}×)` : '';
}

function notesOf(records: readonly RunRecord[]): string[] {
  const rounds = new Map<string, number[]>();
  const note = (record: RunRecord, text: string): void => {
    const key = `${record.broker}: ${text}`;
    rounds.set(key, [...(rounds.get(key) ?? []), record.round]);
  };
  for (const record of records) {
    if (record.failure !== undefined) {
      note(record, `**no figure: ${record.failure}**`);
    }
    for (const problem of record.problems) {
      note(record, `**${problem}**`);
    }
    for (const remark of record.remarks) {
      note(record, remark);
    }
  }
  const notes = [...rounds].map(([text, seen]) => `- ${text} (round ${seen.join(', ')})`);
  const operations = unique(records.flatMap((one) => one.figures.map((f) => f.operation)));
  return [...notes, ...operations.flatMap((operation) => doubts(records, operation))];
}

/** What makes a figure weaker than it looks: others on the core, or a broker that had to wait. */
function doubts(records: readonly RunRecord[], operation: string): string[] {
  const disturbed: string[] = [];
  const waiting: string[] = [];
  for (const row of rowsOf(records, operation)) {
    const others = row.median('coreOthers');
    const busy = row.median('brokerBusy');
    const fixedRate = row.values('latenessMs').length > 0;
    if (others > DISTURBED) {
      disturbed.push(`${row.broker} ${write('coreOthers', others)}`);
    } else if (busy < SATURATED && !fixedRate) {
      const load = write('loadBusy', row.median('loadBusy'));
      waiting.push(`${row.broker} ${write('brokerBusy', busy)} (load ${load})`);
    }
  }
  return [
    ...(disturbed.length > 0
      ? [
          `- ${operation}: others used the broker's core, rates are too low: ${disturbed.join(', ')}`,
        ]
      : []),
    ...(waiting.length > 0 ? [`- ${operation}: not busy all the time: ${waiting.join(', ')}`] : []),
  ];
}

/** The tables of one scenario. */
export function scenarioSection(records: readonly RunRecord[]): string {
  const first = records[0]!;
  const operations = unique(records.flatMap((one) => one.figures.map((f) => f.operation)));
  const tables = operations.map((operation) => {
    return `Per ${operation}:\n\n${figureTable(rowsOf(records, operation))}`;
  });
  const notes = notesOf(records);
  const parts = [`### ${first.scenario}: ${first.title}`, ...tables];
  if (notes.length > 0) {
    parts.push(notes.join('\n'));
  }
  return parts.join('\n\n');
}

/** CPU per operation of every scenario and broker on one screen. */
function overview(records: readonly RunRecord[], brokers: readonly string[]): string {
  const rows: string[][] = [];
  for (const scenario of unique(records.map((record) => record.scenario))) {
    const own = records.filter((record) => record.scenario === scenario);
    for (const operation of unique(own.flatMap((one) => one.figures.map((f) => f.operation)))) {
      const found = rowsOf(own, operation);
      const base = found.find((row) => row.broker === brokers[0])?.median('cpuUs') ?? Number.NaN;
      const cells = brokers.map((broker) => {
        const value = found.find((row) => row.broker === broker)?.median('cpuUs') ?? Number.NaN;
        const ratio = value / base;
        const text = write('cpuUs', value);
        return broker === brokers[0] || Number.isNaN(ratio)
          ? text
          : `${text} (${ratio.toFixed(2)}×)`;
      });
      if (cells.some((cell) => cell !== '–')) {
        rows.push([`${scenario}: ${operation}`, ...cells]);
      }
    }
  }
  return table(['broker CPU µs per …', ...brokers], rows);
}

export function markdown(report: Report): string {
  const { machine, records } = report;
  const brokers = [...report.versions.keys()];
  const parts = [
    '## Whole broker',
    [
      `Taken ${report.began.toISOString().slice(0, 16).replace('T', ' ')} UTC on ${machine.cpu},`,
      `${machine.kernel}, Node ${machine.node};`,
      `load average before the run ${machine.loadAverage.toFixed(2)}.`,
    ].join(' '),
    `\`node bench/macro/run.ts ${report.invocation}\``,
    brokers.map((name) => `- ${name}: ${report.versions.get(name)}`).join('\n'),
    ...(report.skipped.size > 0
      ? [[...report.skipped].map(([name, why]) => `- ${name} skipped: ${why}`).join('\n')]
      : []),
    [
      'Medians over the rounds; brokers took turns within each round, each started fresh. CPU is',
      'that of all threads of the broker per operation. What each column means is in README.md.',
    ].join(' '),
    overview(records, brokers),
    ...unique(records.map((record) => record.scenario)).map((scenario) =>
      scenarioSection(records.filter((record) => record.scenario === scenario)),
    ),
  ];
  return parts.join('\n\n');
}

/** Replaces the marked part of the file, or begins the file with it. */
export function writeReport(file: string, report: Report): void {
  const part = `${BEGIN}\n\n${markdown(report)}\n\n${END}`;
  const old = existsSync(file) ? readFileSync(file, 'utf8') : `# Results\n\n${BEGIN}\n${END}\n`;
  const begin = old.indexOf(BEGIN);
  const end = old.indexOf(END);
  const text =
    begin >= 0 && end > begin
      ? old.slice(0, begin) + part + old.slice(end + END.length)
      : `${old.trimEnd()}\n\n${part}\n`;
  writeFileSync(file, text);
}

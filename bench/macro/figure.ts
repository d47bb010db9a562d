// What one run of a scenario yields: named figures, each a row of numbers for the report. The
// table of columns says how each number is headed and written.

export type Column =
  | 'operationsPerS'
  | 'cpuUs'
  | 'brokerBusy'
  | 'coreOthers'
  | 'p50Ms'
  | 'p99Ms'
  | 'p999Ms'
  | 'ackedPerS'
  | 'ackP50Ms'
  | 'ackP99Ms'
  | 'kibPerConnection'
  | 'kibPerSubscription'
  | 'kibPerConnectionUncollected'
  | 'emptyMib'
  | 'startMs'
  | 'startCpuMs'
  | 'idleCpuPercent'
  | 'rssMib'
  | 'peakMib'
  | 'loadBusy'
  | 'loadLagMs'
  | 'latenessMs';

export interface Figure {
  /** What is counted, e.g. `delivered message`. */
  readonly operation: string;
  /** Operations that should have happened, and those that did. */
  readonly expected: number;
  readonly happened: number;
  readonly values: Readonly<Partial<Record<Column, number>>>;
}

interface ColumnText {
  readonly title: string;
  readonly write: (value: number) => string;
  /** Also told as a multiple of the first broker's. CPU is in any case. */
  readonly isCompared?: boolean;
}

function grouped(value: number): string {
  return Math.round(value).toLocaleString('en-US');
}

function significant(value: number): string {
  if (value >= 100) {
    return grouped(value);
  }
  return value >= 10 ? value.toFixed(1) : value.toFixed(value >= 1 ? 2 : 3);
}

function percent(value: number): string {
  return `${Math.round(value * 100)} %`;
}

function oneDecimal(value: number): string {
  return value.toFixed(1);
}

/** Columns in the order of the report. */
export const columns: Readonly<Record<Column, ColumnText>> = {
  operationsPerS: { title: 'rate /s', write: grouped },
  cpuUs: { title: 'broker CPU µs', write: significant },
  brokerBusy: { title: 'broker busy', write: percent },
  coreOthers: { title: 'others on its core', write: percent },
  p50Ms: { title: 'p50 ms', write: significant },
  p99Ms: { title: 'p99 ms', write: significant },
  p999Ms: { title: 'p99.9 ms', write: significant },
  ackedPerS: { title: 'acked /s', write: grouped },
  ackP50Ms: { title: 'ack p50 ms', write: significant },
  ackP99Ms: { title: 'ack p99 ms', write: significant },
  kibPerConnection: { title: 'KiB / connection', write: significant, isCompared: true },
  kibPerSubscription: { title: 'KiB / subscription', write: significant, isCompared: true },
  kibPerConnectionUncollected: { title: 'KiB / connection before collection', write: significant },
  emptyMib: { title: 'empty MiB', write: oneDecimal, isCompared: true },
  startMs: { title: 'start ms', write: significant, isCompared: true },
  startCpuMs: { title: 'start CPU ms', write: significant, isCompared: true },
  idleCpuPercent: { title: 'idle CPU %', write: significant },
  rssMib: { title: 'RSS MiB', write: oneDecimal },
  peakMib: { title: 'peak MiB', write: oneDecimal },
  loadBusy: { title: 'load busy', write: percent },
  loadLagMs: { title: 'load lag p99 ms', write: significant },
  latenessMs: { title: 'late p99 ms', write: significant },
};

export const columnOrder: readonly Column[] = Object.keys(columns) as Column[];

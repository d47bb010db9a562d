/**
 * What `causeway probe` prints: a table or lines for people, a JSON object a line for programs. Servers
 * are named by their URLs without user and password.
 */
import type { RoundResult, StepResult } from '../../client/probe/probe-step.ts';
import { renderTable, type TableColumn } from '../ctl/table.ts';
import { safeJson, safeText } from '../ctl/terminal-text.ts';
import type { Figures } from './figures.ts';
import { type StepLine, sortedSteps } from './step-line.ts';

const number = (title: string): TableColumn => ({ title, isNumber: true });
const place: readonly TableColumn[] = [{ title: 'FROM' }, { title: 'TO' }, { title: 'STEP' }];
const roundColumns: readonly TableColumn[] = [...place, number('MS'), { title: 'RESULT' }];
const figureColumns: readonly TableColumn[] = [
  ...place,
  ...['COUNT', 'FAILED', 'P50 MS', 'P95 MS', 'P99 MS', 'MAX MS'].map(number),
];

function placeOf({ from, to, step }: StepLine, names: readonly string[]): string[] {
  return [safeText(names[from]!), to === null ? '' : safeText(names[to]!), step];
}

function inMs(ms: number | null | undefined): string {
  return ms === null || ms === undefined ? '-' : ms.toFixed(2);
}

function microseconds(ms: number): number {
  return Math.round(ms * 1000) / 1000;
}

/** Every step of one round. */
export function roundTable(round: RoundResult, names: readonly string[]): string {
  const rows = sortedSteps(round.steps, names.length).map((step) => [
    ...placeOf(step, names),
    inMs(step.ms),
    step.ok ? 'ok' : safeText(step.reason ?? 'failed'),
  ]);
  return renderTable(roundColumns, rows, null);
}

/** One line for a round that went well, one more for each step that did not. */
export function roundLines(round: RoundResult, names: readonly string[]): string {
  const { steps, ok, ms, startedAtMs } = round;
  const at = new Date(startedAtMs).toISOString();
  const failed = sortedSteps(steps, names.length).filter((step) => !step.ok);
  const head = `${at} ${ok ? 'ok' : 'FAILED'} ${steps.length} steps in ${ms.toFixed(1)} ms\n`;
  return [head, ...failed.map((step) => `  ${failureText(step, names)}\n`)].join('');
}

/** `mqtt://a:1883 to mqtt://b:1883, qos1: not done within 5000 ms`. */
export function failureText(step: StepResult, names: readonly string[]): string {
  const [from, to] = placeOf(step, names);
  const way = to === '' ? from : `${from} to ${to}`;
  return `${way}, ${step.step}: ${safeText(step.reason ?? 'failed')}`;
}

export function roundJson(round: RoundResult, names: readonly string[], number: number): string {
  const { startedAtMs, ms, ok, steps } = round;
  const shown = sortedSteps(steps, names.length).map((step) => ({
    ...namedPlace(step, names),
    ok: step.ok,
    ms: microseconds(step.ms),
    ...(step.reason === null ? {} : { reason: step.reason }),
  }));
  const at = new Date(startedAtMs).toISOString();
  return `${safeJson({ round: number, at, ok, ms: microseconds(ms), steps: shown })}\n`;
}

function namedPlace({ from, to, step }: StepLine, names: readonly string[]): object {
  return { url: names[from], ...(to === null ? {} : { to: names[to] }), step };
}

/** Quantiles over all rounds. */
export function figuresTable(figures: Figures, names: readonly string[]): string {
  const rows = figures
    .lines()
    .map((line) => [
      ...placeOf(line, names),
      String(line.count),
      String(line.failed),
      inMs(line.msAt?.p50),
      inMs(line.msAt?.p95),
      inMs(line.msAt?.p99),
      inMs(line.msMax),
    ]);
  const { rounds, failedRounds } = figures;
  const table = renderTable(figureColumns, rows, null);
  return `\n${rounds} rounds, ${failedRounds} failed\n${table}`;
}

export function figuresJson(figures: Figures, names: readonly string[]): string {
  const { rounds, failedRounds } = figures;
  const steps = figures.lines().map((line) => ({
    ...namedPlace(line, names),
    count: line.count,
    failed: line.failed,
    ...(line.msAt === null ? {} : { ms: { ...line.msAt, max: line.msMax } }),
  }));
  return `${safeJson({ summary: { rounds, failed: failedRounds, steps } })}\n`;
}

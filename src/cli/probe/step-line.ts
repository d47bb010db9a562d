/**
 * Steps of a probe in the order people read them: server by server, then from each to each. What
 * reports, figures and metrics of `causeway probe` have in common.
 */
import {
  type CrossStep,
  crossSteps,
  type OwnStep,
  ownSteps,
  type StepResult,
} from '../../client/probe/probe-step.ts';

/** One kind of measurement: a step with one server, or between two. */
export interface StepLine {
  readonly from: number;
  readonly to: number | null;
  readonly step: OwnStep | CrossStep;
}

/** All that a round over so many servers measures when all goes well. */
export function stepLines(servers: number): StepLine[] {
  const lines: StepLine[] = [];
  for (let from = 0; from < servers; from++) {
    for (const step of ownSteps) lines.push({ from, to: null, step });
  }
  for (let from = 0; from < servers; from++) {
    for (let to = 0; to < servers; to++) {
      if (from === to) continue;
      for (const step of crossSteps) lines.push({ from, to, step });
    }
  }
  return lines;
}

export function lineKey({ from, to, step }: StepLine): string {
  return `${from} ${to ?? ''} ${step}`;
}

/** In the order of `stepLines`. */
export function sortedSteps(steps: readonly StepResult[], servers: number): StepResult[] {
  const byLine = new Map(steps.map((step) => [lineKey(step), step]));
  return stepLines(servers).flatMap((line) => byLine.get(lineKey(line)) ?? []);
}

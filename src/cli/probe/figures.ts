/**
 * How long each step of a probe took over all rounds so far: counts, failures and quantiles, in bounded
 * memory however long it runs. Fed and shown by `causeway probe`.
 */
import { createHistogram, type RecordableHistogram } from 'node:perf_hooks';
import type { RoundResult } from '../../client/probe/probe-step.ts';
import { lineKey, type StepLine, stepLines } from './step-line.ts';

export interface StepFigures extends StepLine {
  /** That came to an end, failures included. */
  readonly count: number;
  readonly failed: number;
  /** Of those that came through; null: none has. */
  readonly msAt: { readonly p50: number; readonly p95: number; readonly p99: number } | null;
  readonly msMax: number | null;
}

interface Measured {
  failed: number;
  /** Microseconds. */
  readonly times: RecordableHistogram;
}

const US_MAX = 3_600_000_000;
const US_PER_MS = 1000;
/** A hundredth of a value is how exact it is: with more digits each step would take a megabyte. */
const DIGITS = 2;

export class Figures {
  rounds = 0;
  failedRounds = 0;
  readonly #servers: number;
  readonly #byLine: Map<string, Measured> = new Map();

  constructor(servers: number) {
    this.#servers = servers;
  }

  add(round: RoundResult): void {
    this.rounds++;
    if (!round.ok) this.failedRounds++;
    for (const step of round.steps) {
      const key = lineKey(step);
      let measured = this.#byLine.get(key);
      if (measured === undefined) {
        const times = createHistogram({ lowest: 1, highest: US_MAX, figures: DIGITS });
        measured = { failed: 0, times };
        this.#byLine.set(key, measured);
      }
      if (!step.ok) measured.failed++;
      else measured.times.record(Math.min(US_MAX, Math.max(1, Math.round(step.ms * US_PER_MS))));
    }
  }

  /** Of each step that was tried. */
  lines(): StepFigures[] {
    return stepLines(this.#servers).flatMap((line) => {
      const measured = this.#byLine.get(lineKey(line));
      if (measured === undefined) return [];
      const { failed, times } = measured;
      const at = (percent: number): number => times.percentile(percent) / US_PER_MS;
      const isEmpty = times.count === 0;
      return {
        ...line,
        count: times.count + failed,
        failed,
        msAt: isEmpty ? null : { p50: at(50), p95: at(95), p99: at(99) },
        msMax: isEmpty ? null : times.max / US_PER_MS,
      };
    });
  }
}

/**
 * What a probe that runs for ever has seen, as Prometheus metrics, and whether all was well last time.
 * Served by `probe-door.ts`; docs/guides/probe.md lists the names.
 */
import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import type { RoundResult } from '../../client/probe/probe-step.ts';
import { lineKey, type StepLine, stepLines } from './step-line.ts';

const BUCKETS_S: readonly number[] = [
  0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10,
];

type Place = 'url' | 'to' | 'step';

export class ProbeMetrics {
  readonly #registry: Registry = new Registry();
  readonly #names: readonly string[];
  readonly #lines: readonly StepLine[];
  readonly #ok: Gauge<Place>;
  readonly #failures: Counter<Place>;
  readonly #seconds: Histogram<Place>;
  readonly #rounds: Counter<'result'>;
  readonly #roundSeconds: Histogram;
  readonly #lastAt: Gauge;

  constructor(names: readonly string[], version: string) {
    this.#names = names;
    this.#lines = stepLines(names.length);
    const registers = [this.#registry];
    const labelNames: Place[] = ['url', 'to', 'step'];
    this.#ok = new Gauge({
      name: 'causeway_probe_step_ok',
      help: '1: the step went well in the last round; 0: it failed, or could not be tried.',
      labelNames,
      registers,
    });
    this.#failures = new Counter({
      name: 'causeway_probe_step_failures_total',
      help: 'Steps that failed. What could not be tried after a failure is not counted.',
      labelNames,
      registers,
    });
    this.#seconds = new Histogram({
      name: 'causeway_probe_step_seconds',
      help: 'How long steps took that went well.',
      labelNames,
      buckets: [...BUCKETS_S],
      registers,
    });
    this.#rounds = new Counter({
      name: 'causeway_probe_rounds_total',
      help: 'Rounds that are over.',
      labelNames: ['result'],
      registers,
    });
    this.#roundSeconds = new Histogram({
      name: 'causeway_probe_round_seconds',
      help: 'How long rounds took.',
      buckets: [...BUCKETS_S, 30, 60],
      registers,
    });
    this.#lastAt = new Gauge({
      name: 'causeway_probe_last_round_timestamp_seconds',
      help: 'When the last round was over, in Unix seconds; 0: none is.',
      registers,
    });
    const info = { name: 'causeway_probe_info', help: 'Version of the probe.', registers };
    new Gauge({ ...info, labelNames: ['version'] }).set({ version }, 1);
    // Shown from the start, so that rates and alerts over the first failure are right.
    for (const line of this.#lines) {
      this.#failures.inc(this.#labels(line), 0);
      this.#seconds.zero(this.#labels(line));
    }
    for (const result of ['ok', 'failed']) this.#rounds.inc({ result }, 0);
  }

  add(round: RoundResult): void {
    const steps = new Map(round.steps.map((step) => [lineKey(step), step]));
    for (const line of this.#lines) {
      const labels = this.#labels(line);
      const step = steps.get(lineKey(line));
      this.#ok.set(labels, step?.ok === true ? 1 : 0);
      if (step === undefined) continue;
      if (step.ok) this.#seconds.observe(labels, step.ms / 1000);
      else this.#failures.inc(labels);
    }
    this.#rounds.inc({ result: round.ok ? 'ok' : 'failed' });
    this.#roundSeconds.observe(round.ms / 1000);
    this.#lastAt.set((round.startedAtMs + round.ms) / 1000);
  }

  get contentType(): string {
    return this.#registry.contentType;
  }

  text(): Promise<string> {
    return this.#registry.metrics();
  }

  #labels({ from, to, step }: StepLine): Record<Place, string> {
    return { url: this.#names[from]!, to: to === null ? '' : this.#names[to]!, step };
  }
}

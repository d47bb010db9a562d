// Reads the broker's metrics page, to tell what it did during a run. Text in, numbers out.

import type { BrokerProcess } from '../../peers/broker-process.ts';

const LOOP_DELAY_BUCKET = 'causeway_event_loop_delay_seconds_bucket';

export class Metrics {
  readonly #values: Map<string, number> = new Map();

  private constructor(text: string) {
    for (const line of text.split('\n')) {
      const match = /^([^#\s]\S*(?:\{.*\})?) (\S+)$/.exec(line);
      if (match !== null) this.#values.set(match[1]!, Number(match[2]));
    }
  }

  static async read(broker: BrokerProcess): Promise<Metrics> {
    const answer = await fetch(`http://127.0.0.1:${broker.adminPort}/metrics`);
    if (!answer.ok) throw new Error(`/metrics answered ${answer.status}`);
    return new Metrics(await answer.text());
  }

  /** Sum of the samples of a metric whose labels hold all of these texts (`action="slow"`). */
  sum(name: string, ...labels: readonly string[]): number {
    let sum = 0;
    for (const [key, value] of this.#values) {
      const isOfMetric = key === name || key.startsWith(`${name}{`);
      if (isOfMetric && labels.every((label) => key.includes(label))) sum += value;
    }
    return sum;
  }

  since(before: Metrics, name: string, ...labels: readonly string[]): number {
    return this.sum(name, ...labels) - before.sum(name, ...labels);
  }

  /** What the longest delay of the event loop since then was at most: the end of its bucket. */
  longestLoopDelayMs(before: Metrics): number {
    const all = this.since(before, LOOP_DELAY_BUCKET, 'le="+Inf"');
    const ends = [...this.#values.keys()].flatMap((key) => {
      const end = key.startsWith(LOOP_DELAY_BUCKET) ? /le="([0-9.e-]+)"/.exec(key)?.[1] : undefined;
      return end === undefined ? [] : [end];
    });
    for (const end of ends.sort((a, b) => Number(a) - Number(b))) {
      if (this.since(before, LOOP_DELAY_BUCKET, `le="${end}"`) >= all) return Number(end) * 1000;
    }
    return Number.POSITIVE_INFINITY;
  }
}

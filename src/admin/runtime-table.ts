/**
 * Metrics of the process: memory, CPU, start. Read at each scrape; event-loop delay and collections
 * need watching in between, which `event-loop-delay.ts` and `gc-pauses.ts` do.
 */
import type { Sample } from './metric-table.ts';

export interface RuntimeSpec {
  readonly name: string;
  readonly type: 'counter' | 'gauge';
  readonly help: string;
  readonly labels: readonly string[];
  readonly read: () => readonly Sample[];
}

const MICROSECONDS = 1e6;

export const runtimeTable: readonly RuntimeSpec[] = [
  {
    name: 'causeway_process_start_time_seconds',
    type: 'gauge',
    help: 'When the process started, in seconds since 1970.',
    labels: [],
    read: () => [[[], performance.timeOrigin / 1000]],
  },
  {
    name: 'causeway_process_cpu_seconds_total',
    type: 'counter',
    help: 'CPU time of the process, all its threads included.',
    labels: ['mode'],
    read: () => {
      const { user, system } = process.cpuUsage();
      return [
        [['user'], user / MICROSECONDS],
        [['system'], system / MICROSECONDS],
      ];
    },
  },
  {
    name: 'causeway_process_memory_bytes',
    type: 'gauge',
    help: 'Memory of the process: resident, the heap in use and reserved, and buffers outside it.',
    labels: ['area'],
    read: () => {
      const { rss, heapUsed, heapTotal, external, arrayBuffers } = process.memoryUsage();
      return [
        [['resident'], rss],
        [['heap_used'], heapUsed],
        [['heap_reserved'], heapTotal],
        [['external'], external],
        [['buffers'], arrayBuffers],
      ];
    },
  },
];

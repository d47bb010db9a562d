// Where the numbers were taken: they mean nothing without it.

import { availableParallelism, cpus, loadavg, release, totalmem, type } from 'node:os';

export interface Machine {
  readonly cpu: string;
  readonly kernel: string;
  readonly node: string;
  readonly loadAverage: number;
}

export function describeMachine(): Machine {
  const model = cpus()[0]?.model.trim() ?? 'unknown CPU';
  const memoryGib = Math.round(totalmem() / 1024 ** 3);
  return {
    cpu: `${model}, ${availableParallelism()} CPUs, ${memoryGib} GiB`,
    kernel: `${type()} ${release()}`,
    node: process.version,
    loadAverage: loadavg()[0] ?? 0,
  };
}

// What a broker uses, read from /proc: CPU of all its threads and memory, child processes counted
// in. Linux only, as the pinning is.

import { readdirSync, readFileSync } from 'node:fs';

/** Kernel ticks per second of the times in /proc; 100 on every Linux Node runs on. */
const TICKS_PER_S = 100;
const UTIME_FIELD = 11;
const DEPTH_MAX = 5;

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    // The process has just ended; whoever asks finds that out from the process itself.
    return '';
  }
}

function tree(pid: number, depth: number): number[] {
  const pids = [pid];
  if (depth >= DEPTH_MAX) {
    return pids;
  }
  let threads: string[] = [];
  try {
    threads = readdirSync(`/proc/${pid}/task`);
  } catch {
    return pids;
  }
  for (const thread of threads) {
    for (const child of read(`/proc/${pid}/task/${thread}/children`).split(' ')) {
      if (child !== '') {
        pids.push(...tree(Number(child), depth + 1));
      }
    }
  }
  return pids;
}

/** User and system time of the process, its threads and its children, in seconds. */
export function cpuSeconds(pid: number): number {
  let ticks = 0;
  for (const one of tree(pid, 0)) {
    const stat = read(`/proc/${one}/stat`);
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    if (fields.length > UTIME_FIELD + 1) {
      ticks += Number(fields[UTIME_FIELD]) + Number(fields[UTIME_FIELD + 1]);
    }
  }
  return ticks / TICKS_PER_S;
}

function kilobytes(text: string, name: string): number {
  const match = new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(text);
  return match === null ? 0 : Number(match[1]);
}

/** Resident memory in bytes, exact (from the page tables, not the kernel's per-CPU counters). */
export function residentBytes(pid: number): number {
  let sum = 0;
  for (const one of tree(pid, 0)) {
    sum += kilobytes(read(`/proc/${one}/smaps_rollup`), 'Rss') * 1024;
  }
  return sum;
}

/** Highest resident memory so far, in bytes. */
export function peakResidentBytes(pid: number): number {
  let sum = 0;
  for (const one of tree(pid, 0)) {
    sum += kilobytes(read(`/proc/${one}/status`), 'VmHWM') * 1024;
  }
  return sum;
}

/**
 * How often, since boot, the kernel turned a connection down because the queue of those that wait to
 * be accepted was full; the client tries again after one second, then two, then four. Of the whole
 * machine.
 */
export function acceptQueueOverflows(): number {
  const [names, values] = read('/proc/net/netstat')
    .split('\n')
    .filter((line) => line.startsWith('TcpExt:'))
    .map((line) => line.split(' '));
  return Number(values?.[names?.indexOf('ListenOverflows') ?? -1] ?? Number.NaN);
}

/** Busy seconds of one CPU since boot, whoever used it; time a hypervisor took is counted in. */
export function coreBusySeconds(core: number): number {
  const line = new RegExp(`^cpu${core} (.*)$`, 'm').exec(read('/proc/stat'));
  const [user, nice, system, , , irq, softirq, steal] = (line?.[1] ?? '').split(' ').map(Number);
  const parts = [user, nice, system, irq, softirq, steal];
  return parts.reduce((sum: number, part) => sum + (part ?? 0), 0) / TICKS_PER_S;
}

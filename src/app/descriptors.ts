/**
 * Compares the number of files the process may open with the connections it is configured for, while
 * there is still time to say so. Called at start.
 */
import { readFileSync } from 'node:fs';
import type { Log } from '../core/ports.ts';

/** Store files, listeners, the admin's connections, stdio. */
const DESCRIPTORS_BESIDE = 100;

export function warnOfDescriptors(
  connectionsMax: number,
  log: Log,
  readLimits: () => string = () => readFileSync('/proc/self/limits', 'latin1'),
): void {
  let text: string;
  try {
    text = readLimits();
  } catch {
    return; // no /proc: not known
  }
  const found = /^Max open files\s+(\d+)/m.exec(text)?.[1];
  if (found === undefined) return; // unlimited
  const descriptorsMax = Number(found);
  if (descriptorsMax >= connectionsMax + DESCRIPTORS_BESIDE) return;
  log.warn(
    { descriptorsMax, connectionsMax },
    `the limit of open files (ulimit -n) is lower than limits.connectionsMax needs: raise it to ` +
      `${connectionsMax + DESCRIPTORS_BESIDE}, or lower limits.connectionsMax`,
  );
}

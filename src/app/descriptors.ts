/**
 * Compares the number of files the process may open with the connections it is configured for, while
 * there is still time to say so. Called at start.
 */
import { readFileSync } from 'node:fs';
import type { Log } from '../core/ports.ts';

/** Store files, listeners, the admin's connections, stdio. */
const DESCRIPTORS_BESIDE = 100;

export interface DescriptorCheck {
  readonly connectionsMax: number;
  /** Nobody asked for so many: then it is a fact and no mistake. */
  readonly isDefault: boolean;
  readonly log: Log;
  /** Text in the form of /proc/self/limits. */
  readonly readLimits?: (() => string) | undefined;
}

export function checkDescriptors(check: DescriptorCheck): void {
  const { connectionsMax, isDefault, log } = check;
  const readLimits = check.readLimits ?? (() => readFileSync('/proc/self/limits', 'latin1'));
  let text: string;
  try {
    text = readLimits();
  } catch {
    return; // no /proc: not known
  }
  const found = /^Max open files\s+(\d+)/m.exec(text)?.[1];
  if (found === undefined) return; // unlimited
  const descriptorsMax = Number(found);
  const wanted = connectionsMax + DESCRIPTORS_BESIDE;
  if (descriptorsMax >= wanted) return;
  const fields = { descriptorsMax, connectionsMax };
  if (isDefault) {
    log.info(fields, 'the limit of open files (ulimit -n) bounds the connections of this process');
    return;
  }
  log.warn(
    fields,
    'the limit of open files (ulimit -n) is lower than limits.connectionsMax needs: raise it to ' +
      `${wanted}, or lower limits.connectionsMax`,
  );
}

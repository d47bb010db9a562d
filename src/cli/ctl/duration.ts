/** Durations on the command line: `90`, `90s`, `15min`, `12h`, `30d`. */
import { UsageError } from '../command.ts';

const UNITS: ReadonlyMap<string, number> = new Map([
  ['', 1],
  ['s', 1],
  ['m', 60],
  ['min', 60],
  ['h', 3600],
  ['d', 86_400],
]);

/** Whole seconds; throws a UsageError that names the flag. */
export function durationS(flag: string, text: string): number {
  const match = /^(\d{1,9})([a-z]*)$/.exec(text);
  const unit = UNITS.get(match?.[2] ?? '');
  if (match === null || unit === undefined) {
    throw new UsageError(`${flag} is a duration such as 90s, 15min, 12h or 30d`);
  }
  return Number(match[1]) * unit;
}

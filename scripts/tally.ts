// Counts what a TAP stream says: every leaf assertion once, files and subtests never. Used by
// scripts/test.ts for the closing line. It must not know how the tests were started.
import { type FinalResults, Parser, type Result } from 'tap-parser';

export interface Failure {
  /** File and subtests down to the assertion, outermost first. */
  readonly path: readonly string[];
  readonly detail: unknown;
}

export interface Skip {
  readonly path: readonly string[];
  readonly reason: string;
}

export interface FileResult {
  readonly name: string;
  readonly passed: number;
  readonly failed: number;
  readonly timeMs: number;
}

export interface Tally {
  passed: number;
  failed: number;
  readonly failures: Failure[];
  readonly skips: Skip[];
}

export interface TallyListener {
  onFile(file: FileResult, failures: readonly Failure[]): void;
  /** Output of a test that is not TAP. */
  onNoise(text: string): void;
}

/**
 * A parser to feed TAP text into, and the counts it fills. A subtest that failed although none of
 * its assertions did (it timed out, crashed, or left with a bad exit code) counts as one failure;
 * so does a skip that gives no reason.
 */
export function tally(listener: TallyListener): { parser: Parser; counts: Tally } {
  const counts: Tally = { passed: 0, failed: 0, failures: [], skips: [] };
  const parser = new Parser();

  const fail = (path: readonly string[], detail: unknown): void => {
    counts.failed += 1;
    counts.failures.push({ path, detail });
  };

  const watch = (level: Parser, path: readonly string[]): void => {
    let failedBefore = counts.failed;
    let passedBefore = counts.passed;
    let failuresBefore = counts.failures.length;

    level.on('child', (child: Parser) => {
      failedBefore = counts.failed;
      passedBefore = counts.passed;
      failuresBefore = counts.failures.length;
      watch(child, [...path, child.name]);
    });
    level.on('extra', (text: string) => {
      if (path.length < 2) listener.onNoise(text);
    });
    level.on('bailout', (reason: string) => {
      if (path.length === 0) fail(['bail out'], reason);
    });
    level.on('assert', (result: Result) => {
      const here = [...path, result.name];
      if (result.closingTestPoint) {
        const isUnexplained = !result.ok && !result.todo && counts.failed === failedBefore;
        if (isUnexplained) fail(here, result.diag);
      } else if (result.skip !== false) {
        if (result.skip === true || result.skip === '') fail(here, 'skipped without a reason');
        else counts.skips.push({ path: here, reason: result.skip });
      } else if (result.todo !== false) {
        fail(here, 'marked as to do: finish it or delete it');
      } else if (result.ok) {
        counts.passed += 1;
      } else {
        fail(here, result.diag);
      }
      if (path.length > 0) return;
      listener.onFile(
        {
          name: result.name,
          passed: counts.passed - passedBefore,
          failed: counts.failed - failedBefore,
          timeMs: result.time ?? 0,
        },
        counts.failures.slice(failuresBefore),
      );
    });
  };

  watch(parser, []);
  parser.on('complete', (results: FinalResults) => {
    if (!results.ok && counts.failed === 0) fail(['the stream of results'], results.failures);
  });
  return { parser, counts };
}

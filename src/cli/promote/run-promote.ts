/** Runs `causeway promote` and prints what it does: a table, or one document. Called by `commands/promote.ts`. */
import { resolve } from 'node:path';
import {
  COUNTED_THINGS,
  type LeftOut,
  type MigrationCounts,
  MigrationError,
} from '../../app/migration/migration.ts';
import { type Promoted, promote } from '../../app/migration/promote.ts';
import { StartError } from '../../app/start-error.ts';
import type { ClusterConfig } from '../../config/cluster-config.ts';
import type { Log } from '../../core/ports.ts';
import { StoreOpenError } from '../../store/embedded/data-directory.ts';
import { EXIT_FAILED, EXIT_OK, EXIT_USAGE } from '../command.ts';
import { safeJson, safeText } from '../ctl/terminal-text.ts';

export interface PromoteRequest {
  readonly directory: string;
  readonly cluster: ClusterConfig;
  readonly isDryRun: boolean;
  readonly isKept: boolean;
  readonly isJson: boolean;
}

/** The counts are equal, but something was not moved. */
const EXIT_INCOMPLETE = 3;
/** Of one reason, so that a large directory does not fill the screen. */
const NAMED_PER_REASON = 100;
const PROGRESS_MS = 2000;

export async function runPromote(request: PromoteRequest): Promise<number> {
  const directory = resolve(request.directory);
  const left = new LeftOutNotes();
  try {
    const { cluster, isDryRun, isKept } = request;
    const hooks = {
      leftOut: (item: LeftOut) => left.add(item),
      progress: progressPrinter(),
    };
    const promoted = await promote({ directory, cluster, log, isDryRun, isKept, hooks });
    left.tellRest();
    if (request.isJson) tellJson(promoted, directory, left);
    else tellTable(promoted, directory, request);
    return exitOf(promoted, directory);
  } catch (error) {
    const isExpected =
      error instanceof MigrationError ||
      error instanceof StoreOpenError ||
      error instanceof StartError;
    if (!isExpected) throw error;
    left.tellRest();
    complain(error.message);
    return EXIT_FAILED;
  }
}

/** What the store and Redis have to say besides; neither says secrets. */
function said(fields: object, message: string): void {
  const { problem } = fields as { readonly problem?: unknown };
  const more = typeof problem === 'string' ? `: ${problem}` : '';
  process.stderr.write(`${safeText(`${message}${more}`)}\n`);
}

const log: Log = { debug: () => {}, info: () => {}, warn: said, error: said };

function complain(message: string): void {
  process.stderr.write(`causeway promote: ${safeText(message)}\n`);
}

interface NotMoved {
  count: number;
  readonly clientIds: string[];
}

/** A session is named once, whatever it had. */
class LeftOutNotes {
  readonly #told: Map<string, NotMoved> = new Map();

  add({ what, where, why }: LeftOut): void {
    // What belongs to a session that was not moved is in the table.
    if (what !== 'sessions' && what !== 'queued') return;
    const told = this.#told.get(why) ?? { count: 0, clientIds: [] };
    this.#told.set(why, told);
    if (what === 'queued' && told.clientIds.at(-1) === where) return;
    told.count++;
    if (told.clientIds.length >= NAMED_PER_REASON) return;
    told.clientIds.push(where);
    process.stderr.write(`${safeText(where)}: not moved: ${why}\n`);
  }

  tellRest(): void {
    for (const [why, { count, clientIds }] of this.#told) {
      const more = count - clientIds.length;
      if (more > 0) process.stderr.write(`and ${more} more: not moved: ${why}\n`);
    }
  }

  /** For `--json`: some client ids of each reason, and how many there are. */
  document(): readonly object[] {
    return [...this.#told].map(([why, { count, clientIds }]) => ({ why, count, clientIds }));
  }
}

function progressPrinter(): (done: MigrationCounts, found: MigrationCounts) => void {
  let toldAtMs = performance.now();
  return (done, found) => {
    const nowMs = performance.now();
    if (nowMs - toldAtMs < PROGRESS_MS) return;
    toldAtMs = nowMs;
    const parts = (['sessions', 'queued'] as const).map(
      (thing) => `${thing} ${done[thing]} of ${found[thing]}`,
    );
    process.stderr.write(`${parts.join(', ')}\n`);
  };
}

function tellTable(promoted: Promoted, directory: string, { isKept }: PromoteRequest): void {
  const { found, leftOut, stored, retained, removed } = promoted;
  const isDryRun = stored === null;
  const rows = [['', 'found', 'not moved', isDryRun ? 'to move' : 'in Redis']];
  for (const thing of COUNTED_THINGS) {
    if (thing === 'retained') continue;
    const arrived = isDryRun ? found[thing] - leftOut[thing] : stored[thing];
    rows.push([thing, `${found[thing]}`, `${leftOut[thing]}`, `${arrived}`]);
  }
  const say = (line: string): void => {
    process.stdout.write(`${line}\n`);
  };
  for (const row of rows) {
    const cells = row.map((cell, index) => (index === 0 ? cell.padEnd(14) : cell.padStart(10)));
    say(cells.join('').trimEnd());
  }
  if (!promoted.isEqual) return;
  if (retained > 0) {
    say(
      `${retained} retained messages stay in ${directory}: a node that is started on it brings them.`,
    );
  }
  if (isDryRun) say('Nothing was written (--dry-run).');
  else if (isKept) {
    say(`The sessions are in ${directory}, too (--keep): never start a node alone on it again.`);
  } else {
    say(`${removed} sessions were removed from ${directory}; they are the datacenter's now.`);
    say(`start it with: causeway start --redis URL --data ${directory}`);
  }
}

function tellJson(promoted: Promoted, directory: string, left: LeftOutNotes): void {
  const { found, leftOut, stored, retained, removed, isEqual, hasLoss } = promoted;
  const document = {
    directory,
    isDryRun: stored === null,
    isEqual,
    isComplete: isEqual && !hasLoss,
    found: withoutRetained(found),
    notMoved: withoutRetained(leftOut),
    inRedis: stored === null ? null : withoutRetained(stored),
    removed,
    retainedThatStay: retained,
    why: left.document(),
  };
  process.stdout.write(`${safeJson(document, 2)}\n`);
}

function withoutRetained({ retained: _, ...counts }: MigrationCounts): object {
  return counts;
}

function exitOf({ isEqual, hasLoss }: Promoted, directory: string): number {
  if (isEqual) return hasLoss ? EXIT_INCOMPLETE : EXIT_OK;
  complain(
    `the counts differ: nothing was removed from ${directory}; run promote again, with all ` +
      'nodes stopped',
  );
  return EXIT_USAGE;
}

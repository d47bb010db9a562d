/** `causeway import aedes`: flags, running it, and what is printed. Called by `commands/import.ts`. */
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { EmbeddedTarget } from '../../app/migration/embedded-target.ts';
import { type MigrationResult, migrate } from '../../app/migration/migrate.ts';
import {
  COUNTED_THINGS,
  type LeftOut,
  type MigrationCounts,
  MigrationError,
} from '../../app/migration/migration.ts';
import type { Log } from '../../core/ports.ts';
import { NEVER_EXPIRES } from '../../core/sessions.ts';
import { readCaFile } from '../../drivers/ca-file.ts';
import { parseRedisUrl, type RedisAddress } from '../../drivers/redis/redis-url.ts';
import { systemScheduler } from '../../listeners/scheduler.ts';
import { StoreOpenError } from '../../store/embedded/data-directory.ts';
import { EXIT_FAILED, EXIT_OK, EXIT_USAGE, type Flags, UsageError } from '../command.ts';
import { durationS } from '../ctl/duration.ts';
import { safeText } from '../ctl/terminal-text.ts';
import type { AEDES_FLAGS } from './aedes-flags.ts';
import { AedesRedis } from './aedes-redis.ts';
import { AedesSource, type AedesSourceOptions } from './aedes-source.ts';

/** Everything is counted and equal, but something of the source could not be carried. */
const EXIT_INCOMPLETE = 3;
/** Of one reason, so that a large database does not fill the screen. */
const NAMED_PER_REASON = 10;
const PROGRESS_MS = 2000;

export async function importAedes({ values }: Flags): Promise<number> {
  const flag = (name: keyof typeof AEDES_FLAGS): string | null => values.get(name)?.[0] ?? null;
  const isDryRun = values.has('dry-run');
  const from = flag('from');
  if (from === null) throw new UsageError('aedes needs --from redis://HOST:PORT/DB');
  const directory = flag('data');
  if (directory === null && !isDryRun) {
    throw new UsageError('aedes needs --data DIR, the data directory to fill (or --dry-run)');
  }
  const address = addressOf(from, flag('redis-password-file'));
  const ca = caOf(flag('redis-ca'));
  const identityOf = identitiesOf(flag('identity') ?? 'none', flag('identities'));
  const options: AedesSourceOptions = {
    prefix: flag('prefix') ?? '',
    expiryIntervalS: expiryOf(flag('session-expiry') ?? 'never'),
    tenant: flag('tenant') ?? '',
    identityOf,
    nowMs: Date.now(),
  };
  const target =
    isDryRun || directory === null
      ? null
      : new EmbeddedTarget({
          directory: resolve(directory),
          scheduler: systemScheduler,
          log: stderrLog,
        });
  try {
    const redis = await AedesRedis.open(address, ca);
    try {
      const left = new LeftOutNotes();
      const result = await migrate(new AedesSource(redis, options), target, {
        leftOut: (item) => left.add(item),
        progress: progressPrinter(),
      });
      left.tellRest();
      return tellResult(result, directory, options, flag('identity') === null);
    } finally {
      redis.close();
    }
  } catch (error) {
    const isExpected = error instanceof MigrationError || error instanceof StoreOpenError;
    if (!isExpected) throw error;
    process.stderr.write(`causeway import: ${safeText((error as Error).message)}\n`);
    return EXIT_FAILED;
  }
}

function addressOf(url: string, passwordFile: string | null): RedisAddress {
  let address: RedisAddress;
  try {
    address = parseRedisUrl(url);
  } catch (error) {
    throw new UsageError(`--from ${(error as Error).message}`);
  }
  if (passwordFile === null) return address;
  return { ...address, password: readText('--redis-password-file', passwordFile).trim() };
}

function caOf(file: string | null): readonly string[] | null {
  if (file === null) return null;
  try {
    return readCaFile(file);
  } catch (error) {
    throw new UsageError(`--redis-ca ${file} ${(error as Error).message}`);
  }
}

function expiryOf(text: string): number {
  return text === 'never' ? NEVER_EXPIRES : durationS('--session-expiry', text);
}

/** aedes keeps no user names: who owns a session has to be said. */
function identitiesOf(rule: string, file: string | null): (clientId: string) => string | null {
  if (rule !== 'none' && rule !== 'client-id') {
    throw new UsageError('--identity is none or client-id');
  }
  const given = new Map<string, string>();
  if (file !== null) {
    for (const [index, line] of readText('--identities', file).split(/\r?\n/).entries()) {
      if (line === '') continue;
      const tab = line.indexOf('\t');
      if (tab < 1 || tab === line.length - 1) {
        throw new UsageError(`--identities ${file}:${index + 1}: CLIENT-ID, a tab, USER-NAME`);
      }
      given.set(line.slice(0, tab), line.slice(tab + 1));
    }
  }
  return (clientId) => given.get(clientId) ?? (rule === 'none' ? null : clientId);
}

function readText(flag: string, file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new UsageError(`${flag} ${file} cannot be read: ${code ?? 'unknown error'}`);
  }
}

const stderrLog: Log = {
  debug: () => {},
  info: () => {},
  warn: (_fields, message) => process.stderr.write(`${safeText(message)}\n`),
  error: (_fields, message) => process.stderr.write(`${safeText(message)}\n`),
};

class LeftOutNotes {
  readonly #told: Map<string, number> = new Map();

  add({ what, isLoss, where, why }: LeftOut): void {
    const reason = `${what}: ${isLoss ? 'not carried' : 'nothing to carry'}: ${why}`;
    const count = (this.#told.get(reason) ?? 0) + 1;
    this.#told.set(reason, count);
    if (count > NAMED_PER_REASON) return;
    process.stderr.write(`${safeText(where)}: ${reason}\n`);
  }

  tellRest(): void {
    for (const [reason, count] of this.#told) {
      const more = count - NAMED_PER_REASON;
      if (more > 0) process.stderr.write(`and ${more} more: ${reason}\n`);
    }
  }
}

function progressPrinter(): (done: MigrationCounts, found: MigrationCounts) => void {
  let toldAtMs = performance.now();
  return (done, found) => {
    const nowMs = performance.now();
    if (nowMs - toldAtMs < PROGRESS_MS) return;
    toldAtMs = nowMs;
    const parts = (['sessions', 'queued', 'retained'] as const).map(
      (thing) => `${thing} ${done[thing]} of ${found[thing]}`,
    );
    process.stderr.write(`${parts.join(', ')}\n`);
  };
}

function tellResult(
  result: MigrationResult,
  directory: string | null,
  options: AedesSourceOptions,
  isIdentityAssumed: boolean,
): number {
  const { found, leftOut, stored } = result;
  const head = ['', 'found', 'left out', stored === null ? 'to store' : 'stored'];
  const rows = COUNTED_THINGS.map((thing) => [
    thing,
    String(found[thing]),
    String(leftOut[thing]),
    String(stored === null ? found[thing] - leftOut[thing] : stored[thing]),
  ]);
  for (const row of [head, ...rows]) {
    const cells = row.map((cell, index) => (index === 0 ? cell.padEnd(14) : cell.padStart(10)));
    process.stdout.write(`${cells.join('').trimEnd()}\n`);
  }
  if (!result.isEqual) {
    process.stderr.write(
      'causeway import: the counts differ: do not use this data directory; remove it, and begin ' +
        'again with every aedes node stopped\n',
    );
    return EXIT_USAGE;
  }
  if (found.sessions > 0 && isIdentityAssumed) {
    process.stdout.write(
      'The sessions belong to nobody: a client that logs in with a user name begins a new one. ' +
        'Where clients log in, import with --identity client-id or --identities FILE.\n',
    );
  }
  if (found.wills > 0 && stored !== null) {
    process.stdout.write('Wills are published when the node starts: their clients are gone.\n');
  }
  if (stored === null) process.stdout.write('Nothing was written (--dry-run).\n');
  else process.stdout.write(`start it with: causeway start --data ${directory}\n`);
  if (options.expiryIntervalS === 0) {
    process.stdout.write('With --session-expiry 0 every session ends when the node starts.\n');
  }
  return result.hasLoss ? EXIT_INCOMPLETE : EXIT_OK;
}

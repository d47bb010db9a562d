/**
 * `causeway import`: a configuration of mosquitto becomes one of ours, or what an aedes has stored in
 * Redis becomes a data directory.
 */
import { dirname, resolve } from 'node:path';
import { formatProblem } from '../../config/layer.ts';
import { type Command, EXIT_FAILED, EXIT_OK, readArguments, UsageError } from '../command.ts';
import { problemsOf } from '../config-problems.ts';
import { safeText } from '../ctl/terminal-text.ts';
import { AEDES_FLAGS } from '../import/aedes-flags.ts';
import { convert } from '../import/convert.ts';
import { modelOf } from '../import/mosquitto-config.ts';
import { ImportError, readDirectives } from '../import/mosquitto-lines.ts';
import { formatNote, Notes } from '../import/note.ts';
import { writeResult } from '../import/write-result.ts';
import { thisMachine } from '../machine.ts';

/** Written, but something of the original is missing. */
const EXIT_INCOMPLETE = 3;

const MOSQUITTO_FLAGS = { dir: { type: 'string' }, base: { type: 'string' } } as const;

export const command: Command = {
  name: 'import',
  summary: 'take over from mosquitto or aedes',
  usage: `causeway import mosquitto FILE [--dir DIR]
causeway import aedes --from redis://HOST:PORT/DB --data DIR [--dry-run]

mosquitto: reads a mosquitto.conf of mosquitto 2.0, include_dir too, and writes causeway.yaml into DIR
(default ./causeway), beside it the password, rule and key files it names, copied as they are.
Certificates stay where they are. Nothing is overwritten, and the original is only read. Every line
that could not be carried is named with its reason and what to do instead. Where that line kept
somebody out, something is shut: a listener is left out, or nobody has a password yet.

      --dir DIR            where to write
      --base DIR           what relative names in FILE are relative to (default: the folder of FILE)

aedes: reads the database of aedes-persistence-redis (9 to 12), with every aedes node stopped, and
fills the data directory DIR, which must not hold sessions yet: sessions, subscriptions, queued and
retained messages, inbound QoS 2 ids, wills. What was found and what is stored is counted and printed.
Nothing is changed at the source.

      --from URL           redis://[user:password@]host[:port][/db], rediss://, unix:/path
      --data DIR           data directory to fill
      --dry-run            read and count, and write nothing
      --prefix TEXT        what stands in front of every key (keyPrefix of ioredis)
      --identity WHOSE     none (default): sessions of clients that do not log in; client-id: the user
                           name is the client id
      --identities FILE    user names by client id, a line each: client id, tab, user name
      --tenant NAME        tenant of the sessions
      --session-expiry D   how long a session lives without its client: never (default), 30d, …
      --redis-ca FILE      authorities for rediss://
      --redis-password-file FILE

Exit codes: 0 everything is carried; 1 the command line is wrong, or the counts differ; 2 nothing can
be used: what was written is not a valid configuration, or the data could not be read or written; 3
done, but something is missing and was named.
`,
  async run(args) {
    const all = { ...AEDES_FLAGS, ...MOSQUITTO_FLAGS };
    const format = readArguments(args, all, 2).positionals[0];
    if (format === 'aedes') {
      const given = readArguments(args, AEDES_FLAGS, 1);
      const { importAedes } = await import('../import/aedes.ts');
      return importAedes(given);
    }
    const flags = readArguments(args, format === 'mosquitto' ? MOSQUITTO_FLAGS : all, 2);
    const file = flags.positionals[1];
    if (format !== 'mosquitto') {
      throw new UsageError('what can be imported: mosquitto FILE, or aedes --from URL --data DIR');
    }
    if (file === undefined) throw new UsageError('mosquitto needs the name of its configuration');
    const folder = resolve(flags.values.get('dir')?.[0] ?? 'causeway');
    const base = resolve(flags.values.get('base')?.[0] ?? dirname(file));
    const notes = new Notes();
    try {
      const model = modelOf(readDirectives(file, base), notes);
      const converted = convert(model, base, thisMachine, notes);
      const written = await writeResult(converted, notes.all, file, folder);
      tell(notes);
      const problems = await problemsOf(written);
      for (const problem of problems) process.stderr.write(`${formatProblem(problem)}\n`);
      if (problems.length > 0) {
        process.stderr.write(`causeway import: ${written} does not start as it is\n`);
        return EXIT_FAILED;
      }
      process.stdout.write(`${written}\nstart it with: causeway start --config ${written}\n`);
      return notes.isIncomplete ? EXIT_INCOMPLETE : EXIT_OK;
    } catch (error) {
      if (!(error instanceof ImportError)) throw error;
      tell(notes);
      process.stderr.write(`causeway import: ${safeText(error.message)}; nothing was written\n`);
      return EXIT_FAILED;
    }
  },
};

function tell(notes: Notes): void {
  for (const note of notes.all) process.stderr.write(`${safeText(formatNote(note))}\n`);
}

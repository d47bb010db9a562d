/** `causeway import mosquitto`: a configuration of mosquitto becomes one of ours. */
import { dirname, resolve } from 'node:path';
import { formatProblem } from '../../config/layer.ts';
import { type Command, EXIT_FAILED, EXIT_OK, readArguments, UsageError } from '../command.ts';
import { problemsOf } from '../config-problems.ts';
import { safeText } from '../ctl/terminal-text.ts';
import { convert } from '../import/convert.ts';
import { modelOf } from '../import/mosquitto-config.ts';
import { ImportError, readDirectives } from '../import/mosquitto-lines.ts';
import { formatNote, Notes } from '../import/note.ts';
import { writeResult } from '../import/write-result.ts';
import { thisMachine } from '../machine.ts';

/** Written, but something of the original is missing. */
const EXIT_INCOMPLETE = 3;

export const command: Command = {
  name: 'import',
  summary: 'make a configuration from one of mosquitto',
  usage: `causeway import mosquitto FILE [--dir DIR]

Reads a mosquitto.conf of mosquitto 2.0, include_dir too, and writes causeway.yaml into DIR (default
./causeway), beside it the password, rule and key files it names, copied as they are. Certificates
stay where they are. Nothing is overwritten, and the original is only read.

Every line that could not be carried is named with its reason and what to do instead. Where that line
kept somebody out, something is shut: a listener is left out, or nobody has a password yet.

      --dir DIR            where to write
      --base DIR           what relative names in FILE are relative to (default: the folder of FILE)

Exit codes: 0 everything is carried; 1 the command line is wrong; 2 nothing was written, or what was
written is not a valid configuration; 3 written, but lines are missing.
`,
  async run(args) {
    const flags = readArguments(args, { dir: { type: 'string' }, base: { type: 'string' } }, 2);
    const [format, file] = flags.positionals;
    if (format !== 'mosquitto') throw new UsageError('what can be imported: mosquitto FILE');
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

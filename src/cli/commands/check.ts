/** `causeway check`: everything that is wrong with a configuration, at once, without starting. */
import { checkAccess } from '../../config/check-access.ts';
import { checkFiles } from '../../config/check-files.ts';
import { formatProblem } from '../../config/layer.ts';
import { type Command, EXIT_OK, EXIT_USAGE, readArguments } from '../command.ts';
import {
  configFlags,
  configFlagsUsage,
  configSourcesUsage,
  loadOrExplain,
  requestConfig,
} from '../config-flags.ts';

export const command: Command = {
  name: 'check',
  summary: 'check a configuration and the files it names, without starting',
  usage: `causeway check [FILE] [FLAGS]

Prints every error as FILE:LINE:COLUMN: OPTION: what was expected, and ends with exit code 1 when
there is one. Certificates and keys, users and rules are read and checked too; services are not
asked.

${configFlagsUsage}

${configSourcesUsage}
`,
  async run(args) {
    const flags = readArguments(args, configFlags, 1);
    const request = requestConfig(flags, flags.positionals[0]);
    const loaded = loadOrExplain(request);
    if (loaded === null) return EXIT_USAGE;
    const { problems: ofFiles, warnings } = await checkFiles(loaded);
    const problems = [...ofFiles, ...(await checkAccess(loaded.config))];
    for (const warning of warnings) {
      process.stderr.write(`${formatProblem(warning)} (a warning)\n`);
    }
    for (const problem of problems) process.stderr.write(`${formatProblem(problem)}\n`);
    if (problems.length > 0) return EXIT_USAGE;
    process.stdout.write(`${request.file ?? 'defaults, environment and flags'}: ok\n`);
    return EXIT_OK;
  },
};

/** `causeway config`: the values in force and where each comes from. */
import { renderEffective } from '../../config/effective.ts';
import { editorSchema } from '../../config/json-schema.ts';
import { type Command, EXIT_OK, EXIT_USAGE, readArguments } from '../command.ts';
import {
  configFlags,
  configFlagsUsage,
  configSourcesUsage,
  loadOrExplain,
  requestConfig,
} from '../config-flags.ts';

export const command: Command = {
  name: 'config',
  summary: 'print the configuration in force and where each value comes from',
  usage: `causeway config [FILE] [FLAGS]

Prints every option with its value as YAML. The comment at each says where it was set: default,
FILE:LINE:COLUMN, the name of an environment variable, or a flag. The output is itself a valid
configuration file.

${configFlagsUsage}
      --schema        print the JSON Schema of configuration files instead, for editors

${configSourcesUsage}
`,
  async run(args) {
    const flags = readArguments(args, { ...configFlags, schema: { type: 'boolean' } }, 1);
    if (flags.values.has('schema')) {
      process.stdout.write(`${JSON.stringify(editorSchema(), null, 2)}\n`);
      return EXIT_OK;
    }
    const loaded = loadOrExplain(requestConfig(flags, flags.positionals[0]));
    if (loaded === null) return EXIT_USAGE;
    process.stdout.write(renderEffective(loaded));
    return EXIT_OK;
  },
};

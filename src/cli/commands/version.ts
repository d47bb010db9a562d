/** `causeway version`: what this is, and what it runs on. */
import { type Command, EXIT_OK, readArguments } from '../command.ts';
import { commit, version } from '../version.ts';

export const command: Command = {
  name: 'version',
  summary: 'print the version',
  usage: `causeway version

Prints the version of Causeway, of Node and of the platform.
`,
  async run(args) {
    readArguments(args, {});
    const { platform, arch, versions } = process;
    const built = commit === '' ? '' : `${commit}, `;
    const runtime = `${built}Node ${versions.node}, ${platform}-${arch}`;
    process.stdout.write(`causeway ${version} (${runtime})\n`);
    return EXIT_OK;
  },
};

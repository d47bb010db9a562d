/** What `causeway check` would say of a file that a command has just written. */
import { checkFiles } from '../config/check-files.ts';
import type { Problem } from '../config/layer.ts';
import { ConfigError, loadConfig } from '../config/load.ts';

/** Of the file alone: what is in the environment now is not its business. */
export async function problemsOf(file: string): Promise<readonly Problem[]> {
  try {
    const loaded = loadConfig({ file, environment: {}, flags: [] });
    return (await checkFiles(loaded)).problems;
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return error.problems;
  }
}

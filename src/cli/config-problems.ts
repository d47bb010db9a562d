/**
 * What is wrong with a configuration that a command has just written, and with the users, rules and
 * keys it names: read by the same code as a node does when it starts. Starts nothing.
 */
import { checkAccess } from '../config/check-access.ts';
import { checkFiles } from '../config/check-files.ts';
import type { Problem } from '../config/layer.ts';
import { ConfigError, loadConfig } from '../config/load.ts';

/** Of the file alone: what is in the environment now is not its business. */
export async function problemsOf(file: string): Promise<readonly Problem[]> {
  try {
    const loaded = loadConfig({ file, environment: {}, flags: [] });
    const { problems } = await checkFiles(loaded);
    return [...problems, ...(await checkAccess(loaded.config))];
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return error.problems;
  }
}

/**
 * What is wrong with a configuration that a command has just written, and with the users, rules and
 * keys it names: read by the same code as a node does when it starts. Starts nothing.
 */
import { AccessError } from '../access/access-error.ts';
import { loadRules } from '../access/acl/load-rules.ts';
import { loadPasswordFile } from '../access/authn/password-file.ts';
import { loadPskFile } from '../access/authn/psk-file.ts';
import { checkFiles } from '../config/check-files.ts';
import type { Config } from '../config/config.ts';
import type { Problem } from '../config/layer.ts';
import { ConfigError, loadConfig } from '../config/load.ts';
import type { Log } from '../core/ports.ts';

const silent: Log = { debug() {}, info() {}, warn() {}, error() {} };

/** Of the file alone: what is in the environment now is not its business. */
export async function problemsOf(file: string): Promise<readonly Problem[]> {
  try {
    const loaded = loadConfig({ file, environment: {}, flags: [] });
    const { problems } = await checkFiles(loaded);
    return [...problems, ...(await accessProblems(loaded.config))];
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return error.problems;
  }
}

async function accessProblems({ authentication, authorization }: Config): Promise<Problem[]> {
  const { password, psk } = authentication;
  const { rulesFile } = authorization;
  const loads: (() => unknown)[] = [];
  if (password !== undefined) loads.push(() => loadPasswordFile(password.file, silent));
  if (psk !== undefined) loads.push(() => loadPskFile(psk.file, silent));
  if (rulesFile !== undefined) loads.push(() => loadRules(rulesFile));
  const problems: Problem[] = [];
  for (const load of loads) {
    try {
      await load();
    } catch (error) {
      if (!(error instanceof AccessError)) throw error;
      problems.push(...error.problems);
    }
  }
  return problems;
}

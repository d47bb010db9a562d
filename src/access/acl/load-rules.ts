/**
 * From a rule file to a rule set: ours in YAML, or mosquitto's acl_file, told apart by name and
 * content. Throws an AccessError with every problem and its place; then nothing has changed, and
 * whoever calls keeps the rules it had. Called at start, at reload, and by `causeway acl test`.
 */
import { readFileSync } from 'node:fs';
import { extname } from 'node:path';
import { AccessError } from '../access-error.ts';
import { looksLikeMosquittoAcl, readMosquittoAcl } from './mosquitto-acl.ts';
import { RULE_FILE_BYTES_MAX, type RulesRead } from './rule-file.ts';
import { readYamlRules } from './rule-file-yaml.ts';
import { RuleSet } from './rule-set.ts';

/** A file without a rule denies everything. */
export function loadRules(file: string): RuleSet {
  let bytes: Buffer;
  try {
    bytes = readFileSync(file);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? String(error);
    throw new AccessError([{ where: file, message: `cannot be read: ${code}` }]);
  }
  if (bytes.length > RULE_FILE_BYTES_MAX) {
    const message = `is larger than ${RULE_FILE_BYTES_MAX} bytes`;
    throw new AccessError([{ where: file, message }]);
  }
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    throw new AccessError([{ where: file, message: 'is not UTF-8 text' }]);
  }
  return parseRules(text, file);
}

/** `name` is what places are printed with, and tells the format where the content does not. */
export function parseRules(text: string, name: string): RuleSet {
  const read = isMosquitto(text, name) ? readMosquittoAcl(text, name) : readYamlRules(text, name);
  return ruleSetOf(read, name);
}

function isMosquitto(text: string, name: string): boolean {
  const extension = extname(name).toLowerCase();
  if (extension === '.yaml' || extension === '.yml' || extension === '.json') return false;
  return looksLikeMosquittoAcl(text);
}

function ruleSetOf({ rules, slots, problems }: RulesRead, name: string): RuleSet {
  if (problems.length > 0) throw new AccessError(problems);
  return new RuleSet(name, rules, slots);
}

/**
 * From a rule file to a rule set: ours in YAML, or mosquitto's acl_file, told apart by name and
 * content. Throws an AccessError with every problem and its place; then nothing has changed, and
 * whoever calls keeps the rules it had. Called at start, at reload, and by `causeway acl test`. In
 * slices, as clients are served meanwhile.
 */
import { readFile } from 'node:fs/promises';
import { extname } from 'node:path';
import { AccessError } from '../access-error.ts';
import { inSlices, type Steps, type Turns } from '../slices.ts';
import { looksLikeMosquittoAcl, readMosquittoAcl } from './mosquitto-acl.ts';
import { RULE_FILE_BYTES_MAX } from './rule-file.ts';
import { readYamlRules } from './rule-file-yaml.ts';
import { RuleSet } from './rule-set.ts';

/** Decoded at a time. */
const DECODED_BYTES = 1024 * 1024;

/** A file without a rule denies everything. */
export async function loadRules(file: string, turns: Turns): Promise<RuleSet> {
  let bytes: Buffer;
  try {
    bytes = await readFile(file);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? String(error);
    throw new AccessError([{ where: file, message: `cannot be read: ${code}` }]);
  }
  if (bytes.length > RULE_FILE_BYTES_MAX) {
    const message = `is larger than ${RULE_FILE_BYTES_MAX} bytes`;
    throw new AccessError([{ where: file, message }]);
  }
  return inSlices(decodeRules(bytes, file), turns);
}

function* decodeRules(bytes: Buffer, file: string): Steps<RuleSet> {
  const decoder = new TextDecoder('utf-8', { fatal: true });
  let text = '';
  try {
    for (let from = 0; from < bytes.length; from += DECODED_BYTES) {
      text += decoder.decode(bytes.subarray(from, from + DECODED_BYTES), { stream: true });
      yield;
    }
    text += decoder.decode();
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    throw new AccessError([{ where: file, message: 'is not UTF-8 text' }]);
  }
  return yield* parseRules(text, file);
}

/** `name` is what places are printed with, and tells the format where the content does not. */
export function* parseRules(text: string, name: string): Steps<RuleSet> {
  const { rules, slots, problems } = yield* isMosquitto(text, name)
    ? readMosquittoAcl(text, name)
    : readYamlRules(text, name);
  if (problems.length > 0) throw new AccessError(problems);
  const set = new RuleSet(name, rules, slots);
  yield* set.prepare();
  return set;
}

function isMosquitto(text: string, name: string): boolean {
  const extension = extname(name).toLowerCase();
  if (extension === '.yaml' || extension === '.yml' || extension === '.json') return false;
  return looksLikeMosquittoAcl(text);
}

/** `causeway ctl`: the HTTP API of a running node from the shell. */
import type { ParseArgsOptionsConfig } from 'node:util';
import { type Command, EXIT_OK, type Flags, readArguments, UsageError } from '../command.ts';
import { type Action, Call } from '../ctl/action.ts';
import { actions, actionsUsage, checkArguments, findAction } from '../ctl/actions.ts';
import { apiFlags, apiFlagsUsage, makeApiClient } from '../ctl/api-flags.ts';
import { exitCodesUsage, explainApiError } from '../ctl/exit-code.ts';

const LIMIT_DEFAULT = 100;
const LIMIT_MAX = 1_000_000;
/** Resource, verb and arguments; one more than any action takes, so that it can be named. */
const WORDS_MAX = 5;

const commonFlags = {
  ...apiFlags,
  json: { type: 'boolean' },
  limit: { type: 'string' },
} as const;

export const command: Command = {
  name: 'ctl',
  summary: 'operate a running node over its HTTP API',
  usage: `causeway ctl RESOURCE [ACTION] [ARGUMENTS] [FLAGS]

Asks or changes a running node. Tables are cut to the width of the terminal; what clients chose is
shown with control characters escaped.

${actionsUsage()}

Flags:
${apiFlagsUsage}
      --json               one JSON document instead of tables
      --limit N            most items of a list (default ${LIMIT_DEFAULT})

Without ACTION a list is shown. A GLOB is exact, or has * for any characters.

${exitCodesUsage}
`,
  async run(args) {
    const flags = readArguments(args, allFlags(), WORDS_MAX);
    const { action, args: words } = findAction(flags.positionals);
    refuseForeignFlags(action, flags);
    checkArguments({ action, args: words });
    const limit = readLimit(flags.values.get('limit')?.[0]);
    const api = makeApiClient(flags);
    try {
      await action.run(new Call(api, flags, words, limit));
      return EXIT_OK;
    } catch (error) {
      return explainApiError('ctl', error);
    } finally {
      api.close();
    }
  },
};

/** Every flag of every action: they mean the same wherever they are. */
function allFlags(): ParseArgsOptionsConfig {
  return Object.assign({}, ...actions.map((action) => action.flags), commonFlags);
}

function refuseForeignFlags(action: Action, flags: Flags): void {
  for (const name of flags.values.keys()) {
    if (Object.hasOwn(commonFlags, name) || Object.hasOwn(action.flags, name)) continue;
    throw new UsageError(`${`${action.resource} ${action.verb}`.trim()} takes no --${name}`);
  }
}

function readLimit(text: string | undefined): number {
  if (text === undefined) return LIMIT_DEFAULT;
  const limit = /^\d{1,7}$/.test(text) ? Number(text) : 0;
  if (limit < 1 || limit > LIMIT_MAX) throw new UsageError(`--limit is 1 to ${LIMIT_MAX}`);
  return limit;
}

/** All actions of `ctl`, finding one by its words, and the list of them for `--help`. */
import { nearest } from '../../util/nearest.ts';
import { UsageError } from '../command.ts';
import type { Action } from './action.ts';
import { bridgeActions } from './bridge-actions.ts';
import { clientActions } from './client-actions.ts';
import { clusterActions } from './cluster-actions.ts';
import { linkActions } from './link-actions.ts';
import { messageActions } from './message-actions.ts';
import { nodeActions } from './node-actions.ts';

export const actions: readonly Action[] = [
  ...clientActions,
  ...messageActions,
  ...nodeActions,
  ...clusterActions,
  ...linkActions,
  ...bridgeActions,
];

export interface Found {
  readonly action: Action;
  /** What follows the words of the action. */
  readonly args: readonly string[];
}

/** The action of these words; a resource whose only word is `list` needs no verb. */
export function findAction(words: readonly string[]): Found {
  const [resource, verb, ...rest] = words;
  if (resource === undefined) throw new UsageError('which resource?');
  const of = actions.filter((action) => action.resource === resource);
  if (of.length === 0) {
    const near = nearest(
      resource,
      actions.map((action) => action.resource),
    );
    throw new UsageError(
      `unknown resource ${resource}${near === null ? '' : `, did you mean ${near}?`}`,
    );
  }
  const plain = of.find((action) => action.verb === '');
  if (plain !== undefined) return { action: plain, args: words.slice(1) };
  if (verb === undefined) {
    const first = of[0]!;
    if (first.verb === 'list' || first.verb === 'show') return { action: first, args: [] };
  }
  const named = of.find((action) => action.verb === verb);
  if (named !== undefined) return { action: named, args: rest };
  const verbs = of.map((action) => action.verb).join(', ');
  throw new UsageError(`${resource} can do: ${verbs}`);
}

/** Throws when arguments are missing or too many. */
export function checkArguments({ action, args }: Found): void {
  const name = `${action.resource} ${action.verb}`.trim();
  const needed = action.args.filter((arg) => !arg.startsWith('[')).length;
  const missing = args.length < needed ? action.args[args.length] : undefined;
  if (missing !== undefined) throw new UsageError(`${name} needs ${missing}`);
  if (args.length > action.args.length) {
    throw new UsageError(`unexpected argument ${JSON.stringify(args[action.args.length])}`);
  }
  // An empty name would ask for something else: the list.
  if (args.some((arg) => arg === '')) throw new UsageError(`${name}: an argument is empty`);
}

export function actionsUsage(): string {
  const lines = actions.map((action): [string, string] => [
    [action.resource, action.verb, ...action.args].filter((word) => word !== '').join(' '),
    action.summary,
  ]);
  const width = Math.max(...lines.map(([words]) => words.length));
  return lines.map(([words, summary]) => `  ${words.padEnd(width)}  ${summary}`).join('\n');
}

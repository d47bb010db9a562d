/**
 * Lists narrowed by whose an entry is: client identifier, user, tenant, each exact or with `*`. One
 * client is looked up, many are walked. Used by the lists of clients, sessions and subscriptions.
 */
import type { Call } from '../call.ts';
import { globTest } from '../glob.ts';
import { type JsonSchema, type Properties, string } from '../schema.ts';
import { IterableSource } from '../walks.ts';

/** What has an owner. */
export interface Owned {
  readonly clientId: string;
  readonly identity: string | null;
  readonly tenant: string;
}

/** A table of them; `size` bounds the walk while entries come and go. */
export interface OwnedTable<T extends Owned> {
  readonly one: (clientId: string) => T | null;
  readonly all: () => Iterable<T>;
  readonly size: number;
}

const LENGTHS: JsonSchema = { minLength: 1, maxLength: 256 };

/** A parameter that is exact, or has `*` for any characters. */
export function globParameter(description: string): JsonSchema {
  return string(description, LENGTHS);
}

export const clientIdQuery: JsonSchema = globParameter('Exact, or with * for any characters.');

export const ownerQuery: Properties = {
  clientId: clientIdQuery,
  user: globParameter('Likewise.'),
  tenant: globParameter('Likewise.'),
};

export const clientIdPath: Properties = {
  clientId: string('Client identifier, percent-encoded.', { minLength: 1 }),
};

/** The one client that is asked for; null: all, or those of a pattern. */
export function oneClientId(call: Call): string | null {
  const clientId = call.text('clientId');
  return clientId === null || clientId.includes('*') ? null : clientId;
}

/** `isMore`: what else has to be so of an entry. */
export function ownedSource<T extends Owned>(
  call: Call,
  table: OwnedTable<T>,
  isMore: (entry: T) => boolean,
): IterableSource<T> {
  const clientId = globTest(call.text('clientId'));
  const user = globTest(call.text('user'));
  const tenant = globTest(call.text('tenant'));
  const belongs = (entry: T): boolean =>
    (clientId === null || clientId(entry.clientId)) &&
    (user === null || user(entry.identity)) &&
    (tenant === null || tenant(entry.tenant)) &&
    isMore(entry);
  const wanted = oneClientId(call);
  if (wanted === null) return new IterableSource(table.all(), belongs, table.size);
  const entry = table.one(wanted);
  return new IterableSource(entry === null ? [] : [entry], belongs);
}

/** One request of the API as a handler sees it: who asks, and parameters that fit their schemas. */
import type { Role } from './role.ts';

/** Who asks. */
export interface Caller {
  /** Name of the token. */
  readonly name: string;
  readonly role: Role;
  readonly address: string;
}

export type QueryValue = string | number | boolean | undefined;

export interface CallParts {
  readonly caller: Caller;
  /** Method and path of the route: lists and what narrows them are told apart by it. */
  readonly route: string;
  readonly params: Readonly<Record<string, string>>;
  readonly query: Readonly<Record<string, QueryValue>>;
  readonly body: unknown;
}

export class Call {
  readonly caller: Caller;
  /** As its schema says. */
  readonly body: unknown;
  readonly #parts: CallParts;

  constructor(parts: CallParts) {
    this.caller = parts.caller;
    this.body = parts.body;
    this.#parts = parts;
  }

  param(name: string): string {
    return this.#parts.params[name]!;
  }

  text(name: string): string | null {
    const value = this.#parts.query[name];
    return typeof value === 'string' ? value : null;
  }

  number(name: string): number | null {
    const value = this.#parts.query[name];
    return typeof value === 'number' ? value : null;
  }

  flag(name: string): boolean | null {
    const value = this.#parts.query[name];
    return typeof value === 'boolean' ? value : null;
  }

  /** The same for all pages of one list: everything but size and cursor. */
  get listKey(): string {
    const { route, params, query } = this.#parts;
    const narrowing = Object.entries(query)
      .filter(([name]) => name !== 'limit' && name !== 'cursor')
      .sort(([left], [right]) => (left < right ? -1 : 1));
    return JSON.stringify([route, Object.values(params), narrowing]);
  }
}

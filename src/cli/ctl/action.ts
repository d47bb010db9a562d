/**
 * What one word pair of `causeway ctl` (`clients list`) is, and how its answer is shown: a table or
 * pairs for people, one JSON document for programs.
 */
import type { ParseArgsOptionsConfig } from 'node:util';
import type { Flags } from '../command.ts';
import type { ApiClient, Query } from './api-client.ts';
import { renderPairs, renderTable } from './table.ts';
import { safeJson } from './terminal-text.ts';
import { pairsOf, valueText } from './value-text.ts';

export interface Action {
  readonly resource: string;
  /** '': the resource alone. */
  readonly verb: string;
  /** Names of the arguments; one in [] may be left out. */
  readonly args: readonly string[];
  readonly flags: ParseArgsOptionsConfig;
  readonly summary: string;
  /** Of the table, where the answer is a list. */
  readonly columns?: readonly Column[];
  run(call: Call): Promise<void>;
}

/** A field of an item, under its heading. */
export interface Column {
  readonly field: string;
  readonly title: string;
  readonly isNumber?: boolean;
}

/** Cuts tables to the terminal; null: as wide as they get. */
export function terminalWidth(): number | null {
  return process.stdout.isTTY === true ? process.stdout.columns : null;
}

/** One use of an action. */
export class Call {
  readonly api: ApiClient;
  readonly flags: Flags;
  readonly #args: readonly string[];
  readonly #isJson: boolean;
  readonly #limit: number;

  constructor(api: ApiClient, flags: Flags, args: readonly string[], limit: number) {
    this.api = api;
    this.flags = flags;
    this.#args = args;
    this.#isJson = flags.values.has('json');
    this.#limit = limit;
  }

  arg(index: number): string {
    return this.#args[index] ?? '';
  }

  hasArg(index: number): boolean {
    return this.#args[index] !== undefined;
  }

  flag(name: string): string | undefined {
    return this.flags.values.get(name)?.[0];
  }

  /** Asks for a list and prints it. */
  async list(
    path: string,
    query: Query,
    columns: readonly Column[],
    rowsOf: (items: readonly unknown[]) => readonly unknown[] = (items) => items,
  ): Promise<void> {
    const page = await this.api.list(path, query, this.#limit);
    if (page.cursor !== null) {
      process.stderr.write(
        `causeway ctl: there are more; --limit N shows more than ${this.#limit}\n`,
      );
    }
    if (this.#isJson) this.json(page);
    else this.#table(rowsOf(page.items), columns);
  }

  #table(items: readonly unknown[], columns: readonly Column[]): void {
    const rows = items.map((item) =>
      columns.map(({ field }) => valueText(field, (item as Record<string, unknown>)[field])),
    );
    process.stdout.write(renderTable(columns, rows, terminalWidth()));
  }

  /** Prints an answer that is one thing. */
  show(value: unknown): void {
    if (this.#isJson) this.json(value ?? null);
    else process.stdout.write(renderPairs(pairsOf(value)));
  }

  /** After a change: what was done, for people; the answer for programs. */
  done(text: string, value?: unknown): void {
    if (this.#isJson) this.json(value ?? {});
    else process.stdout.write(`${text}\n`);
  }

  get isJson(): boolean {
    return this.#isJson;
  }

  json(value: unknown): void {
    process.stdout.write(`${safeJson(value, 2)}\n`);
  }
}

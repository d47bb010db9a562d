/**
 * What the two readers of rule files share: the bounds, and the list in which they collect problems
 * with their places, so that an operator sees all of them at once.
 */
import type { AccessProblem } from '../access-error.ts';
import type { SlotTable } from './placeholder.ts';
import type { Rule } from './rule.ts';

export const RULE_FILE_BYTES_MAX: number = 32 * 1024 * 1024;
export const RULES_MAX = 100_000;
/** Topics of one rule. */
export const TOPICS_MAX = 1000;
/** Values of one condition. */
export const VALUES_MAX = 10_000;
/** More problems than anyone reads. */
const PROBLEMS_MAX = 100;

export interface RulesRead {
  /** Of no use when there are problems. */
  readonly rules: readonly Rule[];
  readonly slots: SlotTable;
  readonly problems: readonly AccessProblem[];
}

export class Problems {
  readonly #list: AccessProblem[] = [];
  #more = 0;

  add(where: string, message: string): void {
    if (this.#list.length < PROBLEMS_MAX) this.#list.push({ where, message });
    else this.#more += 1;
  }

  /** `where`: the file, for the line that counts what is not listed. */
  list(where: string): readonly AccessProblem[] {
    if (this.#more === 0) return this.#list;
    return [...this.#list, { where, message: `and ${this.#more} more problems` }];
  }
}

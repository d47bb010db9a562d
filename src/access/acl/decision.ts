/**
 * A decision of rules as one small integer (data plane), so that it can be cached and passed on
 * without an object: the number of the rule that decided and what it said, or that none did.
 */

/** `number of the rule * 2 + (allowed ? 1 : 0)`, or one of the two below. */
export type Decision = number;

/** There is no rule at all: everything is allowed. */
export const NO_RULES: Decision = -1;
/** There are rules, and none of them speaks about this: denied. */
export const NO_MATCH: Decision = -2;
/** The client is a superuser. */
export const SUPERUSER: Decision = -3;

export function isAllowed(decision: Decision): boolean {
  return (decision & 1) === 1;
}

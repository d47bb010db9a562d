/**
 * What is wrong with a file or service that access depends on, said so that an operator can mend it.
 * Never holds a secret. Thrown at start and reload; `app` shows it and stops, or keeps what it had.
 */

export interface AccessProblem {
  /** `file:line:column`, a file, or the option that names it. */
  readonly where: string;
  readonly message: string;
}

export class AccessError extends Error {
  readonly problems: readonly AccessProblem[];

  constructor(problems: readonly AccessProblem[]) {
    super(problems.map(({ where, message }) => `${where}: ${message}`).join('\n'));
    this.name = 'AccessError';
    this.problems = problems;
  }
}

/** What `make` gives; an Error it throws becomes the problem at `where`. */
export function orProblem<Value>(where: string, make: () => Value): Value {
  try {
    return make();
  } catch (error) {
    throw new AccessError([{ where, message: (error as Error).message }]);
  }
}

/** One AccessError of many; what is none of them is a fault of the program and goes first. */
export function joined(failures: readonly unknown[]): unknown {
  const problems: AccessProblem[] = [];
  for (const failure of failures) {
    if (!(failure instanceof AccessError)) return failure;
    problems.push(...failure.problems);
  }
  return new AccessError(problems);
}

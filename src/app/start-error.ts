/**
 * Something of this machine keeps a node from starting: a folder in use, a port taken. The message
 * says what to do; the code tells it from errors of the program. Thrown in `app`, shown by `cli`.
 */
export class StartError extends Error {
  override readonly name: string = 'StartError';
  readonly code: string;

  constructor(code: string, message: string, cause: unknown) {
    super(message, { cause });
    this.code = code;
  }
}

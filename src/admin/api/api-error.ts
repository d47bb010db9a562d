/** An answer of the API that is no success: thrown by a handler or a port, shown as a problem. */

export interface FieldError {
  /** Name of the field, file or option; '' for the whole. */
  readonly field: string;
  readonly message: string;
}

export class ApiError extends Error {
  readonly statusCode: number;
  readonly errors: readonly FieldError[];
  /** Seconds after which trying again makes sense; 0: not said. */
  readonly retryAfterS: number;

  /** `detail` is shown to the caller: no secret, and nothing of the inside. */
  constructor(
    statusCode: number,
    detail: string,
    errors: readonly FieldError[] = [],
    retryAfterS: number = 0,
  ) {
    super(detail);
    this.name = 'ApiError';
    this.statusCode = statusCode;
    this.errors = errors;
    this.retryAfterS = retryAfterS;
  }
}

/**
 * What a listener throws when it cannot be made, started or reloaded: a stable code for programs and
 * one sentence for the operator that says what to do. Control plane only.
 */

export type ListenerErrorCode =
  /** The options contradict each other or cannot be read. */
  | 'LISTENER_OPTIONS'
  /** A certificate, key or CA file is missing, broken or does not fit the others. */
  | 'LISTENER_TLS'
  /** The address is taken, not allowed or not of this machine. */
  | 'LISTENER_ADDRESS'
  /** A reload asks for something that only a restart can change. */
  | 'LISTENER_RESTART';

export class ListenerError extends Error {
  override readonly name: string = 'ListenerError';
  readonly code: ListenerErrorCode;

  constructor(code: ListenerErrorCode, listener: string, problem: string, cause?: unknown) {
    super(`listener ${listener}: ${problem}`, cause === undefined ? undefined : { cause });
    this.code = code;
  }
}

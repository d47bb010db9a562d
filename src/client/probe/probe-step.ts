/**
 * What a probe tries, by name, and what came of it. Made by `probe-round.ts`, shown by commands; the
 * documents list the same names (docs/guides/probe.md).
 */

/** With one server. */
export const ownSteps = [
  'connect',
  'subscribe',
  'qos0',
  'ack',
  'qos1',
  'retained_set',
  'retained_read',
  'retained_clear',
] as const;
export type OwnStep = (typeof ownSteps)[number];

/** From one server to another. */
export const crossSteps = ['reach', 'qos0', 'qos1', 'retained_read', 'retained_clear'] as const;
export type CrossStep = (typeof crossSteps)[number];

/** What each does, in one line for people. */
export const stepTexts: Readonly<Record<OwnStep | CrossStep, string>> = {
  connect: 'the socket, TLS and CONNACK',
  subscribe: 'SUBSCRIBE to SUBACK',
  reach: 'the first PUBLISH until one of those sent each 100 ms comes out at the other',
  qos0: 'PUBLISH to the message, QoS 0',
  ack: 'PUBLISH to PUBACK',
  qos1: 'PUBLISH to the message, QoS 1',
  retained_set: 'PUBLISH of a retained message to PUBACK',
  retained_read: 'its PUBACK until who subscribes anew is given it',
  retained_clear: 'PUBACK of the clear until who subscribes anew is given nothing',
};

export interface StepResult {
  /** Place of the server in the list. */
  readonly from: number;
  /** Null: with `from` alone. */
  readonly to: number | null;
  readonly step: OwnStep | CrossStep;
  readonly ok: boolean;
  readonly ms: number;
  /** Why not; null when it is well. */
  readonly reason: string | null;
}

export interface RoundResult {
  /** Wall-clock ms. */
  readonly startedAtMs: number;
  readonly ms: number;
  /** Nothing failed, and everything was tried. */
  readonly ok: boolean;
  /** It was told to stop before it was done. */
  readonly isAborted: boolean;
  /** In the order they ended; what could not be tried as something before it failed is not there. */
  readonly steps: readonly StepResult[];
}

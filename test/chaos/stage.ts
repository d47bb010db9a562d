/**
 * What all clients of a chaos run share: where the broker is now, the books, chance, and the moments
 * at which the one who kills the broker may want to strike. Knows no client.
 */
import type { Ledger } from './ledger.ts';
import type { Dial } from './line.ts';
import type { Prng } from './prng.ts';

/** Things clients see happen; a kill can be aimed at any of them. */
export const moments = [
  'connack',
  'suback',
  'unsuback',
  'puback',
  'pubrec',
  'pubcomp',
  'delivery',
  'released',
  'backlog',
] as const;
export type Moment = (typeof moments)[number];

export interface Stage {
  readonly ledger: Ledger;
  readonly prng: Prng;
  /** Null while there is no broker to connect to. */
  dial: Dial | null;
  /** Monotonic. */
  readonly nowMs: () => number;
  /** What a CONNACK may refuse with while a cluster is in trouble; clients try again. */
  readonly refusals: ReadonlySet<number>;
  /** From now on nobody goes away by himself, and nothing new is published. */
  isClosing: boolean;
  /** Everything stops for good. */
  isOver: boolean;
  /** Called inside the handler of the packet, before anything else happens. */
  onMoment: (moment: Moment) => void;
  /** Who had what under which packet id, for whoever looks for a cause; absent: nobody asks. */
  readonly trace?: (clientId: string, text: string) => void;
}

/** What a payload says: stream and number, then filling. */
export function writePayload(stream: number, seq: number, bytes: number): Buffer {
  const text = `${stream}:${seq}:`;
  return Buffer.from(text.padEnd(bytes, '.'));
}

export function readPayload(payload: Buffer): { stream: number; seq: number } {
  const [stream, seq] = payload.subarray(0, 32).toString('latin1').split(':');
  return { stream: Number(stream ?? Number.NaN), seq: Number(seq ?? Number.NaN) };
}

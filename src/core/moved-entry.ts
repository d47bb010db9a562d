/** One entry of a queue on its way to another region (docs/adr/0023). Types only. */
import type { Message } from './message.ts';

export interface MovedEntry {
  readonly seq: number;
  readonly message: Message;
  readonly qos: 1 | 2;
  readonly retain: boolean;
  readonly subscriptionIds: readonly number[] | null;
  /** Packet identifier it may have been sent under; 0: it was never sent. */
  readonly id: number;
  readonly isReleased: boolean;
}

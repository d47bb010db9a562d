/**
 * What links to other regions need of the world besides clock and scheduler: connections, timers, chance. The
 * process has its own; a simulation hands in others. Used by `link-holder.ts` and `region-link.ts`.
 */
import { systemTimers, type Timers } from '../client/timers.ts';
import type { Transport, TransportHandler } from '../client/transport.ts';

export interface LinkWorld {
  readonly timers: Timers;
  /** In [0, 1): reconnects of many links must not come together; absent: the process' own. */
  readonly random?: (() => number) | undefined;
  /** Absent: a socket to the URL. */
  readonly open?: ((url: string, handler: TransportHandler) => Transport) | undefined;
}

export const systemWorld: LinkWorld = { timers: systemTimers };

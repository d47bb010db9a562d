/** Compiled receivers of one topic: what the match cache holds and the fan-out walks. */
import type { Subscription } from './session.ts';
import type { SharedGroup } from './shared-group.ts';

export interface Route {
  /** One per session. */
  readonly receivers: readonly Subscription[];
  readonly groups: readonly SharedGroup[];
  readonly size: number;
}

export const NO_ROUTE: Route = { receivers: [], groups: [], size: 0 };

/** Compiled receivers of one topic: what the match cache holds and the fan-out walks. */
import type { PeerRoute } from './peer-routes.ts';
import type { Subscription } from './session.ts';
import type { SharedGroup } from './shared-group.ts';

export interface Route {
  /** One per session. */
  readonly receivers: readonly Subscription[];
  readonly groups: readonly SharedGroup[];
  /** Other nodes with connected receivers; null: none, or alone. */
  readonly peers: PeerRoute | null;
  /** Receivers, groups and other nodes. */
  readonly size: number;
}

export const NO_ROUTE: Route = { receivers: [], groups: [], peers: null, size: 0 };

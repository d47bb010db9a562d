/**
 * Counts that several nodes may share: so many points of a key in each window of time. Used for
 * connects and for what a tenant draws on; never per message. In memory for one node; a cluster hands
 * in the same over Redis.
 */

export interface SharedWindow {
  readonly points: number;
  readonly durationS: number;
}

export interface SharedLimit {
  /** Takes the points: 0. Or takes none, and answers after how many ms a new window begins. */
  take(key: string, points: number): Promise<number>;
  /** Points that were taken and not used, as far as their window is still the same. */
  giveBack(key: string, points: number): void;
}

export interface SharedLimits {
  /** `name` tells the quotas apart that share one server. */
  open(name: string, window: SharedWindow): SharedLimit;
}

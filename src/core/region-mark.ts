/** What links between regions tell of a message besides what it says itself (docs/adr/0022). Types only. */
import type { RetainedVersion } from './retained-version.ts';

/** Where a message comes from that another region has sent. */
export interface MessageOrigin {
  /** As the region it was published in has named it. */
  readonly id: string;
  /** Regions it has been in, with commas between. */
  readonly path: string;
}

/** What links tell of a publication besides what it says itself. */
export interface RegionMark {
  /** Null: it was published here. */
  readonly origin: MessageOrigin | null;
  /** Of the retained change it is; null: of none, or of one without. */
  readonly version: RetainedVersion | null;
  /** A retained change that came with QoS 1 and was published with QoS 0: so it is for subscribers. */
  readonly isQos0?: true;
  /**
   * By client: the region a message belongs to that is published again, as was decided when it first was. Left
   * out: as its origin has said last.
   */
  readonly placed?: ReadonlyMap<string, string>;
}

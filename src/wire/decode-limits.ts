/**
 * What a decoder may build from one packet before it refuses it with 0x97 (Quota exceeded).
 * The broker hands in its own values; the defaults serve clients, probes and tests.
 */

export interface DecodeLimits {
  /** User properties of one packet (a CONNECT's and its will's are counted apart). */
  readonly userPropertiesMax: number;
  /** Topic filters of one SUBSCRIBE or UNSUBSCRIBE. */
  readonly filtersMax: number;
}

export const DECODE_LIMITS_DEFAULT: DecodeLimits = {
  userPropertiesMax: 64,
  filtersMax: 1024,
};

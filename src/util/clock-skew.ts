/** Clocks of nodes that differ by more are wrong: versions so far ahead are not taken over (hard case 16). */
export const CLOCK_SKEW_MS = 60_000;

/**
 * Seeds that once failed, with what they found: each stays a test (kept-seeds.test.ts). A row is what
 * `npm run simulate` prints of a failing seed (`kits` is in seed-plan.ts); whoever mends what it found
 * adds it with the commit.
 */
import type { SimFault } from './cluster-faults.ts';

export interface KeptSeed {
  readonly seed: number;
  readonly faults: number;
  /** Absent: all kinds. */
  readonly kinds?: readonly SimFault[];
  readonly isShort?: boolean;
  readonly deafMs?: number;
  /** What it found, in a few words. */
  readonly why: string;
}

export const keptSeeds: readonly KeptSeed[] = [];

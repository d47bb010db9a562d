/**
 * Seeds that once failed, with what they found: each stays a test (kept-seeds.test.ts). A row is what
 * `npm run simulate` prints of a failing seed (`kits` is in seed-plan.ts); whoever mends what it found
 * adds it with the commit.
 */
import type { SimFault } from './cluster-faults.ts';
import { kits } from './seed-plan.ts';

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

const CLAIM = 'a will claimed by a node that was lost before it had the session was never freed';

export const keptSeeds: readonly KeptSeed[] = [
  { seed: 50321, faults: 3, kinds: kits.safe, isShort: true, why: CLAIM },
  { seed: 50033, faults: 3, kinds: kits.safe, isShort: true, why: CLAIM },
  { seed: 50269, faults: 3, kinds: kits.safe, isShort: true, why: CLAIM },
  {
    seed: 10235,
    faults: 3,
    kinds: kits.safe,
    isShort: true,
    why: 'an open that had waited was made for a dead node, and the owner before never heard',
  },
  {
    seed: 50075,
    faults: 3,
    kinds: kits.safe,
    isShort: true,
    why: 'a simulated clock went back when its rate changed asleep',
  },
  { seed: 61115, faults: 3, kinds: kits.safe, isShort: true, why: 'the settle lag never ended' },
];

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
/** A node that wakes between what all have applied and what Redis has written. */
const WOKEN = ['pause', 'suspend', 'link_cut', 'redis_slow'] as const;
const UNLEASED = 'an answer that had waited for Redis left without a second look at the lease';
const VOID_WILL = 'a goodbye came too late for Redis, its new owner died before it heard of it';
const FORGOTTEN = 'Redis came back empty when every lease had ended: sessions were lost';
const LEFT_BEHIND = 'nobody took what a node had left that died unseen, or what came late';
const NOBODYS = 'a session written again as nobody’s was so to others that knew its owner';
const LEFT = 'a session was left while Redis was emptied, behind whoever wrote it again';
const IN_BETWEEN = 'only the last owner was asked to let go, which had never had it';
const UNASKED = 'who had left a session was not asked, as Redis had been emptied and named nobody';
const MADE_ANEW = 'Redis was emptied under an open, which made the session anew';

export const keptSeeds: readonly KeptSeed[] = [
  {
    seed: 702209,
    faults: 3,
    kinds: kits.lossy,
    isShort: true,
    deafMs: 1500,
    why: 'nodes came too late to register again in an emptied Redis: nobody wrote the sessions of the third',
  },
  {
    seed: 9,
    faults: 4,
    kinds: kits.safe,
    isShort: true,
    deafMs: 2500,
    why: 'a copy of a journal made a session nobody’s before what its client had sent was queued',
  },
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
  { seed: 50115, faults: 3, kinds: kits.safe, isShort: true, deafMs: 6000, why: UNLEASED },
  { seed: 20082, faults: 3, kinds: WOKEN, isShort: true, deafMs: 6000, why: UNLEASED },
  { seed: 20141, faults: 3, kinds: WOKEN, isShort: true, deafMs: 6000, why: UNLEASED },
  { seed: 20134, faults: 3, kinds: WOKEN, isShort: true, deafMs: 6000, why: VOID_WILL },
  { seed: 20166, faults: 3, kinds: WOKEN, isShort: true, deafMs: 6000, why: VOID_WILL },
  { seed: 40099, faults: 3, kinds: kits.lossy, isShort: true, why: FORGOTTEN },
  { seed: 40106, faults: 3, kinds: kits.lossy, isShort: true, why: FORGOTTEN },
  { seed: 40117, faults: 3, kinds: kits.lossy, isShort: true, why: FORGOTTEN },
  { seed: 40217, faults: 3, kinds: kits.lossy, isShort: true, why: FORGOTTEN },
  { seed: 40283, faults: 3, kinds: kits.lossy, isShort: true, why: FORGOTTEN },
  { seed: 40152, faults: 3, kinds: kits.lossy, isShort: true, why: MADE_ANEW },
  { seed: 40196, faults: 3, kinds: kits.lossy, isShort: true, why: MADE_ANEW },
  {
    seed: 40147,
    faults: 3,
    kinds: kits.lossy,
    isShort: true,
    why: 'positions an owner had only read were given again after FLUSHALL',
  },
  {
    seed: 40254,
    faults: 3,
    kinds: kits.lossy,
    isShort: true,
    why: 'a session was written again for an owner that had left it',
  },
  {
    seed: 40255,
    faults: 3,
    kinds: kits.lossy,
    isShort: true,
    why: 'Redis lost a session that was being opened: nobody wrote it again',
  },
  {
    seed: 63117,
    faults: 3,
    kinds: kits.lossy,
    isShort: true,
    why: 'opened again after a loss, its own will was taken for an old one',
  },
  {
    seed: 70027,
    faults: 3,
    kinds: kits.safe,
    isShort: true,
    deafMs: 1500,
    why: 'a woken node carried out the CONNECT of a client that had gone elsewhere',
  },
  {
    seed: 147,
    faults: 3,
    kinds: kits.safe,
    isShort: true,
    deafMs: 2500,
    why: 'a woken node wrote a session in its name that survivors had taken from it',
  },
  {
    seed: 101400,
    faults: 3,
    kinds: kits.safe,
    isShort: true,
    deafMs: 1500,
    why: 'only its owner before heard that a session was opened for nobody and given back',
  },
  {
    seed: 100118,
    faults: 4,
    kinds: kits.lossy,
    isShort: true,
    deafMs: 2500,
    why: 'a session was written again for a live node that had left it',
  },
  {
    seed: 70012,
    faults: 3,
    kinds: kits.lossy,
    isShort: true,
    deafMs: 2500,
    why: 'who was to write what nobody owned had not lasted, and a newcomer was taken for it',
  },
  {
    seed: 66092,
    faults: 3,
    kinds: kits.lossy,
    isShort: true,
    deafMs: 6000,
    why: 'sessions were taken from a live member that a joiner had not found in an emptied Redis',
  },
  {
    seed: 66587,
    faults: 3,
    kinds: kits.lossy,
    isShort: true,
    deafMs: 6000,
    why: 'asked again after a loss, a session that was just made was taken for one that was there',
  },
  { seed: 66139, faults: 3, kinds: kits.lossy, isShort: true, deafMs: 6000, why: NOBODYS },
  { seed: 70622, faults: 3, kinds: kits.lossy, isShort: true, deafMs: 2500, why: NOBODYS },
  { seed: 70582, faults: 3, kinds: kits.lossy, isShort: true, deafMs: 2500, why: LEFT },
  { seed: 635, faults: 4, kinds: kits.nodes, isShort: true, deafMs: 2500, why: LEFT_BEHIND },
  { seed: 100301, faults: 4, kinds: kits.nodes, isShort: true, deafMs: 2500, why: LEFT_BEHIND },
  { seed: 101213, faults: 4, kinds: kits.redis, isShort: true, deafMs: 6000, why: LEFT_BEHIND },
  { seed: 104238, faults: 2, kinds: kits.lossy, isShort: true, deafMs: 2500, why: UNASKED },
  { seed: 104766, faults: 3, kinds: kits.lossy, isShort: true, deafMs: 6000, why: UNASKED },
  { seed: 107417, faults: 2, kinds: kits.lossy, isShort: true, deafMs: 6000, why: UNASKED },
  {
    seed: 104929,
    faults: 3,
    kinds: kits.safe,
    deafMs: 6000,
    why: 'a machine slept between an answer under its lease and the write of it',
  },
  { seed: 103809, faults: 2, kinds: kits.safe, isShort: true, deafMs: 6000, why: IN_BETWEEN },
  { seed: 103521, faults: 3, kinds: kits.lossy, isShort: true, deafMs: 1500, why: IN_BETWEEN },
  {
    seed: 102595,
    faults: 3,
    kinds: kits.nodes,
    isShort: true,
    deafMs: 6000,
    why: 'a coin said for long that another node would end the queue of a group',
  },
  {
    seed: 105666,
    faults: 1,
    kinds: kits.lossy,
    isShort: true,
    deafMs: 1500,
    why: 'one of two who removed a session put its client back into the index',
  },
  {
    seed: 200470,
    faults: 1,
    kinds: kits.safe,
    isShort: true,
    deafMs: 6000,
    why: 'a retained message that was told to some before its node died was not to the others',
  },
  {
    seed: 310459,
    faults: 3,
    kinds: kits.lossy.filter((kind) => kind !== 'all_down'),
    isShort: true,
    deafMs: 2500,
    why: 'Redis was emptied under a read: positions it had given were given again',
  },
  {
    seed: 501698,
    faults: 4,
    kinds: kits.safe,
    isShort: true,
    deafMs: 2500,
    why: 'what a dead node had on its way to Redis came there after those who were ready had looked',
  },
  {
    seed: 509130,
    faults: 2,
    kinds: kits.lossy,
    isShort: true,
    deafMs: 2500,
    why: 'what was pending was retained anew by the next owner, above what had been since',
  },
  {
    seed: 508593,
    faults: 4,
    kinds: kits.safe,
    isShort: true,
    deafMs: 2500,
    why: 'the will of a goodbye was published as the node that had been handed it was gone',
  },
];

/**
 * Bugs that are planted to see that the simulation of roaming sessions finds them: each breaks one rule of ADR
 * 0023. Used by roaming-plants.test.ts, which says of each how many seeds it takes.
 */
import type { Kernel } from './kernel.ts';
import type { RegionFault } from './region-faults.ts';
import type { RegionLife } from './region-life.ts';
import {
  fenceLater,
  fetchesNothing,
  forgetsEarly,
  hadLater,
  neverResolves,
  oneShare,
  saysNothingTaken,
  saysWordEarly,
} from './roaming-planting.ts';
import type { RoamingRunOptions } from './roaming-run.ts';

export interface RoamingPlant {
  /** What goes wrong, as if the rule were not there. */
  readonly name: string;
  readonly kinds: readonly RegionFault[];
  readonly faults: number;
  readonly delayMaxMs: number;
  readonly devices?: number;
  /** The first of all that finds it: where the test begins. */
  readonly seed: number;
  readonly sabotage: (life: RegionLife, kernel: Pick<Kernel, 'after'>) => void;
}

/** How a seed is run for it. */
export function roamingPlantRun(plant: RoamingPlant, seed: number): RoamingRunOptions {
  const { kinds, faults, delayMaxMs } = plant;
  const shape = { regions: 2, topology: 'pair', quietMs: 3000 } as const;
  const { devices } = plant;
  return {
    seed,
    ...shape,
    kinds,
    faults,
    delayMaxMs,
    ...(devices === undefined ? {} : { devices }),
  };
}

const KILLS = ['kill', 'power', 'all_down'] as const;
const CUTS = ['split', 'link_block', 'link_cut', 'kill'] as const;

export const roamingPlants: readonly RoamingPlant[] = [
  {
    name: 'how far a page has come is not in the commit of what was in it',
    ...{ kinds: KILLS, faults: 6, delayMaxMs: 100, seed: 11 },
    sabotage: hadLater,
  },
  {
    name: 'a region says that its messages belong elsewhere before that is subscribed to them',
    ...{ kinds: CUTS, faults: 4, delayMaxMs: 300, seed: 80, devices: 1 },
    sabotage: saysWordEarly,
  },
  {
    name: 'a home forgets a session before each region has said that nothing comes',
    ...{ kinds: CUTS, faults: 2, delayMaxMs: 300, seed: 1 },
    sabotage: forgetsEarly,
  },
  {
    name: 'every home gives packet identifiers of one share',
    ...{ kinds: CUTS, faults: 4, delayMaxMs: 100, seed: 1 },
    sabotage: oneShare,
  },
  {
    name: 'a home answers before it is on its disk that it has let go',
    ...{ kinds: KILLS, faults: 6, delayMaxMs: 100, seed: 3 },
    sabotage: fenceLater,
  },
  {
    name: 'what was given to a region that could not be asked is never settled',
    ...{ kinds: CUTS, faults: 4, delayMaxMs: 100, seed: 2 },
    sabotage: neverResolves,
  },
  {
    name: 'a region that hands a session back does not say what it has',
    ...{ kinds: CUTS, faults: 1, delayMaxMs: 100, seed: 16 },
    sabotage: saysNothingTaken,
  },
  {
    name: 'nobody goes for what waits elsewhere',
    ...{ kinds: CUTS, faults: 1, delayMaxMs: 100, seed: 1 },
    sabotage: fetchesNothing,
  },
];

/** Devices of a simulated run that go from region to region: some of each kind, by the seed. */
import type { Prng } from '../chaos/prng.ts';
import type { SimRegion } from './region-life.ts';
import { RoamingClient, type RoamingClientOptions, type RoamingGuide } from './roaming-client.ts';

/** In a run at least, and at most. */
const DEVICES: readonly [number, number] = [2, 5];

export interface CastHabits {
  readonly startsClean: boolean;
  readonly changesSubscriptions: boolean;
  readonly devices?: number | undefined;
  /** Devices beside them that come later. */
  readonly newcomers?: number | undefined;
}

export function roamingCast(
  guide: RoamingGuide,
  regions: readonly SimRegion[],
  plan: Prng,
  { startsClean, changesSubscriptions, devices: wanted, newcomers = 0 }: CastHabits,
): readonly RoamingClient[] {
  const devices: RoamingClient[] = [];
  const names = regions.map(({ name }) => name);
  for (let number = wanted ?? plan.between(...DEVICES); number > 0; number--) {
    const home = plan.pick(regions);
    const first = plan.pick(names);
    const options: RoamingClientOptions = {
      clientId: `device-${number}`,
      regions: clique(home, regions, plan),
      gait: plan.pick(['flapping', 'walking', 'walking', 'strolling']),
      qos: plan.once(4) ? 1 : 2,
      filters: plan.pick([
        ['chaos/#'],
        ['chaos/#'],
        [`chaos/${first}/#`],
        names.map((region) => `chaos/${region}/+`),
      ]),
      fickle:
        changesSubscriptions && plan.once(2)
          ? [...names.map((region) => `chaos/${region}/a`), 'chaos/+/c']
          : [],
      shared: plan.once(4) ? `$share/g${number}/zero/#` : null,
      receiveMaximum: plan.pick([0, 0, 4, 20]),
      cleanOnceIn: startsClean && plan.once(2) ? 10 : 0,
      isNewcomer: false,
    };
    devices.push(new RoamingClient(options, guide));
  }
  for (let number = newcomers; number > 0; number--) {
    const options: RoamingClientOptions = {
      clientId: `newcomer-${number}`,
      regions: clique(plan.pick(regions), regions, plan),
      gait: plan.pick(['flapping', 'flapping', 'walking']),
      qos: 2,
      filters: plan.pick([['chaos/#'], names.map((region) => `chaos/${region}/+`)]),
      fickle: [],
      shared: null,
      receiveMaximum: plan.pick([0, 20]),
      cleanOnceIn: 0,
      isNewcomer: true,
    };
    devices.push(new RoamingClient(options, guide));
  }
  return devices;
}

/** It, and others each two of which are linked: who has no link to a region cannot fetch a session from there. */
function clique(home: SimRegion, regions: readonly SimRegion[], plan: Prng): readonly string[] {
  const chosen = [home];
  const others = regions.filter((region) => region !== home);
  while (others.length > 0) {
    const [one] = others.splice(plan.between(0, others.length - 1), 1);
    if (chosen.every(({ links }) => links.includes(one!.name))) chosen.push(one!);
  }
  return chosen.map(({ name }) => name);
}

/** Devices of a simulated run that go from region to region: some of each kind, by the seed. */
import type { Prng } from '../chaos/prng.ts';
import { RoamingClient, type RoamingClientOptions, type RoamingGuide } from './roaming-client.ts';

/** In a run at least, and at most. */
const DEVICES: readonly [number, number] = [2, 5];

export interface CastHabits {
  readonly startsClean: boolean;
  readonly changesSubscriptions: boolean;
}

export function roamingCast(
  guide: RoamingGuide,
  regions: readonly string[],
  plan: Prng,
  { startsClean, changesSubscriptions }: CastHabits,
): readonly RoamingClient[] {
  const devices: RoamingClient[] = [];
  for (let number = plan.between(...DEVICES); number > 0; number--) {
    const first = plan.pick(regions);
    const options: RoamingClientOptions = {
      clientId: `device-${number}`,
      gait: plan.pick(['flapping', 'walking', 'walking', 'strolling']),
      qos: plan.once(4) ? 1 : 2,
      filters: plan.pick([
        ['chaos/#'],
        ['chaos/#'],
        [`chaos/${first}/#`],
        regions.map((region) => `chaos/${region}/+`),
      ]),
      fickle:
        changesSubscriptions && plan.once(2)
          ? [...regions.map((region) => `chaos/${region}/a`), 'chaos/+/c']
          : [],
      shared: plan.once(4) ? `$share/g${number}/zero/#` : null,
      receiveMaximum: plan.pick([0, 0, 4, 20]),
      cleanOnceIn: startsClean && plan.once(2) ? 10 : 0,
    };
    devices.push(new RoamingClient(options, plan.pick(regions), guide));
  }
  return devices;
}

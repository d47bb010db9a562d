// The brokers that can be measured, by the name the command line uses.

import { aedes } from './aedes.ts';
import type { CausewayOptions } from './causeway.ts';
import { causeway } from './causeway.ts';
import { mochi } from './mochi.ts';
import { mosquitto } from './mosquitto.ts';
import type { Peer } from './peer.ts';
import { rumqttd } from './rumqttd.ts';

/** Every broker, ours first; `causeway-base` is among them when it is given. */
export function brokers(options: CausewayOptions): readonly Peer[] {
  const { base } = options;
  const older = base === undefined ? [] : [causeway({ executable: base }, 'causeway-base')];
  return [causeway(options), ...older, mosquitto, aedes, rumqttd, mochi];
}

// The brokers that can be measured, by the name the command line uses.

import { aedes } from './aedes.ts';
import type { CausewayOptions } from './causeway.ts';
import { causeway } from './causeway.ts';
import { mochi } from './mochi.ts';
import { mosquitto } from './mosquitto.ts';
import type { Peer } from './peer.ts';
import { rumqttd } from './rumqttd.ts';

/** Every broker, ours first. */
export function brokers(options: CausewayOptions): readonly Peer[] {
  return [causeway(options), mosquitto, aedes, rumqttd, mochi];
}

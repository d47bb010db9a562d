/** The options of steering, for `schema.ts`: docs/guides/steering.md says what they do. */
import { z } from 'zod';
import {
  type HomeOptions,
  type LeastLoadedOptions,
  legacyPolicies,
  type NearestOptions,
  refuseReference,
  type SteeringOptions,
} from '../geo/steering/steering-options.ts';
import { refuseCidr } from './address.ts';
import { choice, type LeafText, quantity, text, texts, truth } from './leaf.ts';
import { regionName } from './regions-schema.ts';

const live = (help: string): LeafText => ({ help, reloadable: true });
const reference = (help: string): z.ZodType<string> =>
  text({ expected: 'HOST or HOST:PORT', refuse: refuseReference }, live(help));

const nearest: z.ZodType<NearestOptions> = z.strictObject({
  reference: reference('Server Reference that clients of these addresses are told.'),
  addresses: texts(
    { expected: 'IP addresses and CIDR networks', refuse: refuseCidr },
    live(
      'Where such clients come from; of several networks that hold an address the smallest counts.',
    ),
  ),
  forGood: truth(
    false,
    live('Tells them 0x9D, server moved, instead of 0x9C, use another server.'),
  ),
});

const home: z.ZodType<HomeOptions> = z.strictObject({
  region: regionName(live('A region that `regions.links` has a link to.')),
  reference: reference('Server Reference that clients whose session is there are told.'),
});

const leastLoaded: z.ZodType<LeastLoadedOptions> = z.strictObject({
  reference: reference('Where clients reach this very node, past any load balancer.'),
  slackPercent: quantity(
    { unit: 'count', default: 20, min: 0, max: 1000 },
    live(
      'A client goes to the node with the fewest clients only when that has so much fewer, in percent.',
    ),
  ),
  clientsMin: quantity(
    { unit: 'count', default: 100, min: 0, max: 10_000_000 },
    live('With fewer clients than that everybody is taken.'),
  ),
});

export const steering: z.ZodType<SteeringOptions> = z.strictObject({
  legacy: choice(
    legacyPolicies,
    'accept',
    live(
      'Clients of MQTT 3.x that belong elsewhere: taken, or refused (3, server unavailable), as they cannot be told where.',
    ),
  ),
  patienceS: quantity(
    { unit: 's', default: 60, min: 1, max: 86_400 },
    live(
      'Who was sent away and comes back within that time is taken: the other server may be away.',
    ),
  ),
  region: text(
    { expected: 'HOST or HOST:PORT', refuse: refuseReference },
    live('The reference in `steering.nearest` that is this region: its clients stay.'),
  ).optional(),
  nearest: z
    .array(nearest, { error: 'expected a list of sections, each with reference and addresses' })
    .default([])
    .meta({
      'x-reloadable': true,
      'x-default': [],
      description: 'Which addresses belong to which region.',
    }),
  home: z
    .array(home, { error: 'expected a list of sections, each with region and reference' })
    .default([])
    .meta({
      'x-reloadable': true,
      'x-default': [],
      description:
        'Who comes with a session that is in one of these regions is sent there, instead of having it moved here.',
    }),
  leastLoaded: leastLoaded.optional().meta({
    description: 'Sends clients to the node of the datacenter that has the fewest.',
  }),
});

/** The options of links between regions, for `schema.ts`: docs/adr/0022 says what they do. */
import { z } from 'zod';
import { isValidTopicFilter } from '../wire/topic.ts';
import { type LeafText, quantity, text, texts, truth } from './leaf.ts';
import type { RegionAcceptConfig, RegionLinkConfig, RegionsConfig } from './regions-config.ts';
import { brokerUrl, optionalFile, remoteTls } from './remote-broker-schema.ts';

const fixed = (help: string): LeafText => ({ help, reloadable: false });
const reloaded = (help: string): LeafText => ({ help, reloadable: true });

const REGION = /^[a-z0-9][a-z0-9-]{0,31}$/;
const REGION_FORM = '1 to 32 of a-z, 0-9 and -, no - first';
const DAY_S = 86_400;
const GIB = 1024 ** 3;

export const regionName = (about: LeafText): z.ZodType<string> =>
  text(
    {
      expected: `the name of a region, ${REGION_FORM}`,
      refuse: (name) => (REGION.test(name) ? null : `expected ${REGION_FORM}`),
    },
    about,
  );

function refuseFilter(filter: string): string | null {
  if (!isValidTopicFilter(filter)) return 'expected a topic filter';
  return filter.startsWith('$') ? 'expected a filter that does not start with $' : null;
}

const filters = (help: string): z.ZodType<readonly string[]> =>
  texts({ expected: 'topic filters', refuse: refuseFilter, mayBeEmpty: true }, reloaded(help), [
    '#',
  ]);

const bytes = (help: string): z.ZodType<number> =>
  quantity({ unit: 'bytes', default: GIB, min: 64 * 1024, max: 1024 * GIB }, reloaded(help));
const age = (help: string): z.ZodType<number> =>
  quantity({ unit: 's', default: DAY_S, min: 1, max: 365 * DAY_S }, reloaded(help));

const link: z.ZodType<RegionLinkConfig> = z.strictObject({
  region: regionName(reloaded('Name of the region that is linked to.')),
  url: brokerUrl(
    'mqtts://us.example.org:8883',
    'An ordinary listener of that region; user and password may be options of their own.',
  ),
  tls: remoteTls('this region', 'the other region').optional(),
  username: text({ expected: 'a user name' }, reloaded('User name for that listener.')).optional(),
  passwordFile: optionalFile('a file with the password', 'Its password.'),
  allow: filters('Topics that may come over this link; nothing else is asked for or taken.'),
  budgetAgeS: age('How long the other region keeps messages for this one while the link is down.'),
  budgetBytes: bytes('How many bytes of them.'),
});

const accept: z.ZodType<RegionAcceptConfig> = z.strictObject({
  region: regionName(reloaded('Name of the region that logs in so.')),
  user: text(
    { expected: 'a user name' },
    reloaded('User that is this region, once authentication has proven it.'),
  ).optional(),
  certificate: text(
    { expected: 'the common name of a certificate' },
    reloaded('Common name of the client certificate that is this region.'),
  ).optional(),
  topics: filters('Topics that are given to that region, and no others.'),
  budgetAgeMaxS: age('Longest time messages are kept for that region; a link may ask for less.'),
  budgetBytesMax: bytes('Most bytes that are kept for it; the oldest go first.'),
});

export const regions: z.ZodType<RegionsConfig> = z.strictObject({
  name: regionName(
    fixed('Name of this region, the same at all its nodes and known to the others.'),
  ),
  roaming: truth(
    false,
    fixed(
      'Durable sessions are listed in Cassandra, and go where their client connects, with what waits in them; needs links in both directions.',
    ),
  ),
  directory: truth(
    false,
    fixed(
      'Durable sessions are listed in Cassandra and stay in their region: `steering.home` of all regions knows where they are. Included in `roaming`.',
    ),
  ),
  roamingWaitMs: quantity(
    { unit: 'ms', default: 300, min: 0, max: 10_000 },
    fixed(
      'How long a CONNECT waits for the region that has its session; then it is served from the directory, and what waits comes later.',
    ),
  ),
  links: z
    .array(link, { error: 'expected a list of links, each a section with region and url' })
    .default([])
    .meta({
      'x-reloadable': true,
      'x-default': [],
      description: 'Regions that messages are fetched from, as far as somebody here wants them.',
    }),
  accept: z
    .array(accept, { error: 'expected a list, each a section with region and user or certificate' })
    .default([])
    .meta({
      'x-reloadable': true,
      'x-default': [],
      description: 'Who may fetch messages here as which region.',
    }),
});

/** The options of bridges to other brokers, for `schema.ts`: docs/guides/bridges.md shows what they do. */
import { z } from 'zod';
import { isValidTopicFilter, isValidTopicName } from '../wire/topic.ts';
import {
  type BridgeConfig,
  type BridgeTopicConfig,
  bridgeDirections,
  bridgeNotifications,
  bridgeRetains,
  bridgeVersions,
} from './bridges-config.ts';
import { choice, type LeafText, quantity, text, truth } from './leaf.ts';
import { brokerUrl, optionalFile, remoteTls } from './remote-broker-schema.ts';

const reloaded = (help: string): LeafText => ({ help, reloadable: true });

const DAY_S = 86_400;
const GIB = 1024 ** 3;
export const BUDGET_BYTES_MIN: number = 64 * 1024;
export const BUDGET_BYTES_MAX: number = 1024 * GIB;
/** Packet identifiers end at 65,535, and subscriptions need some. */
export const IN_FLIGHT_MAX: number = 65_000;

const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;
const NAME_FORM = '1 to 64 of letters, digits, ., _ and -, a letter or digit first';

function refuseFilter(filter: string): string | null {
  // With two prefixes that are whole topics.
  if (filter === '') return null;
  if (!isValidTopicFilter(filter)) return 'expected a topic filter';
  return filter.startsWith('$share/') ? 'expected a filter that is not shared' : null;
}

function refusePrefix(prefix: string): string | null {
  return isValidTopicName(prefix) ? null : 'expected the beginning of a topic, without + and #';
}

function refuseNoticeTopic(topic: string): string | null {
  if (!isValidTopicName(topic)) return 'expected a topic without + and #';
  const isReserved = topic.startsWith('$') && !topic.startsWith('$SYS/');
  return isReserved ? 'expected a topic that begins with $SYS/, or without $' : null;
}

const prefix = (help: string): z.ZodType<string | undefined> =>
  text({ expected: 'the beginning of a topic', refuse: refusePrefix }, reloaded(help)).optional();

const topic: z.ZodType<BridgeTopicConfig> = z.strictObject({
  filter: text(
    { expected: 'a topic filter', refuse: refuseFilter, mayBeEmpty: true },
    reloaded(
      'What is carried, without the prefixes; empty: the one topic that is `localPrefix` here and `remotePrefix` there.',
    ),
  ),
  direction: choice(
    bridgeDirections,
    'out',
    reloaded('`in`: from the other broker to this one; `out`: to the other one; `both`.'),
  ),
  localPrefix: prefix('What topics here begin with, in front of the filter.'),
  remotePrefix: prefix('What topics at the other broker begin with, instead.'),
  qos: quantity(
    { unit: 'count', default: 1, min: 0, max: 2 },
    reloaded('Highest QoS a message keeps over the bridge.'),
  ) as z.ZodType<0 | 1 | 2>,
  retain: choice(
    bridgeRetains,
    'keep',
    reloaded(
      '`keep`: retained messages stay retained, and those there are come first; `live`: without those; `clear`: nothing arrives retained.',
    ),
  ),
});

const bridge: z.ZodType<BridgeConfig> = z.strictObject({
  name: text(
    {
      expected: `the name of a bridge, ${NAME_FORM}`,
      refuse: (name) => (NAME.test(name) ? null : `expected ${NAME_FORM}`),
    },
    reloaded('Name of the bridge; what waits for it belongs to that name.'),
  ),
  url: brokerUrl(
    'mqtts://broker.example.org:8883',
    'A listener of the other broker; user and password may be options of their own.',
  ),
  protocolVersion: choice(bridgeVersions, '5', reloaded('The MQTT the other broker is spoken to.')),
  tls: remoteTls('this broker', 'the other broker').optional(),
  clientId: text(
    { expected: 'a client identifier' },
    reloaded('Client identifier at the other broker; `causeway-NAME` when absent.'),
  ).optional(),
  username: text(
    { expected: 'a user name' },
    reloaded('User name at the other broker.'),
  ).optional(),
  passwordFile: optionalFile('a file with the password', 'Its password.'),
  cleanStart: truth(
    false,
    reloaded('The other broker keeps nothing for this one while the bridge is down.'),
  ),
  keepaliveS: quantity(
    { unit: 's', default: 60, min: 5, max: 65_535 },
    reloaded('Silence after which the other broker is asked whether it is there.'),
  ),
  tryPrivate: truth(
    true,
    reloaded(
      'MQTT 3.1 and 3.1.1: says that this is a bridge, so that a broker like mosquitto sends nothing back; tried again without when refused.',
    ),
  ),
  notifications: choice(
    bridgeNotifications,
    'none',
    reloaded(
      'Where a retained message says that the bridge is up, `1`, or not, `0`: nowhere, at this broker, or at both.',
    ),
  ),
  notificationTopic: text(
    {
      expected: 'a topic',
      refuse: refuseNoticeTopic,
    },
    reloaded('Its topic; `$SYS/broker/connection/CLIENTID/state` when absent.'),
  ).optional(),
  inFlightMax: quantity(
    { unit: 'count', min: 1, max: IN_FLIGHT_MAX },
    reloaded(
      'QoS 1 and 2 messages on the way to the other broker and not acknowledged (its Receive Maximum if lower), with MQTT 5 also from there; 16384 when absent, with MQTT 3.1 and 3.1.1 100.',
    ),
  ).optional(),
  budgetAgeS: quantity(
    { unit: 's', default: 30 * DAY_S, min: 1, max: 365 * DAY_S },
    reloaded('How long QoS 1 and 2 messages wait here for the other broker.'),
  ),
  budgetBytes: quantity(
    { unit: 'bytes', default: GIB, min: BUDGET_BYTES_MIN, max: BUDGET_BYTES_MAX },
    reloaded('How many bytes of them; the oldest go first.'),
  ),
  topics: z
    .array(topic, { error: 'expected a list of topics, each a section with filter' })
    .min(1, { error: 'expected one topic at least' })
    .meta({ 'x-reloadable': true, description: 'What is carried, and in which direction.' }),
});

export const bridges: z.ZodType<readonly BridgeConfig[]> = z
  .array(bridge, { error: 'expected a list of bridges, each a section with name, url and topics' })
  .default([])
  .meta({
    'x-reloadable': true,
    'x-default': [],
    description: 'Other brokers that topics are exchanged with.',
  });

/** Who takes part in a chaos run: a few of every kind. Used by run-chaos.ts. */
import { Publisher } from './publisher.ts';
import type { Stage } from './stage.ts';
import { Subscriber, type SubscriberOptions } from './subscriber.ts';

export interface Cast {
  readonly publishers: readonly Publisher[];
  readonly subscribers: readonly Subscriber[];
}

const all = ['chaos/#'];
const perPublisher = [
  'chaos/one/+',
  'chaos/two/+',
  'chaos/three/+',
  'chaos/four/+',
  'chaos/five/#',
];

export function cast(stage: Stage): Cast {
  const publishers = [
    new Publisher(
      {
        clientId: 'pub-one',
        version: 4,
        topics: [{ topic: 'chaos/one/a', qos: 1 }],
        window: 20,
        restlessness: 0,
        payloadBytes: 40,
      },
      stage,
    ),
    new Publisher(
      {
        clientId: 'pub-two',
        version: 5,
        topics: [
          { topic: 'chaos/two/a', qos: 1 },
          { topic: 'chaos/two/b', qos: 1 },
          { topic: 'chaos/two/c', qos: 1 },
        ],
        window: 50,
        restlessness: 150,
        payloadBytes: 200,
      },
      stage,
    ),
    new Publisher(
      {
        clientId: 'pub-three',
        version: 5,
        topics: [{ topic: 'chaos/three/a', qos: 2 }],
        window: 20,
        restlessness: 0,
        payloadBytes: 40,
      },
      stage,
    ),
    new Publisher(
      {
        clientId: 'pub-four',
        version: 4,
        topics: [
          { topic: 'chaos/four/a', qos: 2 },
          { topic: 'chaos/four/b', qos: 2 },
        ],
        window: 50,
        restlessness: 150,
        payloadBytes: 200,
      },
      stage,
    ),
    new Publisher(
      {
        clientId: 'pub-five',
        version: 5,
        topics: [
          { topic: 'chaos/five/a', qos: 1 },
          { topic: 'chaos/five/b', qos: 2 },
          // One topic at both: a message may not overtake one of the other QoS.
          { topic: 'chaos/five/c', qos: 1 },
          { topic: 'chaos/five/c', qos: 2 },
        ],
        window: 10,
        restlessness: 100,
        payloadBytes: 40,
      },
      stage,
    ),
    new Publisher(
      {
        clientId: 'pub-kept',
        version: 5,
        topics: ['a', 'b', 'c', 'd', 'e'].map((name) => ({
          topic: `kept/${name}`,
          qos: name < 'd' ? (1 as const) : (2 as const),
        })),
        retain: true,
        window: 10,
        restlessness: 200,
        payloadBytes: 60,
      },
      stage,
    ),
  ];

  const solo: SubscriberOptions[] = [
    options('steady-v4', { version: 4, qos: 1, temper: 'steady', filters: all }),
    options('steady-v5', { qos: 2, temper: 'steady', filters: all }),
    options('restless-v5', { qos: 2, temper: 'restless', filters: all, receiveMaximum: 4 }),
    options('restless-v4', { version: 4, qos: 1, temper: 'restless', filters: perPublisher }),
    options('absent-v4', { version: 4, qos: 2, temper: 'absent', filters: all }),
    options('absent-v5', { qos: 1, temper: 'absent', filters: all, receiveMaximum: 10 }),
    options('slow-v5', { qos: 2, temper: 'slow', filters: perPublisher }),
    options('slow-v4', { version: 4, qos: 1, temper: 'slow', filters: all }),
    options('fickle-v5', { qos: 2, temper: 'fickle', filters: perPublisher }),
    options('fickle-v4', { version: 4, qos: 1, temper: 'fickle', filters: perPublisher }),
  ];
  const once = { group: 'group one', filters: ['$share/one/chaos/#'], qos: 1 as const };
  const exact = { group: 'group exact', filters: ['$share/exact/chaos/#'], qos: 2 as const };
  const members: SubscriberOptions[] = [
    options('one-steady', { ...once, temper: 'steady' }),
    options('one-restless', { ...once, temper: 'restless' }),
    options('one-absent', { ...once, version: 4, temper: 'absent' }),
    options('exact-steady', { ...exact, temper: 'steady' }),
    options('exact-restless', { ...exact, temper: 'restless', receiveMaximum: 5 }),
    options('exact-absent', { ...exact, version: 4, temper: 'absent' }),
  ];
  for (const { clientId } of solo) stage.ledger.reader(clientId);
  for (const group of ['group one', 'group exact']) stage.ledger.reader(group, true);
  return {
    publishers,
    subscribers: [...solo, ...members].map((one) => new Subscriber(one, stage)),
  };
}

function options(
  clientId: string,
  given: Partial<SubscriberOptions> & Pick<SubscriberOptions, 'temper' | 'qos' | 'filters'>,
): SubscriberOptions {
  return { version: 5, receiveMaximum: 0, ...given, clientId };
}

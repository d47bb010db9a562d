/**
 * Who takes part in a chaos run over regions: the same few in each of them. Publishers have topics of their
 * region; subscribers follow those of all regions, so that everything passes links. Used by
 * run-region-chaos.ts.
 */
import type { Cast } from './cast.ts';
import { Publisher } from './publisher.ts';
import type { Stage } from './stage.ts';
import { Subscriber, type SubscriberOptions } from './subscriber.ts';

/** Topics that one publisher of one region sets and clears. */
export const KEPT = 'kept/#';
/** Topics that publishers of all regions set and clear: the highest version has to win everywhere. */
export const SHARED = 'shared/#';

const retained = (prefix: string) =>
  ['a', 'b', 'c', 'd'].map((name) => ({
    topic: `${prefix}/${name}`,
    qos: name < 'c' ? (1 as const) : (2 as const),
  }));

/** `hasVersions`: retained changes of one topic in several regions have an order. */
export function regionCast(
  stage: Stage,
  region: string,
  regions: readonly string[],
  hasVersions: boolean,
): Cast {
  const at = `chaos/${region}`;
  const publishers = [
    new Publisher(
      {
        clientId: `${region}-pub-one`,
        version: 5,
        topics: [
          { topic: `${at}/one/a`, qos: 1 },
          { topic: `${at}/one/b`, qos: 2 },
          // One topic at both: a message may not overtake one of the other QoS.
          { topic: `${at}/one/c`, qos: 1 },
          { topic: `${at}/one/c`, qos: 2 },
        ],
        window: 20,
        restlessness: 150,
        payloadBytes: 100,
      },
      stage,
    ),
    new Publisher(
      {
        clientId: `${region}-pub-two`,
        version: 4,
        topics: [{ topic: `${at}/two/a`, qos: 2 }],
        window: 20,
        restlessness: 0,
        payloadBytes: 40,
      },
      stage,
    ),
    new Publisher(
      {
        clientId: `${region}-pub-kept`,
        version: 5,
        topics: retained(`kept/${region}`),
        retain: true,
        window: 5,
        restlessness: 100,
        payloadBytes: 60,
      },
      stage,
    ),
  ];
  if (hasVersions) {
    publishers.push(
      new Publisher(
        {
          clientId: `${region}-pub-shared`,
          version: 5,
          topics: retained('shared'),
          retain: true,
          window: 5,
          restlessness: 100,
          payloadBytes: 60,
        },
        stage,
      ),
    );
  }
  const all = ['chaos/#'];
  const each = regions.flatMap((name) => [`chaos/${name}/one/+`, `chaos/${name}/two/#`]);
  const options = (
    name: string,
    given: Partial<SubscriberOptions> & Pick<SubscriberOptions, 'temper' | 'qos' | 'filters'>,
  ): SubscriberOptions => ({
    version: 5,
    receiveMaximum: 0,
    ...given,
    clientId: `${region}-${name}`,
  });
  const solo = [
    options('steady', { qos: 2, temper: 'steady', filters: all }),
    options('restless', { qos: 2, temper: 'restless', filters: all, receiveMaximum: 4 }),
    options('absent', { version: 4, qos: 1, temper: 'absent', filters: all }),
    options('slow', { version: 4, qos: 2, temper: 'slow', filters: all }),
    options('fickle', { qos: 2, temper: 'fickle', filters: each }),
  ];
  const group = `group of ${region}`;
  const shared = { group, filters: ['$share/exact/chaos/#'], qos: 2 as const };
  const members = [
    options('group-steady', { ...shared, temper: 'steady' }),
    options('group-absent', { ...shared, temper: 'absent', receiveMaximum: 5 }),
  ];
  for (const { clientId } of solo) stage.ledger.reader(clientId);
  stage.ledger.reader(group, true);
  return {
    publishers,
    subscribers: [...solo, ...members].map((one) => new Subscriber(one, stage)),
  };
}

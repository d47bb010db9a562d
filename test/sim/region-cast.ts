/** Who takes part in a run of regions: in each some publishers, sessions and a shared group. */
import type { Prng } from '../chaos/prng.ts';
import { Publisher, type PublisherOptions } from '../chaos/publisher.ts';
import type { Stage } from '../chaos/stage.ts';
import { Subscriber, type SubscriberOptions } from '../chaos/subscriber.ts';

export interface RegionCast {
  readonly publishers: readonly Publisher[];
  readonly subscribers: readonly Subscriber[];
}

const ALL = ['chaos/#'];
/** In each region at least, and at most. */
const PUBLISHERS: readonly [number, number] = [1, 2];
const SUBSCRIBERS: readonly [number, number] = [1, 3];

/** Publishers alone, all of them or some. */
export function regionPublishers(stage: Stage, region: string, plan: Prng): readonly Publisher[] {
  return some(plan, PUBLISHERS, publishersOf(region)).map((one) => new Publisher(one, stage));
}

export function regionCast(stage: Stage, region: string, plan: Prng): RegionCast {
  const publishers = some(plan, PUBLISHERS, publishersOf(region));
  const kinds: (readonly SubscriberOptions[])[] = some(
    plan,
    SUBSCRIBERS,
    subscribersOf(region, plan),
  );
  if (plan.once(2)) kinds.push([fickleOf(region)]);
  const subscribers = kinds.flat();
  for (const { clientId, group } of subscribers) {
    if (group === undefined) stage.ledger.reader(clientId);
  }
  for (const group of new Set(subscribers.map((one) => one.group))) {
    if (group !== undefined) stage.ledger.reader(group, true);
  }
  return {
    publishers: publishers.map((one) => new Publisher(one, stage)),
    subscribers: subscribers.map((one) => new Subscriber(one, stage)),
  };
}

function publishersOf(region: string): readonly PublisherOptions[] {
  const own = (name: string): string => `chaos/${region}/${name}`;
  const common = { window: 20, restlessness: 0, payloadBytes: 40 };
  return [
    {
      ...common,
      clientId: `${region}-one`,
      version: 4,
      topics: [
        { topic: own('a'), qos: 1 },
        { topic: own('b'), qos: 1 },
      ],
      restlessness: 60,
    },
    { ...common, clientId: `${region}-two`, version: 5, topics: [{ topic: own('c'), qos: 2 }] },
    {
      ...common,
      clientId: `${region}-mix`,
      version: 5,
      // A message may not overtake one of the other QoS.
      topics: [
        { topic: own('d'), qos: 1 },
        { topic: own('d'), qos: 2 },
      ],
      window: 6,
      restlessness: 40,
    },
  ];
}

/** A group comes as a whole. */
function subscribersOf(region: string, plan: Prng): readonly (readonly SubscriberOptions[])[] {
  const options = (
    name: string,
    given: Pick<SubscriberOptions, 'temper' | 'qos'> & Partial<SubscriberOptions>,
  ): SubscriberOptions => ({
    version: 5,
    receiveMaximum: 0,
    filters: ALL,
    ...given,
    clientId: `${region}-${name}`,
  });
  const other = plan.pick(['chaos/eu/+', 'chaos/us/#', 'chaos/+/a']);
  const group = { group: `group ${region}`, filters: ['$share/g/chaos/#'] };
  return [
    [options('steady', { temper: 'steady', qos: 2 })],
    [options('old', { version: 4, temper: 'restless', qos: 2 })],
    [options('absent', { temper: 'absent', qos: 2, receiveMaximum: 10 })],
    [options('slow', { temper: 'slow', qos: 1, filters: [other] })],
    [options('narrow', { temper: 'restless', qos: 2, filters: [other], receiveMaximum: 4 })],
    [
      options('group-one', { ...group, temper: 'steady', qos: 2 }),
      options('group-two', { ...group, temper: 'absent', qos: 2 }),
    ],
  ];
}

/** It changes its mind: nothing is published there, but links have to follow. */
function fickleOf(region: string): SubscriberOptions {
  return {
    clientId: `${region}-fickle`,
    version: 5,
    temper: 'fickle',
    qos: 1,
    receiveMaximum: 0,
    filters: ['move/a/+', 'move/b/#', 'move/#', 'move/+/c', `move/${region}`],
  };
}

function some<Item>(plan: Prng, [low, high]: readonly [number, number], items: readonly Item[]) {
  const left = [...items];
  const chosen: Item[] = [];
  for (let count = plan.between(low, high); count > 0 && left.length > 0; count--) {
    chosen.push(...left.splice(plan.between(0, left.length - 1), 1));
  }
  return chosen;
}

// The clients of the scenarios: who subscribes to what, who publishes where. Names of topics are
// of one length, so that a publisher's packets can be built beforehand.

import type { ClientSpec } from '../load/protocol.ts';

/** Publishers, subscribers, and how many subscribers a message reaches. */
export interface Cast {
  readonly publishers: readonly ClientSpec[];
  readonly subscribers: readonly ClientSpec[];
  readonly copies: number;
}

function digits(number: number, width: number): string {
  return String(number).padStart(width, '0');
}

export function publisher(index: number, topics: readonly string[]): ClientSpec {
  return { clientId: `p${index}`, affinity: index, cleanStart: true, filters: [], qos: 0, topics };
}

export function subscriber(
  index: number,
  filters: readonly string[],
  qos: number,
  persistent: boolean,
): ClientSpec {
  return { clientId: `c${index}`, affinity: index, cleanStart: !persistent, filters, qos };
}

function times<Item>(count: number, make: (index: number) => Item): Item[] {
  return Array.from({ length: count }, (_, index) => make(index));
}

function ownTopic(index: number): string {
  return `load/${digits(index, 4)}/data`;
}

/** Every publisher has one subscriber of its own. */
export function pairs(count: number, qos: number, persistent: boolean): Cast {
  return {
    publishers: times(count, (index) => publisher(index, [ownTopic(index)])),
    subscribers: times(count, (index) => subscriber(index, [ownTopic(index)], qos, persistent)),
    copies: 1,
  };
}

/** One publisher, everybody listens. */
export function fanOut(count: number, qos: number, persistent: boolean): Cast {
  return {
    publishers: [publisher(0, ['load/all/data'])],
    subscribers: times(count, (index) => subscriber(index, ['load/all/data'], qos, persistent)),
    copies: count,
  };
}

/** Many publishers, one subscriber hears all of them through a wildcard. */
export function fanIn(count: number, qos: number): Cast {
  return {
    publishers: times(count, (index) => publisher(index, [ownTopic(index)])),
    subscribers: [subscriber(0, ['load/+/data'], qos, false)],
    copies: 1,
  };
}

/** Many publishers, a group of subscribers shares what they send. */
export function sharedGroup(count: number, members: number, qos: number): Cast {
  const filter = '$share/workers/load/+/data';
  return {
    publishers: times(count, (index) => publisher(index, [ownTopic(index)])),
    subscribers: times(members, (index) => subscriber(index, [filter], qos, false)),
    copies: 1,
  };
}

const SITES = 50;
const DEVICES = 200;
const WATCHERS = 10;

/**
 * Ten thousand topics `plant/SITE/DEVICE/data`. Each site has a subscriber for all of its devices;
 * ten watchers follow twenty device numbers each over all sites. Every message matches one of
 * either.
 */
export function manyTopics(qos: number): Cast {
  const topic = (site: number, device: number): string =>
    `plant/${digits(site, 2)}/${digits(device, 3)}/data`;
  const perWatcher = DEVICES / WATCHERS;
  return {
    publishers: times(SITES, (site) => {
      return publisher(
        site,
        times(DEVICES, (device) => topic(site, device)),
      );
    }),
    subscribers: [
      ...times(SITES, (site) => subscriber(site, [`plant/${digits(site, 2)}/+/data`], qos, false)),
      ...times(WATCHERS, (watcher) => {
        const filters = times(
          perWatcher,
          (index) => `plant/+/${digits(watcher * perWatcher + index, 3)}/data`,
        );
        return subscriber(SITES + watcher, filters, qos, false);
      }),
    ],
    copies: 2,
  };
}

/** One publisher that sets `count` retained topics in turn. */
export function retainedTopics(count: number): readonly string[] {
  return times(count, (index) => `kept/${digits(index % 100, 2)}/${digits(index, 6)}/state`);
}

/**
 * Bugs that are planted to see that the simulation of regions finds them: each breaks one rule of links
 * (docs/adr/0022). Used by region-plants.test.ts, which says of each how many seeds it takes.
 */
import { OWN_IDENTITY } from '../../src/core/shared-append.ts';
import { NEW } from '../../src/geo/identity-window.ts';
import { notWaitingForLinks } from './hard-case-region.ts';
import type { RegionFault } from './region-faults.ts';
import type { RegionLife } from './region-life.ts';
import type { RegionRunOptions } from './region-run.ts';
import type { Topology } from './region-site.ts';

export interface RegionPlant {
  /** What goes wrong, as if the rule were not there. */
  readonly name: string;
  readonly regions: number;
  readonly topology: Topology;
  readonly kinds: readonly RegionFault[];
  readonly faults: number;
  /** The first of all that finds it: where the test begins. */
  readonly seed: number;
  readonly comparesRetained?: boolean;
  /** See RegionSiteOptions. */
  readonly nodes?: readonly number[];
  readonly sabotage: (life: RegionLife) => void;
}

/** How a seed is run for it. */
export function regionPlantRun(plant: RegionPlant, seed: number): RegionRunOptions {
  const { regions, topology, kinds, faults, comparesRetained = false, nodes = [] } = plant;
  return { seed, regions, topology, kinds, faults, comparesRetained, nodes };
}

type Publish = RegionLife['broker']['linkInlet']['publish'];

/** What comes over links. */
function arriving(around: (publish: Publish) => Publish): (life: RegionLife) => void {
  return ({ broker: { linkInlet } }) => {
    linkInlet.publish = around(linkInlet.publish.bind(linkInlet));
  };
}

/** The path that the next region is told. */
function pathAs(change: (path: string) => string): (life: RegionLife) => void {
  return arriving((publish) => (from, topic, start, mark, ...rest) => {
    const { id, path } = mark.origin!;
    publish(from, topic, start, { ...mark, origin: { id, path: change(path) } }, ...rest);
  });
}

export const regionPlants: readonly RegionPlant[] = [
  {
    name: 'a message may go back to where it came from',
    regions: 2,
    topology: 'pair',
    kinds: ['link_cut'],
    faults: 1,
    seed: 1,
    sabotage: pathAs(() => ''),
  },
  {
    name: 'a path has only the last region',
    regions: 3,
    topology: 'ring',
    kinds: ['link_cut'],
    faults: 1,
    seed: 1,
    sabotage: pathAs((path) => path.split(',').at(-1)!),
  },
  {
    name: 'names of messages are not kept over a restart',
    regions: 2,
    topology: 'pair',
    kinds: ['kill', 'power'],
    faults: 3,
    seed: 3,
    sabotage: ({ notes }) => {
      const putNote = notes.putNote.bind(notes);
      notes.putNote = (key, value) => (key.startsWith('w/') ? 0 : putNote(key, value));
    },
  },
  {
    name: 'names of messages are not looked at',
    regions: 3,
    topology: 'ring',
    kinds: ['link_cut'],
    faults: 1,
    seed: 1,
    sabotage: (life) => {
      life.onBegun = () => {
        life.holder.window.seen = () => NEW;
      };
    },
  },
  {
    name: 'what comes over a link is acknowledged before it is on the disk',
    regions: 2,
    topology: 'pair',
    kinds: ['kill', 'power', 'disk_slow'],
    faults: 4,
    seed: 6,
    sabotage: arriving((publish) => (from, topic, start, mark, ticket, settled, ...rest) => {
      publish(from, topic, start, mark, ticket, () => {}, ...rest);
      settled(false);
    }),
  },
  {
    name: 'a publisher’s acknowledgement does not wait for the copies of links',
    regions: 3,
    topology: 'star',
    kinds: ['kill', 'power', 'disk_slow', 'link_block'],
    faults: 5,
    seed: 38,
    sabotage: notWaitingForLinks,
  },
  {
    name: 'a retained change gets another version in each region',
    regions: 3,
    topology: 'ring',
    kinds: ['link_cut', 'link_block'],
    faults: 3,
    seed: 1,
    comparesRetained: true,
    sabotage: arriving((publish) => (from, topic, start, mark, ...rest) => {
      publish(from, topic, start, { ...mark, version: null }, ...rest);
    }),
  },
  {
    name: 'a datacenter does not name what another holder of its links may publish again',
    regions: 2,
    topology: 'pair',
    nodes: [2, 1],
    kinds: ['holder_kill', 'redis_slow'],
    faults: 8,
    seed: 2,
    sabotage: arriving((publish) => (from, topic, start, mark, ticket, settled, _name, choices) => {
      publish(from, topic, start, mark, ticket, settled, OWN_IDENTITY, choices);
    }),
  },
  {
    name: 'what is wanted for others does not say for whom',
    regions: 3,
    topology: 'ring',
    kinds: ['link_cut'],
    faults: 1,
    seed: 1,
    sabotage: ({ links: { wanted } }) => {
      const asTold = (regions: string): string => regions.split(',').at(-1)!;
      const add = wanted.add.bind(wanted);
      const remove = wanted.remove.bind(wanted);
      wanted.add = (filter, regions) => add(filter, asTold(regions));
      wanted.remove = (filter, regions) => remove(filter, asTold(regions));
    },
  },
];

/**
 * What regions add to a fleet: messages over links, retained messages in Cassandra and in the mirror of each
 * node. Pure arithmetic over unit-costs.ts, of which `tables.ts` makes tables of docs/scale.md. What is called
 * a region by links is one datacenter here, as each has one holder of links.
 */
import { bestCell, device, machine } from './fleet.ts';
import { unitCosts } from './unit-costs.ts';

export const regionsExample = {
  /** Regions of the world, each of one or more datacenters. */
  regions: 5,
  /** Of what devices send, for a consumer in one other datacenter. */
  crossingPart: 0.1,
  /** One retained topic for so many devices: the state of a site. */
  devicesPerTopic: 100,
  topicPayloadBytes: 100,
  topicChangesEveryS: 600,
  /** Defaults of `regions.links[]`. */
  budgetAgeS: 86_400,
  budgetBytes: 1_073_741_824,
  /** Beyond the largest budget, until a name is forgotten. */
  windowSlackS: 3600,
  /** Of a node, for what is retained. */
  mirrorMib: 512,
  /** Cassandra in each region, so that LOCAL_QUORUM outlives one of them. */
  cassandraPerRegion: 3,
} as const;

export interface LinkedFleet {
  readonly devices: number;
  readonly datacenters: number;
  /** QoS 1 messages a second that leave one datacenter, and as many that come. */
  readonly crossingPerS: number;
  readonly mbitPerS: number;
  /** Of one core of the holder of links. */
  readonly holderCpu: number;
  /** How long names of messages are kept, seconds. */
  readonly namesKeptS: number;
  /** How long the budget of bytes lasts where all goes to one other datacenter, seconds. */
  readonly budgetLastsS: number;
  /** A month over all links, terabytes. */
  readonly monthTb: number;
  /** One look at all that the devices of a datacenter want, for all its links, seconds. */
  readonly lookS: number;
}

const MONTH_S = 30 * 86_400;

/** One round of a message over a link, both halves at one node, as many come as leave. */
export function crossingUs(): number {
  return unitCosts.linkFromUs.value + unitCosts.linkToUs.value;
}

function crossingBytes(): number {
  return device.payloadBytes + unitCosts.linkBesideBytes.value;
}

/** By the longest budget, until there are too many. */
export function namesKeptS(comePerS: number): number {
  const wantedS = regionsExample.budgetAgeS + regionsExample.windowSlackS;
  return Math.min(wantedS, unitCosts.linkNamesMax.value / comePerS);
}

export function linkedFleet(devices: number): LinkedFleet {
  const { regions, crossingPart, budgetBytes } = regionsExample;
  const datacenters = regions * Math.ceil(devices / regions / bestCell().devices);
  const own = devices / datacenters;
  const crossingPerS = (own / device.publishEveryS) * crossingPart;
  const bytesPerS = crossingPerS * crossingBytes();
  return {
    ...{ devices, datacenters, crossingPerS },
    mbitPerS: (bytesPerS * 8) / 1e6,
    holderCpu: (crossingPerS * crossingUs()) / 1e6,
    namesKeptS: namesKeptS(crossingPerS),
    budgetLastsS: budgetBytes / bytesPerS,
    monthTb: (bytesPerS * datacenters * MONTH_S) / 1e12,
    lookS: (own * unitCosts.linkFilterUs.value * (datacenters - 1)) / 1e6,
  };
}

export interface RetainedFleet {
  readonly devices: number;
  readonly topics: number;
  readonly changesPerS: number;
  /** On each node of every datacenter. */
  readonly mirrorMib: number;
  readonly fits: boolean;
  /** For which a node then has no room. */
  readonly connections: number;
  /** Of one core of one node in each datacenter, if it had all the changes of its own devices. */
  readonly writeCpu: number;
  readonly fillS: number;
  readonly restartS: number;
  readonly cassandraMachines: number;
}

function topicBytes(): number {
  return unitCosts.retainedBytes.value + regionsExample.topicPayloadBytes;
}

export function retainedFleet(devices: number): RetainedFleet {
  const { devicesPerTopic, topicChangesEveryS, regions } = regionsExample;
  const topics = devices / devicesPerTopic;
  const changesPerS = topics / topicChangesEveryS;
  const { datacenters } = linkedFleet(devices);
  const mirrorMib = (topics * topicBytes()) / 1024 / 1024;
  return {
    ...{ devices, topics, changesPerS, mirrorMib },
    connections: (mirrorMib * 1024) / unitCosts.tlsConnectionKib.value,
    fits: mirrorMib <= regionsExample.mirrorMib,
    writeCpu: ((changesPerS / datacenters) * unitCosts.retainedWriteUs.value) / 1e6,
    fillS: topics / unitCosts.retainedFilledPerS.value,
    restartS: topics / unitCosts.retainedReadPerS.value,
    cassandraMachines: regions * regionsExample.cassandraPerRegion,
  };
}

export interface RegionEnds {
  /** Messages a second over the links of one node, each way. */
  readonly holderPerS: number;
  /** Messages a second into a datacenter whose names are kept as long as a budget may last. */
  readonly namesPerS: number;
  readonly mirrorTopics: number;
  readonly writesPerS: number;
}

/** Where each resource of regions ends, if it were alone. */
export function regionEnds(): RegionEnds {
  const { budgetAgeS, windowSlackS, mirrorMib } = regionsExample;
  return {
    holderPerS: (machine.busyMax * 1e6) / crossingUs(),
    namesPerS: unitCosts.linkNamesMax.value / (budgetAgeS + windowSlackS),
    mirrorTopics: (mirrorMib * 1024 * 1024) / topicBytes(),
    writesPerS: (machine.busyMax * 1e6) / unitCosts.retainedWriteUs.value,
  };
}

/** Devices of the example of which so many messages a second cross. */
export function devicesOfCrossing(perS: number): number {
  return (perS * device.publishEveryS) / regionsExample.crossingPart;
}

/**
 * The tables of docs/scale.md, from unit-costs.ts and fleet.ts. `node bench/scale/tables.ts` writes them
 * into the page between its marks; a test says when the page is behind.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import {
  bestCell,
  type Cell,
  cellOf,
  device,
  machine,
  machinesOf,
  REDIS_MACHINES,
  smallestCell,
} from './fleet.ts';
import {
  devicesOfCrossing,
  linkedFleet,
  regionEnds,
  regionsExample,
  retainedFleet,
} from './regions.ts';
import { unitCosts } from './unit-costs.ts';

export const pagePath: string = fileURLToPath(new URL('../../docs/scale.md', import.meta.url));

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  const rule = `| --- |${' ---: |'.repeat(head.length - 1)}`;
  return [line(head), rule, ...rows.map(line)].join('\n');
}

/** Two digits that matter, thousands apart. */
function figure(value: number): string {
  const digits = Number(value.toPrecision(2));
  return digits.toLocaleString('en-US', { maximumFractionDigits: 3 });
}

function whole(value: number): string {
  return Math.ceil(value).toLocaleString('en-US');
}

function percent(part: number): string {
  return `${figure(part * 100)} %`;
}

function costs(): string {
  const rows = Object.values(unitCosts).map(({ value, unit, what, source }) => [
    what,
    `${value.toLocaleString('en-US')} ${unit}`,
    source,
  ]);
  return table(['What', 'Cost', 'Measured by'], rows);
}

function usd(machines: number): string {
  return `$${(machines * machine.usdPerMonth).toLocaleString('en-US')}`;
}

/** A node alone, then a cell, then as many cells of the best size as are needed, in five regions. */
function sizes(): string {
  const best = bestCell();
  const small = [1000, 50_000].map((devices) => {
    const cell = cellOf(devices, 1)!;
    return [
      whole(devices),
      'one node alone',
      '1',
      usd(1),
      figure(cell.memoryMib),
      percent(cell.cpu),
    ];
  });
  const cells = [100_000, best.devices].map((devices) => {
    const cell = smallestCell(devices, 3)!;
    const what = `one datacenter of ${cell.nodes} nodes and ${REDIS_MACHINES} for Redis`;
    const count = machinesOf(cell);
    return [
      whole(devices),
      what,
      whole(count),
      usd(count),
      figure(cell.memoryMib),
      percent(cell.cpu),
    ];
  });
  const regions = [1e6, 1e7, 1e8].map((devices) => {
    const each = Math.ceil(devices / 5 / best.devices);
    const cell = smallestCell(Math.ceil(devices / 5 / each), 3)!;
    const count = 5 * each * machinesOf(cell);
    const what = `five regions, each ${each === 1 ? 'one datacenter' : `${each} datacenters`} of ${cell.nodes} nodes`;
    return [
      whole(devices),
      what,
      whole(count),
      usd(count),
      figure(cell.memoryMib),
      percent(cell.cpu),
    ];
  });
  const head = ['Devices', 'As', 'Machines', 'A month', 'MiB of a node', 'Its busy core'];
  return table(head, [...small, ...cells, ...regions]);
}

function cellRow(cell: Cell): string[] {
  return [
    whole(cell.devices),
    whole(cell.nodes),
    whole(cell.devicesPerNode),
    figure(cell.heapMib),
    figure(cell.memoryMib),
    figure(cell.redisMib),
    percent(cell.redisCpu),
    `${figure(cell.backAfterS)} s`,
    `${figure(cell.startS)} s`,
    figure((machinesOf(cell) / cell.devices) * 1e6),
  ];
}

function cells(): string {
  const sizes = [50_000, 100_000, 200_000, bestCell().devices, 330_000];
  const rows = sizes.map((devices) => cellRow(smallestCell(devices, 3)!));
  const head = [
    'Devices',
    'Nodes',
    'Connections of a node while one is away',
    'Heap MiB',
    'Memory MiB',
    'Redis MiB',
    'Redis busy',
    'All back after a death',
    'Start',
    'Machines a million',
  ];
  return table(head, rows);
}

/** Where each resource of a cell ends, if it were alone. */
function limits(): string {
  const room = machine.memoryMib - machine.reservedMib - unitCosts.nodeMib.value;
  const connections = (room * 1024) / unitCosts.tlsConnectionKib.value;
  const heapKb = ((machine.heapMib - unitCosts.nodeMib.value) * 1024 * 1024) / 1000;
  const sessions = heapKb / unitCosts.sessionNodeKb.value;
  const messages = (machine.busyMax * 1e6) / unitCosts.messageUs.value;
  const connects = (machine.busyMax * 1e6) / unitCosts.tlsConnectUs.value;
  const commands = (machine.busyMax * 1e6) / unitCosts.commandRedisUs.value;
  const redisKb = ((machine.memoryMib / 2) * 1024 * 1024) / 1000;
  const inRedis = redisKb / unitCosts.sessionRedisKb.value;
  const plain = (room * 1024) / unitCosts.plainConnectionKib.value;
  const rows = [
    [
      'TLS connections of a node',
      figure(connections),
      `${figure(connections / device.publishEveryS)} messages/s of the example`,
    ],
    [
      'the same without TLS, behind something that ends it',
      figure(plain),
      'descriptors and sessions come first',
    ],
    [
      'durable sessions of a datacenter, whatever the number of nodes',
      figure(sessions),
      'each node knows them all',
    ],
    [
      'messages a second into a node, one by one',
      figure(messages),
      `${figure(messages * device.publishEveryS)} devices of the example`,
    ],
    ['TLS connects a second into a node', figure(connects), 'a storm of reconnects'],
    [
      'commands a second through one Redis, one by one',
      figure(commands),
      `${figure(commands * device.commandEveryS)} devices of the example`,
    ],
    [
      'durable sessions in one Redis, half of its memory free',
      figure(inRedis),
      'more with a Redis Cluster',
    ],
  ];
  return table(['What ends', 'At', 'Which is'], rows);
}

const REGION_SIZES = [1e6, 1e7, 1e8];

function hours(seconds: number): string {
  return seconds < 7200 ? `${figure(seconds / 60)} min` : `${figure(seconds / 3600)} h`;
}

function links(): string {
  const rows = REGION_SIZES.map(linkedFleet).map((fleet) => [
    whole(fleet.devices),
    whole(fleet.datacenters),
    figure(fleet.crossingPerS),
    figure(fleet.mbitPerS),
    percent(fleet.holderCpu),
    hours(fleet.budgetLastsS),
    hours(fleet.namesKeptS),
    `${figure(fleet.lookS)} s`,
    figure(fleet.monthTb),
  ]);
  const head = [
    'Devices',
    'Datacenters, each linked to all',
    'Messages/s that leave one, and come',
    'Mbit/s each way',
    'Busy core of the holder',
    '1 GiB of budget lasts',
    'Names are kept',
    'CPU of one look at what is wanted, all links',
    'TB a month over all links',
  ];
  return table(head, rows);
}

function kept(): string {
  const rows = REGION_SIZES.map(retainedFleet).map((fleet) => [
    whole(fleet.devices),
    whole(fleet.topics),
    figure(fleet.changesPerS),
    `${figure(fleet.mirrorMib)}${fleet.fits ? '' : ', too many'}`,
    figure(fleet.connections),
    percent(fleet.writeCpu),
    `${figure(fleet.fillS)} s`,
    `${figure(fleet.restartS)} s`,
    `${whole(fleet.cassandraMachines)}, ${usd(fleet.cassandraMachines)}`,
  ]);
  const head = [
    'Devices',
    'Retained topics',
    'Changes/s of all regions',
    'MiB on every node',
    'TLS connections fewer in it',
    'Busy core of a datacenter for them',
    'A new node reads',
    'A restarted one',
    'Machines for Cassandra, a month',
  ];
  return table(head, rows);
}

function regionLimits(): string {
  const { holderPerS, namesPerS, mirrorTopics, writesPerS } = regionEnds();
  const { devicesPerTopic, topicChangesEveryS, mirrorMib } = regionsExample;
  const rows = [
    [
      'messages a second into a datacenter whose names are kept for the whole budget of a day',
      figure(namesPerS),
      `${figure(devicesOfCrossing(namesPerS))} devices of the example`,
    ],
    [
      'messages a second over the links of one node, each way',
      figure(holderPerS),
      `${figure(devicesOfCrossing(holderPerS))} devices of the example`,
    ],
    [
      `retained topics of all regions in ${mirrorMib} MiB of a node`,
      figure(mirrorTopics),
      `${figure(mirrorTopics * devicesPerTopic)} devices of the example`,
    ],
    [
      'distinct retained changes a second through one node',
      figure(writesPerS),
      `${figure(writesPerS * topicChangesEveryS * devicesPerTopic)} devices of the example`,
    ],
  ];
  return table(['What ends', 'At', 'Which is'], rows);
}

/** Each table under the name that marks its place in the page. */
export function scaleTables(): ReadonlyMap<string, string> {
  return new Map([
    ['costs', costs()],
    ['limits', limits()],
    ['cells', cells()],
    ['sizes', sizes()],
    ['links', links()],
    ['kept', kept()],
    ['region-limits', regionLimits()],
  ]);
}

/** The page with its tables made anew; throws when a mark is missing. */
export function withTables(page: string): string {
  let text = page;
  for (const [name, made] of scaleTables()) {
    const [begin, end] = [
      `<!-- ${name}:begin, written by bench/scale/tables.ts -->`,
      `<!-- ${name}:end -->`,
    ];
    const [from, to] = [text.indexOf(begin), text.indexOf(end)];
    if (from === -1 || to < from) throw new Error(`docs/scale.md has no marks of ${name}`);
    text = `${text.slice(0, from + begin.length)}\n\n${made}\n\n${text.slice(to)}`;
  }
  return text;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  writeFileSync(pagePath, withTables(readFileSync(pagePath, 'utf8')));
}

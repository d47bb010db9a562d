/**
 * From a number of devices to machines: pure arithmetic over unit-costs.ts, of which `tables.ts` makes the
 * tables of docs/scale.md. A cell is one datacenter cluster: its nodes, one Redis with a replica.
 */
import { unitCosts } from './unit-costs.ts';

/** What a device of the example does. */
export const device = {
  /** QoS 1, for consumers of the operator. */
  publishEveryS: 60,
  payloadBytes: 200,
  /** QoS 1, into the device's durable session. */
  commandEveryS: 600,
  connectsPerDay: 2,
  /** Of sessions whose device is away, and commands that wait for each. */
  awayPart: 0.05,
  waitingCommands: 10,
} as const;

/** The machine of the example: what clouds sell as the small one, rented by the month. */
export const machine = {
  vCpus: 2,
  memoryMib: 4096,
  /** System, kernel buffers of sockets, and what must stay free. */
  reservedMib: 700,
  /** V8 takes half of a machine of this size for its old space, and needs a fifth of that free. */
  heapMib: 1600,
  usdPerMonth: 25,
  /** Of one core: the broker's loop has one, the kernel's work on packets the other. */
  busyMax: 0.5,
} as const;

const KIB_PER_MIB = 1024;
const DAY_S = 86_400;

export interface Cell {
  readonly devices: number;
  readonly nodes: number;
  readonly devicesPerNode: number;
  /** Of one node, while one of the others is away. */
  readonly memoryMib: number;
  readonly heapMib: number;
  readonly cpu: number;
  readonly redisMib: number;
  readonly redisCpu: number;
  /** Until all clients of a node that died are back at the others. */
  readonly backAfterS: number;
  readonly startS: number;
}

function kbToMib(kb: number): number {
  return (kb * 1000) / 1024 / 1024;
}

/** Memory of every node that is due to sessions it knows, wherever their clients are. */
export function knowledgeMib(devices: number): number {
  return unitCosts.nodeMib.value + kbToMib(devices * unitCosts.sessionNodeKb.value);
}

/** With so many nodes, one of which is a spare; null: they do not fit. */
export function cellOf(devices: number, nodes: number): Cell | null {
  const serving = Math.max(1, nodes - 1);
  const devicesPerNode = devices / serving;
  const heapMib = knowledgeMib(devices);
  const tlsMib = (devicesPerNode * unitCosts.tlsConnectionKib.value) / KIB_PER_MIB;
  const memoryMib = heapMib + tlsMib;
  const publishes = devicesPerNode / device.publishEveryS;
  const commands = devicesPerNode / device.commandEveryS;
  const connects = (devicesPerNode * device.connectsPerDay) / DAY_S;
  const messageUs = unitCosts.messageUs.value + unitCosts.bulkMessageUs.value;
  const cpu =
    ((publishes + commands) * messageUs + connects * unitCosts.tlsConnectUs.value) / 1_000_000;
  const fits =
    memoryMib <= machine.memoryMib - machine.reservedMib &&
    heapMib <= machine.heapMib &&
    cpu <= machine.busyMax;
  if (!fits) return null;
  const all = devices / device.publishEveryS;
  const toOne = devices / device.commandEveryS;
  const redisCpu =
    (all * unitCosts.bulkRedisUs.value + toOne * unitCosts.commandRedisUs.value) / 1_000_000;
  const waiting = devices * device.awayPart * device.waitingCommands;
  const redisKb =
    devices * unitCosts.sessionRedisKb.value +
    waiting * (unitCosts.queuedRedisKb.value + device.payloadBytes / 1000);
  const lost = devices / nodes;
  const connectsPerS = (1 - cpu) * (1_000_000 / unitCosts.tlsConnectUs.value);
  return {
    ...{ devices, nodes, devicesPerNode, memoryMib, heapMib, cpu, redisCpu },
    redisMib: kbToMib(redisKb),
    backAfterS: nodes > 1 ? lost / ((nodes - 1) * connectsPerS) : 0,
    startS: devices / unitCosts.sessionsReadPerS.value,
  };
}

/** The least nodes that carry so many devices with one of them away; null: no number does. */
export function smallestCell(devices: number, nodesMin: number): Cell | null {
  for (let nodes = nodesMin; nodes <= 200; nodes++) {
    const cell = cellOf(devices, nodes);
    if (cell !== null) return cell;
  }
  return null;
}

/** Redis and its replica are machines of their own in every cell. */
export const REDIS_MACHINES = 2;

export function machinesOf(cell: Cell): number {
  return cell.nodes + REDIS_MACHINES;
}

function perDevice(cell: Cell): number {
  return machinesOf(cell) / cell.devices;
}

/** The size of cell that needs the fewest machines for a device, in steps of ten thousand. */
export function bestCell(): Cell {
  let best: Cell | null = null;
  for (let devices = 10_000; ; devices += 10_000) {
    const cell = smallestCell(devices, 3);
    if (cell === null) break;
    if (best === null || perDevice(cell) < perDevice(best)) best = cell;
  }
  return best!;
}

/**
 * What every hostile test needs: a broker with metrics and bystanders, its memory watched while an
 * attack runs, and sockets that do as they please. Used by the tests in this folder.
 */
import { readFileSync } from 'node:fs';
import net from 'node:net';
import type { Test } from 'tap';
import { Broker } from '../e2e/broker.ts';
import { Bystanders } from './bystanders.ts';

export const MIB: number = 1024 * 1024;
/** Readings of /proc this often while an attack runs. */
const WATCH_MS = 100;
/** What a Node process may keep for its heap when nothing holds on to anything. */
const COLLECTABLE_BYTES = 64 * MIB;

export interface Scene {
  readonly broker: Broker;
  readonly port: number;
  /** The highest resident memory since the start of the attack, less that before it. */
  readonly grownBytes: () => number;
}

/**
 * Starts a broker with bystanders, runs the attack, and asserts that the others noticed nothing but
 * time, that memory stayed within `heldBytesMax` (what limits let the attackers occupy) plus what
 * may wait for the garbage collector, and that the broker is as it was.
 */
export async function underAttack(
  t: Test,
  flags: readonly string[],
  heldBytesMax: number,
  attack: (scene: Scene) => Promise<void>,
): Promise<void> {
  const broker = await Broker.start({ hasAdmin: true, flags });
  t.teardown(() => broker.kill());
  const port = broker.port();
  const bystanders = await Bystanders.open(port);
  await pause(300);
  const beforeBytes = broker.rssBytes();
  let highestBytes = beforeBytes;
  const timer = setInterval(() => {
    if (broker.exit === null) highestBytes = Math.max(highestBytes, broker.rssBytes());
  }, WATCH_MS);
  try {
    await attack({ broker, port, grownBytes: () => highestBytes - beforeBytes });
    await bystanders.settle(t);
  } finally {
    clearInterval(timer);
    bystanders.close();
  }
  const grown = highestBytes - beforeBytes;
  t.comment(`memory: ${mib(beforeBytes)} before, at most ${mib(grown)} more`);
  t.ok(grown <= heldBytesMax + COLLECTABLE_BYTES, `${mib(grown)} more, ${mib(heldBytesMax)} held`);
  t.equal(broker.exit, null, 'the broker lives');
  t.strictSame(broker.errors, [], 'and complains of nothing');
  t.equal(await broker.metric('causeway_internal_errors_total'), 0);
}

export function mib(bytes: number): string {
  return `${(bytes / MIB).toFixed(1)} MiB`;
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** A socket of an attacker: never complains, counts what it reads. */
export class Rogue {
  readonly socket: net.Socket;
  readonly closed: Promise<void>;
  isClosed = false;
  received: Buffer = Buffer.alloc(0);

  constructor(port: number, onConnect?: (rogue: Rogue) => void) {
    this.socket = net.connect({ host: '127.0.0.1', port, noDelay: true });
    this.socket.on('error', () => {});
    this.socket.on('data', (chunk: Buffer) => {
      if (this.received.length < 1000) this.received = Buffer.concat([this.received, chunk]);
    });
    this.socket.on('end', () => this.socket.end());
    this.closed = new Promise((resolve) => {
      this.socket.once('close', () => {
        this.isClosed = true;
        resolve();
      });
    });
    if (onConnect !== undefined) this.socket.once('connect', () => onConnect(this));
  }
}

/** Opens many sockets, some hundred at a time so that the backlog holds them. */
export async function openRogues(
  port: number,
  count: number,
  onConnect?: (rogue: Rogue) => void,
): Promise<Rogue[]> {
  const rogues: Rogue[] = [];
  const connected = (rogue: Rogue): Promise<unknown> =>
    Promise.race([new Promise((resolve) => rogue.socket.once('connect', resolve)), rogue.closed]);
  while (rogues.length < count) {
    const some = Array.from(
      { length: Math.min(250, count - rogues.length) },
      () => new Rogue(port, onConnect),
    );
    rogues.push(...some);
    await Promise.all(some.map(connected));
  }
  return rogues;
}

export function destroyAll(rogues: readonly Rogue[]): void {
  for (const { socket } of rogues) socket.destroy();
}

/** Files this process may open, by its soft limit. */
export function descriptorsMax(): number {
  const line = readFileSync('/proc/self/limits', 'utf8').match(/^Max open files\s+(\d+)/m);
  return Number(line?.[1] ?? 1024);
}

// A hostile client for `hostile.ts`, as a process of its own on the load's core: `deaf` subscribes
// to all of the load's traffic and stops reading (`listening` is the same and reads, to tell what is
// the attack and what the subscription costs), `garbage` sends 1 MB/s of noise on ever new
// connections, `silent` keeps 5,000 sockets open that say nothing. Says "attacking" when it does,
// and ends when its input does.

import { randomFillSync } from 'node:crypto';
import type { Socket } from 'node:net';
import { connect } from 'node:net';
import { connectFrame, subscribeFrame } from './frames.ts';

export const attacks: readonly string[] = ['listening', 'deaf', 'garbage', 'silent'];

const SILENT_SOCKETS = 5000;
/** So many new sockets in one step, as the kernel's backlog is finite. */
const SILENT_STEP = 250;
const GARBAGE_BYTES_PER_S = 1_000_000;
const GARBAGE_EVERY_MS = 20;
const KEEP_ALIVE_S = 600;

function open(port: number): Socket {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true });
  socket.on('error', () => {});
  return socket;
}

function started(): void {
  console.log('attacking');
}

/** Takes everything, at QoS 0 so that it has nothing to answer. */
function listening(port: number): void {
  const socket = open(port);
  socket.once('connect', () => {
    socket.write(connectFrame(4, 'listening', true, KEEP_ALIVE_S));
    socket.write(subscribeFrame(4, 1, ['load/#'], 0));
  });
  socket.once('data', started);
  socket.resume();
}

/** Comes back when it is thrown out, and is deaf again. */
function deaf(port: number, isFirst = true): void {
  const socket = open(port);
  socket.once('connect', () => {
    socket.write(connectFrame(4, 'deaf', true, KEEP_ALIVE_S));
    socket.write(subscribeFrame(4, 1, ['load/#'], 1));
  });
  let bytes = 0;
  socket.on('data', (chunk) => {
    // CONNACK is four bytes, SUBACK five.
    bytes += chunk.length;
    if (bytes < 9) return;
    socket.pause();
    if (isFirst) started();
    isFirst = false;
  });
  socket.once('close', () => setTimeout(() => deaf(port, isFirst), 100));
}

function garbage(port: number): void {
  const bytes = Math.round((GARBAGE_BYTES_PER_S * GARBAGE_EVERY_MS) / 1000);
  let count = 0;
  setInterval(() => {
    const noise = randomFillSync(Buffer.allocUnsafe(bytes));
    const socket = open(port);
    const hasGreeting = ++count % 2 === 0;
    socket.once('connect', () => {
      if (hasGreeting) socket.write(connectFrame(4, `garbage${count}`, true, KEEP_ALIVE_S));
      socket.write(noise);
    });
    socket.resume();
    setTimeout(() => socket.destroy(), 1000);
  }, GARBAGE_EVERY_MS);
  started();
}

function silent(port: number): void {
  let held = 0;
  let isStarted = false;
  setInterval(() => {
    const count = Math.min(SILENT_STEP, SILENT_SOCKETS - held);
    for (let i = 0; i < count; i++) {
      held++;
      const socket = open(port);
      socket.resume();
      socket.once('close', () => held--);
    }
    if (count === 0 && !isStarted) {
      isStarted = true;
      started();
    }
  }, GARBAGE_EVERY_MS);
}

if (import.meta.main) {
  const [attack, port] = process.argv.slice(2);
  process.stdin.resume().once('end', () => process.exit(0));
  const begin = { listening, deaf, garbage, silent }[attack ?? ''];
  if (begin === undefined) throw new Error(`no attack is called ${attack}`);
  begin(Number(port));
}

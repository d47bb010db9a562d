// Makes a broker collect its garbage, so that idle memory is compared without what a collector
// would take away at its next convenience. Node processes are asked through their inspector, which
// SIGUSR1 opens; others by a signal, or not at all when they have no collector.

import type { BrokerProcess } from '../peers/broker-process.ts';

const INSPECTOR_WITHIN_MS = 5000;
const SETTLE_MS = 500;

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
}

async function inspectorUrl(broker: BrokerProcess): Promise<string> {
  const until = performance.now() + INSPECTOR_WITHIN_MS;
  process.kill(broker.pid, 'SIGUSR1');
  while (performance.now() < until && broker.crash === undefined) {
    const match = /ws:\/\/[0-9.:]+\/[0-9a-f-]+/.exec(broker.stderr);
    if (match !== null) {
      return match[0];
    }
    await sleep(20);
  }
  throw new Error(`${broker.name} opened no inspector`);
}

function collectThrough(url: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(url);
    const timer = setTimeout(() => {
      socket.close();
      reject(new Error('the inspector did not answer'));
    }, INSPECTOR_WITHIN_MS);
    const command = (id: number): void => {
      socket.send(JSON.stringify({ id, method: 'HeapProfiler.collectGarbage' }));
    };
    socket.addEventListener('open', () => command(1));
    socket.addEventListener('error', () => reject(new Error('the inspector refused')));
    socket.addEventListener('message', (event) => {
      const reply = JSON.parse(String(event.data)) as { id?: number };
      if (reply.id === 1) {
        command(2);
      } else if (reply.id === 2) {
        clearTimeout(timer);
        socket.close();
        resolve();
      }
    });
  });
}

/** Collects, then lets the pages go back. */
export async function collectGarbage(broker: BrokerProcess): Promise<void> {
  if (broker.collector === 'inspector') {
    await collectThrough(await inspectorUrl(broker));
  } else if (broker.collector === 'SIGUSR2') {
    process.kill(broker.pid, 'SIGUSR2');
  }
  await sleep(SETTLE_MS);
}

/**
 * The index of retained messages alone: memory of a topic, fresh and after changes all over, and CPU of
 * put, get, walk and remove.
 *
 *   node --expose-gc bench/micro/retained.ts [topics]
 */
import { type Message, makeMessage } from '../../src/core/message.ts';
import { RetainedIndex } from '../../src/core/retained.ts';
import { Stats } from '../../src/core/stats.ts';

const PAYLOAD_BYTES = 64;
const CHANGES_PER_TOPIC = 3;
const PER_TURN = 100;

const topics = Number(process.argv[2] ?? 1_000_000);
const { gc } = globalThis;
if (gc === undefined) throw new Error('memory is measured with --expose-gc');
const payload = Buffer.alloc(PAYLOAD_BYTES, 'x');

function messageOf(index: number): Message {
  const topic = `site/${index % 100}/device/${index}/state`;
  const message = makeMessage(index, topic, payload, { qos: 1, retain: true });
  message.version = { timeUs: 1_700_000_000_000_000 + index, writer: 1 };
  message.source = { clientId: `device-${index}`, identity: null, tenant: '' };
  return message;
}

function usedBytes(): number {
  gc!();
  gc!();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

function cpuUs(): number {
  const { user, system } = process.cpuUsage();
  return user + system;
}

function timed(what: string, count: number, work: () => void): void {
  const beganUs = cpuUs();
  work();
  console.log(`${what}: ${((cpuUs() - beganUs) / count).toFixed(2)} µs of CPU`);
}

const emptyBytes = usedBytes();
const index = new RetainedIndex(new Stats(), {
  below: (bound) => Math.floor(Math.random() * bound),
  hex: () => '',
});
const tellMemory = (when: string): void => {
  const bytes = (usedBytes() - emptyBytes) / topics - PAYLOAD_BYTES;
  console.log(`memory of a topic beyond its payload, ${when}: ${bytes.toFixed(0)} bytes`);
};

// The messages themselves are made along.
timed('make and put', topics, () => {
  for (let i = 0; i < topics; i++) index.put(messageOf(i));
});
tellMemory('fresh');
timed('make and replace', topics * CHANGES_PER_TOPIC, () => {
  for (let i = 0; i < topics * CHANGES_PER_TOPIC; i++) {
    index.put(messageOf(Math.floor(Math.random() * topics)));
  }
});
tellMemory(`after ${CHANGES_PER_TOPIC} changes each`);
const beganMs = performance.now();
gc();
console.log(`a whole garbage collection: ${(performance.now() - beganMs).toFixed(0)} ms`);
timed('get', topics, () => {
  for (let i = 0; i < topics; i++) index.get(`site/${i % 100}/device/${i}/state`);
});
for (const filter of ['#', 'site/+/device/+/state']) {
  timed(`walk of ${filter}, each`, topics, () => {
    const nodes: number[] = [];
    let found = 0;
    for (const walk = index.walk(filter); !walk.done; nodes.length = 0) {
      walk.takeNodes(PER_TURN, nodes);
      found += nodes.length;
    }
    if (found !== topics) throw new Error(`${filter} has found ${found}`);
  });
}
timed('remove', topics, () => {
  for (let i = 0; i < topics; i++) index.remove(`site/${i % 100}/device/${i}/state`);
});

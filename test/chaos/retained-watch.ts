/**
 * Looks at retained messages as a new subscriber does: connects with a clean session, subscribes,
 * waits until what must be there has come, and holds it against what the publishers know.
 */
import { connect, disconnect, subscribe } from '../conformance/packets.ts';
import type { Publisher } from './publisher.ts';
import type { Stage } from './stage.ts';

const WITHIN_MS = 15_000;
/** After the last one: time for one that must not come. */
const SETTLE_MS = 150;
const POLL_MS = 20;

/** False when the broker went away meanwhile: nothing was checked. */
export async function checkRetained(
  stage: Stage,
  publishers: readonly Publisher[],
  filter: string,
): Promise<boolean> {
  const { dial, ledger } = stage;
  if (dial === null) return false;
  let isOver = false;
  let allowed: Map<string, () => string[]> | null = null;
  const found = new Map<string, string>();
  const link = dial(5, {
    opened: () => {
      link.send(connect({ version: 5, clientId: 'retained-watch', keepAliveSec: 0 }));
    },
    packet: (packet) => {
      if (packet.type === 'CONNACK') {
        allowed = new Map();
        for (const publisher of publishers) {
          for (const topic of publisher.retainedTopics) {
            allowed.set(topic, publisher.retainedAllowed(topic));
          }
        }
        link.send(subscribe({ version: 5, packetId: 1, subscriptions: [{ filter, qos: 0 }] }));
      } else if (packet.type === 'PUBLISH' && packet.retain) {
        if (found.has(packet.topic)) ledger.fault(`retained ${packet.topic} came twice`);
        found.set(packet.topic, packet.payload.toString('latin1'));
      }
    },
    closed: () => {
      isOver = true;
    },
    fault: (text) => ledger.fault(`retained-watch: ${text}`),
  });

  const isComplete = (): boolean =>
    allowed !== null &&
    [...allowed].every(([topic, values]) => found.has(topic) || values().includes(''));
  const deadline = performance.now() + WITHIN_MS;
  while (!isOver && !isComplete() && performance.now() < deadline) await pause(POLL_MS);
  await pause(SETTLE_MS);
  if (isOver || allowed === null) return false;
  for (const [topic, values] of allowed as Map<string, () => string[]>) {
    ledger.retained(topic, found.get(topic) ?? '', values());
  }
  link.end(disconnect());
  return true;
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

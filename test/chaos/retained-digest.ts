/**
 * What a new subscriber of one node finds retained, and a digest of it, to compare nodes and regions with;
 * and a session that only wants what is retained, so that links carry the changes. Used by
 * run-region-chaos.ts.
 */
import { createHash } from 'node:crypto';
import { connect, disconnect, subscribe } from '../conformance/packets.ts';
import { Link } from './link.ts';

const WITHIN_MS = 5000;
/** After the last message nothing more comes. */
const QUIET_MS = 250;
const SESSION_EXPIRY_S = 3600;

export interface Retained {
  readonly digest: string;
  /** Payloads by topic. */
  readonly found: ReadonlyMap<string, string>;
}

/** Null when the node did not answer. */
export async function retainedOf(
  port: number,
  filters: readonly string[],
): Promise<Retained | null> {
  const found = new Map<string, string>();
  let heardMs = performance.now();
  let isGranted = false;
  let isOver = false;
  const link = new Link(port, 5, {
    opened: () => link.send(connect({ version: 5, clientId: '', clean: true, keepAliveSec: 0 })),
    packet: (packet) => {
      heardMs = performance.now();
      if (packet.type === 'CONNACK') {
        const subscriptions = filters.map((filter) => ({ filter, qos: 0 as const }));
        link.send(subscribe({ version: 5, packetId: 1, subscriptions }));
      } else if (packet.type === 'SUBACK') {
        isGranted = packet.reasonCodes.every((code) => code === 0);
      } else if (packet.type === 'PUBLISH' && packet.payload.length > 0) {
        found.set(packet.topic, packet.payload.toString('latin1'));
      }
    },
    closed: () => {
      isOver = true;
    },
    fault: () => {},
  });
  const deadline = performance.now() + WITHIN_MS;
  while (!isOver && performance.now() < deadline) {
    if (isGranted && performance.now() - heardMs > QUIET_MS) break;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  if (isOver || !isGranted) {
    link.close();
    return null;
  }
  link.end(disconnect());
  return { digest: digestOf(found, new Set()), found };
}

export function digestOf(found: ReadonlyMap<string, string>, besides: ReadonlySet<string>): string {
  const hash = createHash('sha256');
  for (const topic of [...found.keys()].sort()) {
    if (!besides.has(topic)) hash.update(`${topic}\0${found.get(topic)}\0`);
  }
  return hash.digest('base64url');
}

/** A session that wants these filters and is never there again; false: the node refused. */
export async function wantFrom(
  port: number,
  clientId: string,
  filters: readonly string[],
): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const link = new Link(port, 5, {
    opened: () =>
      link.send(
        connect({
          version: 5,
          clientId,
          clean: false,
          keepAliveSec: 0,
          properties: [['sessionExpiryInterval', SESSION_EXPIRY_S]],
        }),
      ),
    packet: (packet) => {
      if (packet.type === 'CONNACK') {
        const subscriptions = filters.map((filter) => ({ filter, qos: 0 as const }));
        link.send(subscribe({ version: 5, packetId: 1, subscriptions }));
      } else if (packet.type === 'SUBACK') {
        resolve(packet.reasonCodes.every((code) => code === 0));
        link.end(disconnect());
      }
    },
    closed: () => resolve(false),
    fault: () => resolve(false),
  });
  return await promise;
}

/**
 * Where a foreign broker answers otherwise than the tests ask, and why: used when the tests
 * run with MQTT_HOST and CONFORMANCE_PEER. Each entry is expected to fail there; one that
 * passes fails the run, so the list stays true. Our own broker has no such list.
 */
import type { ProtocolVersion } from './packets.ts';

interface Difference {
  /** The title of the test, or its beginning. */
  readonly title: string;
  readonly versions?: readonly ProtocolVersion[];
  readonly reason: string;
}

/** mosquitto 2.0.11, as Debian 12 ships it. */
const MOSQUITTO: readonly Difference[] = [];

const PEERS: Readonly<Record<string, readonly Difference[]>> = { mosquitto: MOSQUITTO };

/** The reason why this test fails on this peer, or null where it must pass. */
export function differenceOf(peer: string, title: string, version: ProtocolVersion): string | null {
  if (peer === '') return null;
  const list = PEERS[peer];
  if (list === undefined) throw new Error(`no list of known differences for ${peer}`);
  const found = list.find(
    (one) => title.startsWith(one.title) && (one.versions?.includes(version) ?? true),
  );
  return found?.reason ?? null;
}

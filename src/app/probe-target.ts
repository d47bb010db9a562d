/**
 * Which listener `/health/full` connects to: one that this process can reach without a certificate
 * and without pretending to be a load balancer. Pure; used by `operator-door.ts`.
 */
import type { ProbeTarget } from '../admin/probe.ts';
import { parseListenerUrl } from '../config/address.ts';
import type { Config, ListenerConfig } from '../config/config.ts';

/** Plain ones first: the less a probe needs, the less it can fail for reasons of its own. */
const preference = ['tcp', 'unix', 'ws', 'tls', 'wss'] as const;

export interface OpenListener {
  readonly entry: ListenerConfig;
  /** With the port in use. */
  readonly address: string;
}

/** Null: every listener needs more than a probe has. */
export function probeTarget(config: Config, open: readonly OpenListener[]): ProbeTarget | null {
  for (const transport of preference) {
    for (const { entry, address } of open) {
      const parsed = parseListenerUrl(address);
      if (typeof parsed === 'string' || parsed.transport !== transport) continue;
      if (entry.proxyProtocol !== undefined) continue;
      if (transport !== 'tls' && transport !== 'wss') return { url: reachable(address) };
      if ((entry.tls ?? config.tls)?.clientCertificate === 'required') continue;
      // Our own certificate, seen under a loopback address it is not made for.
      return { url: reachable(address), tls: { insecure: true } };
    }
  }
  return null;
}

/** An address that stands for all is reached at the loopback one. */
function reachable(address: string): string {
  return address.replace('://0.0.0.0:', '://127.0.0.1:').replace('://[::]:', '://[::1]:');
}

/** Turns the listeners of a configuration into the options of their rooms. Used by `node.ts`. */
import { formatListenerUrl, type ListenerAddress, parseListenerUrl } from '../config/address.ts';
import type { Config, ListenerConfig, TlsConfig } from '../config/config.ts';
import type { ListenerOptions, TlsOptions } from '../listeners/listener.ts';
import type { PskLookup } from '../listeners/tls-psk.ts';

/** `pskLookup`: null where no keys are configured. */
export function listenerOptions(
  config: Config,
  listener: ListenerConfig,
  pskLookup: PskLookup | null,
): ListenerOptions {
  const address = parseListenerUrl(listener.url) as ListenerAddress;
  const { transport } = address;
  const isWebSocket = transport === 'ws' || transport === 'wss';
  const section =
    transport === 'tls' || transport === 'wss' ? (listener.tls ?? config.tls) : undefined;
  const tls = section === undefined ? undefined : tlsOptions(section, pskLookup);
  return {
    name: nameOf(listener),
    // Complete, so that both readers of URLs see the same port and path.
    url: formatListenerUrl(address),
    tls,
    websocket: isWebSocket
      ? { path: address.path, allowedOrigins: listener.websocket?.allowedOrigins ?? null }
      : undefined,
    proxyProtocol: listener.proxyProtocol,
    unixMode: listener.unixMode === undefined ? undefined : Number.parseInt(listener.unixMode, 8),
    limits: {
      ...listener.limits,
      // WebSocket messages are held whole, so their reader has to know the bound in force.
      packetBytesMax: isWebSocket
        ? (listener.limits?.packetBytesMax ?? config.limits.packetBytesMax)
        : listener.limits?.packetBytesMax,
    },
    connectBytesMax: config.limits.connectBytesMax,
    handshakeTimeoutMs: config.limits.connectTimeoutMs,
  };
}

function tlsOptions({ psk, ...tls }: TlsConfig, pskLookup: PskLookup | null): TlsOptions {
  return psk && pskLookup !== null ? { ...tls, pskLookup } : tls;
}

export function nameOf(listener: ListenerConfig): string {
  return listener.name ?? listener.url;
}

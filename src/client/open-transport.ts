/**
 * Opens an endpoint: TCP, TLS, Unix socket or WebSocket. Used by `packet-socket.ts`; knows
 * nothing of MQTT.
 */
import net from 'node:net';
import tls from 'node:tls';
import type { Endpoint } from './endpoint.ts';
import { SocketTransport } from './socket-transport.ts';
import type { TlsOptions, Transport, TransportHandler } from './transport.ts';
import { openWebSocket } from './ws-transport.ts';

/** Starts to connect; everything else is told to the handler, never before this returns. */
export function openTransport(
  endpoint: Endpoint,
  tlsOptions: TlsOptions,
  handler: TransportHandler,
): Transport {
  if (endpoint.transport === 'ws' || endpoint.transport === 'wss') {
    return openWebSocket(endpoint, tlsSettings(endpoint, tlsOptions), handler);
  }
  return new SocketTransport(openSocket(endpoint, tlsOptions), handler);
}

function openSocket(endpoint: Endpoint, tlsOptions: TlsOptions): net.Socket {
  if (endpoint.transport === 'unix') return net.connect({ path: endpoint.path });
  const { host, port } = endpoint;
  if (endpoint.transport === 'tcp') return net.connect({ host, port, noDelay: true });
  const socket = tls.connect({ ...tlsSettings(endpoint, tlsOptions), host, port });
  socket.setNoDelay(true);
  return socket;
}

function tlsSettings(endpoint: Endpoint, options: TlsOptions): tls.ConnectionOptions {
  const { ca, cert, key, passphrase, alpnProtocol } = options;
  const servername = options.serverName ?? (net.isIP(endpoint.host) === 0 ? endpoint.host : '');
  return {
    rejectUnauthorized: options.insecure !== true,
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
    ...(passphrase === undefined ? {} : { passphrase }),
    ...(alpnProtocol === undefined ? {} : { ALPNProtocols: [alpnProtocol] }),
    ...(servername === '' ? {} : { servername }),
  };
}

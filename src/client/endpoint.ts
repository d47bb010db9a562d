/**
 * Where and how to connect, read from a URL: `mqtt://user:pass@host:1883`, `mqtts://`, `ws://…/mqtt`,
 * `wss://`, `unix:/path`. Pure; opening it is `transport.ts`.
 */
import { ClientError } from './client-error.ts';

export interface Endpoint {
  readonly transport: 'tcp' | 'tls' | 'ws' | 'wss' | 'unix';
  /** Name or address, no brackets; '' for a Unix socket. */
  readonly host: string;
  readonly port: number;
  /** Request path of a WebSocket with its query, or the file of a Unix socket; else ''. */
  readonly path: string;
  readonly username: string | null;
  readonly password: string | null;
  /** The URL without user and password, for messages and logs. */
  readonly display: string;
}

const TRANSPORTS: ReadonlyMap<string, { transport: Endpoint['transport']; port: number }> = new Map(
  [
    ['mqtt:', { transport: 'tcp', port: 1883 }],
    ['tcp:', { transport: 'tcp', port: 1883 }],
    ['mqtts:', { transport: 'tls', port: 8883 }],
    ['ssl:', { transport: 'tls', port: 8883 }],
    ['tls:', { transport: 'tls', port: 8883 }],
    ['ws:', { transport: 'ws', port: 80 }],
    ['wss:', { transport: 'wss', port: 443 }],
  ],
);

/** Path of a WebSocket URL that has none. */
const WEBSOCKET_PATH = '/mqtt';

/** Reads a URL; throws ClientError `invalid_argument`, never with the password in its text. */
export function parseEndpoint(url: string): Endpoint {
  if (url.startsWith('unix:')) return unixEndpoint(url);
  let parsed: URL;
  try {
    parsed = new URL(url);
  } catch {
    throw invalid('the server URL cannot be read');
  }
  const known = TRANSPORTS.get(parsed.protocol);
  if (known === undefined) {
    throw invalid(
      `server URLs start with mqtt:, mqtts:, ws:, wss: or unix:, not with ${parsed.protocol}`,
    );
  }
  const host = parsed.hostname.replace(/^\[|\]$/g, '');
  if (host === '') throw invalid('the server URL has no host');
  if (parsed.port === '0') throw invalid('the server URL has port 0');
  const port = parsed.port === '' ? known.port : Number(parsed.port);
  const isWebSocket = known.transport === 'ws' || known.transport === 'wss';
  const path = isWebSocket ? webSocketPath(url, parsed) : '';
  const shownHost = host.includes(':') ? `[${host}]` : host;
  return {
    transport: known.transport,
    host: decode(host),
    port,
    path,
    username: parsed.username === '' ? null : decode(parsed.username),
    password: parsed.password === '' ? null : decode(parsed.password),
    display: `${parsed.protocol}//${shownHost}:${port}${path.split('?', 1)[0]}`,
  };
}

function unixEndpoint(url: string): Endpoint {
  const path = decode(url.slice('unix:'.length).replace(/^\/\/(?=\/)/, ''));
  if (path === '' || path.includes('\0')) throw invalid('the server URL has no socket path');
  return {
    transport: 'unix',
    host: '',
    port: 0,
    path,
    username: null,
    password: null,
    display: `unix:${path}`,
  };
}

/** `ws://host` means the broker's path; whoever wants the root says `ws://host/`. */
function webSocketPath(url: string, parsed: URL): string {
  const hasPath = /^[a-z]+:\/\/[^/?#]*\//i.test(url);
  return `${hasPath ? parsed.pathname : WEBSOCKET_PATH}${parsed.search}`;
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw invalid('the server URL has a bad percent escape');
  }
}

function invalid(message: string): ClientError {
  return new ClientError('invalid_argument', message);
}

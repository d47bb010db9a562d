/**
 * The addresses a configuration names: listener URLs, the admin URL, CIDR ranges, browser origins.
 * Each parser answers with the value or with a sentence saying what was expected.
 */
import { isIPv4, isIPv6 } from 'node:net';
import { isLoopbackAddress, parseIpAddress, parseIpNetwork } from '../util/ip-address.ts';
import { nearest } from '../util/nearest.ts';

export interface ListenerAddress {
  readonly transport: 'tcp' | 'tls' | 'ws' | 'wss' | 'unix';
  /** Without brackets; '' for Unix sockets. */
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
  /** WebSocket path, or file of a Unix socket. */
  readonly path: string;
}

interface Scheme {
  readonly transport: ListenerAddress['transport'];
  readonly port: number;
}

/** Ports where the URL names none. */
const schemes: Readonly<Record<string, Scheme>> = {
  mqtt: { transport: 'tcp', port: 1883 },
  mqtts: { transport: 'tls', port: 8883 },
  ws: { transport: 'ws', port: 80 },
  wss: { transport: 'wss', port: 443 },
};

const schemeNames = [...Object.keys(schemes), 'unix'];
const samples =
  'mqtt://127.0.0.1:1883, mqtts://HOST:8883, ws://HOST:8083/mqtt, wss://HOST:8084/mqtt or unix:/run/causeway.sock';

/** Longest path the kernel takes for a Unix socket (Linux 108, macOS 104, both with the final 0). */
const SOCKET_PATH_BYTES_MAX = 103;

export function parseListenerUrl(text: string): ListenerAddress | string {
  if (text.startsWith('unix:')) return parseUnix(text);
  const scheme = /^([a-z][a-z0-9+.-]*):\/\//i.exec(text)?.[1];
  if (scheme === undefined) return `expected a URL such as ${samples}`;
  const known = Object.hasOwn(schemes, scheme) ? schemes[scheme] : undefined;
  if (known === undefined) {
    const near = nearest(scheme, schemeNames);
    const hint = near === null ? '' : `, did you mean ${near}?`;
    return `unknown scheme ${scheme}://${hint} (expected one of ${schemeNames.join(', ')})`;
  }
  const parsed = parseAuthority(text.slice(scheme.length + 3), known.port);
  if (typeof parsed === 'string') return parsed;
  const isWeb = known.transport === 'ws' || known.transport === 'wss';
  if (!isWeb && parsed.path !== '' && parsed.path !== '/') {
    return `expected ${scheme}://HOST:PORT without a path`;
  }
  const path = isWeb && (parsed.path === '' || parsed.path === '/') ? '/mqtt' : parsed.path;
  return { ...parsed, transport: known.transport, path: isWeb ? path : '' };
}

function parseUnix(text: string): ListenerAddress | string {
  const path = text.slice('unix:'.length).replace(/^\/\/(?=\/)/, '');
  if (path === '' || path.endsWith('/') || path.includes('\0')) {
    return 'expected the file of the socket, such as unix:/run/causeway.sock';
  }
  if (Buffer.byteLength(path) > SOCKET_PATH_BYTES_MAX) {
    return `the path of a Unix socket has at most ${SOCKET_PATH_BYTES_MAX} bytes`;
  }
  return { transport: 'unix', host: '', port: 0, path };
}

interface Authority {
  readonly host: string;
  readonly port: number;
  readonly path: string;
}

function parseAuthority(text: string, defaultPort: number): Authority | string {
  const match = /^(\[[^\]]*\]|[^/:?#@[\]]*)(?::([^/?#@]*))?(\/[^?#]*)?$/.exec(text);
  if (match === null) return 'expected HOST:PORT after ://, without user, query or fragment';
  const [, bracketed = '', portText, path = ''] = match;
  const host = bracketed.startsWith('[') ? bracketed.slice(1, -1) : bracketed;
  if (bracketed.startsWith('[') ? !isIPv6(host) : !isHost(host)) {
    return host === '' || host === '*'
      ? 'expected a host (for every address of the machine 0.0.0.0, or [::] with IPv6)'
      : 'expected a host name, an IPv4 address, or an IPv6 address in []';
  }
  const port = portText === undefined ? defaultPort : Number(portText);
  if (portText === '' || !/^\d{1,5}$/.test(String(port)) || port > 65_535) {
    return 'expected a port from 0 to 65535';
  }
  return { host, port, path };
}

function isHost(text: string): boolean {
  // Digits and dots only: meant as IPv4, so it has to be one.
  if (/^[\d.]+$/.test(text)) return isIPv4(text);
  return text.length <= 253 && /^[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_-]+)*\.?$/i.test(text);
}

/** The URL of an address, with the port that was really taken. */
export function formatListenerUrl(address: ListenerAddress, port: number = address.port): string {
  if (address.transport === 'unix') return `unix:${address.path}`;
  const scheme = { tcp: 'mqtt', tls: 'mqtts', ws: 'ws', wss: 'wss' }[address.transport];
  return `${scheme}://${bracket(address.host)}:${port}${address.path}`;
}

export function bracket(host: string): string {
  return host.includes(':') ? `[${host}]` : host;
}

/** Reached from this machine only; a name that is not surely so counts as not. */
export function isLoopback(host: string): boolean {
  const bytes = parseIpAddress(host);
  return bytes === null ? host.toLowerCase() === 'localhost' : isLoopbackAddress(bytes);
}

export interface AdminAddress {
  readonly isTls: boolean;
  readonly host: string;
  readonly port: number;
}

/** `off` gives null. */
export function parseAdminUrl(text: string): AdminAddress | null | string {
  if (text === 'off') return null;
  const expected = 'expected http://HOST:PORT, https://HOST:PORT or off';
  const [, scheme] = /^(https?):\/\//.exec(text) ?? [];
  if (scheme === undefined) return expected;
  const parsed = parseAuthority(text.slice(scheme.length + '://'.length), 8080);
  if (typeof parsed === 'string') return parsed;
  if (parsed.path !== '' && parsed.path !== '/') return `${expected}, without a path`;
  return { isTls: scheme === 'https', host: parsed.host, port: parsed.port };
}

/** Null when `text` is an IP address or a CIDR range. */
export function refuseCidr(text: string): string | null {
  if (parseIpNetwork(text) !== null) return null;
  const expected = 'expected an IP address or a CIDR range such as 10.0.0.0/8 or fd00::/8';
  const [address = '', bits] = text.split('/');
  const bytes = parseIpAddress(address);
  if (bytes === null) return expected;
  const bitsMax = bytes.length * 8;
  const isPrefix = bits !== undefined && /^\d{1,3}$/.test(bits) && Number(bits) <= bitsMax;
  if (!isPrefix) return `expected a prefix length from 0 to ${bitsMax} after the slash`;
  return `expected no bits set beyond the first ${Number(bits)}`;
}

/** Null when `text` is a browser origin, or `*` for any. */
export function refuseOrigin(text: string): string | null {
  if (text === '*') return null;
  const expected = 'expected an origin such as https://app.example.org, without a path, or *';
  const url = URL.parse(text);
  if (url === null || (url.protocol !== 'https:' && url.protocol !== 'http:')) return expected;
  return url.origin === text.toLowerCase() ? null : `${expected} (did you mean ${url.origin}?)`;
}

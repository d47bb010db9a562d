/**
 * Listener options, read and checked: one URL becomes transport, address and path, and what does not
 * fit together is refused in one place with a sentence that names the option. `create-listener.ts`
 * and config call it; it opens nothing and reads no file.
 */
import type { ListenerInfo, ListenerLimits } from '../core/ports.ts';
import { type IpNetwork, parseIpNetwork } from '../util/ip-address.ts';
import type { ListenerOptions, TlsOptions } from './listener.ts';
import { ListenerError } from './listener-error.ts';
import { OriginPolicy } from './origin-policy.ts';

export interface ListenerPlan {
  readonly name: string;
  readonly transport: ListenerInfo['transport'];
  readonly scheme: string;
  /** Host and port to bind; '' and 0 for Unix sockets. */
  readonly host: string;
  readonly port: number;
  /** The socket file of a Unix listener, else ''. */
  readonly unixPath: string;
  readonly unixMode: number;
  /** Path of WebSocket requests, else ''. */
  readonly websocketPath: string;
  readonly origins: OriginPolicy;
  /** Networks of trusted proxies; null: no PROXY protocol. */
  readonly proxies: readonly IpNetwork[] | null;
  readonly backlog: number;
  readonly handshakesMax: number;
  readonly options: ListenerOptions;
}

interface Scheme {
  readonly transport: ListenerInfo['transport'];
  readonly defaultPort: number;
}

const schemes: Readonly<Record<string, Scheme>> = {
  mqtt: { transport: 'tcp', defaultPort: 1883 },
  mqtts: { transport: 'tls', defaultPort: 8883 },
  ws: { transport: 'ws', defaultPort: 80 },
  wss: { transport: 'wss', defaultPort: 443 },
};

const WEBSOCKET_PATH = '/mqtt';
const UNIX_MODE = 0o660;
const BACKLOG = 4096;
const HANDSHAKES_MAX = 10_000;

/** The address part of a plan. */
function readUrl(
  url: string,
  fail: (problem: string) => never,
): Pick<ListenerPlan, 'transport' | 'scheme' | 'host' | 'port' | 'unixPath'> & { path: string } {
  if (url.startsWith('unix:')) {
    const file = url.slice('unix:'.length).replace(/^\/\/(?=\/)/, '');
    if (!/^\/(?!\/)/.test(file)) fail('a Unix socket needs an absolute path: unix:/run/name.sock');
    if (file.includes('\0') || file.endsWith('/')) fail('the path does not name a file');
    return { transport: 'unix', scheme: 'unix', host: '', port: 0, unixPath: file, path: '' };
  }
  const name = /^([a-z]+):\/\//.exec(url)?.[1] ?? '';
  const scheme = Object.hasOwn(schemes, name) ? schemes[name] : undefined;
  if (scheme === undefined) {
    return fail('the URL must begin with mqtt://, mqtts://, ws://, wss:// or unix:/');
  }
  let parsed: URL;
  try {
    parsed = new URL(url);
  } catch {
    return fail('the URL cannot be read; write for example mqtt://127.0.0.1:1883 or mqtt://[::1]');
  }
  if (parsed.hostname === '') fail('the URL names no host; 0.0.0.0 or [::] stand for all');
  if (parsed.username !== '' || parsed.password !== '') {
    fail('the URL holds a user name or password, which a listener cannot use');
  }
  if (parsed.search !== '' || parsed.hash !== '') fail('the URL must end with its path');
  const isWebSocket = scheme.transport === 'ws' || scheme.transport === 'wss';
  if (!isWebSocket && parsed.pathname !== '' && parsed.pathname !== '/') {
    fail('only ws:// and wss:// URLs have a path');
  }
  return {
    transport: scheme.transport,
    scheme: name,
    host: parsed.hostname.replace(/^\[(.*)\]$/, '$1'),
    port: parsed.port === '' ? scheme.defaultPort : Number(parsed.port),
    unixPath: '',
    path: isWebSocket ? parsed.pathname : '',
  };
}

function readProxies(
  options: ListenerOptions,
  fail: (problem: string) => never,
): readonly IpNetwork[] | null {
  if (options.proxyProtocol === undefined) return null;
  const addresses = options.proxyProtocol.trustedAddresses;
  if (addresses.length === 0) {
    fail('proxyProtocol.trustedAddresses is empty, so nobody could connect; name the proxies');
  }
  return addresses.map((text) => {
    const network = parseIpNetwork(text);
    if (network !== null) return network;
    return fail(
      `proxyProtocol.trustedAddresses has "${text}", which is no address or network; ` +
        'write for example 10.0.0.7, 10.0.0.0/24 (no host bits set) or 2001:db8::/64',
    );
  });
}

function readWebSocketPath(
  options: ListenerOptions,
  pathOfUrl: string,
  fail: (problem: string) => never,
): string {
  const urlHasPath = pathOfUrl !== '' && pathOfUrl !== '/';
  const path = options.websocket?.path ?? (urlHasPath ? pathOfUrl : WEBSOCKET_PATH);
  if (urlHasPath && path !== pathOfUrl) {
    fail(`the URL has path ${pathOfUrl}, websocket.path has ${path}; give one of them`);
  }
  if (!/^\/[^?#\s]*$/.test(path)) fail('websocket.path must begin with / and have no ? or #');
  return path;
}

/** Reads the options; throws a ListenerError that names what is wrong. */
export function planListener(options: ListenerOptions): ListenerPlan {
  const name = options.name ?? options.url;
  const fail = (problem: string): never => {
    throw new ListenerError('LISTENER_OPTIONS', name, problem);
  };
  const { path, ...address } = readUrl(options.url, fail);
  const { transport } = address;
  const isTls = transport === 'tls' || transport === 'wss';
  const isWebSocket = transport === 'ws' || transport === 'wss';

  const { tls } = options;
  if (!isTls && tls !== undefined) fail('has tls options; the URL must be mqtts:// or wss://');
  if (isTls) checkTls(tls ?? { clientCertificate: 'none' }, fail);
  if (!isWebSocket && options.websocket !== undefined) {
    fail('has websocket options; the URL must be ws:// or wss://');
  }
  if (transport === 'unix' && options.proxyProtocol !== undefined) {
    fail('proxyProtocol goes by addresses, which Unix sockets do not have');
  }
  if (transport !== 'unix' && options.unixMode !== undefined) {
    fail('unixMode is for unix: listeners only');
  }
  const unixMode = options.unixMode ?? UNIX_MODE;
  if (!Number.isInteger(unixMode) || unixMode < 0 || unixMode > 0o777) {
    fail('unixMode must be permissions between 0 and 0o777');
  }
  if (!(options.handshakeTimeoutMs > 0)) fail('handshakeTimeoutMs must be above 0');
  const { backlog = BACKLOG, handshakesMax = HANDSHAKES_MAX } = options;
  if (!Number.isInteger(backlog) || backlog < 1) fail('backlog must be a number above 0');
  if (!Number.isInteger(handshakesMax) || handshakesMax < 1) {
    fail('handshakesMax must be a number above 0');
  }

  return {
    ...address,
    name,
    unixMode,
    websocketPath: isWebSocket ? readWebSocketPath(options, path, fail) : '',
    origins: readOrigins(options, fail),
    proxies: readProxies(options, fail),
    backlog,
    handshakesMax,
    options,
  };
}

function checkTls(tls: TlsOptions, fail: (problem: string) => never): void {
  const { clientCertificate, ciphers } = tls;
  const hasPsk = tls.pskLookup !== undefined;
  const isPskOnly = hasPsk && tls.certFile === undefined && tls.keyFile === undefined;
  if (!isPskOnly && (tls.certFile === undefined || tls.keyFile === undefined)) {
    fail('needs tls.certFile and tls.keyFile');
  }
  if (clientCertificate !== 'none' && tls.caFile === undefined) {
    // Without it Node would trust every public authority, so anyone could buy a client certificate.
    fail(`tls.clientCertificate is ${clientCertificate}: needs tls.caFile to verify it with`);
  }
  if (tls.crlFile !== undefined && clientCertificate === 'none') {
    fail('tls.crlFile is about client certificates; set tls.clientCertificate');
  }
  if (isPskOnly && clientCertificate !== 'none') {
    fail('tls.clientCertificate needs tls.certFile: without one there are pre-shared keys only');
  }
  if (hasPsk && clientCertificate === 'required') {
    fail('tls.psk and tls.clientCertificate: required exclude each other; make it optional');
  }
  if (hasPsk && ciphers !== undefined && tls.minVersion !== 'TLSv1.3' && !/PSK/.test(ciphers)) {
    fail('tls.ciphers has none for pre-shared keys (tls.psk); add for example ECDHE-PSK');
  }
}

function readOrigins(options: ListenerOptions, fail: (problem: string) => never): OriginPolicy {
  const allowed = options.websocket?.allowedOrigins ?? null;
  const wrong = allowed?.find((origin) => !OriginPolicy.isOrigin(origin));
  if (wrong !== undefined) {
    fail(
      `websocket.allowedOrigins has "${wrong}", which is no origin; ` +
        'write scheme, host and port only, for example https://app.example.com',
    );
  }
  return new OriginPolicy(allowed);
}

/** What the core sees of a listener. */
export function infoOf(plan: ListenerPlan): ListenerInfo {
  return { name: plan.name, transport: plan.transport, limits: plan.options.limits };
}

/** After a reload: a new object only when the limits differ, as connections are counted by it. */
export function renewInfo(info: ListenerInfo, plan: ListenerPlan): ListenerInfo {
  const next = infoOf(plan);
  const names = Object.keys({ ...info.limits, ...next.limits }) as (keyof ListenerLimits)[];
  return names.every((name) => info.limits[name] === next.limits[name]) ? info : next;
}

/** A reload may change everything but where and how the listener listens. */
export function assertSameAddress(old: ListenerPlan, next: ListenerPlan): void {
  const changes: readonly [string, string, string][] = [
    ['url', old.options.url, next.options.url],
    ['name', old.name, next.name],
    ['websocket.path', old.websocketPath, next.websocketPath],
  ];
  for (const [option, before, after] of changes) {
    if (before === after) continue;
    throw new ListenerError(
      'LISTENER_RESTART',
      old.name,
      `${option} cannot change while it runs (to ${after}); restart, or add a listener`,
    );
  }
}

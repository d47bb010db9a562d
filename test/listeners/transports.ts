/**
 * Every transport a connection can come over, as listener and client: what the contract of ByteSink
 * is run against. Raw TCP and TCP on streams are two of them, and so is each handshake with a PROXY
 * header in front.
 */
import { join } from 'node:path';
import type { Test } from 'tap';
import type { Acceptor, Log } from '../../src/core/ports.ts';
import { createListener } from '../../src/listeners/create-listener.ts';
import type { Listener, ListenerOptions } from '../../src/listeners/listener.ts';
import { planListener } from '../../src/listeners/listener-plan.ts';
import { RawTcpListener } from '../../src/listeners/raw-tcp-listener.ts';
import { StreamListener } from '../../src/listeners/stream-listener.ts';
import { Certificates, temporaryFolder } from './certificates.ts';
import { type RecordedConnection, RecordingAcceptor, RecordingLog } from './recorder.ts';
import { type ClientOptions, connectClient, type TestClient } from './test-client.ts';

export interface Transport {
  readonly name: string;
  readonly options: Omit<ListenerOptions, 'limits' | 'handshakeTimeoutMs'>;
  readonly client: Omit<ClientOptions, 'address'>;
  readonly listenerClass: typeof RawTcpListener | typeof StreamListener;
  /** What the broker must be told; undefined: the socket's own. */
  readonly remote?: readonly [string, number] | undefined;
  /** Another one has the same sink; this one differs in what comes before. */
  readonly isVariation?: boolean | undefined;
}

const PROXY_V1 = Buffer.from('PROXY TCP4 192.0.2.1 198.51.100.2 4711 443\r\n', 'latin1');
const PROXY_V2 = Buffer.concat([
  Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1'),
  Buffer.from([0x21, 0x11, 0, 12, 192, 0, 2, 1, 198, 51, 100, 2, 0x12, 0x67, 0x01, 0xbb]),
]);

export function transports(): Transport[] {
  const certificates = new Certificates();
  certificates.authority('ca');
  certificates.issue('server', 'ca', 'IP:127.0.0.1');
  const path = (name: string): string => certificates.path(name);
  const tls = {
    certFile: path('server.pem'),
    keyFile: path('server.key'),
    clientCertificate: 'none' as const,
  };
  const trust = { tls: { ca: certificates.pem('ca.pem'), host: '127.0.0.1' } };
  const proxyProtocol = { trustedAddresses: ['127.0.0.0/8'] };
  const proxied = {
    listenerClass: StreamListener,
    remote: ['192.0.2.1', 4711] as const,
    isVariation: true,
  };
  const streams = { listenerClass: StreamListener };
  const at = (scheme: string): string => `${scheme}://127.0.0.1:0`;
  const v1 = { preface: PROXY_V1 };
  const v2 = { preface: PROXY_V2 };
  return [
    { name: 'raw TCP', options: { url: at('mqtt') }, client: {}, listenerClass: RawTcpListener },
    { name: 'TCP on streams', options: { url: at('mqtt') }, client: {}, ...streams },
    { name: 'TLS', options: { url: at('mqtts'), tls }, client: trust, ...streams },
    { name: 'WebSocket', options: { url: at('ws') }, client: {}, ...streams },
    { name: 'secure WebSocket', options: { url: at('wss'), tls }, client: trust, ...streams },
    {
      name: 'Unix socket',
      options: { url: `unix:${join(temporaryFolder(), 's')}` },
      client: {},
      ...streams,
      remote: ['', 0],
    },
    { name: 'TCP, PROXY', options: { url: at('mqtt'), proxyProtocol }, client: v1, ...proxied },
    {
      name: 'TLS, PROXY',
      options: { url: at('mqtts'), tls, proxyProtocol },
      client: { ...trust, ...v2 },
      ...proxied,
    },
    { name: 'WebSocket, PROXY', options: { url: at('ws'), proxyProtocol }, client: v2, ...proxied },
    {
      name: 'secure WebSocket, PROXY',
      options: { url: at('wss'), tls, proxyProtocol },
      client: { ...trust, ...v1 },
      ...proxied,
    },
  ];
}

/** A running listener with its recorders; stopped at the end of the test. */
export class Harness {
  readonly listener: Listener;
  readonly acceptor: RecordingAcceptor;
  readonly log: RecordingLog;
  readonly #client: Omit<ClientOptions, 'address'>;

  constructor(
    listener: Listener,
    acceptor: RecordingAcceptor,
    log: RecordingLog,
    client: Omit<ClientOptions, 'address'>,
  ) {
    this.listener = listener;
    this.acceptor = acceptor;
    this.log = log;
    this.#client = client;
  }

  get port(): number {
    return Number(new URL(this.listener.address).port);
  }

  client(options: Partial<ClientOptions> = {}): Promise<TestClient> {
    return connectClient({ address: this.listener.address, ...this.#client, ...options });
  }

  /** A client and the broker's side of it. */
  async pair(options: Partial<ClientOptions> = {}): Promise<[TestClient, RecordedConnection]> {
    const client = await this.client(options);
    return [client, await this.acceptor.next()];
  }
}

/** Connections that are still open are destroyed when the test ends. */
function cleanUp(test: Test, harness: Harness): void {
  test.teardown(async () => {
    for (const { sink } of harness.acceptor.connections) sink.destroy();
    await harness.listener.stop();
  });
}

type Overrides = Partial<ListenerOptions>;

const defaults = { limits: {}, handshakeTimeoutMs: 5000 };

/** Starts the listener that `create-listener` chooses. */
export async function listen(
  test: Test,
  options: Overrides & { readonly url: string },
  client: Omit<ClientOptions, 'address'> = {},
): Promise<Harness> {
  const acceptor = new RecordingAcceptor();
  const log = new RecordingLog();
  const listener = createListener({ ...defaults, ...options }, acceptor, log);
  await listener.start();
  const harness = new Harness(listener, acceptor, log, client);
  cleanUp(test, harness);
  return harness;
}

/** Starts a listener of exactly the transport's class. */
export async function listenOn(
  test: Test,
  transport: Transport,
  overrides: Overrides = {},
): Promise<Harness> {
  const acceptor = new RecordingAcceptor();
  const log = new RecordingLog();
  const options = { ...defaults, ...transport.options, ...overrides };
  const make: new (
    plan: ReturnType<typeof planListener>,
    acceptor: Acceptor,
    log: Log,
  ) => Listener = transport.listenerClass;
  const listener = new make(planListener(options), acceptor, log);
  await listener.start();
  const harness = new Harness(listener, acceptor, log, transport.client);
  cleanUp(test, harness);
  return harness;
}

/** Repeats so that no two neighbourhoods are alike: a byte lost, doubled or swapped is seen. */
export function pattern(bytes: number, seed: number = 1): Buffer {
  const buffer = Buffer.allocUnsafe(bytes);
  let state = seed >>> 0 || 1;
  for (let i = 0; i < bytes; i += 1) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    buffer[i] = state >>> 24;
  }
  return buffer;
}

/** tap prints whole buffers that differ; this says where. */
export function sameBytes(test: Test, found: Buffer, wanted: Buffer, what: string): void {
  if (found.equals(wanted)) {
    test.pass(what);
    return;
  }
  let at = 0;
  while (at < found.length && found[at] === wanted[at]) at += 1;
  test.fail(`${what}: ${found.length} of ${wanted.length} bytes, first difference at ${at}`);
}

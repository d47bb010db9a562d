/**
 * Where other nodes reach this one: chooses the address, listens, and hands sockets to the links.
 * Opened by `datacenter.ts` when Redis has been reached, as the address towards it is the default.
 */
import { createSocket } from 'node:dgram';
import { lookup } from 'node:dns/promises';
import { isIPv6 } from 'node:net';
import { type PeerEndpoint, TcpTransport } from '../cluster/link/tcp-transport.ts';
import type { LinkSocket, LinkSocketEvents, LinkTransport } from '../cluster/ports.ts';
import { bracket, isLoopback } from '../config/address.ts';
import type { PeerConfig } from '../config/cluster-config.ts';
import type { Log } from '../core/ports.ts';
import { parseRedisUrl } from '../drivers/redis/redis-url.ts';
import { read } from './read-file.ts';
import { StartError } from './start-error.ts';

const CONNECT_TIMEOUT_MS = 3000;
const LOOPBACK = '127.0.0.1';
/** Addresses that stand for all of this machine: nobody can dial them. */
const ANY: ReadonlySet<string> = new Set(['0.0.0.0', '::']);

export class PeerDoor implements LinkTransport {
  readonly #config: PeerConfig;
  readonly #log: Log;
  #transport: TcpTransport | null = null;

  constructor(config: PeerConfig, log: Log) {
    this.#config = config;
    this.#log = log;
  }

  /** Listens; the address that others dial. `redisServer`: how this node has reached Redis. */
  async open(redisServer: string): Promise<string> {
    const { listen, advertise, tls } = this.#config;
    const { host, port } =
      listen === undefined ? { host: await addressTowards(redisServer), port: 0 } : split(listen);
    const material =
      tls === undefined
        ? null
        : {
            ca: await read(tls.caFile),
            cert: await read(tls.certFile),
            key: await read(tls.keyFile),
          };
    let transport: TcpTransport;
    try {
      const connectTimeoutMs = CONNECT_TIMEOUT_MS;
      transport = new TcpTransport({ host, port, tls: material, connectTimeoutMs });
    } catch (error) {
      const { message } = error as Error;
      throw new StartError('PEER_TLS', `cluster.peer.tls cannot be used: ${message}`, error);
    }
    const bound = await listening(transport, host, port);
    this.#transport = transport;
    const address = advertise ?? (await dialled(bound, redisServer));
    this.#log.info({ address, listener: 'peers' }, 'listening');
    if (isLoopback(split(address).host)) {
      this.#log.info({ address }, 'nodes on other machines cannot reach it: --peer says where');
    }
    return address;
  }

  listen(accepted: (socket: LinkSocket) => LinkSocketEvents): void {
    this.#opened.listen(accepted);
  }

  dial(address: string, events: LinkSocketEvents): LinkSocket {
    return this.#opened.dial(address, events);
  }

  get #opened(): TcpTransport {
    if (this.#transport === null) throw new Error('the peer listener is not open');
    return this.#transport;
  }

  close(): Promise<void> {
    return new Promise((resolve) => {
      if (this.#transport === null) resolve();
      else this.#transport.close(resolve);
    });
  }
}

function listening(transport: TcpTransport, host: string, port: number): Promise<PeerEndpoint> {
  return new Promise((resolve, reject) => {
    transport.open((error, endpoint) => {
      if (endpoint !== null) {
        resolve(endpoint);
        return;
      }
      const code = (error as NodeJS.ErrnoException | null)?.code ?? 'unknown';
      const place = `${bracket(host)}:${port}`;
      const message = `cannot listen for other nodes at ${place}: ${code}; choose with --peer`;
      reject(new StartError('PEER_ADDRESS', message, error));
    });
  });
}

async function dialled({ host, port }: PeerEndpoint, redisServer: string): Promise<string> {
  const reached = ANY.has(host) ? await addressTowards(redisServer) : host;
  return `${bracket(reached)}:${port}`;
}

/** HOST:PORT, checked by the schema. */
function split(place: string): PeerEndpoint {
  const colon = place.lastIndexOf(':');
  return {
    host: place.slice(0, colon).replace(/^\[|\]$/g, ''),
    port: Number(place.slice(colon + 1)),
  };
}

/**
 * Which of this machine's addresses packets to that server leave from. Asked of the routing table:
 * a datagram socket that is connected sends nothing.
 */
export async function addressTowards(redisServer: string): Promise<string> {
  const { host, port, path } = parseRedisUrl(redisServer);
  if (path !== null) return LOOPBACK;
  let problem: unknown = null;
  for (const { address } of await lookup(host, { all: true })) {
    try {
      return await sourceOf(address, port);
    } catch (error) {
      problem = error;
    }
  }
  const code = (problem as NodeJS.ErrnoException | null)?.code ?? 'no address';
  const message = `cannot tell which address other nodes reach this one at (${code}): use --peer`;
  throw new StartError('PEER_ADDRESS', message, problem);
}

function sourceOf(address: string, port: number): Promise<string> {
  const socket = createSocket(isIPv6(address) ? 'udp6' : 'udp4');
  return new Promise<string>((resolve, reject) => {
    socket.once('error', reject);
    socket.connect(port, address, () => resolve(socket.address().address));
  }).finally(() => socket.close());
}

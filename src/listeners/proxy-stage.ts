/**
 * Reads the PROXY header of one arrival, before any other handshake: from trusted addresses it is
 * required and believed, everybody else has gone around the proxy and is refused. Control plane;
 * `proxy-protocol.ts` knows the format.
 */
import { containsAddress, type IpNetwork, parseIpAddress } from '../util/ip-address.ts';
import type { Arrival } from './arrival.ts';
import { type ProxyHeader, parseProxyHeader } from './proxy-protocol.ts';

export function isTrusted(address: string, networks: readonly IpNetwork[]): boolean {
  const bytes = parseIpAddress(address);
  return bytes !== null && networks.some((network) => containsAddress(network, bytes));
}

/**
 * Reads the header, gives the arrival its client's address, puts back the bytes after it, and calls
 * `next` with the socket paused; or `refuse` with what was wrong, once, and reads nothing more.
 */
export function readProxyHeader(
  arrival: Arrival,
  next: () => void,
  refuse: (problem: string) => void,
): void {
  const { socket } = arrival;
  /** What came before, while the header is incomplete. */
  let held: Buffer | null = null;

  const finish = (): void => {
    socket.off('data', onData);
    socket.off('end', onEnd);
    socket.pause();
  };
  const take = (header: ProxyHeader, rest: Buffer): void => {
    finish();
    if (header.source !== null) {
      arrival.remoteAddress = header.source.address;
      arrival.remotePort = header.source.port;
    }
    if (rest.length > 0) socket.unshift(rest);
    next();
  };
  const onEnd = (): void => {
    finish();
    refuse('the connection ended within the PROXY header');
  };
  const onData = (chunk: Buffer): void => {
    const bytes = held === null ? chunk : Buffer.concat([held, chunk]);
    const result = parseProxyHeader(bytes, 0, bytes.length);
    if (result.kind === 'header') {
      take(result, bytes.subarray(result.bytes));
    } else if (result.kind === 'malformed') {
      finish();
      refuse(result.reason);
    } else {
      // `more` is only said below PROXY_HEADER_BYTES_MAX, so this stays small.
      held = bytes;
    }
  };
  socket.on('data', onData);
  socket.on('end', onEnd);
  socket.resume();
}

/** TLS towards another broker, read from the files its section names. Used by links and bridges. */
import type { TlsOptions } from '../client/transport.ts';
import type { RemoteTlsConfig } from '../config/remote-broker-config.ts';
import { readPem } from './read-file.ts';

/** Throws a StartError when a file cannot be read. */
export async function tlsOf(tls: RemoteTlsConfig | undefined): Promise<TlsOptions | undefined> {
  if (tls === undefined) return undefined;
  const { ca, cert, key } = await readPem(tls);
  const { serverName, alpnProtocol } = tls;
  const made = { ca: ca ?? undefined, cert: cert ?? undefined, key: key ?? undefined };
  return { ...made, serverName, alpnProtocol };
}

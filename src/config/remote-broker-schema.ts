/** Options of another broker that this one connects to, for the schemas of links and bridges. */
import { z } from 'zod';
import { parseEndpoint } from '../client/endpoint.ts';
import { type LeafText, text } from './leaf.ts';
import type { RemoteTlsConfig } from './remote-broker-config.ts';

const reloaded = (help: string): LeafText => ({ help, reloadable: true });

export const optionalFile = (what: string, help: string): z.ZodType<string | undefined> =>
  text({ expected: `the name of ${what}` }, reloaded(help)).optional();

/** Read with the code that will connect. */
function refuseUrl(url: string): string | null {
  try {
    parseEndpoint(url);
    return null;
  } catch (error) {
    return `expected mqtts://HOST:PORT, mqtt://, wss:// or ws://; ${(error as Error).message}`;
  }
}

export const brokerUrl = (example: string, help: string): z.ZodType<string> =>
  text({ expected: `a URL such as ${example}`, refuse: refuseUrl }, reloaded(help));

/** `ours` and `theirs`: what the two ends are called. */
export const remoteTls = (ours: string, theirs: string): z.ZodType<RemoteTlsConfig> =>
  z.strictObject({
    caFile: optionalFile(
      'a PEM file',
      `Authorities of ${theirs}; those of the system when absent.`,
    ),
    certFile: optionalFile('a PEM file', `Certificate ${ours} shows.`),
    keyFile: optionalFile('a PEM file', 'Its private key.'),
    serverName: text(
      { expected: 'a host name' },
      reloaded(`Name to look for in the certificate of ${theirs}, when not that of the URL.`),
    ).optional(),
    alpnProtocol: text(
      { expected: 'the name of an application protocol' },
      reloaded(`Application protocol to ask ${theirs} for, where it shares a port with others.`),
    ).optional(),
  });

/**
 * The flags `pub`, `sub`, `rr` and `probe` share, and the client options they make: where, who, which
 * version, TLS, will. Reads the files the flags name; a password never has to be in the argument list.
 */
import { readFileSync } from 'node:fs';
import type { ParseArgsOptionsConfig } from 'node:util';
import type { ClientOptions, ConnectProperties, Will } from '../../client/options.ts';
import type { TlsOptions } from '../../client/transport.ts';
import { UsageError } from '../command.ts';
import type { Flags } from './flags.ts';
import { connectProperties } from './properties.ts';

export const clientFlags: ParseArgsOptionsConfig = {
  url: { type: 'string' },
  host: { type: 'string', short: 'h' },
  port: { type: 'string', short: 'p' },
  id: { type: 'string', short: 'i' },
  username: { type: 'string', short: 'u' },
  password: { type: 'string', short: 'P' },
  'password-file': { type: 'string' },
  'protocol-version': { type: 'string', short: 'V' },
  keepalive: { type: 'string', short: 'k' },
  'no-clean': { type: 'boolean', short: 'c' },
  'session-expiry': { type: 'string', short: 'x' },
  'will-topic': { type: 'string' },
  'will-payload': { type: 'string' },
  'will-qos': { type: 'string' },
  'will-retain': { type: 'boolean' },
  'will-delay': { type: 'string' },
  tls: { type: 'boolean' },
  cafile: { type: 'string' },
  cert: { type: 'string' },
  key: { type: 'string' },
  insecure: { type: 'boolean' },
  property: { type: 'string', multiple: true },
  'user-property': { type: 'string', multiple: true },
  quiet: { type: 'boolean' },
};

export const loginUsage: string = `  -u, --username NAME
  -P, --password SECRET    better: the variable CAUSEWAY_PASSWORD, or
      --password-file FILE its first line`;

export const clientUsage: string = `Where:
  -h, --host HOST          server (default 127.0.0.1)
  -p, --port PORT          port (default 1883, with TLS 8883)
      --url URL            mqtt://, mqtts://, ws://host:port/mqtt, wss://, unix:/path
Who:
  -i, --id ID              client identifier (default a random one)
${loginUsage}
TLS:
      --tls                TLS, with the authorities of the system
      --cafile FILE        PEM of the authorities to trust instead; implies --tls
      --cert FILE, --key FILE   client certificate and its key; imply --tls
      --insecure           do not check the certificate of the server
MQTT:
  -V, --protocol-version V 5 (default), 3.1.1 or 3.1
  -k, --keepalive SECONDS  (default 60)
  -c, --no-clean           resume the session of this id, and leave it when done
  -x, --session-expiry SECONDS   keep it so long (MQTT 5; -c alone: one day)
      --will-topic TOPIC, --will-payload TEXT, --will-qos QOS, --will-retain,
      --will-delay SECONDS
      --property NAME=VALUE     MQTT 5 property of CONNECT or PUBLISH, repeatable
      --user-property NAME=VALUE
      --quiet              no remarks on standard error`;

/** What a session lives without a connection when only -c is given. */
const SESSION_EXPIRY_S = 86_400;
const U32_MAX = 4_294_967_295;

const VERSIONS: ReadonlyMap<string, 3 | 4 | 5> = new Map([
  ['5', 5],
  ['5.0', 5],
  ['mqttv5', 5],
  ['3.1.1', 4],
  ['311', 4],
  ['4', 4],
  ['mqttv311', 4],
  ['3.1', 3],
  ['31', 3],
  ['3', 3],
  ['mqttv31', 3],
]);

/** Options of the client; throws UsageError. */
export function clientOptions(flags: Flags): ClientOptions & { readonly version: 3 | 4 | 5 } {
  const version = protocolVersion(flags);
  const username = flags.text('username');
  const password = readPassword(flags);
  const clientId = flags.text('id');
  const keepsSession =
    flags.has('no-clean') || (flags.count('session-expiry', 0, U32_MAX) ?? 0) > 0;
  if (keepsSession && (clientId === undefined || clientId === '')) {
    throw new UsageError('a session can only be kept with a client identifier: add -i ID');
  }
  const will = readWill(flags);
  return {
    url: serverUrl(flags),
    version,
    cleanStart: !flags.has('no-clean'),
    keepAliveS: flags.count('keepalive', 0, 65_535),
    tls: tlsOptions(flags),
    properties: readConnectProperties(flags, version),
    ...(clientId === undefined ? {} : { clientId }),
    ...(username === undefined ? {} : { username }),
    ...(password === undefined ? {} : { password }),
    ...(will === undefined ? {} : { will }),
  };
}

function protocolVersion(flags: Flags): 3 | 4 | 5 {
  const text = flags.text('protocol-version') ?? '5';
  const version = VERSIONS.get(text);
  if (version === undefined) throw new UsageError('--protocol-version is 5, 3.1.1 or 3.1');
  return version;
}

function serverUrl(flags: Flags): string {
  const url = flags.text('url');
  const host = flags.text('host');
  const port = flags.count('port', 1, 65_535);
  if (url !== undefined) {
    if (host !== undefined || port !== undefined) {
      throw new UsageError('--url says host and port already');
    }
    return url;
  }
  const isTls = ['tls', 'cafile', 'cert', 'key', 'insecure'].some((name) => flags.has(name));
  const name = host ?? '127.0.0.1';
  if (/[/@?#\s]/.test(name)) throw new UsageError('--host is not a host name; a URL goes to --url');
  const shown = name.includes(':') ? `[${name}]` : name;
  return `${isTls ? 'mqtts' : 'mqtt'}://${shown}:${port ?? (isTls ? 8883 : 1883)}`;
}

function readPassword(flags: Flags): string | undefined {
  const given = flags.text('password');
  const file = flags.text('password-file');
  if (given !== undefined && file !== undefined) {
    throw new UsageError('--password and --password-file are both given');
  }
  if (file !== undefined) return readFlagFile('password-file', file).split(/\r?\n/, 1)[0];
  if (given !== undefined) return given;
  const fromEnvironment = process.env.CAUSEWAY_PASSWORD;
  return fromEnvironment === undefined || fromEnvironment === '' ? undefined : fromEnvironment;
}

function tlsOptions(flags: Flags): TlsOptions {
  const [cert, key] = [flags.text('cert'), flags.text('key')];
  if ((cert === undefined) !== (key === undefined)) {
    throw new UsageError('--cert and --key go together');
  }
  const cafile = flags.text('cafile');
  return {
    ca: cafile === undefined ? undefined : readFlagFile('cafile', cafile),
    cert: cert === undefined ? undefined : readFlagFile('cert', cert),
    key: key === undefined ? undefined : readFlagFile('key', key),
    insecure: flags.has('insecure'),
  };
}

function readWill(flags: Flags): Will | undefined {
  const topic = flags.text('will-topic');
  if (topic === undefined) {
    for (const name of ['will-payload', 'will-qos', 'will-retain', 'will-delay']) {
      if (flags.has(name)) throw new UsageError(`--${name} needs --will-topic`);
    }
    return undefined;
  }
  return {
    topic,
    payload: Buffer.from(flags.text('will-payload') ?? ''),
    qos: flags.qos('will-qos'),
    retain: flags.has('will-retain'),
    delayIntervalS: flags.count('will-delay', 0, U32_MAX),
  };
}

function readConnectProperties(flags: Flags, version: 3 | 4 | 5): ConnectProperties {
  const properties = connectProperties(flags);
  const expiryS = flags.count('session-expiry', 0, U32_MAX);
  if (version !== 5) {
    if (expiryS !== undefined) throw new UsageError('--session-expiry is for MQTT 5');
    return {};
  }
  if (expiryS !== undefined) return { ...properties, sessionExpiryIntervalS: expiryS };
  if (!flags.has('no-clean') || properties.sessionExpiryIntervalS !== undefined) return properties;
  return { ...properties, sessionExpiryIntervalS: SESSION_EXPIRY_S };
}

/** Contents of a file a flag names; throws UsageError with the flag's name. */
export function readFlagFile(flag: string, file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    throw new UsageError(`--${flag}: ${(error as Error).message}`);
  }
}

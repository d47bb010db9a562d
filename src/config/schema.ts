/**
 * Every option of the broker: its place, default, range and help. The option reference, the JSON
 * Schema, the environment variables and the messages of `causeway check` all come from this table
 * and from `core/limits.ts`. Used by `load.ts` and `option-table.ts`.
 */
import { z } from 'zod';
import {
  type LimitName,
  type Limits,
  limitTable,
  queueOverflowPolicies,
  sharedStrategies,
} from '../core/limits.ts';
import type { AuthenticationConfig, AuthorizationConfig, BansConfig } from './access-config.ts';
import {
  authentication,
  authorization,
  bans,
  listenerAuthentication,
  quotas,
} from './access-schema.ts';
import { parseAdminUrl, parseListenerUrl, refuseCidr, refuseOrigin } from './address.ts';
import { bridges } from './bridges-schema.ts';
import { cassandra } from './cassandra-schema.ts';
import { cluster } from './cluster-schema.ts';
import {
  type AdminConfig,
  type AdminTlsConfig,
  type Config,
  clientCertificateModes,
  type ListenerConfig,
  type ListenerLimitsConfig,
  type LogConfig,
  logFormats,
  logLevels,
  type ProxyProtocolConfig,
  storeKinds,
  type TlsConfig,
  tlsVersions,
  type WebSocketConfig,
} from './config.ts';
import { choice, quantity, text, texts, truth } from './leaf.ts';
import { regions } from './regions-schema.ts';
import { steering } from './steering-schema.ts';

const file = 'the name of a PEM file';

const tls: z.ZodType<TlsConfig> = z.strictObject({
  certFile: text(
    { expected: file },
    { reloadable: true, help: 'Certificate of the listener, followed by its intermediates.' },
  ).optional(),
  keyFile: text(
    { expected: file },
    { reloadable: true, help: 'Private key of the certificate.' },
  ).optional(),
  caFile: text(
    { expected: file },
    { reloadable: true, help: 'Certificates that sign client certificates.' },
  ).optional(),
  crlFile: text(
    { expected: file },
    {
      reloadable: true,
      help: 'Revocation lists of those authorities; client certificates on them are refused.',
    },
  ).optional(),
  clientCertificate: choice(clientCertificateModes, 'none', {
    reloadable: true,
    help: 'Whether clients are asked for a certificate; `required` counts as authentication.',
  }),
  minVersion: choice(tlsVersions, 'TLSv1.2', {
    reloadable: true,
    help: 'Oldest TLS version accepted.',
  }),
  psk: truth(false, {
    reloadable: false,
    help: 'Clients may use a pre-shared key of `authentication.psk.file`.',
  }),
  ciphers: text(
    { expected: 'a cipher list in the form of OpenSSL' },
    {
      reloadable: true,
      help: 'Ciphers offered, in the form of OpenSSL; those of Node when absent.',
    },
  ).optional(),
});

const websocket: z.ZodType<WebSocketConfig> = z.strictObject({
  allowedOrigins: texts(
    { expected: 'origins such as https://app.example.org, or *', refuse: refuseOrigin },
    {
      reloadable: true,
      help:
        'Origins of web pages that may connect; `*` allows all. Without this section: pages of ' +
        'this machine, and pages served from the IP address they connect to.',
    },
  ),
});

const proxyProtocol: z.ZodType<ProxyProtocolConfig> = z.strictObject({
  trustedAddresses: texts(
    { expected: 'IP addresses or CIDR ranges', refuse: refuseCidr },
    {
      reloadable: true,
      help: 'Load balancers that send a PROXY protocol header (v1 or v2); others are refused.',
    },
  ),
});

function listenerLimit(name: LimitName): z.ZodType<number | undefined> {
  const { unit, min, max, told, help, reloadable } = limitTable[name];
  return quantity(
    { unit, min, max, told },
    { reloadable, help: `${help} Here: of this listener.` },
  ).optional();
}

const listenerLimits: z.ZodType<ListenerLimitsConfig> = z.strictObject({
  connectionsMax: listenerLimit('connectionsMax'),
  packetBytesMax: listenerLimit('packetBytesMax'),
  keepAliveMaxS: listenerLimit('keepAliveMaxS'),
  receiveMaximum: listenerLimit('receiveMaximum'),
  topicAliasMax: listenerLimit('topicAliasMax'),
});

function refuseListenerUrl(url: string): string | null {
  const address = parseListenerUrl(url);
  return typeof address === 'string' ? address : null;
}

function refuseMode(mode: string): string | null {
  return /^0?[0-7]{3}$/.test(mode) ? null : "expected octal digits in quotes, such as '0660'";
}

const listener: z.ZodType<ListenerConfig> = z.strictObject({
  url: text(
    { expected: 'a URL such as mqtt://127.0.0.1:1883', refuse: refuseListenerUrl },
    {
      reloadable: false,
      help: 'Where to listen: mqtt://, mqtts://, ws://, wss:// with HOST:PORT, or unix:FILE.',
    },
  ),
  name: text(
    {
      expected: 'a name of at most 64 characters',
      refuse: (name) => (name.length > 64 ? 'expected at most 64 characters' : null),
    },
    { reloadable: false, help: 'Name in logs and metrics; the URL when absent.' },
  ).optional(),
  tls: tls.optional(),
  websocket: websocket.optional(),
  proxyProtocol: proxyProtocol.optional(),
  unixMode: text(
    { expected: "octal digits in quotes, such as '0660'", refuse: refuseMode },
    { reloadable: true, help: 'Permissions of the file of a Unix socket; 0660 when absent.' },
  ).optional(),
  authentication: listenerAuthentication.optional(),
  limits: listenerLimits.optional(),
});

function refuseAdminUrl(url: string): string | null {
  const address = parseAdminUrl(url);
  return typeof address === 'string' ? address : null;
}

const adminTls: z.ZodType<AdminTlsConfig> = z.strictObject({
  certFile: text(
    { expected: file },
    {
      reloadable: true,
      help: 'Certificate of an https:// admin address; that of `tls` when absent.',
    },
  ),
  keyFile: text({ expected: file }, { reloadable: true, help: 'Its private key.' }),
});

const admin: z.ZodType<AdminConfig> = z.strictObject({
  url: text(
    {
      expected: 'http://HOST:PORT, https://HOST:PORT or off',
      default: 'http://127.0.0.1:8080',
      refuse: refuseAdminUrl,
    },
    { reloadable: false, help: 'Where metrics, health and the HTTP API are served, or `off`.' },
  ),
  tls: adminTls.optional(),
  tokensFile: text(
    { expected: 'the name of a file' },
    {
      reloadable: false,
      help: 'Hashed tokens of the HTTP API; api-tokens.json in the data folder when absent.',
    },
  ).optional(),
  metricsAnonymous: truth(false, {
    reloadable: false,
    help: 'Answers /metrics without a token also to other machines.',
  }),
  allowPlainBeyondLoopback: truth(false, {
    reloadable: false,
    help: 'Lets other machines reach an http:// admin address, where tokens can be read on the way.',
  }),
});

const log: z.ZodType<LogConfig> = z.strictObject({
  level: choice(logLevels, 'info', { reloadable: true, help: 'Least severe entries written.' }),
  format: choice(logFormats, 'auto', {
    reloadable: false,
    help: '`auto` is pretty on a terminal and JSON otherwise.',
  }),
});

function limitLeaves(): Record<LimitName, z.ZodType<number>> {
  const leaves = Object.entries(limitTable).map(([name, spec]) => [
    name,
    quantity(spec, { reloadable: spec.reloadable, help: spec.help }),
  ]);
  return Object.fromEntries(leaves) as Record<LimitName, z.ZodType<number>>;
}

const limits: z.ZodType<Limits> = z.strictObject(limitLeaves());

/** What is served when nothing is configured: this machine only. */
export const defaultListeners: readonly ListenerConfig[] = [
  { url: 'mqtt://127.0.0.1:1883' },
  { url: 'ws://127.0.0.1:8083/mqtt' },
];

export const schema: z.ZodType<Config> = z.strictObject({
  listeners: z
    .array(listener, { error: 'expected a list of listeners, each a URL or a section with url' })
    .min(1, { error: 'expected at least one listener' })
    .default([...defaultListeners])
    .meta({
      'x-reloadable': false,
      'x-default': defaultListeners.map((entry) => entry.url),
      description: 'Where clients connect; each entry is a URL or a section with `url`.',
    }),
  allowAnonymousBeyondLoopback: truth(false, {
    reloadable: false,
    help: 'Lets listeners without authentication be reached from other machines.',
  }),
  tls: tls.optional().meta({
    description: 'Certificates of every TLS listener that has no tls section of its own.',
  }),
  data: text(
    { expected: 'the name of a folder', default: './data' },
    { reloadable: false, help: 'Folder of sessions, queues and retained messages.' },
  ),
  store: choice(storeKinds, 'embedded', {
    reloadable: false,
    help: '`embedded` keeps acked messages on disk; `memory` forgets everything at the end.',
  }),
  cluster: cluster.optional().meta({
    description: 'Makes this node one of a datacenter that shares sessions over a Redis.',
  }),
  cassandra: cassandra.optional().meta({
    description: 'Keeps retained messages in a Cassandra that all regions share.',
  }),
  regions: regions.optional().meta({
    description: 'Links this region to others.',
  }),
  bridges,
  steering: steering.optional().meta({
    description: 'Sends clients to the region or node that should serve them.',
  }),
  admin: admin.prefault({} as AdminConfig),
  log: log.prefault({} as LogConfig),
  authentication: authentication.prefault({} as AuthenticationConfig),
  authorization: authorization.prefault({} as AuthorizationConfig),
  quotas,
  bans: bans.prefault({} as BansConfig),
  limits: limits.prefault({} as Limits),
  queueOverflow: choice(queueOverflowPolicies, 'drop_oldest', {
    reloadable: false,
    help: 'What happens to a message for a session whose queue is full.',
  }),
  sharedSubscriptionStrategy: choice(sharedStrategies, 'round_robin', {
    reloadable: false,
    help: 'How a shared subscription chooses the member that gets a message.',
  }),
  sysIntervalS: quantity(
    { unit: 's', default: 10, min: 0, max: 3600 },
    { reloadable: true, help: 'Time between updates of the $SYS topics; 0 turns them off.' },
  ),
  shutdownGraceMs: quantity(
    { unit: 'ms', default: 10_000, min: 100, max: 600_000 },
    {
      reloadable: true,
      help: 'Time for telling clients, flushing and closing after SIGTERM before the process ends.',
    },
  ),
});

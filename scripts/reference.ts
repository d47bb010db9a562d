// Writes what is made from the option table and the commands: docs/reference/options.md and cli.md,
// config/everything.yaml and config/causeway.schema.json. Tests compare the files with what these
// functions give. Run after changing an option, a limit or a command: node scripts/reference.ts

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { loadCommands } from '../src/cli/commands.ts';
import { editorSchema } from '../src/config/json-schema.ts';
import { valueAt } from '../src/config/layer.ts';
import { loadConfig } from '../src/config/load.ts';
import { type Option, optionTable } from '../src/config/option-table.ts';

const generated = 'Made by `node scripts/reference.ts` from the option table; do not edit.';

/** 1048576 bytes as `1 MiB`, other numbers as they are. */
function amount(value: number, unit: string | null): string {
  if (unit !== 'bytes') return String(value);
  for (const [suffix, factor] of [
    ['GiB', 2 ** 30],
    ['MiB', 2 ** 20],
    ['KiB', 2 ** 10],
  ] as const) {
    if (value >= factor && value % factor === 0) return `${value / factor} ${suffix}`;
  }
  return String(value);
}

function withUnit(value: number, unit: string | null): string {
  const text = amount(value, unit);
  return unit === null || unit === 'count' || unit === 'amount' || text.endsWith('iB')
    ? text
    : `${text} ${unit}`;
}

function defaultOf(option: Option): string {
  if (option.default === undefined) return '–';
  if (option.kind === 'sections') {
    const entries = option.default as readonly string[];
    return entries.length === 0 ? '–' : entries.map((url) => `\`${url}\``).join(', ');
  }
  if (typeof option.default === 'number') return withUnit(option.default, option.unit);
  return `\`${option.default}\``;
}

function allowed(option: Option): string {
  if (option.kind === 'number') {
    const { minimum, maximum, unit } = option;
    return `${amount(minimum ?? 0, unit)} to ${withUnit(maximum ?? 0, unit)}`;
  }
  if (option.kind === 'choice') return option.values.map((value) => `\`${value}\``).join(', ');
  if (option.kind === 'boolean') return '`true`, `false`';
  if (option.kind === 'sections') {
    return option.path === 'listeners' ? 'a list of URLs and sections' : 'a list of sections';
  }

  return option.kind === 'list' ? `a list: ${option.expected}` : (option.expected ?? '');
}

function row(...cells: readonly string[]): string {
  return `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
}

function table(options: readonly Option[], prefix: string): string {
  const lines = options.map((option) =>
    row(
      `\`${option.path.slice(prefix.length)}\``,
      defaultOf(option),
      allowed(option),
      option.reloadable ? 'yes' : 'no',
      option.help,
    ),
  );
  return [
    row('Option', 'Default', 'Allowed', 'Reload', 'What it does'),
    '|---|---|---|---|---|',
    ...lines,
  ].join('\n');
}

export function renderOptions(): string {
  const options = optionTable();
  const limits = options.filter(({ path }) => path.startsWith('limits.'));
  const below = (prefix: string): readonly Option[] =>
    options.filter(({ path }) => path.startsWith(prefix));
  const ofListener = below('listeners[].');
  const access = [...below('authentication.'), ...below('authorization.'), ...below('bans.')];
  const quotas = below('quotas[].');
  const regions = below('regions.');
  const bridges = below('bridges[].');
  const named = [...access, ...quotas, ...regions, ...bridges];
  const elsewhere = new Set([...limits, ...ofListener, ...named]);
  const general = options.filter((option) => !elsewhere.has(option));
  const limitRows = limits.map((option) =>
    row(
      `\`${option.path.slice('limits.'.length)}\``,
      defaultOf(option),
      allowed(option),
      option.reloadable ? 'yes' : 'no',
      option.help,
      option.told ?? '',
    ),
  );
  return `# Options

${generated}

Options come from, in rising precedence: the defaults below, a YAML file (\`--config FILE\`),
environment variables, flags. \`causeway config\` prints every value in force and where it was set;
\`causeway check\` prints every error of all sources at once, with line and column.

- **Variables**: \`CAUSEWAY_\` and the name in capitals: \`limits.packetBytesMax\` is
  \`CAUSEWAY_LIMITS_PACKET_BYTES_MAX\`. \`CAUSEWAY_LISTENERS\` is a list of URLs with commas or spaces
  between. What belongs to one listener has no variable.
- **Flags**: \`--set NAME=VALUE\` sets any option that has a variable; see [cli.md](cli.md) for the
  short ones.
- **Lists** of a higher source replace those of a lower one; sections are merged.
- **Units** are in the names. Sizes may be written \`64KiB\`, \`1MiB\`, \`2GiB\`; durations \`500ms\`,
  \`10s\`, \`5min\`, \`2h\`, \`30d\`.
- **File names** in a file are relative to that file's folder, in variables and flags to the folder
  the program runs in.
- **Reload** says whether SIGHUP applies a change to a running node; other changes are named in the
  log and wait for the next start. A file with errors changes nothing.
- Unknown options and variables are refused.
- Editors complete and check files that begin with
  \`# yaml-language-server: $schema=causeway.schema.json\` (the schema is in \`config/\`, and printed by
  \`causeway config --schema\`).

## General

${table(general, '')}

## Listeners

Each entry of \`listeners\` is a URL, or a section with these options. Schemes: \`mqtt://\` (port 1883
if none is given), \`mqtts://\` (8883), \`ws://\` (80) and \`wss://\` (443) with path \`/mqtt\` if none is
given, \`unix:FILE\`. Port 0 takes any free port; the log says which.

Listening beyond this machine is refused unless client certificates are required, somebody is asked
who clients are (\`authentication.chain\`), or \`allowAnonymousBeyondLoopback\` says that everyone may
connect.

${table(ofListener, 'listeners[].')}

## Access

Who may connect and do what: guides/secure-in-five-minutes.md shows the way, [rules.md](rules.md)
has the rules, and \`causeway init\` writes a working example.

${table(access, '')}

## Regions

Links to other regions; guides/regions.md shows how two of them are made.

${table(regions, '')}

## Bridges

Each entry of \`bridges\` is a section with these options; guides/bridges.md shows what they do.

${table(bridges, 'bridges[].')}

## Quotas

Each entry of \`quotas\` is a section with these options; [limits.md](limits.md) says what each kind
counts and what a client sees.

${table(quotas, 'quotas[].')}

## Limits

Every buffer, queue and walk of the broker is bounded by one of these. New connections get changed
limits after a reload; those that exist keep what they were told.

${row('Limit', 'Default', 'Allowed', 'Reload', 'What it bounds', 'What a client is told')}
|---|---|---|---|---|---|
${limitRows.join('\n')}
`;
}

export async function renderCommands(): Promise<string> {
  const commands = await loadCommands();
  const sections = commands.map(
    ({ name, summary, usage }) => `## ${name}

${summary[0]?.toUpperCase()}${summary.slice(1)}.

\`\`\`text
${usage.trim()}
\`\`\`
`,
  );
  return `# Command line

Made by \`node scripts/reference.ts\` from the commands; do not edit.

\`causeway COMMAND --help\` prints the same. Exit codes: 0 done; 1 the command line or the
configuration is wrong, or a client command was refused; 2 the node cannot start, or did not stop
as it should.

${sections.join('\n')}`;
}

const listenersManual = `# Where clients connect. Each entry is a URL, or a section with url:
listeners:
  - mqtt://127.0.0.1:1883
  - ws://127.0.0.1:8083/mqtt
  # - url: mqtts://0.0.0.0:8883
  #   name: devices                     # in logs and metrics; the URL when absent
  #   tls:                              # instead of the tls section below
  #     certFile: certs/server.pem
  #     keyFile: certs/server.key
  #     caFile: certs/devices-ca.pem
  #     crlFile: certs/devices-crl.pem  # certificates that were taken back
  #     clientCertificate: required     # none, optional, required
  #     minVersion: TLSv1.3
  #     psk: false                      # keys of authentication.psk instead of certificates
  #     ciphers: TLS_AES_128_GCM_SHA256
  #   authentication:                   # instead of the section below, for this listener
  #     chain: [certificate]
  #     anonymous: false
  #   limits:                           # instead of those below, for this listener
  #     connectionsMax: 5000
  #     packetBytesMax: 64KiB
  #     keepAliveMaxS: 10min
  #     receiveMaximum: 64
  #     topicAliasMax: 8
  # - url: wss://0.0.0.0:8084/mqtt
  #   websocket:
  #     allowedOrigins: [https://app.example.org]
  #   proxyProtocol:                    # behind a load balancer that says who the client is
  #     trustedAddresses: [10.0.0.0/8]
  # - url: unix:/run/causeway.sock
  #   unixMode: '0660'
`;

const tlsManual = `# Certificates of every TLS listener that has no tls section of its own; read again by SIGHUP.
# tls:
#   certFile: certs/server.pem
#   keyFile: certs/server.key
#   psk: false
`;

const quotasManual = `# Limits per client, user, tenant, listener or node: docs/reference/limits.md
quotas: []
  # - name: devices                     # in reason strings, log and metrics
  #   of: publishMessagesPerS
  #   per: client
  #   max: 100
  #   burst: 500
  #   action: slow                      # slow, drop, refuse, disconnect
  #   users: [alice]
  #   tenants: [acme]
  #   listeners: [devices]
`;

const regionsManual = `# Links to other regions: docs/guides/regions.md
# regions:
#   name: eu
#   roaming: false                      # sessions follow clients: docs/guides/roaming.md
#   directory: false                    # sessions stay, and steering.home knows where they are
#   roamingWaitMs: 300
#   links:                              # where messages are fetched from
#     - region: us
#       url: mqtts://us.example.org:8883
#       username: link-eu
#       passwordFile: secrets/link-us
#       tls:
#         caFile: certs/us-ca.pem
#         certFile: certs/eu.pem
#         keyFile: certs/eu.key
#         serverName: us.example.org
#         alpnProtocol: mqtt
#       allow: ['#']
#       budgetAgeS: 1d
#       budgetBytes: 1GiB
#   accept:                             # who may fetch messages here, as which region
#     - region: us
#       user: link-us                   # or certificate: us.example.org
#       topics: ['#']
#       budgetAgeMaxS: 1d
#       budgetBytesMax: 1GiB
`;

const bridgesManual = `# Bridges to other brokers: docs/guides/bridges.md
# bridges:
#   - name: cloud
#     url: mqtts://broker.example.org:8883
#     protocolVersion: '5'              # '3.1', '3.1.1' or '5'
#     tls:
#       caFile: certs/cloud-ca.pem
#       certFile: certs/site.pem
#       keyFile: certs/site.key
#       serverName: broker.example.org
#       alpnProtocol: mqtt
#     clientId: site-7
#     username: site-7
#     passwordFile: secrets/cloud
#     cleanStart: false
#     keepaliveS: 60
#     tryPrivate: true
#     notifications: both               # none, local or both
#     notificationTopic: sites/7/up
#     inFlightMax: 16384
#     budgetAgeS: 30d
#     budgetBytes: 1GiB
#     topics:
#       - filter: up/#
#         direction: out                # in, out or both
#         localPrefix: site/
#         remotePrefix: plant/7/
#         qos: 1
#         retain: keep                  # keep, live or clear
`;

const steeringManual = `# Sends clients to the region or node that should serve them: docs/guides/steering.md
# steering:
#   legacy: accept                      # clients of MQTT 3.x that belong elsewhere: accept, refuse
#   patienceS: 60                       # who comes back within that time is taken
#   region: eu.example:8883             # the reference below that is this region
#   nearest:                            # which addresses belong to which region
#     - reference: eu.example:8883
#       addresses: [192.0.2.0/24]
#     - reference: us.example:8883
#       addresses: [198.51.100.0/24]
#       forGood: false
#   home: []                            # with regions.directory or roaming: [{ region: us, reference: us.example:8883 }]
#   leastLoaded:                        # the node of the datacenter that has the fewest clients
#     reference: node-1.eu.example:8883 # where clients reach this very node
#     slackPercent: 20
#     clientsMin: 100
`;

const manuals: ReadonlyMap<string, string> = new Map([
  ['listeners', listenersManual],
  ['tls', tlsManual],
  ['quotas', quotasManual],
  ['regions', regionsManual],
  ['bridges', bridgesManual],
  ['steering', steeringManual],
]);

/** Values for options without a default. */
const samples: ReadonlyMap<string, string | readonly string[]> = new Map<
  string,
  string | readonly string[]
>([
  ['admin.tls.certFile', 'certs/admin.pem'],
  ['admin.tls.keyFile', 'certs/admin.key'],
  ['admin.tokensFile', 'data/api-tokens.json'],
  ['authentication.password.file', 'passwords'],
  ['authentication.scram.file', 'scram-users'],
  ['authentication.psk.file', 'psk-keys'],
  ['authentication.jwt.algorithms', ['RS256']],
  ['authentication.jwt.secretFile', 'jwt-secret'],
  ['authentication.jwt.publicKeyFile', 'issuer.pem'],
  ['authentication.jwt.jwksUrl', 'https://issuer.example/jwks.json'],
  ['authentication.jwt.jwksCaFile', 'certs/issuer-ca.pem'],
  ['authentication.jwt.issuer', 'https://issuer.example'],
  ['authentication.jwt.audience', 'mqtt'],
  ['authentication.jwt.clientIdClaim', 'device'],
  ['authentication.http.url', 'https://users.example/mqtt/login'],
  ['authentication.http.fields', ['username=%u', 'password=%P', 'clientid=%c']],
  ['authentication.http.headersFile', 'users-headers'],
  ['authentication.http.caFile', 'certs/users-ca.pem'],
  ['authentication.redis.url', 'redis://127.0.0.1:6379/0'],
  ['authentication.redis.passwordFile', 'redis-password'],
  ['authentication.redis.caFile', 'certs/redis-ca.pem'],
  ['authentication.redis.keyPrefix', 'broker:'],
  ['authorization.redis.keyPrefix', 'broker:'],
  ['authentication.redis.userKey', 'mqtt_user:%u'],
  ['authorization.rulesFile', 'acl.yaml'],
  ['authorization.http.url', 'https://users.example/mqtt/acl'],
  ['authorization.http.fields', ['username=%u', 'topic=%t', 'action=%A']],
  ['authorization.http.headersFile', 'users-headers'],
  ['authorization.http.caFile', 'certs/users-ca.pem'],
  ['authorization.redis.url', 'redis://127.0.0.1:6379/0'],
  ['authorization.redis.passwordFile', 'redis-password'],
  ['authorization.redis.caFile', 'certs/redis-ca.pem'],
  ['bans.login.trustedAddresses', ['10.0.0.5']],
]);

/** Breaks a sentence into comment lines. */
function comment(text: string, indent: string): string {
  const lines = [''];
  for (const word of text.split(' ')) {
    const last = lines.length - 1;
    const longer = lines[last] === '' ? word : `${lines[last]} ${word}`;
    if (longer.length + indent.length > 96 && lines[last] !== '') lines.push(word);
    else lines[last] = longer;
  }
  return lines.map((line) => `${indent}# ${line}\n`).join('');
}

function manualValue(option: Option): string {
  const value = option.default ?? samples.get(option.path) ?? '';
  if (Array.isArray(value)) return `[${value.join(', ')}]`;
  return typeof value === 'number' ? amount(value, option.unit).replace(' ', '') : String(value);
}

export function renderEverything(): string {
  const parts = [
    `# yaml-language-server: $schema=causeway.schema.json
# Every option with its default, as a manual. Nothing here has to be set: copy what you change.
# Made by \`node scripts/reference.ts\`; tables of the same are in docs/reference/options.md.
`,
  ];
  const { config: defaults } = loadConfig({ file: null, environment: {}, flags: [] });
  let open: readonly string[] = [];
  for (const option of optionTable()) {
    if (option.path.includes('[]')) continue;
    const names = option.path.split('.');
    const key = names.pop()!;
    const manual = manuals.get(option.path) ?? manuals.get(names[0] ?? '');
    if (manual !== undefined) {
      if (!parts.includes(manual)) parts.push(manual);
      open = names;
      continue;
    }
    // What is off unless it is written is shown as a comment.
    const mark = (path: readonly string[]): string =>
      valueAt(defaults, path) === undefined ? '# ' : '';
    let head = '';
    for (let depth = 1; depth <= names.length; depth++) {
      if (open.slice(0, depth).join('.') === names.slice(0, depth).join('.')) continue;
      const indent = '  '.repeat(depth - 1);
      head += `${indent}${mark(names.slice(0, depth))}${names[depth - 1]}:\n`;
    }
    open = names;
    const indent = '  '.repeat(names.length);
    const range =
      option.kind === 'number' || option.kind === 'choice' ? ` (${plain(allowed(option))})` : '';
    const told = option.told === null ? '' : ` At the bound: ${option.told}.`;
    const text = comment(`${plain(option.help)}${range}${told}`, indent);
    const line = `${indent}${mark([...names, key])}${key}: ${manualValue(option)}\n`;
    parts.push(`${head}${text}${line}`);
  }
  return parts.join('\n');
}

function plain(text: string): string {
  return text.replaceAll('`', '');
}

/** As the formatter wants it: lists of words on one line where they fit. */
export function renderSchema(): string {
  const text = JSON.stringify(editorSchema(), null, 2);
  const inline = text.replaceAll(
    /^(.*)\[\n([^[\]{}]*?)\n *\](,?)$/gm,
    (whole: string, head: string, body: string, comma: string) => {
      const entries = body.split('\n').map((line) => line.trim());
      const line = `${head}[${entries.join(' ')}]${comma}`;
      return line.length <= 100 ? line : whole;
    },
  );
  return `${inline}\n`;
}

export interface ReferenceFile {
  readonly path: string;
  readonly render: () => string | Promise<string>;
}

export const referenceFiles: readonly ReferenceFile[] = [
  { path: 'docs/reference/options.md', render: renderOptions },
  { path: 'docs/reference/cli.md', render: renderCommands },
  { path: 'config/everything.yaml', render: renderEverything },
  { path: 'config/causeway.schema.json', render: renderSchema },
];

if (import.meta.main) {
  for (const { path, render } of referenceFiles) {
    writeFileSync(join(import.meta.dirname, '..', path), await render());
  }
}

// Writes what is made from the option table and the commands: docs/reference/options.md and cli.md,
// config/everything.yaml and config/causeway.schema.json. Tests compare the files with what these
// functions give. Run after changing an option, a limit or a command: node scripts/reference.ts

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { loadCommands } from '../src/cli/commands.ts';
import { editorSchema } from '../src/config/json-schema.ts';
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
  return unit === null || unit === 'count' || text.endsWith('iB') ? text : `${text} ${unit}`;
}

function defaultOf(option: Option): string {
  if (option.default === undefined) return '–';
  if (option.kind === 'listeners') {
    return (option.default as readonly string[]).map((url) => `\`${url}\``).join(', ');
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
  if (option.kind === 'listeners') return 'a list of URLs and sections';
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
  const ofListener = options.filter(({ path }) => path.startsWith('listeners[].'));
  const general = options.filter(
    (option) => !limits.includes(option) && !ofListener.includes(option),
  );
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

Listening beyond this machine is refused unless client certificates are required or
\`allowAnonymousBeyondLoopback\` says that everyone may connect.

${table(ofListener, 'listeners[].')}

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
  #     clientCertificate: required     # none, optional, required
  #     minVersion: TLSv1.3
  #     ciphers: TLS_AES_128_GCM_SHA256
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
`;

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
  const value = option.default;
  return typeof value === 'number' ? amount(value, option.unit).replace(' ', '') : String(value);
}

export function renderEverything(): string {
  const parts = [
    `# yaml-language-server: $schema=causeway.schema.json
# Every option with its default, as a manual. Nothing here has to be set: copy what you change.
# Made by \`node scripts/reference.ts\`; tables of the same are in docs/reference/options.md.
`,
  ];
  let section = '';
  for (const option of optionTable()) {
    if (option.path.includes('[]')) continue;
    const [first = '', key] = option.path.split('.');
    if (option.kind === 'listeners') {
      parts.push(listenersManual);
      continue;
    }
    if (first === 'tls') {
      if (section !== first) parts.push(tlsManual);
      section = first;
      continue;
    }
    const indent = key === undefined ? '' : '  ';
    const head = key !== undefined && section !== first ? `${first}:\n` : '';
    section = key === undefined ? '' : first;
    const range =
      option.kind === 'number' || option.kind === 'choice' ? ` (${plain(allowed(option))})` : '';
    const told = option.told === null ? '' : ` At the bound: ${option.told}.`;
    const text = comment(`${plain(option.help)}${range}${told}`, indent);
    parts.push(`${head}${text}${indent}${key ?? first}: ${manualValue(option)}\n`);
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

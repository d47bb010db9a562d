// Precedence of file, environment and flags, origins, names of variables, and what is refused.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { renderEffective } from '../../src/config/effective.ts';
import { valueAt } from '../../src/config/layer.ts';
import { ConfigError, type LoadedConfig, loadConfig } from '../../src/config/load.ts';
import { optionTable } from '../../src/config/option-table.ts';
import type { FlagValue } from '../../src/config/word-layer.ts';
import { temporaryFolder } from './temporary-folder.ts';

interface Given {
  readonly text?: string;
  readonly environment?: NodeJS.ProcessEnv;
  readonly flags?: readonly FlagValue[];
}

function load({ text, environment = {}, flags = [] }: Given): LoadedConfig {
  return loadConfig({ file: text === undefined ? null : 'edge.yaml', text, environment, flags });
}

function problemsOf(given: Given): string[] {
  try {
    load(given);
    return [];
  } catch (error) {
    if (error instanceof ConfigError) return error.message.split('\n');
    throw error;
  }
}

const flag = (name: string, path: string, value: string | readonly string[]): FlagValue => ({
  flag: name,
  path,
  value,
});

t.test('defaults', async (t) => {
  const { config, originOf } = load({});
  t.strictSame(
    config.listeners.map(({ url }) => url),
    ['mqtt://127.0.0.1:1883', 'ws://127.0.0.1:8083/mqtt'],
  );
  t.equal(config.admin.url, 'http://127.0.0.1:8080');
  t.equal(config.data, join(process.cwd(), 'data'));
  t.equal(config.store, 'embedded');
  t.equal(config.allowAnonymousBeyondLoopback, false);
  t.equal(originOf(['data']), 'default');
  for (const option of optionTable()) {
    if (option.path.includes('[]') || option.default === undefined) continue;
    if (option.kind === 'sections' || option.path === 'data') continue;
    // A section that is not there has no values.
    const path = option.path.split('.');
    if (path.length > 1 && valueAt(config, path.slice(0, -1)) === undefined) continue;
    t.strictSame(
      valueAt(config, path),
      option.default,
      `${option.path} has the default the table says`,
    );
  }
});

t.test('flags over environment over file over defaults', async (t) => {
  const text = 'queueOverflow: drop_newest\nlimits:\n  lingerMs: 1s\n';
  const environment = { CAUSEWAY_QUEUE_OVERFLOW: 'disconnect' };
  const flags = [flag('--set queueOverflow', 'queueOverflow', 'drop_oldest')];
  const path = ['queueOverflow'];

  const file = load({ text });
  t.equal(file.config.queueOverflow, 'drop_newest');
  t.equal(file.originOf(path), 'edge.yaml:1:16');
  const variable = load({ text, environment });
  t.equal(variable.config.queueOverflow, 'disconnect');
  t.equal(variable.originOf(path), 'CAUSEWAY_QUEUE_OVERFLOW');
  const all = load({ text, environment, flags });
  t.equal(all.config.queueOverflow, 'drop_oldest');
  t.equal(all.originOf(path), '--set queueOverflow');

  t.equal(all.config.limits.lingerMs, 1000, 'the file keeps what nobody else says');
  t.equal(all.originOf(['limits', 'lingerMs']), 'edge.yaml:3:13');
  t.equal(all.originOf(['limits', 'packetBytesMax']), 'default', 'beside it in the same section');
});

t.test('a list of listeners replaces the one below', async (t) => {
  const text = 'listeners:\n  - mqtt://127.0.0.1:1\n  - mqtt://127.0.0.1:2\n';
  const environment = { CAUSEWAY_LISTENERS: ' mqtt://127.0.0.1:3, ws://127.0.0.1:4/x ' };
  const fromFile = load({ text });
  t.equal(fromFile.config.listeners.length, 2);
  t.equal(fromFile.originOf(['listeners', 1, 'url']), 'edge.yaml:3:5');
  const fromEnvironment = load({ text, environment });
  t.strictSame(fromEnvironment.config.listeners, [
    { url: 'mqtt://127.0.0.1:3' },
    { url: 'ws://127.0.0.1:4/x' },
  ]);
  t.equal(fromEnvironment.originOf(['listeners', 0, 'url']), 'CAUSEWAY_LISTENERS');
  const flags = [flag('--listen', 'listeners', ['mqtt://127.0.0.1:0'])];
  t.strictSame(load({ text, environment, flags }).config.listeners, [
    { url: 'mqtt://127.0.0.1:0' },
  ]);
});

t.test('every option outside a list has a variable', async (t) => {
  const environment = {
    CAUSEWAY_DATA: 'elsewhere',
    CAUSEWAY_STORE: 'memory',
    CAUSEWAY_LIMITS_PACKET_BYTES_MAX: '2MiB',
    CAUSEWAY_ALLOW_ANONYMOUS_BEYOND_LOOPBACK: 'true',
    CAUSEWAY_ADMIN_URL: 'off',
    CAUSEWAY_TLS_CERT_FILE: 'a.pem',
    CAUSEWAY_TLS_KEY_FILE: 'b.pem',
    CAUSEWAY_SHUTDOWN_GRACE_MS: '3s',
  };
  const { config } = load({ environment });
  t.equal(config.data, join(process.cwd(), 'elsewhere'));
  t.equal(config.store, 'memory');
  t.equal(config.limits.packetBytesMax, 2 * 1024 * 1024);
  t.equal(config.allowAnonymousBeyondLoopback, true);
  t.equal(config.admin.url, 'off');
  t.equal(config.tls?.keyFile, join(process.cwd(), 'b.pem'));
  t.equal(config.shutdownGraceMs, 3000);
  const names = optionTable().flatMap(({ environment: name }) => (name === null ? [] : [name]));
  t.equal(new Set(names).size, names.length, 'no two options share a name');
  t.ok(names.every((name) => /^CAUSEWAY_[A-Z0-9_]+$/.test(name)));
});

t.test('wrong variables and flags', async (t) => {
  t.strictSame(problemsOf({ environment: { CAUSEWAY_LIMIT_LINGER_MS: '1' } }), [
    'CAUSEWAY_LIMIT_LINGER_MS: unknown environment variable, did you mean CAUSEWAY_LIMITS_LINGER_MS?',
  ]);
  t.strictSame(problemsOf({ environment: { CAUSEWAY_STORE: 'disk', CAUSEWAY_DATA: '' } }), [
    'CAUSEWAY_DATA: data: expected the name of a folder, found ""',
    'CAUSEWAY_STORE: store: expected one of embedded, memory, found "disk"',
  ]);
  t.strictSame(problemsOf({ environment: { CAUSEWAY_LISTENERS: 'mqtt://127.0.0.1:1,tcp://x' } }), [
    'CAUSEWAY_LISTENERS: listeners[1].url: unknown scheme tcp:// (expected one of mqtt, mqtts, ws, wss, unix), found "tcp://x"',
  ]);
  t.strictSame(
    problemsOf({
      flags: [
        flag('--set limits.lingerM', 'limits.lingerM', '1'),
        flag('--set listeners[].name', 'listeners[].name', 'x'),
        flag('--listen', 'listeners', ['mqtt://']),
      ],
    }),
    [
      '--set limits.lingerM: unknown option limits.lingerM, did you mean limits.lingerMs?',
      '--set listeners[].name: listeners[].name belongs to one listener: set it in a file',
      '--listen: listeners[0].url: expected a host (for every address of the machine 0.0.0.0, or [::] with IPv6), found "mqtt://"',
    ],
  );
});

t.test('a wrong value is reported even where a higher source replaces it', async (t) => {
  const errors = problemsOf({ text: 'store: disk\n', environment: { CAUSEWAY_STORE: 'memory' } });
  t.strictSame(errors, ['edge.yaml:1:8: store: expected one of embedded, memory, found "disk"']);
});

t.test('a section that one source needs may come from another', async (t) => {
  const lease = flag('--set cluster.leaseMs', 'cluster.leaseMs', '2000');
  const text = 'cluster:\n  redis: {url: "redis://h"}\n';
  const { config } = load({ text, flags: [lease] });
  t.match(config.cluster, { leaseMs: 2000, redis: { url: 'redis://h' } });
  const environment = { CAUSEWAY_CLUSTER_LEASE_MS: '3000' };
  t.equal(load({ text, environment }).config.cluster?.leaseMs, 3000);
  const wanted = /^--set cluster.leaseMs: cluster.redis: expected a section with url, /;
  t.match(problemsOf({ flags: [lease] }), [wanted], 'it has to come from somewhere');
  t.match(problemsOf({ text: 'cluster:\n  leaseMs: 2000\n' }), [
    /^edge.yaml:2:3: cluster.redis: expected a section/,
  ]);
});

t.test('variables of others are let be, those Kubernetes adds for a Service too', async (t) => {
  const environment = {
    CAUSEWAY_SERVICE_HOST: '10.0.0.1',
    CAUSEWAY_SERVICE_PORT: '1883',
    CAUSEWAY_SERVICE_PORT_MQTT: '1883',
    CAUSEWAY_PORT: 'tcp://10.0.0.1:1883',
    CAUSEWAY_PORT_1883_TCP: 'tcp://10.0.0.1:1883',
    CAUSEWAY_PORT_1883_TCP_ADDR: '10.0.0.1',
    CAUSEWAY_METRICS_SERVICE_HOST: '10.0.0.2',
    CAUSEWAY_CONFIG: '/etc/causeway.yaml',
    CAUSEWAY_PASSWORD: 'for pub, sub and rr',
  };
  t.strictSame(problemsOf({ environment }), []);
});

t.test('listening beyond this machine', async (t) => {
  const open = (url: string): Given => ({ flags: [flag('--listen', 'listeners', [url])] });
  for (const url of [
    'mqtt://127.0.0.1:1',
    'mqtt://127.9.9.9:1',
    'mqtt://localhost:1',
    'mqtt://[::1]:1',
    'mqtt://[::ffff:127.0.0.1]:1',
    'unix:/run/causeway.sock',
  ]) {
    t.strictSame(problemsOf(open(url)), [], `${url} is this machine`);
  }
  const refusal =
    '--listen: listeners[0].url: listening beyond this machine without authentication is refused; ' +
    'listen on 127.0.0.1, or say who may connect (`causeway init` writes such a configuration), or, ' +
    'to let everyone in who can reach it, add the line `allowAnonymousBeyondLoopback: true` ' +
    '(or set CAUSEWAY_ALLOW_ANONYMOUS_BEYOND_LOOPBACK=true, or --set allowAnonymousBeyondLoopback=true)';
  for (const url of [
    'mqtt://0.0.0.0:1',
    'ws://[::]:1',
    'mqtt://192.168.1.5:1',
    'mqtt://gateway.local:1',
    'mqtt://localhost.example.org:1',
    'mqtt://[::ffff:10.0.0.1]:1',
  ]) {
    t.strictSame(problemsOf(open(url)), [refusal], `${url} is not`);
  }
  const line = /`(allow.*?)`/.exec(refusal)?.[1] ?? '';
  const flags = open('mqtt://0.0.0.0:1').flags ?? [];
  t.strictSame(problemsOf({ text: `${line}\n`, flags }), [], 'the line of the message opens it');

  const tls = (clientCertificate: string): string =>
    `listeners: [{url: "mqtts://0.0.0.0:1", tls: {certFile: a, keyFile: b, caFile: c, clientCertificate: ${clientCertificate}}}]`;
  t.strictSame(problemsOf({ text: tls('required') }), [], 'certificates of clients authenticate');
  t.equal(problemsOf({ text: tls('optional') }).length, 1, 'unless they are optional');

  const admin = { CAUSEWAY_ADMIN_URL: 'http://0.0.0.0:8080' };
  const [refused] = problemsOf({ environment: admin });
  t.match(refused, /CAUSEWAY_ADMIN_URL: admin\.url: tokens could be read/);
  const adminLine = /`(.*?)`/.exec(refused ?? '')?.[1] ?? '';
  t.strictSame(problemsOf({ text: `${adminLine}\n`, environment: admin }), []);
  t.equal(problemsOf({ text: `${line}\n`, environment: admin }).length, 1, 'two separate doors');
});

t.test('file names are relative to the file that holds them', async (t) => {
  const folder = temporaryFolder(t);
  mkdirSync(join(folder, 'etc'));
  const file = join(folder, 'etc', 'edge.yaml');
  writeFileSync(
    file,
    [
      'data: ../var',
      'tls: {certFile: c.pem, keyFile: /k.pem}',
      'listeners: [unix:x.sock, {url: "mqtts://127.0.0.1:1", tls: {certFile: d.pem, keyFile: e.pem}}]',
    ].join('\n'),
  );
  const { config } = loadConfig({
    file,
    environment: { CAUSEWAY_TLS_CERT_FILE: 'f.pem' },
    flags: [],
  });
  t.equal(config.data, join(folder, 'var'));
  t.equal(config.tls?.certFile, join(process.cwd(), 'f.pem'), 'a variable: to where we run');
  t.equal(config.tls?.keyFile, '/k.pem');
  t.equal(config.listeners[0]?.url, `unix:${join(folder, 'etc', 'x.sock')}`);
  t.equal(config.listeners[1]?.tls?.certFile, join(folder, 'etc', 'd.pem'));
});

t.test('files that cannot be read', async (t) => {
  const folder = temporaryFolder(t, {
    'latin1.yaml': Buffer.from([0x64, 0x3a, 0xe9]),
    'big.yaml': '',
  });
  const fails = (name: string): string[] => {
    try {
      loadConfig({ file: join(folder, name), environment: {}, flags: [] });
      return [];
    } catch (error) {
      return (error as Error).message.split('\n');
    }
  };
  t.strictSame(fails('none.yaml'), [`${folder}/none.yaml: cannot be read: ENOENT`]);
  t.strictSame(fails('latin1.yaml'), [`${folder}/latin1.yaml: is not UTF-8 text`]);
  writeFileSync(join(folder, 'big.yaml'), '#'.repeat(4 * 1024 * 1024 + 1));
  t.strictSame(fails('big.yaml'), [`${folder}/big.yaml: is larger than 4194304 bytes`]);
});

t.test('the loaded configuration cannot be changed', async (t) => {
  const { config } = load({});
  t.throws(() => Object.assign(config.limits, { lingerMs: 1 }), TypeError);
  t.throws(() => (config.listeners as unknown[]).push({}), TypeError);
});

t.test('the printed configuration names origins and loads again', async (t) => {
  const text =
    'store: memory\nlisteners:\n  - {url: "mqtt://127.0.0.1:0", limits: {packetBytesMax: 4KiB}}\n';
  const environment = { CAUSEWAY_LOG_LEVEL: 'warn' };
  const loaded = load({ text, environment, flags: [flag('--data', 'data', '/d')] });
  const printed = renderEffective(loaded);
  t.match(printed, /^ {6}packetBytesMax: 4096 # edge\.yaml:3:58$/m);
  t.match(printed, /^store: memory # edge\.yaml:1:8$/m);
  t.match(printed, /^ {2}level: warn # CAUSEWAY_LOG_LEVEL$/m);
  t.match(printed, /^data: \/d # --data$/m);
  t.match(printed, /^queueOverflow: drop_oldest # default$/m);
  t.strictSame(load({ text: printed }).config, loaded.config);
});

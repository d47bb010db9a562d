// The parts of the composition root that can be seen alone: options of listeners, what a reload
// merges, the listener a probe chooses, the warning about open files, the door of an operator.
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import t from 'tap';
import { checkDescriptors } from '../../src/app/descriptors.ts';
import { listenerOptions } from '../../src/app/listener-options.ts';
import { OperatorDoor } from '../../src/app/operator-door.ts';
import { probeTarget } from '../../src/app/probe-target.ts';
import { mergeReloadable } from '../../src/app/reload.ts';
import { Rights } from '../../src/app/rights.ts';
import type { Config } from '../../src/config/config.ts';
import { compareConfigs } from '../../src/config/difference.ts';
import { loadConfig } from '../../src/config/load.ts';
import type { Broker } from '../../src/core/broker.ts';
import type { Log } from '../../src/core/ports.ts';
import { Stats } from '../../src/core/stats.ts';
import { planListener } from '../../src/listeners/listener-plan.ts';

const load = (text: string): Config =>
  loadConfig({
    file: '/etc/edge.yaml',
    text,
    environment: { CAUSEWAY_ALLOW_ANONYMOUS_BEYOND_LOOPBACK: 'true' },
    flags: [],
  }).config;

class Heard implements Log {
  readonly lines: { level: string; fields: object; message: string }[] = [];
  debug = (fields: object, message: string) => this.#add('debug', fields, message);
  info = (fields: object, message: string) => this.#add('info', fields, message);
  warn = (fields: object, message: string) => this.#add('warn', fields, message);
  error = (fields: object, message: string) => this.#add('error', fields, message);
  #add(level: string, fields: object, message: string): void {
    this.lines.push({ level, fields, message });
  }
}

t.test('options of listeners', async (t) => {
  const config = load(`
tls: {certFile: c.pem, keyFile: k.pem}
limits: {packetBytesMax: 2KiB, connectTimeoutMs: 3s}
listeners:
  - {url: "wss://[::]", name: pages, websocket: {allowedOrigins: "*"}, limits: {receiveMaximum: 5}}
  - {url: "ws://127.0.0.1:1/x", limits: {packetBytesMax: 1KiB}}
  - {url: "unix:x.sock", unixMode: '600'}
  - {url: "mqtts://127.0.0.1:2", tls: {certFile: d.pem, keyFile: e.pem}, proxyProtocol: {trustedAddresses: 10.0.0.1}}
`);
  const options = config.listeners.map((listener) => listenerOptions(config, listener, null));
  t.match(options, [
    {
      name: 'pages',
      url: 'wss://[::]:443/mqtt',
      tls: { certFile: '/etc/c.pem' },
      websocket: { path: '/mqtt', allowedOrigins: ['*'] },
      limits: { packetBytesMax: 2048, receiveMaximum: 5 },
      handshakeTimeoutMs: 3000,
    },
    { websocket: { path: '/x', allowedOrigins: null }, limits: { packetBytesMax: 1024 } },
    { url: 'unix:/etc/x.sock', unixMode: 0o600 },
    { tls: { certFile: '/etc/d.pem' }, proxyProtocol: { trustedAddresses: ['10.0.0.1'] } },
  ]);
  const plans = options.map((option) => planListener(option));
  t.match(plans, [
    { host: '::', port: 443, websocketPath: '/mqtt' },
    { host: '127.0.0.1', port: 1, websocketPath: '/x' },
    { unixPath: '/etc/x.sock', unixMode: 0o600 },
    { host: '127.0.0.1', port: 2, proxies: [{ prefixBits: 32 }] },
  ]);
});

t.test('a reload merges exactly what it says it applies', async (t) => {
  const before = load('listeners: ["ws://127.0.0.1:1", {url: "mqtt://127.0.0.1:2", name: a}]');
  const after = load(`
data: elsewhere
store: memory
queueOverflow: disconnect
sharedSubscriptionStrategy: sticky
admin: {url: off}
log: {level: warn, format: json}
limits: {lingerMs: 5}
sysIntervalS: 1
shutdownGraceMs: 1s
listeners:
  - {url: "mqtt://127.0.0.1:2", name: b, limits: {connectionsMax: 7}}
  - "mqtt://127.0.0.1:3"
`);
  const merged = mergeReloadable(before, after);
  const { applied, needsRestart } = compareConfigs(before, after);
  t.strictSame(compareConfigs(before, merged), { applied, needsRestart: [] });
  t.strictSame(compareConfigs(merged, after), { applied: [], needsRestart });
  t.equal(applied.length, 5);
  t.equal(needsRestart.length, 9);
});

t.test('the listener a probe chooses', async (t) => {
  const choose = (text: string): unknown => {
    const config = load(text);
    const open = config.listeners.map((entry) => ({
      entry,
      address: listenerOptions(config, entry, null).url,
    }));
    return probeTarget(config, open);
  };
  const tls = 'tls: {certFile: a, keyFile: b, caFile: c, clientCertificate: required}';
  const proxy = 'proxyProtocol: {trustedAddresses: 127.0.0.1}';
  t.strictSame(choose('listeners: ["ws://0.0.0.0:1", "mqtt://0.0.0.0:2"]'), {
    url: 'mqtt://127.0.0.1:2',
  });
  t.strictSame(choose('listeners: ["ws://[::]:1/x"]'), { url: 'ws://[::1]:1/x' });
  t.strictSame(choose(`listeners: [{url: "mqtt://[::1]:1", ${proxy}}, "unix:/x"]`), {
    url: 'unix:/x',
  });
  t.equal(choose(`listeners: [{url: "mqtts://127.0.0.1:1", ${tls}}]`), null);
  t.strictSame(choose('listeners: ["mqtts://127.0.0.1:1"]\ntls: {certFile: a, keyFile: b}'), {
    url: 'mqtts://127.0.0.1:1',
    tls: { insecure: true },
  });
});

t.test('a limit of open files that is too low', async (t) => {
  const limits = (value: string) => () =>
    `Max processes  5\nMax open files            ${value}     files\n`;
  const log = new Heard();
  const check = (readLimits: () => string, isDefault = false): void =>
    checkDescriptors({ connectionsMax: 1000, isDefault, log, readLimits });
  check(limits('1100                 1100'));
  check(limits('unlimited            unlimited'));
  check(() => {
    throw new Error('ENOENT');
  });
  t.strictSame(log.lines, []);
  check(limits('1099                 1099'));
  check(limits('1099                 1099'), true);
  t.match(log.lines, [
    { level: 'warn', fields: { descriptorsMax: 1099 }, message: /raise it to 1100/ },
    { level: 'info', fields: { connectionsMax: 1000 }, message: /bounds the connections/ },
  ]);
});

t.test('the admin address in use', async (t) => {
  const server = createServer().listen(0, '127.0.0.1');
  t.teardown(() => server.close());
  await once(server, 'listening');
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const config = load(`admin: {url: "${url}"}\nsysIntervalS: 0\n`);
  const log = new Heard();
  const rights = await Rights.make(config, { log, recheck: () => {}, retained: () => [] });
  const door = (isAdminByDefault: boolean): OperatorDoor =>
    new OperatorDoor({
      version: '0',
      broker: { stats: new Stats(), publish: () => {} } as unknown as Broker,
      rights,
      originOf: () => 'default',
      reload: () => Promise.reject(new Error('not asked')),
      reloadCertificates: () => Promise.reject(new Error('not asked')),
      log,
      config: () => config,
      listeners: () => [],
      openListeners: () => [],
      storeMetrics: () => null,
      region: null,
      extra: () => [],
      cluster: null,
      cassandra: null,
      directory: null,
      links: null,
      bridges: null,
      readiness: () => {
        throw new Error('not asked');
      },
      isAdminByDefault,
    });
  const byDefault = door(true);
  await byDefault.open();
  await byDefault.close();
  t.match(log.lines, [{ level: 'warn', message: /default admin address is in use.*--admin/ }]);
  await t.rejects(door(false).open(), {
    message: /admin address http.* is in use: choose another/,
  });
});

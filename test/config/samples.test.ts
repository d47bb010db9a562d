// The sample configurations load, and their listeners are what the listeners' own reader takes.
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { loadConfig } from '../../src/config/load.ts';

const folder = join(import.meta.dirname, '..', '..', 'config');
/** Not a configuration but what one names; test/access/acl/rule-file.test.ts loads it. */
const rulesSample = 'acl.yaml';
const samples = readdirSync(folder).filter(
  (name) => name.endsWith('.yaml') && name !== rulesSample,
);

t.test('samples', async (t) => {
  t.strictSame(samples.sort(), ['edge.yaml', 'everything.yaml', 'tls.yaml', 'websocket.yaml']);
  for (const name of samples) {
    const { config } = loadConfig({ file: join(folder, name), environment: {}, flags: [] });
    t.ok(config.listeners.length > 0, `${name} loads`);
  }
});

t.test('what the samples say arrives', async (t) => {
  const load = (name: string) =>
    loadConfig({ file: join(folder, name), environment: {}, flags: [] }).config;
  const edge = load('edge.yaml');
  t.equal(edge.limits.sessionExpiryMaxS, 3 * 86_400);
  t.equal(edge.limits.queueBytesMax, 64 * 1024 * 1024);
  t.equal(edge.listeners[0]?.limits?.packetBytesMax, 65_536);
  t.equal(edge.allowAnonymousBeyondLoopback, true);
  const tls = load('tls.yaml');
  t.equal(tls.listeners[0]?.tls?.certFile, join(folder, 'certs', 'server.pem'));
  t.equal(tls.allowAnonymousBeyondLoopback, false, 'certificates are enough');
  t.equal(load('websocket.yaml').store, 'memory');
});

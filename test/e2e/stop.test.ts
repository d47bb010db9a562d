/**
 * SIGTERM: everyone is told, the process ends with 0 in time, and a restart has everything that was
 * acked, also when traffic was under way.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { describeChaos, runChaos } from '../chaos/run-chaos.ts';
import { causeway } from '../chaos/subject.ts';
import { Client, connectClient, openSocket } from '../conformance/client.ts';
import { seedOr } from '../support/seed.ts';
import { Broker } from './broker.ts';

t.test('clients are told 0x8B, and what they have not acknowledged is there again', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'causeway-stop-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const first = await Broker.start({ data: folder });
  t.teardown(() => first.kill());
  const open = async (port: number, clientId: string, version: 4 | 5): Promise<Client> => {
    const client = new Client(await openSocket('127.0.0.1', port), version, clientId);
    return connectClient(client, {
      version,
      clientId,
      clean: false,
      ...(version === 5 ? { properties: [['sessionExpiryInterval', 600]] } : {}),
    });
  };
  const modern = await open(first.port(), 'modern', 5);
  const old = await open(first.port(), 'old', 4);
  for (const client of [modern, old]) await client.subscribed('kept/#', { qos: 2 });
  const writer = await open(first.port(), 'writer', 5);
  await writer.publish('kept/1', 'one', { qos: 1 });
  await writer.publish('kept/2', 'two', { qos: 2, retain: true });
  // The two have received and not acknowledged.
  await modern.expect('PUBLISH', { payload: 'one' });
  await old.expect('PUBLISH', { payload: 'one' });

  const beganMs = performance.now();
  const exit = first.stop();
  const told = await modern.waitFor('DISCONNECT');
  t.equal(told.reasonCode, 0x8b);
  await writer.waitFor('DISCONNECT', { reasonCode: 0x8b });
  for (const client of [modern, old, writer]) client.destroy();
  t.strictSame(await exit, { code: 0, signal: null });
  t.ok(performance.now() - beganMs < 10_000, 'within shutdownGraceMs');
  t.strictSame(first.errors, []);

  const second = await Broker.start({ data: folder });
  t.teardown(() => second.kill());
  for (const [clientId, version] of [
    ['modern', 5],
    ['old', 4],
  ] as const) {
    const client = await open(second.port(), clientId, version);
    t.ok(client.connack.sessionPresent);
    await client.message({ payload: 'one', qos: 1 });
    await client.message({ payload: 'two', qos: 2 });
    await client.disconnect();
  }
  const late = await open(second.port(), 'late', 5);
  await late.subscribed('kept/2', { qos: 1 });
  await late.message({ payload: 'two', retain: true });
  await late.disconnect();
  t.equal((await second.stop()).code, 0);
});

t.test(
  'stopped again and again under traffic: nothing is lost',
  { timeout: 120_000 },
  async (t) => {
    const seed = seedOr(2);
    const report = await runChaos({
      seed,
      kills: 4,
      subject: (folder) => causeway(folder, { signal: 'SIGTERM' }),
    });
    t.ok(report.isClean, describeChaos(report));
    t.ok(report.acked > 100, describeChaos(report));
  },
);

/**
 * A disk that takes no more: what needs it is refused with a reason, what does not goes on, and when
 * there is room again so does everything. Once on a file system that is really full, where this
 * process may mount one, and once with a limit on the size of files, which anybody may set.
 */
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmdirSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { Client, connectClient, openSocket } from '../conformance/client.ts';
import { ack, connect } from '../conformance/packets.ts';
import { Broker, type BrokerOptions } from './broker.ts';

/** Nothing the store could compress. */
const PAYLOAD = randomBytes(15_000).toString('base64');
/** Far more than fits. */
const PUBLISHES_MAX = 2000;
const QUOTA_EXCEEDED = 0x97;

async function open(broker: Broker, clientId: string, version: 4 | 5 = 5): Promise<Client> {
  const client = new Client(await openSocket('127.0.0.1', broker.port()), version, clientId);
  return connectClient(client, {
    version,
    clientId,
    clean: false,
    keepAliveSec: 0,
    properties: [['sessionExpiryInterval', 600]],
  });
}

/** Publishes at QoS 1 until one is refused; gives the numbers of those that were acked. */
async function fill(client: Client): Promise<{ acked: number[]; refusal: number }> {
  const acked: number[] = [];
  for (let number = 0; number < PUBLISHES_MAX; number++) {
    const packetId = client.sendPublish('full/x', `${number}:${PAYLOAD}`, { qos: 1 });
    const { reasonCode } = await client.waitFor('PUBACK', { packetId }, 10_000);
    if (reasonCode >= 0x80) return { acked, refusal: reasonCode };
    acked.push(number);
  }
  throw new Error('the disk never became full');
}

async function fullDisk(
  t: Test,
  data: string,
  options: BrokerOptions,
  makeRoom: (broker: Broker) => void,
): Promise<void> {
  const broker = await Broker.start({ data, hasAdmin: true, ...options });
  t.teardown(() => broker.kill());
  const reader = await open(broker, 'sleeper');
  await reader.subscribed('full/#', { qos: 1 });
  await reader.disconnect();
  const live = await open(broker, 'live', 4);
  await live.subscribed('live/#', { qos: 0 });
  const writer = await open(broker, 'writer');
  const older = await open(broker, 'older', 4);
  const halfway = await open(broker, 'halfway');
  halfway.sendPublish('live/half', 'x', { qos: 2, packetId: 7 });
  await halfway.ackOf('PUBREC', 7);

  const { acked, refusal } = await fill(writer).catch(async (error: Error) => {
    await new Promise((resolve) => setTimeout(resolve, 1000));
    throw new Error(`${error.message}, exit ${JSON.stringify(broker.exit)}\n${broker.said()}`);
  });
  t.equal(refusal, QUOTA_EXCEEDED, 'PUBACK says why');
  t.ok(acked.length > 5, `${acked.length} were stored before`);
  t.equal((await broker.metric('causeway_store_commits_failed_total')) > 0, true);

  const again = writer.sendPublish('full/x', 'again', { qos: 2 });
  t.equal((await writer.waitFor('PUBREC', { packetId: again })).reasonCode, QUOTA_EXCEEDED);
  const kept = writer.sendPublish('live/kept', 'x', { qos: 1, retain: true });
  const keptCode = (await writer.waitFor('PUBACK', { packetId: kept })).reasonCode;
  t.equal(keptCode, QUOTA_EXCEEDED, 'a retained message cannot be kept');
  const health = await fetch(new URL('/health/ready', broker.addresses.get('http')));
  t.not(health.status, 200, 'health says so');
  await health.body?.cancel();

  // Nor has PUBCOMP a reason for this, and without it the exchange is open.
  halfway.send(ack('PUBREL', 7));
  await halfway.closedAfter(['DISCONNECT']);

  const lasting = new Client(await openSocket('127.0.0.1', broker.port()), 5, 'lasting');
  const properties = [['sessionExpiryInterval', 600]] as const;
  lasting.send(connect({ version: 5, clientId: 'lasting', properties: [...properties] }));
  const connack = await lasting.expect('CONNACK');
  t.ok(connack.reasonCode >= 0x80, 'a session that has to be stored cannot begin');
  lasting.destroy();
  const passing = new Client(await openSocket('127.0.0.1', broker.port()), 5, 'passing');
  await connectClient(passing, { version: 5, clientId: 'passing' });
  await passing.subscribed('live/#', { qos: 1 });
  passing.destroy();

  // Version 3.1.1 knows no reason: an ack that is not given, by closing.
  older.sendPublish('full/x', 'never', { qos: 1 });
  await older.closedAfter([]);

  for (let i = 0; i < 50; i++) writer.sendPublish('live/now', String(i), { qos: 0 });
  const heard: string[] = [];
  while (heard.at(-1) !== '49') {
    const packet = await live.expect('PUBLISH');
    if (packet.topic === 'live/now') heard.push(packet.payload.toString());
  }
  t.equal(heard.length, 50, 'QoS 0 flows');
  await writer.ping();

  makeRoom(broker);
  let number = 100_000;
  const deadline = performance.now() + 20_000;
  for (;;) {
    const packetId = writer.sendPublish('full/x', `${++number}:`, { qos: 1 });
    const { reasonCode } = await writer.waitFor('PUBACK', { packetId });
    if (reasonCode < 0x80) break;
    if (performance.now() > deadline) throw new Error('it does not recover');
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  acked.push(number);
  t.pass(`recovered after ${number - 100_000} attempts`);
  const resumed = await open(broker, 'halfway');
  t.ok(resumed.connack.sessionPresent);
  resumed.send(ack('PUBREL', 7));
  t.equal((await resumed.waitFor('PUBCOMP', { packetId: 7 })).reasonCode, 0, 'now it is done');
  await broker.kill();

  const next = await Broker.start({ data });
  t.teardown(() => next.kill());
  const back = await open(next, 'sleeper');
  t.ok(back.connack.sessionPresent);
  const delivered = new Set<number>();
  while (delivered.size < acked.length) {
    const packet = await back.message();
    const got = Number.parseInt(packet.payload.toString(), 10);
    // One that was refused may be on the disk all the same; it must not be in the way.
    if (acked.includes(got)) delivered.add(got);
  }
  t.equal(delivered.size, acked.length, 'all that was acked is there after kill -9');
  await back.disconnect();
  t.equal((await next.stop()).code, 0);
}

t.test('a file system without room', { timeout: 120_000 }, async (t) => {
  const mount = mkdtempSync(join(tmpdir(), 'causeway-full-'));
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=48m', 'tmpfs', mount], { stdio: 'ignore' });
  } catch {
    rmdirSync(mount);
    t.pass('this process may not mount a file system; the next test needs no right', {
      skip: 'no right to mount',
    });
    return;
  }
  t.teardown(() => {
    execFileSync('umount', ['-l', mount]);
    rmdirSync(mount);
  });
  const ballast = join(mount, 'ballast');
  // What is free in the end is a few messages' worth, beyond what the store has taken already.
  const { bavail, bsize } = statfsSync(mount);
  writeFileSync(ballast, Buffer.alloc(bavail * bsize - 8 * 1024 * 1024));
  await fullDisk(t, join(mount, 'data'), {}, () => rmSync(ballast));
});

t.test('files that may not grow', { timeout: 120_000 }, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'causeway-full-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  // 512-byte blocks in a POSIX shell: 1 MiB a file. Soft, so that it can be lifted again. The signal
  // that comes with the error would end the process; a disk that is full sends none.
  const wrap = ['sh', '-c', 'trap "" XFSZ && ulimit -S -f 2048 && exec "$@"', 'sh'];
  await fullDisk(t, join(folder, 'data'), { wrap }, ({ pid }) => {
    execFileSync('prlimit', ['--pid', String(pid), '--fsize=unlimited:unlimited']);
  });
});

/**
 * Attacks below MQTT: sockets that say nothing, too much, too slowly, or come again and again. Each
 * ends for a reason that is counted, costs bounded memory, and disturbs nobody.
 */
import t from 'tap';
import { Client, connectClient, openSocket } from '../conformance/client.ts';
import { connect, PINGREQ, publish } from '../conformance/packets.ts';
import { packetLength, readPacket } from '../conformance/reader.ts';
import {
  descriptorsMax,
  destroyAll,
  MIB,
  openRogues,
  pause,
  Rogue,
  underAttack,
} from './attack.ts';

const KIB = 1024;
/** A CONNECT that announces as much as MQTT can say, and its first bytes. */
const hugeConnect = Buffer.concat([
  Buffer.from([0x10, 0xff, 0xff, 0xff, 0x7f]),
  Buffer.from([0, 4]),
  Buffer.from('MQTT'),
  Buffer.from([4, 2, 0, 60]),
]);

t.test('5,000 sockets that send nothing', { timeout: 90_000 }, async (t) => {
  const wanted = 5000;
  // This process needs as many as the broker, and some more.
  const count = Math.min(wanted, descriptorsMax() - 300);
  if (count < wanted) t.comment(`only ${count}: ulimit -n is ${descriptorsMax()}`);
  const flags = ['--set', 'limits.connectTimeoutMs=3000'];
  await underAttack(t, flags, count * 8 * KIB, async ({ broker, port }) => {
    const rogues = await openRogues(port, count);
    await Promise.race([Promise.all(rogues.map(({ closed }) => closed)), pause(20_000)]);
    t.equal(rogues.filter(({ isClosed }) => isClosed).length, count, 'all are closed in time');
    t.equal(await broker.closed('connect_timeout'), count, 'for the right reason');
    destroyAll(rogues);
  });
});

t.test('CONNECTs that announce 256 MiB', { timeout: 60_000 }, async (t) => {
  const count = Math.min(2000, descriptorsMax() - 300);
  await underAttack(t, [], 8 * MIB, async ({ broker, port }) => {
    const rogues = await openRogues(port, count, ({ socket }) => socket.write(hugeConnect));
    await Promise.race([Promise.all(rogues.map(({ closed }) => closed)), pause(15_000)]);
    t.equal(rogues.filter(({ isClosed }) => isClosed).length, count, 'none is believed');
    t.equal(await broker.closed('not_connect'), count, 'it is no CONNECT we would take');
    destroyAll(rogues);
  });
});

t.test('CONNECTs just below the limit that never end', { timeout: 60_000 }, async (t) => {
  const count = 500;
  const bytes = 64 * KIB - 10;
  const begun = connect({
    version: 5,
    clientId: 'x',
    username: 'u'.repeat(bytes - 40),
  }).subarray(0, -1);
  const flags = ['--set', 'limits.connectTimeoutMs=2500'];
  // The broker holds what has arrived, in buffers that double.
  await underAttack(t, flags, count * 128 * KIB, async ({ broker, port }) => {
    const rogues = await openRogues(port, count, ({ socket }) => socket.write(begun));
    await Promise.race([Promise.all(rogues.map(({ closed }) => closed)), pause(15_000)]);
    t.equal(rogues.filter(({ isClosed }) => isClosed).length, count);
    t.equal(await broker.closed('connect_timeout'), count, 'for the right reason');
    destroyAll(rogues);
  });
});

t.test('a PUBLISH that announces 256 MiB', async (t) => {
  await underAttack(t, [], MIB, async ({ broker, port }) => {
    for (const version of [4, 5] as const) {
      const rogue = new Rogue(port, ({ socket }) => {
        socket.write(connect({ version, clientId: `huge-${version}` }));
        socket.write(Buffer.from([0x30, 0xff, 0xff, 0xff, 0x7f, 0, 1]));
      });
      await Promise.race([rogue.closed, pause(5000)]);
      t.ok(rogue.isClosed);
      if (version === 5) {
        const last = rogue.received.subarray(packetLength(rogue.received));
        t.match(readPacket(last, 5), { type: 'DISCONNECT', reasonCode: 0x95 });
      }
    }
    t.equal(await broker.closed('packet_too_large'), 2);
  });
});

t.test('CONNECTs of one byte a second', { timeout: 60_000 }, async (t) => {
  const count = 300;
  const flags = ['--set', 'limits.connectTimeoutMs=3500'];
  await underAttack(t, flags, count * 8 * KIB, async ({ broker, port }) => {
    const packet = connect({ version: 5, clientId: 'slow' });
    const rogues = await openRogues(port, count, ({ socket }) =>
      socket.write(packet.subarray(0, 1)),
    );
    let sent = 1;
    const timer = setInterval(() => {
      for (const { socket } of rogues) socket.write(packet.subarray(sent, sent + 1));
      sent++;
    }, 1000);
    await Promise.race([Promise.all(rogues.map(({ closed }) => closed)), pause(15_000)]);
    clearInterval(timer);
    t.equal(rogues.filter(({ isClosed }) => isClosed).length, count);
    t.equal(await broker.closed('connect_timeout'), count, 'bytes do not prolong it');
    destroyAll(rogues);
  });
});

t.test('a PUBLISH of one byte a second is no sign of life', { timeout: 60_000 }, async (t) => {
  const count = 100;
  await underAttack(t, [], MIB, async ({ broker, port }) => {
    const packet = publish({ version: 4, topic: 'slow', payload: 'x'.repeat(100) });
    const names = Array.from({ length: count }, (_, index) => `slow-${index}`);
    const rogues = await openRogues(port, count, ({ socket }) => {
      const clientId = names.pop() ?? '';
      socket.write(connect({ version: 4, clientId, keepAliveSec: 2 }));
    });
    let sent = 0;
    const timer = setInterval(() => {
      for (const { socket } of rogues) socket.write(packet.subarray(sent, sent + 1));
      sent++;
    }, 1000);
    await Promise.race([Promise.all(rogues.map(({ closed }) => closed)), pause(10_000)]);
    clearInterval(timer);
    // [MQTT5-3.1.2-22] [MQTT311-3.1.2-24] it is packets that count
    t.equal(rogues.filter(({ isClosed }) => isClosed).length, count);
    t.equal(await broker.closed('keep_alive_timeout'), count, 'for the right reason');
    destroyAll(rogues);
  });
});

t.test('one client identifier, connecting without end', { timeout: 60_000 }, async (t) => {
  await underAttack(t, [], 8 * MIB, async ({ broker, port }) => {
    const version = 5;
    const packet = connect({
      version,
      clientId: 'twin',
      clean: false,
      properties: [['sessionExpiryInterval', 600]],
    });
    // Twenty at a time take the session over from each other; some leave at once, some stay.
    let count = 0;
    for (let round = 0; round < 40; round++) {
      const some = await openRogues(port, 20, ({ socket }) => {
        socket.write(packet);
        count++;
        if (count % 3 === 0) socket.end(PINGREQ);
        if (count % 7 === 0) socket.destroy();
      });
      await pause(10);
      destroyAll(some.filter((_, index) => index % 5 === 0));
    }
    t.ok((await broker.closed('session_taken_over')) > 100, 'each takes it from the one before');
    const last = new Client(await openSocket('127.0.0.1', port), version, 'twin');
    const fields = { version, clientId: 'twin', clean: false } as const;
    await connectClient(last, {
      ...fields,
      properties: [['sessionExpiryInterval', 600]],
    });
    t.ok(last.connack.sessionPresent, 'the session is still there');
    await last.subscribed('mine', { qos: 1 });
    await last.publish('mine', 'heard', { qos: 1 });
    await last.message({ payload: 'heard' });
    const connections = await broker.metric('causeway_connections');
    t.equal(connections, 9, 'eight bystanders and the last one');
    t.equal(await broker.metric('causeway_sessions'), 9);
    await last.disconnect();
  });
});

t.test('connections that end before they began', { timeout: 60_000 }, async (t) => {
  await underAttack(t, [], 4 * MIB, async ({ broker, port }) => {
    for (let round = 0; round < 20; round++) destroyAll(await openRogues(port, 100));
    const accepted = await broker.metricReaches('causeway_sockets_accepted_total', 2008);
    t.ok(accepted >= 2008, `${accepted} accepted`);
    const open = async (): Promise<number> => broker.metric('causeway_sockets');
    const deadline = performance.now() + 5000;
    while ((await open()) > 8 && performance.now() < deadline) await pause(50);
    t.equal(await open(), 8, 'only the bystanders are left');
  });
});

/** MQTT over WebSocket (6 in both specifications). */
import assert from 'node:assert/strict';
import { both, type CaseContext, every, NotHere, run } from './harness.ts';
import { connect, PINGREQ, publish, subscribe } from './packets.ts';
import { WebSocketClient } from './web-socket.ts';

async function open(c: CaseContext, protocols = 'mqtt'): Promise<WebSocketClient> {
  const url = c.target.webSocketUrl;
  if (url === null) throw new NotHere('MQTT_WS_URL is not set: no WebSocket address is known');
  const client = await WebSocketClient.open(url, protocols);
  c.adopt(client.socket);
  return client;
}

const hello = (c: CaseContext): Buffer => connect({ version: c.version, clientId: c.id('ws') });
/** The first byte of a CONNACK and of a PINGRESP, as they come over one connection. */
const hasConnack = (client: WebSocketClient): boolean => client.bytes[0] === 0x20;
const hasPingresp = (client: WebSocketClient): boolean => client.bytes.includes('d000', 0, 'hex');

both('[MQTT5-6.0.0-4] [MQTT311-6.0.0-4] the server chooses the subprotocol mqtt', async (c) => {
  for (const protocols of ['mqtt', 'other, mqtt']) {
    const client = await open(c, protocols);
    assert.equal(client.status, 101);
    assert.equal(client.protocol, 'mqtt');
    client.socket.destroy();
  }
});

both('[MQTT5-6.0.0-1] [MQTT311-6.0.0-1] the server answers in binary frames', async (c) => {
  const client = await open(c);
  client.send(Buffer.concat([hello(c), PINGREQ]));
  assert.ok(await client.until(() => hasPingresp(client)));
  assert.ok(client.frames.every(({ opcode }) => opcode === 2));
  client.socket.destroy();
});

both('[MQTT5-6.0.0-1] [MQTT311-6.0.0-1] a text frame closes the connection', async (c) => {
  const client = await open(c);
  client.send(hello(c));
  assert.ok(await client.until(() => hasConnack(client)));
  client.send(Buffer.from('text'), 1);
  await client.until(() => client.isClosed || client.frames.some(({ opcode }) => opcode === 8));
  assert.ok(client.isClosed || client.frames.some(({ opcode }) => opcode === 8));
  client.socket.destroy();
});

every(
  '[MQTT5-6.0.0-2] [MQTT311-6.0.0-2] packets may be cut by frames anywhere, or share one',
  async (c) => {
    const cut = await open(c);
    for (const byte of hello(c)) cut.send(Buffer.from([byte]));
    assert.ok(await cut.until(() => hasConnack(cut)));
    cut.socket.destroy();
    const fragmented = await open(c);
    const bytes = hello(c);
    fragmented.send(bytes.subarray(0, 3), 2, false);
    fragmented.send(bytes.subarray(3, 9), 0, false);
    fragmented.send(bytes.subarray(9), 0, true);
    assert.ok(await fragmented.until(() => hasConnack(fragmented)));
    fragmented.socket.destroy();
    const shared = await open(c);
    const subscriptions = [{ filter: c.topic() }];
    shared.send(
      Buffer.concat([
        hello(c),
        subscribe({ version: c.version, packetId: 1, subscriptions }),
        publish({ version: c.version, topic: c.topic(), payload: 'over a web socket' }),
      ]),
    );
    assert.ok(await shared.until(() => shared.bytes.includes('over a web socket')));
    shared.socket.destroy();
  },
);

both('messages cross between WebSocket and TCP', async (c) => {
  const tcp = await c.connect();
  await tcp.subscribed(c.topic(), { qos: 1 });
  const client = await open(c);
  client.send(hello(c));
  client.send(publish({ version: c.version, topic: c.topic(), payload: 'x'.repeat(500) }));
  await tcp.message({ payload: 'x'.repeat(500) });
  client.socket.destroy();
});

await run();

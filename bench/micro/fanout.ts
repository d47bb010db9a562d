/** One PUBLISH from the socket's bytes to every receiver's write: inlet, router, fan-out, outbox. */
import { bench, group } from 'mitata';
import { BareBroker } from './bare-broker.ts';
import { publishPacket, TOPIC } from './packets.ts';

/** PUBACK of everything a receiver could have been sent in this bench. */
function puback(id: number): Buffer {
  return Buffer.from([0x40, 2, id >>> 8, id & 0xff]);
}

group('PUBLISH to receivers, 64-byte payload', () => {
  for (const receivers of [1, 50, 1000]) {
    const bare = new BareBroker();
    for (let i = 0; i < receivers; i++) bare.client(`r${i}`, 'site/#', 0);
    const publisher = bare.client('p', null, 0);
    const packet = publishPacket(4, TOPIC, 64, 0);
    bench(`QoS 0, 1 to ${receivers}`, () => {
      publisher.onBytes(packet, 0, packet.length);
      bare.scheduler.turn();
    });
  }
  for (const receivers of [1, 50, 1000]) {
    const bare = new BareBroker();
    const readers = Array.from({ length: receivers }, (_, i) => bare.client(`r${i}`, 'site/#', 1));
    const publisher = bare.client('p', null, 0);
    const packet = publishPacket(4, TOPIC, 64, 1);
    // The id every receiver is sent follows from the number of the message.
    let sequence = 0;
    bench(`QoS 1 with acks, 1 to ${receivers}`, () => {
      publisher.onBytes(packet, 0, packet.length);
      const ack = puback((++sequence % 65_535) + 1);
      for (const reader of readers) reader.onBytes(ack, 0, 4);
      bare.scheduler.turn();
    });
    // A wrong guess of the id would fill the windows and measure something else.
    publisher.onBytes(packet, 0, packet.length);
    const ack = puback((++sequence % 65_535) + 1);
    for (const reader of readers) reader.onBytes(ack, 0, 4);
    bare.scheduler.turn();
    const { inflightMessages } = bare.broker.stats;
    if (inflightMessages !== 0) throw new Error(`${inflightMessages} messages were not acked`);
  }
});

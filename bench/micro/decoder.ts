/** Decoding PUBLISH in place: what every packet of every publisher costs first. */
import { bench, do_not_optimize, group } from 'mitata';
import { decodePublish, PublishView } from '../../src/wire/publish.ts';
import { publishPacket, TOPIC } from './packets.ts';

/** Content type and two user properties. */
const PROPERTIES = Buffer.from(
  '\x03\x00\x10application/json&\x00\x04unit\x00\x04mm/s&\x00\x03seq\x00\x0512345',
  'latin1',
);

group('decodePublish, 64-byte payload', () => {
  const view = new PublishView();
  const one = (name: string, version: 4 | 5, qos: 0 | 1, properties?: Buffer): void => {
    const packet = publishPacket(version, TOPIC, 64, qos, properties);
    const body = packet[1]! < 128 ? 2 : 3;
    bench(name, () => {
      decodePublish(view, version, packet[0]!, packet, body, packet.length, 64);
      do_not_optimize(view.payloadStart);
    });
  };
  one('3.1.1, QoS 0', 4, 0);
  one('3.1.1, QoS 1', 4, 1);
  one('5, QoS 0, no properties', 5, 0);
  one('5, QoS 1, three properties', 5, 1, PROPERTIES);
});

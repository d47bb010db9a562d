/** PUBLISH packets as benches need them. */
import {
  decodePublish,
  PublishView,
  publishRemaining,
  writePublish,
} from '../../src/wire/publish.ts';
import { varintSize } from '../../src/wire/varint.ts';

/** A typical device topic: 41 bytes. */
export const TOPIC = 'site/berlin/line/07/machine/0042/vibration';

/** One whole packet; `properties` only for version 5. */
export function publishPacket(
  version: 4 | 5,
  topic: string,
  payloadBytes: number,
  qos: 0 | 1 | 2,
  properties: Buffer = Buffer.alloc(0),
): Buffer {
  const view = new PublishView();
  const field = Buffer.from(`\0\0${topic}`);
  field.writeUInt16BE(field.length - 2, 0);
  view.topicBuffer = field;
  view.topicEnd = field.length;
  view.payloadBuffer = Buffer.alloc(payloadBytes, 0x78);
  view.payloadEnd = payloadBytes;
  view.propertyBuffer = properties;
  view.propertyEnd = properties.length;
  const remaining = publishRemaining(view, version, qos, field.length - 2, -1, 0, null);
  const packet = Buffer.alloc(1 + varintSize(remaining) + remaining);
  writePublish(packet, 0, view, version, 0x30 | (qos << 1), 1, remaining, -1, 0, null, true);
  return packet;
}

/** A view of a packet with a fixed header of two bytes, or three from 128 on. */
export function viewOf(packet: Buffer, version: 4 | 5): PublishView {
  const view = new PublishView();
  const body = packet[1]! < 128 ? 2 : 3;
  decodePublish(view, version, packet[0]!, packet, body, packet.length, 64);
  return view;
}

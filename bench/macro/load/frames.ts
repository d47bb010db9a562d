// The few MQTT packets a load generator sends, built once as bytes before a run begins. Written
// here and not taken from `src/wire`, so that the yardstick does not share bugs with what it
// measures. Used by client.ts and publisher.ts.

import type { Login } from './protocol.ts';

/** Bytes in front of the payload's filling: the time of sending in microseconds. */
export const STAMP_BYTES = 4;

const SESSION_EXPIRY_NEVER = [0x11, 0xff, 0xff, 0xff, 0xff];

function remainingLength(length: number): number[] {
  const bytes: number[] = [];
  let rest = length;
  do {
    const low = rest % 128;
    rest = Math.floor(rest / 128);
    bytes.push(rest > 0 ? low | 0x80 : low);
  } while (rest > 0);
  return bytes;
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value, 'utf8');
  return Buffer.concat([Buffer.from([bytes.length >> 8, bytes.length & 0xff]), bytes]);
}

function frame(header: number, body: Buffer): Buffer {
  return Buffer.concat([Buffer.from([header, ...remainingLength(body.length)]), body]);
}

export function connectFrame(
  mqttVersion: 4 | 5,
  clientId: string,
  cleanStart: boolean,
  keepAliveS: number,
  login?: Login | undefined,
): Buffer {
  const properties = cleanStart ? [] : SESSION_EXPIRY_NEVER;
  const flags = (cleanStart ? 2 : 0) | (login === undefined ? 0 : 0xc0);
  const head = [mqttVersion, flags, keepAliveS >> 8, keepAliveS & 0xff];
  const version5 = mqttVersion === 5 ? [properties.length, ...properties] : [];
  const names = login === undefined ? [] : [text(login.username), text(login.password)];
  return frame(
    0x10,
    Buffer.concat([text('MQTT'), Buffer.from([...head, ...version5]), text(clientId), ...names]),
  );
}

export function subscribeFrame(
  mqttVersion: 4 | 5,
  packetId: number,
  filters: readonly string[],
  qos: number,
): Buffer {
  const id = Buffer.from([packetId >> 8, packetId & 0xff, ...(mqttVersion === 5 ? [0] : [])]);
  const wanted = filters.flatMap((filter) => [text(filter), Buffer.from([qos])]);
  return frame(0x82, Buffer.concat([id, ...wanted]));
}

export const disconnectFrame: Buffer = Buffer.from([0xe0, 0]);

/** PUBLISH packets of equal size lying one behind the other, ready to be stamped and sent. */
export interface PublishTemplate {
  readonly bytes: Buffer;
  readonly packetBytes: number;
  /** Offset of the packet id within a packet, or -1 at QoS 0. */
  readonly packetIdOffset: number;
  /** Offset of the payload within a packet. */
  readonly payloadOffset: number;
  /** How many different topics lie in `bytes`. */
  readonly topics: number;
}

export function publishTemplate(
  mqttVersion: 4 | 5,
  topics: readonly string[],
  qos: number,
  retain: boolean,
  payloadBytes: number,
): PublishTemplate {
  const payload = Buffer.alloc(Math.max(payloadBytes, STAMP_BYTES), 0x78);
  const packetId = qos > 0 ? [0, 1] : [];
  const properties = mqttVersion === 5 ? [0] : [];
  const middle = Buffer.from([...packetId, ...properties]);
  const header = 0x30 | (qos << 1) | (retain ? 1 : 0);
  const packets = topics.map((topic) =>
    frame(header, Buffer.concat([text(topic), middle, payload])),
  );
  const packetBytes = packets[0]?.length ?? 0;
  if (packetBytes === 0 || packets.some((packet) => packet.length !== packetBytes)) {
    throw new Error('the topics of one publisher must be of one length, and at least one');
  }
  const payloadOffset = packetBytes - payload.length;
  return {
    bytes: Buffer.concat(packets),
    packetBytes,
    packetIdOffset: qos > 0 ? payloadOffset - middle.length : -1,
    payloadOffset,
    topics: topics.length,
  };
}

/**
 * A message that came over a link, as bytes that outlive the read buffer: what the next holder of the links
 * needs to publish it again under the same name (docs/adr/0022). Used by `arrival-line.ts`. Pure.
 */

import { LinkProperties } from '../core/link-properties.ts';
import type { GroupChoices } from '../core/shared-append.ts';
import { PublishView } from '../wire/publish.ts';

export interface Arrival {
  readonly view: PublishView;
  readonly topic: string;
  readonly properties: LinkProperties;
  readonly choices: GroupChoices;
}

const VERSION = 1;
const RETAIN = 4;
/** Version, flags, expiry; then lengths of choices, topic and properties; the payload is the rest. */
const EXPIRES_AT = 2;
const CHOICES_BYTES = EXPIRES_AT + 6;
const TOPIC_BYTES = CHOICES_BYTES + 4;
const PROPERTY_BYTES = TOPIC_BYTES + 2;
const HEAD_BYTES = PROPERTY_BYTES + 4;

/** `wallMs`: now. */
export function encodeArrival(
  view: PublishView,
  topic: string,
  choices: GroupChoices,
  wallMs: number,
): Buffer {
  const chosen = choices.size === 0 ? '' : JSON.stringify([...choices]);
  const chosenBytes = Buffer.byteLength(chosen);
  const topicBytes = Buffer.byteLength(topic);
  const propertyBytes = view.propertyEnd - view.propertyStart;
  const payloadBytes = view.payloadEnd - view.payloadStart;
  const out = Buffer.allocUnsafe(
    HEAD_BYTES + chosenBytes + topicBytes + propertyBytes + payloadBytes,
  );
  out[0] = VERSION;
  out[1] = view.qos | (view.retain ? RETAIN : 0);
  const expiresAtMs = view.messageExpiryS < 0 ? 0 : wallMs + view.messageExpiryS * 1000;
  out.writeUIntBE(Math.round(expiresAtMs), EXPIRES_AT, 6);
  out.writeUInt32BE(chosenBytes, CHOICES_BYTES);
  out.writeUInt16BE(topicBytes, TOPIC_BYTES);
  out.writeUInt32BE(propertyBytes, PROPERTY_BYTES);
  let pos = HEAD_BYTES;
  pos += out.write(chosen, pos);
  pos += out.write(topic, pos);
  pos += view.propertyBuffer.copy(out, pos, view.propertyStart, view.propertyEnd);
  view.payloadBuffer.copy(out, pos, view.payloadStart, view.payloadEnd);
  return out;
}

/** Null: it is damaged, or a later version has written it. */
export function decodeArrival(bytes: Buffer, wallMs: number): Arrival | null {
  if (bytes.length < HEAD_BYTES || bytes[0] !== VERSION) return null;
  const topicStart = HEAD_BYTES + bytes.readUInt32BE(CHOICES_BYTES);
  const propertyStart = topicStart + bytes.readUInt16BE(TOPIC_BYTES);
  const payloadStart = propertyStart + bytes.readUInt32BE(PROPERTY_BYTES);
  if (payloadStart > bytes.length) return null;
  const properties = new LinkProperties();
  if (!properties.read(bytes, propertyStart, payloadStart)) return null;
  const choices = readChoices(bytes.toString('utf8', HEAD_BYTES, topicStart));
  if (choices === null) return null;
  const view = new PublishView();
  const qos = bytes[1]! & 3;
  view.qos = qos === 0 ? 0 : qos === 1 ? 1 : 2;
  view.retain = (bytes[1]! & RETAIN) !== 0;
  const topic = bytes.toString('utf8', topicStart, propertyStart);
  view.topicBuffer = topicField(bytes, topicStart, propertyStart);
  view.topicEnd = view.topicBuffer.length;
  view.propertyBuffer = bytes;
  view.propertyStart = propertyStart;
  view.propertyEnd = payloadStart;
  view.payloadBuffer = bytes;
  view.payloadStart = payloadStart;
  view.payloadEnd = bytes.length;
  const expiresAtMs = bytes.readUIntBE(EXPIRES_AT, 6);
  // What has expired meanwhile is published all the same: whoever has it already must not miss its name.
  const leftMs = Math.max(0, expiresAtMs - wallMs);
  view.messageExpiryS = expiresAtMs === 0 ? -1 : Math.ceil(leftMs / 1000);
  return { view, topic, properties, choices };
}

/** With its length in front, as in a packet. */
function topicField(bytes: Buffer, start: number, end: number): Buffer {
  const field = Buffer.allocUnsafe(2 + end - start);
  field.writeUInt16BE(end - start, 0);
  bytes.copy(field, 2, start, end);
  return field;
}

function readChoices(text: string): GroupChoices | null {
  if (text === '') return NO_CHOICES;
  try {
    return new Map(JSON.parse(text) as [string, string][]);
  } catch {
    return null;
  }
}

const NO_CHOICES: GroupChoices = new Map();

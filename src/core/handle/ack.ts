/**
 * PUBACK, PUBREC, PUBREL and PUBCOMP [MQTT5-3.4 … 3.7]: the subscriber's acks of what we sent, and the
 * publisher's second step of QoS 2. Hot: the two-byte forms allocate nothing.
 */
import { AckView, decodeAck } from '../../wire/ack.ts';
import { PacketType } from '../../wire/packet-type.ts';
import { ReasonCode } from '../../wire/reason-code.ts';
import type { Connection } from '../connection.ts';
import { InflightState } from '../inflight.ts';
import { EntryState } from '../queue-entry.ts';
import type { Session } from '../session.ts';

const view = new AckView();

/** Handles one of the four; `type` is a packet type. */
export function handleAck(
  connection: Connection,
  type: number,
  buffer: Buffer,
  bodyStart: number,
  bodyEnd: number,
): void {
  decodeAck(view, type, connection.version, buffer, bodyStart, bodyEnd);
  const session = connection.session!;
  switch (type) {
    case PacketType.PUBACK:
      settle(connection, session, InflightState.AWAITS_PUBACK);
      break;
    case PacketType.PUBREC:
      handlePubrec(connection, session);
      break;
    case PacketType.PUBREL:
      handlePubrel(connection, session);
      break;
    default:
      settle(connection, session, InflightState.AWAITS_PUBCOMP);
  }
}

/** The last ack of a message. One for an unknown id is late or repeated and means nothing. */
function settle(connection: Connection, session: Session, expected: number): void {
  const inflight = session.inflight;
  if (inflight === null) return;
  const position = inflight.find(view.packetId);
  if (position === -1) return;
  if (inflight.stateAt(position) !== expected) {
    // PUBACK for QoS 2, PUBCOMP before PUBREC.
    connection.close('protocol_error', 'acknowledgement does not fit the QoS of the message');
    return;
  }
  const entry = inflight.entryAt(position);
  const { core, delivery } = connection.services;
  if (entry === null && inflight.isStored) {
    const sequence = inflight.sequenceAt(position);
    delivery.settleStored(session, sequence, inflight.bytesAt(position));
  }
  inflight.settle(position);
  core.stats.inflightMessages--;
  if (entry !== null) delivery.settle(session, entry);
  connection.outlet.progress++;
  connection.needsPump = true;
}

function handlePubrec(connection: Connection, session: Session): void {
  const { core, delivery } = connection.services;
  const { packetId, reasonCode } = view;
  const inflight = session.inflight;
  const position = inflight === null ? -1 : inflight.find(packetId);
  if (inflight === null || position === -1) {
    // Sent on an earlier connection: a PUBREL now would make the repetition look new.
    if (delivery.awaitsTurn(session, packetId)) return;
    // [MQTT5-4.3.3-4]: v5 is told that there is nothing to release; 3.x gets what it expects.
    if (reasonCode < 0x80) {
      connection.sendAck(PacketType.PUBREL, packetId, ReasonCode.PACKET_IDENTIFIER_NOT_FOUND);
    }
    return;
  }
  const state = inflight.stateAt(position);
  if (state === InflightState.AWAITS_PUBACK) {
    connection.close('protocol_error', 'PUBREC for a QoS 1 message');
    return;
  }
  const entry = inflight.entryAt(position);
  if (reasonCode >= 0x80) {
    // The client will have none of it: the exchange ends here [MQTT5-4.3.3-5].
    inflight.settle(position);
    core.stats.inflightMessages--;
    if (entry !== null) delivery.settle(session, entry);
    connection.needsPump = true;
    return;
  }
  inflight.setState(position, InflightState.AWAITS_PUBCOMP);
  if (entry !== null) entry.state = EntryState.RELEASED;
  if (entry === null || !session.durable) {
    connection.sendAck(PacketType.PUBREL, packetId, 0);
    return;
  }
  // PUBREL leaves after PUBREC is stored: else a crash could send the PUBLISH again.
  const ticket = core.store.release(session.number, entry);
  connection.sendWhenSafe(PacketType.PUBREL, pubrel(packetId), ticket, null);
}

function pubrel(packetId: number): Buffer {
  return Buffer.from([(PacketType.PUBREL << 4) | 2, 2, packetId >>> 8, packetId & 0xff]);
}

function handlePubrel(connection: Connection, session: Session): void {
  const { core } = connection.services;
  const { packetId } = view;
  if (!session.inboundIds?.delete(packetId)) {
    const reasonCode = connection.version === 5 ? ReasonCode.PACKET_IDENTIFIER_NOT_FOUND : 0;
    connection.sendAck(PacketType.PUBCOMP, packetId, reasonCode);
    return;
  }
  session.unanswered?.delete(packetId);
  // The id is forgotten before PUBCOMP: else a crash would take its next use for a repetition.
  const { tenure } = connection.services.sessions;
  if (tenure !== null && session.durable && session.ownership !== null) {
    const awaited = { unsafeCount: 0, waiter: null, failed: false };
    tenure.endInbound(session, packetId, awaited);
    connection.ackWhenSafe(PacketType.PUBCOMP, packetId, 0, 0, awaited);
    return;
  }
  const ticket = session.durable ? core.store.removeInboundId(session.number, packetId) : 0;
  connection.ackWhenSafe(PacketType.PUBCOMP, packetId, 0, ticket, null);
}

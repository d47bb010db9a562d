/**
 * CONNECT [MQTT5-3.1]: from the decoded packet over the gate to an open session and CONNACK. Whatever
 * must wait (gate, enhanced authentication, store) holds the connection's parsing meanwhile.
 */
import { encodeAuth } from '../../wire/auth.ts';
import { type ConnackPacket, encodeConnack } from '../../wire/connack.ts';
import { type ConnectPacket, decodeConnect, peekProtocolVersion } from '../../wire/connect.ts';
import { checkFixedHeaderFlags } from '../../wire/framing.ts';
import { PacketType } from '../../wire/packet-type.ts';
import { ProtocolError } from '../../wire/protocol-error.ts';
import { hasConnackReturnCode, ReasonCode } from '../../wire/reason-code.ts';
import { isValidTopicName, topicLevelCount } from '../../wire/topic.ts';
import { type Connection, Hold, Phase } from '../connection.ts';
import { makeMessage } from '../message.ts';
import { NO_PACKET_LIMIT } from '../outlet.ts';
import { type AuthAnswer, type ConnectDecision, type ConnectRequest, WAIT } from '../ports.ts';
import type { Will } from '../session.ts';
import { NEVER_EXPIRES } from '../sessions.ts';

const KEEP_ALIVE_MAX_S = 65_535;

/** Decodes and decides; every way out either opens the connection or refuses it. */
export function handleConnect(
  connection: Connection,
  firstByte: number,
  buffer: Buffer,
  bodyStart: number,
  bodyEnd: number,
): void {
  const { core } = connection.services;
  let packet: ConnectPacket;
  try {
    checkFixedHeaderFlags(firstByte);
    packet = decodeConnect(buffer, bodyStart, bodyEnd, {
      userPropertiesMax: core.limits.userPropertiesMax,
      filtersMax: core.limits.filtersPerPacketMax,
    });
  } catch (error) {
    if (!(error instanceof ProtocolError)) throw error;
    refuseMalformed(connection, error, peekProtocolVersion(buffer, bodyStart, bodyEnd));
    return;
  }
  connection.version = packet.protocolVersion;
  connection.wantsProblemInformation = packet.requestProblemInformation;
  const reasonCode = check(connection, packet);
  if (reasonCode !== ReasonCode.SUCCESS) {
    refuse(connection, reasonCode);
    return;
  }
  connection.phase = Phase.CONNECTING;
  const request: ConnectRequest = {
    packet,
    listener: connection.listener,
    remoteAddress: connection.sink.remoteAddress,
    remotePort: connection.sink.remotePort,
    certificate: connection.sink.certificate,
  };
  if (packet.authenticationMethod !== null) {
    beginExchange(connection, packet, request, packet.authenticationMethod);
    return;
  }
  if (core.gate === null) {
    open(connection, packet, ALLOWED);
    return;
  }
  const decision = core.gate.connect(request, (late) => {
    decided(connection, packet, late);
    connection.release(Hold.DECISION);
  });
  if (decision === WAIT) connection.hold(Hold.DECISION);
  else decided(connection, packet, decision);
}

const ALLOWED: ConnectDecision = { reasonCode: ReasonCode.SUCCESS, identity: null, client: null };

/** What needs no gate: limits and rules of the protocol. Returns a reason code. */
function check(connection: Connection, packet: ConnectPacket): number {
  const { core, connections } = connection.services;
  const { limits } = core;
  if (core.stopping) return ReasonCode.SERVER_SHUTTING_DOWN;
  if (connections.size > limits.connectionsMax) return ReasonCode.QUOTA_EXCEEDED;
  if (packet.clientId === '') {
    // [MQTT311-3.1.3-8]; MQTT 3.1 demands 1 to 23 characters.
    if (packet.protocolVersion === 3 || (packet.protocolVersion === 4 && !packet.cleanStart)) {
      return ReasonCode.CLIENT_IDENTIFIER_NOT_VALID;
    }
  } else if (Buffer.byteLength(packet.clientId) > limits.clientIdBytesMax) {
    return ReasonCode.CLIENT_IDENTIFIER_NOT_VALID;
  }
  const will = packet.will;
  if (will !== null) {
    const topicBytes = Buffer.byteLength(will.topic);
    if (
      !isValidTopicName(will.topic) ||
      topicBytes > limits.topicBytesMax ||
      topicLevelCount(will.topic) > limits.topicLevelsMax
    ) {
      return ReasonCode.TOPIC_NAME_INVALID;
    }
    if (will.topic.charCodeAt(0) === 0x24) return ReasonCode.NOT_AUTHORIZED;
  }
  return ReasonCode.SUCCESS;
}

function refuseMalformed(connection: Connection, error: ProtocolError, version: number): void {
  // [MQTT311-3.1.2-2]; a version we do not know is answered in the form of 3.1.1.
  if (error.reasonCode === ReasonCode.UNSUPPORTED_PROTOCOL_VERSION) {
    connection.version = 4;
    refuse(connection, error.reasonCode);
    return;
  }
  if (version === 5) {
    connection.version = 5;
    refuse(connection, error.reasonCode, error.message);
    return;
  }
  // [MQTT311-4.8.0-1]: 3.x closes without a word on what it cannot decode.
  if (version === 3 || version === 4) connection.version = version;
  if (error.reasonCode === ReasonCode.CLIENT_IDENTIFIER_NOT_VALID) {
    refuse(connection, error.reasonCode);
  } else {
    connection.refuse('connect_refused', null);
  }
}

function refuse(connection: Connection, reasonCode: number, reasonString?: string): void {
  const isTold = connection.version === 5 || hasConnackReturnCode(reasonCode);
  const connack = isTold
    ? encodeConnack(connection.version, {
        sessionPresent: false,
        reasonCode,
        reasonString: connection.wantsProblemInformation ? reasonString : undefined,
      })
    : null;
  connection.refuse('connect_refused', connack);
}

/** Enhanced authentication [MQTT5-4.12]. */
function beginExchange(
  connection: Connection,
  packet: ConnectPacket,
  request: ConnectRequest,
  method: string,
): void {
  const exchange = connection.services.core.gate?.enhanced?.begin(method, request) ?? null;
  if (exchange === null) {
    refuse(connection, ReasonCode.BAD_AUTHENTICATION_METHOD);
    return;
  }
  connection.authenticationMethod = method;
  connection.exchange = exchange;
  stepExchange(connection, packet.authenticationData, (decision) => {
    decided(connection, packet, decision);
  });
}

/** One step of the exchange under way; AUTH packets of the client lead to the next. */
export function stepExchange(
  connection: Connection,
  data: Buffer | null,
  done: (decision: ConnectDecision) => void,
): void {
  connection.hold(Hold.DECISION);
  connection.exchange!.step(data, (answer: AuthAnswer) => {
    if (connection.closed) {
      if (answer.kind === 'decided') answer.decision.client?.closed();
      return;
    }
    if (answer.kind === 'continue') {
      connection.onAuthData = (next) => stepExchange(connection, next, done);
      connection.send(
        PacketType.AUTH,
        encodeAuth({
          reasonCode: ReasonCode.CONTINUE_AUTHENTICATION,
          authenticationMethod: connection.authenticationMethod,
          authenticationData: answer.data,
        }),
      );
    } else {
      connection.onAuthData = null;
      connection.exchange = null;
      done(answer.decision);
    }
    connection.release(Hold.DECISION);
  });
}

function decided(connection: Connection, packet: ConnectPacket, decision: ConnectDecision): void {
  if (connection.closed) {
    decision.client?.closed();
    return;
  }
  // From here on closing the connection hands it back, also when the CONNECT is refused below.
  connection.gate = decision.client;
  if (decision.reasonCode >= 0x80) {
    refuse(connection, decision.reasonCode, decision.reasonString);
    return;
  }
  const will = packet.will;
  if (will !== null && decision.client !== null) {
    // The will is a publish and needs the right to it (FIELD class 5).
    const bytes = will.payload.length;
    if (decision.client.publish(will.topic, will.qos, will.retain, bytes, () => {}) !== 1) {
      refuse(connection, ReasonCode.NOT_AUTHORIZED);
      return;
    }
  }
  open(connection, packet, decision);
}

function open(connection: Connection, packet: ConnectPacket, decision: ConnectDecision): void {
  const { core, sessions, delivery } = connection.services;
  const { limits } = core;
  const isAssigned = packet.clientId === '';
  const clientId = isAssigned ? `auto-${core.random.hex(12)}` : packet.clientId;
  if (sessions.isForeign(clientId, decision.identity)) {
    refuse(connection, ReasonCode.NOT_AUTHORIZED);
    return;
  }
  if (core.sessions.size >= limits.sessionsMax && !core.sessions.has(clientId)) {
    refuse(connection, ReasonCode.QUOTA_EXCEEDED);
    return;
  }
  const expiryIntervalS = Math.min(packet.sessionExpiryIntervalS, limits.sessionExpiryMaxS);
  const keepAliveS = grantedKeepAlive(connection, packet);
  const listenerLimits = connection.listener.limits;

  connection.clientId = clientId;
  connection.identity = decision.identity;
  connection.keepAliveMs = keepAliveS * 1000;
  connection.receiveMaximum = listenerLimits.receiveMaximum ?? limits.receiveMaximum;
  connection.topicAliasMax =
    connection.version === 5 ? (listenerLimits.topicAliasMax ?? limits.topicAliasMax) : 0;
  connection.packetBytesMax = listenerLimits.packetBytesMax ?? limits.packetBytesMax;
  connection.outlet.version = connection.version;
  connection.outlet.packetBytesMax = packet.maximumPacketSize || NO_PACKET_LIMIT;
  connection.outlet.aliasesMax = Math.min(packet.topicAliasMaximum, limits.topicAliasOutMax);

  sessions.takeOver(clientId);
  const { session, present, ticket } = sessions.open({
    clientId,
    identity: decision.identity,
    version: connection.version,
    cleanStart: packet.cleanStart,
    expiryIntervalS,
    will: willOf(connection, packet),
  });
  connection.session = session;
  const { stats } = core;
  stats.clientsConnected++;
  stats.clientsConnectedMaximum = Math.max(stats.clientsConnectedMaximum, stats.clientsConnected);
  connection.connectedAtMs = core.clock.wallMs();
  session.owner = connection;
  session.gate = decision.client;
  session.inflightMax = Math.min(packet.receiveMaximum, limits.inflightMessagesMax);
  core.wheel.cancel(connection.timer);
  connection.phase = Phase.OPEN;
  connection.startTimer();

  const answer: ConnackPacket = { sessionPresent: present, reasonCode: ReasonCode.SUCCESS };
  if (connection.version === 5) {
    if (expiryIntervalS !== packet.sessionExpiryIntervalS) {
      answer.sessionExpiryIntervalS = expiryIntervalS;
    }
    answer.receiveMaximum = connection.receiveMaximum;
    answer.maximumPacketSize = connection.packetBytesMax;
    answer.topicAliasMaximum = connection.topicAliasMax;
    if (isAssigned) answer.assignedClientId = clientId;
    if (keepAliveS !== packet.keepAliveS) answer.serverKeepAliveS = keepAliveS;
    if (packet.requestResponseInformation && isValidTopicName(clientId)) {
      answer.responseInformation = `responses/${clientId}`;
    }
    if (packet.authenticationMethod !== null) {
      answer.authenticationMethod = packet.authenticationMethod;
      answer.authenticationData = decision.authenticationData ?? undefined;
    }
  }
  // Nothing may precede CONNACK [MQTT5-3.2.0-1]: parsing and delivery wait for it.
  if (ticket !== 0) connection.hold(Hold.DECISION);
  connection.sendWhenSafe(
    PacketType.CONNACK,
    encodeConnack(connection.version, answer),
    ticket,
    (failed) => {
      if (connection.closed || session.owner !== connection) return;
      if (failed) {
        refuse(connection, ReasonCode.SERVER_UNAVAILABLE);
        return;
      }
      core.stats.connectsAccepted++;
      session.outlet = connection.outlet;
      if (core.observer !== null) core.observer.connected(connection.summary());
      delivery.resend(session);
      connection.release(Hold.DECISION);
    },
  );
}

/** Keep alive in seconds after the server's maximum [MQTT5-3.1.2-21]. */
function grantedKeepAlive(connection: Connection, packet: ConnectPacket): number {
  const { limits } = connection.services.core;
  // 3.1.1 has no way to be told: what it asks for holds.
  if (packet.protocolVersion !== 5) return packet.keepAliveS;
  const maxS = connection.listener.limits.keepAliveMaxS ?? limits.keepAliveMaxS;
  if (packet.keepAliveS === 0) return maxS < KEEP_ALIVE_MAX_S ? maxS : 0;
  return Math.min(packet.keepAliveS, maxS);
}

function willOf(connection: Connection, packet: ConnectPacket): Will | null {
  const will = packet.will;
  if (will === null) return null;
  const message = makeMessage(connection.services.core.nextSequence++, will.topic, will.payload, {
    qos: will.qos,
    retain: will.retain,
    properties: will.properties,
    // An interval until the will is published (ports.ts, WillRecord).
    expiresAtMs: will.messageExpiryS > 0 ? will.messageExpiryS * 1000 : 0,
  });
  return { message, delayS: Math.min(will.delayIntervalS, NEVER_EXPIRES) };
}

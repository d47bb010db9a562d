/**
 * CONNECT [MQTT5-3.1]: from the decoded packet over the gate to an open session and CONNACK. Whatever
 * must wait (gate, enhanced authentication, store) holds the connection's parsing meanwhile.
 */
import { type ConnackPacket, encodeConnack } from '../../wire/connack.ts';
import { type ConnectPacket, decodeConnect, peekProtocolVersion } from '../../wire/connect.ts';
import { checkFixedHeaderFlags } from '../../wire/framing.ts';
import { PacketType } from '../../wire/packet-type.ts';
import { ProtocolError } from '../../wire/protocol-error.ts';
import { ReasonCode } from '../../wire/reason-code.ts';
import { isValidTopicName, topicLevelCount } from '../../wire/topic.ts';
import type { Awaited } from '../awaited.ts';
import { isBridgeId } from '../bridge-names.ts';
import { type Connection, Hold, Phase } from '../connection.ts';
import { isLinkId } from '../link-names.ts';
import { makeMessage } from '../message.ts';
import { NO_PACKET_LIMIT } from '../outlet.ts';
import { type ConnectDecision, type ConnectRequest, type Ticket, WAIT } from '../ports.ts';
import type { Principal } from '../principal.ts';
import type { RefuseReason } from '../refuse-reason.ts';
import { LINK_INFLIGHT_MAX, type RegionLinks } from '../region-links.ts';
import type { Session, Will } from '../session.ts';
import { roams, type SessionDirectory } from '../session-directory.ts';
import { NEVER_EXPIRES } from '../sessions.ts';
import { beginExchange } from './exchange.ts';
import { isSentHome, isSteered, refuse, refuseMalformed, refuseTaken } from './refusal.ts';

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
  connection.outlet.packetBytesMax = packet.maximumPacketSize || NO_PACKET_LIMIT;
  const refusal = check(connection, packet);
  if (refusal !== null) {
    refuse(connection, refusal);
    return;
  }
  // Known before rights are: rules and bans speak of it.
  connection.clientId = packet.clientId === '' ? `auto-${core.random.hex(12)}` : packet.clientId;
  connection.phase = Phase.CONNECTING;
  const request = connectRequest(connection, packet);
  if (packet.authenticationMethod !== null) {
    beginExchange(connection, packet, request, packet.authenticationMethod, (decision) =>
      decided(connection, packet, decision),
    );
    return;
  }
  if (core.gate === null || connection.listener.isOwn === true) {
    if (!isSteered(connection)) openWhenFound(connection, packet, ALLOWED);
    return;
  }
  const decision = core.gate.connect(request, (late) => {
    decided(connection, packet, late);
    connection.release(Hold.DECISION);
  });
  if (decision === WAIT) connection.hold(Hold.DECISION);
  else decided(connection, packet, decision);
}

const ALLOWED: ConnectDecision = { refusal: null, identity: null, client: null };

/** What a gate is asked; `packet` is null in a re-authentication. */
export function connectRequest(
  connection: Connection,
  packet: ConnectPacket | null,
): ConnectRequest {
  const { sink } = connection;
  return {
    packet,
    clientId: connection.clientId,
    protocolVersion: connection.version,
    listener: connection.listener,
    remoteAddress: sink.remoteAddress,
    remotePort: sink.remotePort,
    certificate: sink.certificate,
    pskIdentity: sink.pskIdentity,
    end: (reason) => connection.close(reason),
  };
}

/** What needs no gate: limits and rules of the protocol. */
function check(connection: Connection, packet: ConnectPacket): RefuseReason | null {
  const { core, connections } = connection.services;
  const { limits } = core;
  if (core.stopping) return 'server_shutting_down';
  if (core.draining) return 'draining';
  if (connections.size > limits.connectionsMax) return 'connections_quota';
  if (packet.clientId === '') {
    // [MQTT311-3.1.3-8]; MQTT 3.1 demands 1 to 23 characters.
    if (packet.protocolVersion === 3 || (packet.protocolVersion === 4 && !packet.cleanStart)) {
      return 'client_id_invalid';
    }
  } else if (Buffer.byteLength(packet.clientId) > limits.clientIdBytesMax) {
    return 'client_id_invalid';
  }
  // What waits for a bridge is the bridge's alone.
  if (isBridgeId(packet.clientId) !== (connection.listener.isOwn === true)) return 'not_authorized';
  const will = packet.will;
  if (will !== null) {
    const topicBytes = Buffer.byteLength(will.topic);
    if (
      !isValidTopicName(will.topic) ||
      topicBytes > limits.topicBytesMax ||
      topicLevelCount(will.topic) > limits.topicLevelsMax
    ) {
      return 'will_topic_invalid';
    }
    if (will.topic.charCodeAt(0) === 0x24) return 'will_not_authorized';
  }
  return null;
}

function decided(connection: Connection, packet: ConnectPacket, decision: ConnectDecision): void {
  if (connection.closed) {
    decision.client?.closed();
    return;
  }
  // From here on closing the connection hands it back, also when the CONNECT is refused below.
  connection.setGate(decision.client);
  if (decision.refusal !== null) {
    refuse(connection, decision.refusal, decision.reasonString);
    return;
  }
  if (isSteered(connection)) return;
  const { gate } = connection.services.core;
  const { will } = packet;
  if (will === null || gate === null) {
    openWhenInformed(connection, packet, decision);
    return;
  }
  // The will is a publish and needs the right to it (FIELD class 5); asked again when it fires.
  const principal = principalOf(connection, decision);
  const openIf = (allowed: boolean): void => {
    if (connection.closed) return;
    if (allowed) openWhenInformed(connection, packet, decision);
    else refuse(connection, 'will_not_authorized');
  };
  const allowed = gate.will(principal, decision.client, will, (late) => {
    openIf(late);
    connection.release(Hold.WILL);
  });
  if (allowed === WAIT) connection.hold(Hold.WILL);
  else openIf(allowed);
}

function principalOf(connection: Connection, decision: ConnectDecision): Principal {
  const { identity, tenant } = decision;
  return { clientId: connection.clientId, identity, tenant: tenant ?? '' };
}

/** Before a node knows which sessions are on their way, nothing is published at it. */
function openWhenInformed(
  connection: Connection,
  packet: ConnectPacket,
  decision: ConnectDecision,
): void {
  const { roaming } = connection.services.core;
  const openIf = (isInformed: boolean): void => {
    if (connection.closed) return;
    if (isInformed) openWhenFound(connection, packet, decision);
    else refuse(connection, 'session_unavailable');
  };
  const isKnown =
    roaming === null ||
    isLinkId(connection.clientId) ||
    roaming.isInformed((late) => {
      openIf(late);
      connection.release(Hold.INFORMED);
    });
  if (isKnown) openIf(true);
  else connection.hold(Hold.INFORMED);
}

/** A client that has no session here may have one in another region. */
function openWhenFound(
  connection: Connection,
  packet: ConnectPacket,
  decision: ConnectDecision,
): void {
  const { core, sessions } = connection.services;
  const { directory, roaming } = core;
  const { clientId } = connection;
  const local = core.sessions.get(clientId);
  const isHere = local !== undefined && (local.roam === null || local.roam.leaving === null);
  if (directory === null || packet.clientId === '' || !roams(clientId) || isHere) {
    openWhenKnown(connection, packet, decision);
    return;
  }
  if (!directory.moves) {
    openWhenStaying(connection, packet, decision, directory);
    return;
  }
  connection.hold(Hold.DIRECTORY);
  const goOn = (): void => {
    if (connection.closed) return;
    openWhenKnown(connection, packet, decision);
    connection.release(Hold.DIRECTORY);
  };
  directory.find(clientId, (found, isSure) => {
    if (connection.closed) return;
    const known = found?.record ?? local ?? null;
    if (known !== null && sessions.isForeignTo(known, decision)) {
      refuse(connection, 'identity_mismatch');
      connection.release(Hold.DIRECTORY);
      return;
    }
    // What nobody in particular made starts clean for who is somebody.
    const isOwn = known === null || known.identity === decision.identity;
    const isClean = packet.cleanStart || !isOwn;
    if (found !== null && !isClean && isSentHome(connection, found.home)) {
      connection.release(Hold.DIRECTORY);
      return;
    }
    if (roaming !== null) {
      const isWanted = (): boolean => !connection.closed;
      const refused = (): void => {
        if (connection.closed) return;
        refuse(connection, 'session_unavailable');
        connection.release(Hold.DIRECTORY);
      };
      // Of a session that ends with this connection nothing is brought to a queue.
      const endsSoon = sessions.tenure !== null && packet.sessionExpiryIntervalS === 0;
      const beginsAnew = isClean || endsSoon;
      // A session that is new is listed a while after its first CONNECT; for one that ends nobody else is asked.
      const isKnown = isSure && (found !== null || packet.sessionExpiryIntervalS === 0);
      roaming.arrive({
        ...{ clientId, found, isSure: isKnown, isWanted, refused },
        isClean: beginsAnew,
        done: goOn,
      });
      return;
    }
    if (found !== null && !isClean) sessions.adopt(found);
    goOn();
  });
}

/** Sessions stay in their region: whoever has one elsewhere may be sent there, or begins anew. */
function openWhenStaying(
  connection: Connection,
  packet: ConnectPacket,
  decision: ConnectDecision,
  directory: SessionDirectory,
): void {
  const { core, sessions } = connection.services;
  if (packet.cleanStart || core.steering?.hasHomes !== true) {
    openWhenKnown(connection, packet, decision);
    return;
  }
  connection.hold(Hold.DIRECTORY);
  directory.find(connection.clientId, (found) => {
    if (connection.closed) return;
    const record = found?.record ?? null;
    const isOwn =
      record !== null &&
      record.identity === decision.identity &&
      !sessions.isForeignTo(record, decision);
    const isSent = isOwn && isSentHome(connection, found!.home);
    if (!isSent) openWhenKnown(connection, packet, decision);
    connection.release(Hold.DIRECTORY);
  });
}

/** What waits in a session leaves at once when it is resumed: who may have it is known before. */
function openWhenKnown(
  connection: Connection,
  packet: ConnectPacket,
  decision: ConnectDecision,
): void {
  const { sessions } = connection.services;
  const { clientId } = connection;
  if (sessions.isForeign(clientId, decision)) {
    refuse(connection, 'identity_mismatch');
    return;
  }
  const { client } = decision;
  const kept = packet.cleanStart ? null : keptFilters(connection);
  if (client === null || kept === null) {
    open(connection, packet, decision);
    return;
  }
  const openIf = (isKnown: boolean): void => {
    if (connection.closed) return;
    if (isKnown) open(connection, packet, decision);
    else refuse(connection, 'authentication_unavailable');
  };
  const isKnown = client.knows(kept, (late) => {
    openIf(late);
    connection.release(Hold.RIGHTS);
  });
  if (isKnown === WAIT) connection.hold(Hold.RIGHTS);
  else openIf(isKnown);
}

/** What the session it goes on with subscribes to; null: there is none. */
function keptFilters({
  services: { core },
  clientId,
}: Connection): Iterable<{ readonly filter: string; readonly qos: number }> | null {
  const coming = core.roaming?.coming(clientId) ?? null;
  if (coming !== null) return coming.record.subscriptions;
  return core.sessions.get(clientId)?.subscriptions?.values() ?? null;
}

function open(connection: Connection, packet: ConnectPacket, decision: ConnectDecision): void {
  const { core, sessions } = connection.services;
  const { limits } = core;
  const { clientId } = connection;
  if (core.links !== null && !isAdmitted(connection, core.links, decision)) {
    refuse(connection, 'not_authorized');
    return;
  }
  // It may have become somebody's while this one waited.
  if (sessions.isForeign(clientId, decision)) {
    refuse(connection, 'identity_mismatch');
    return;
  }
  if (core.stats.sessions >= limits.sessionsMax && !core.sessions.has(clientId)) {
    refuse(connection, 'sessions_max');
    return;
  }
  const expiryIntervalS = Math.min(packet.sessionExpiryIntervalS, limits.sessionExpiryMaxS);
  const keepAliveS = grantedKeepAlive(connection, packet);
  const listenerLimits = connection.listener.limits;

  connection.identity = decision.identity;
  connection.tenant = decision.tenant ?? '';
  connection.keepAliveMs = keepAliveS * 1000;
  connection.receiveMaximum = listenerLimits.receiveMaximum ?? limits.receiveMaximum;
  connection.topicAliasMax =
    connection.version === 5 ? (listenerLimits.topicAliasMax ?? limits.topicAliasMax) : 0;
  connection.packetBytesMax = listenerLimits.packetBytesMax ?? limits.packetBytesMax;
  connection.outlet.version = connection.version;
  connection.outlet.aliasesMax = Math.min(packet.topicAliasMaximum, limits.topicAliasOutMax);

  const options = {
    clientId,
    identity: decision.identity,
    tenant: connection.tenant,
    version: connection.version,
    cleanStart: packet.cleanStart,
    expiryIntervalS,
    will: willOf(connection, packet),
  };
  const terms = { packet, decision, expiryIntervalS, keepAliveS };
  if (sessions.tenure !== null) {
    connection.hold(Hold.OWNERSHIP);
    // A node that was stopped finds CONNECTs of clients that have gone elsewhere since, and the end of
    // their sockets right behind: those would take the session from where the client is now, or end it.
    core.scheduler.nextTurn(() => {
      if (connection.closed) return;
      const wanted = { ...options, isWanted: () => !connection.closed };
      sessions.tenure!.take(wanted, decision.isTenantProven === true, (taken) => {
        taken.kind === 'opened'
          ? takenFromOthers(connection, terms, taken)
          : refuseTaken(connection, taken.kind);
        connection.release(Hold.OWNERSHIP);
      });
    });
    return;
  }
  sessions.takeOver(clientId);
  const { session, present, ticket } = sessions.open(options);
  attach(connection, terms, { session, present, ticket, awaited: null });
}

/** Client identifiers of links are for regions that have proven to be what they say. */
function isAdmitted(
  { clientId, version, sink }: Connection,
  links: RegionLinks,
  { identity }: ConnectDecision,
): boolean {
  return links.admits(clientId, version, identity, sink.certificate);
}

/** The session was taken from whoever had it in the datacenter. */
function takenFromOthers(
  connection: Connection,
  terms: Terms,
  { session, present }: { readonly session: Session; readonly present: boolean },
): void {
  const { core, sessions } = connection.services;
  const { roaming, interests } = core;
  if (connection.closed) {
    // The client did not wait for the answer: nothing was agreed, its will neither. It must not take a
    // session that it never heard of for the one that this CONNECT has ended.
    if (!present) session.expiryIntervalS = 0;
    sessions.tenure!.disconnected(session, false);
    return;
  }
  if (present && roaming?.isAway(connection.clientId) === true) {
    // Let go of while it was opened: what waits is given away already.
    core.directory?.released(session);
    sessions.tenure!.disconnected(session, false);
    refuse(connection, 'session_unavailable');
    return;
  }
  const isComing = !present && session.durable && roaming?.coming(connection.clientId) != null;
  const ticket = isComing ? roaming!.moveIn(session) : 0;
  // What it subscribes to is wanted here from now on; CONNACK tells that every node knows.
  session.owner = connection;
  interests!.attach(session);
  roaming?.admit(session, ticket);
  const opened = { session, present: present || isComing, ticket };
  attach(connection, terms, { ...opened, awaited: sessions.known(session) });
}

/** What CONNECT and the gate have agreed on. */
interface Terms {
  readonly packet: ConnectPacket;
  readonly decision: ConnectDecision;
  readonly expiryIntervalS: number;
  readonly keepAliveS: number;
}

interface OpenedSession {
  readonly session: Session;
  readonly present: boolean;
  readonly ticket: Ticket;
  readonly awaited: Awaited | null;
}

/** Ties the session to the connection and answers the CONNECT. */
function attach(
  connection: Connection,
  { packet, decision, expiryIntervalS, keepAliveS }: Terms,
  { session, present, ticket: opened, awaited }: OpenedSession,
): void {
  const { core, sessions, delivery } = connection.services;
  const { limits } = core;
  const { clientId } = connection;
  connection.session = session;
  const begun = present ? 0 : (core.roaming?.begun(session) ?? 0);
  const ticket = Math.max(opened, begun);
  const { stats } = core;
  stats.clientsConnected++;
  stats.clientsConnectedMaximum = Math.max(stats.clientsConnectedMaximum, stats.clientsConnected);
  connection.connectedAtMs = core.clock.wallMs();
  session.owner = connection;
  sessions.grant(session, decision.client);
  const revoked = present ? sessions.revokeDenied(session) : 0;
  session.inflightMax = Math.min(
    packet.receiveMaximum,
    // Links and bridges say themselves how much they take.
    session.budget === null ? limits.inflightMessagesMax : LINK_INFLIGHT_MAX,
    session.quota?.inflightMax ?? LINK_INFLIGHT_MAX,
  );
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
    if (packet.clientId === '') answer.assignedClientId = clientId;
    if (session.link !== null) {
      answer.userProperties = core.links!.welcome(session.link, packet.userProperties);
    }
    if (revoked > 0 && connection.wantsProblemInformation) {
      answer.reasonString = `${revoked} subscriptions are no longer allowed and were ended`;
    }
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
  if (ticket !== 0 || (awaited !== null && awaited.unsafeCount > 0)) {
    connection.hold(Hold.CONNACK);
  }
  connection.sendWhenSafe(
    PacketType.CONNACK,
    encodeConnack(connection.version, answer),
    ticket,
    (failed) => {
      if (connection.closed || session.owner !== connection) return;
      if (failed) {
        refuse(connection, 'store_failed');
        return;
      }
      core.stats.connectsAccepted++;
      session.outlet = connection.outlet;
      if (core.observer !== null) core.observer.connected(connection.summary());
      core.roaming?.opened(session);
      delivery.resend(session);
      connection.release(Hold.CONNACK);
    },
    awaited,
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

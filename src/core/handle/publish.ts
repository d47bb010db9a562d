/**
 * PUBLISH from a client [MQTT5-3.3]: topic, alias, rights, retained, fan-out, ack. The hottest handler:
 * no allocation, no closure and no promise for QoS 0.
 */
import { encodeAck } from '../../wire/ack.ts';
import { PacketType } from '../../wire/packet-type.ts';
import { ProtocolError } from '../../wire/protocol-error.ts';
import { decodePublish } from '../../wire/publish.ts';
import { ReasonCode } from '../../wire/reason-code.ts';
import type { Awaited } from '../awaited.ts';
import { type Connection, Hold } from '../connection.ts';
import { DeferredPublish } from '../deferred-publish.ts';
import { ASK_TOPIC } from '../link-names.ts';
import { ALLOW, CLOSE, OVER_QUOTA, type Ticket, WAIT } from '../ports.ts';
import type { Publication } from '../publication.ts';
import { RETAINED_REFUSED } from '../publisher.ts';
import type { TopicEntry } from '../route-cache.ts';
import type { Session } from '../session.ts';
import { type GroupChoices, OWN_IDENTITY } from '../shared-append.ts';

/** Returns false when the gate has not decided: the same packet is handed in again later. */
export function handlePublish(
  connection: Connection,
  buffer: Buffer,
  packetStart: number,
  bodyStart: number,
  packetEnd: number,
): boolean {
  const { services } = connection;
  const { core, inbound } = services;
  const view = inbound.view;
  const version = connection.version;
  decodePublish(
    view,
    version,
    buffer[packetStart]!,
    buffer,
    bodyStart,
    packetEnd,
    core.limits.userPropertiesMax,
  );

  let entry = connection.lastTopic;
  if (view.topicAlias !== 0 || view.topicEnd - view.topicStart === 2) {
    entry = topicByAlias(connection);
  } else if (entry?.isTopicOf(view)) {
    core.router.refresh(entry);
  } else {
    entry = core.router.lookup(view);
    connection.lastTopic = entry;
  }

  const qos = view.qos;
  let reasonCode: number = ReasonCode.SUCCESS;
  let why: string | null = null;
  if (
    entry.levels > core.limits.topicLevelsMax ||
    entry.field.length - 2 > core.limits.topicBytesMax
  ) {
    reasonCode = ReasonCode.TOPIC_NAME_INVALID;
  } else if (entry.isReserved) {
    // `$` belongs to the broker: FIELD class 10.
    if (isOfRegion(connection, entry.topic)) return true;
    core.drop('reserved_topic', connection.clientId, entry.topic);
    reasonCode = ReasonCode.NOT_AUTHORIZED;
  } else if (connection.publishGate !== null) {
    const bytes = view.payloadEnd - view.payloadStart;
    const verdict = connection.publishGate.publish(
      entry.topic,
      qos,
      view.retain,
      bytes,
      connection,
    );
    if (verdict !== ALLOW) {
      if (verdict === WAIT) {
        connection.hold(Hold.DECISION);
        return false;
      }
      if (verdict === CLOSE) {
        connection.close(connection.publishGate.closeReason, connection.publishGate.why);
        return true;
      }
      const isQuota = verdict === OVER_QUOTA;
      const drop = isQuota ? 'publish_quota' : 'not_authorized_publish';
      core.drop(drop, connection.clientId, entry.topic);
      if (isQuota) why = connection.publishGate.why;
      reasonCode = isQuota ? ReasonCode.QUOTA_EXCEEDED : ReasonCode.NOT_AUTHORIZED;
    }
  }

  const stats = core.stats;
  stats.publishReceived[qos]!++;
  stats.publishBytesReceived += view.payloadEnd - view.payloadStart;
  if (qos !== 0 && !admit(connection, view.packetId, qos)) return true;
  if (reasonCode !== ReasonCode.SUCCESS) {
    refuse(connection, qos, view.packetId, reasonCode, why);
    return true;
  }

  inbound.begin(core.nextSequence++);
  inbound.topic = entry.topic;
  inbound.from = connection.session;
  inbound.fromId = connection.clientId;
  inbound.expiryS = view.messageExpiryS;
  if (view.messageExpiryS >= 0) {
    inbound.expiresAtMs = core.clock.wallMs() + view.messageExpiryS * 1000;
    inbound.wireVersion = 0;
  } else {
    inbound.expiresAtMs = 0;
    // A length that 3.x devices may pad is accepted, but not passed on.
    const isPadded = bodyStart - packetStart > 2 && buffer[bodyStart - 1] === 0;
    inbound.wireVersion = view.topicAlias === 0 && !isPadded ? version : 0;
    inbound.wireStart = packetStart;
    inbound.wireEnd = packetEnd;
  }
  if (core.observer !== null) {
    core.observer.published(
      connection.clientId,
      entry.topic,
      qos,
      view.retain,
      view.payloadEnd - view.payloadStart,
    );
  }

  let ticket: Ticket = 0;
  if (view.retain) {
    ticket = services.publisher.retain(inbound);
    if (ticket === RETAINED_REFUSED) {
      ticket = 0;
      core.drop(services.publisher.retainRefusal, connection.clientId, entry.topic);
      if (qos !== 0 && version === 5) {
        // An error means that nothing has happened: what is sent again must not arrive twice.
        refuse(connection, qos, view.packetId, ReasonCode.QUOTA_EXCEEDED, null);
        return true;
      }
    }
  }
  const { fanout } = services;
  if (qos === 0) {
    fanout.send(inbound, entry.route);
  } else {
    ticket = sendAcked(connection, inbound, entry, ticket);
  }
  if (fanout.pressedBy !== null) connection.waitFor(fanout.pressedBy);
  return true;
}

/** What another region asks about sessions that move comes over its link, at QoS 0 (docs/adr/0023). */
function isOfRegion({ services, session }: Connection, topic: string): boolean {
  const { core, inbound } = services;
  const { roaming } = core;
  const { view } = inbound;
  const link = session?.link ?? null;
  if (link === null || roaming === null || topic !== ASK_TOPIC || view.qos !== 0) return false;
  const { payloadBuffer, payloadStart, payloadEnd } = view;
  roaming.asked(link.region, Buffer.from(payloadBuffer.subarray(payloadStart, payloadEnd)));
  return true;
}

/** QoS 1 and 2: fan-out and the ack, as soon as everything is safe. */
function sendAcked(
  connection: Connection,
  inbound: Publication,
  entry: TopicEntry,
  retainTicket: Ticket,
): Ticket {
  const { services } = connection;
  const { core, fanout } = services;
  const { qos, packetId } = inbound.view;
  let ticket = retainTicket;
  const session = connection.session!;
  if (session.ownership !== null && (connection.defers || (qos === 2 && session.durable))) {
    sendDeferred(connection, session, inbound, retainTicket);
    return retainTicket;
  }
  fanout.send(inbound, entry.route);
  const reasonCode = outcomeOf(connection, entry.route.size);
  // Made only when somebody keeps it; then it knows what is still unsafe.
  const message = inbound.awaited;
  if (qos === 1) {
    connection.ackWhenSafe(PacketType.PUBACK, packetId, reasonCode, ticket, message);
    return ticket;
  }
  if (session.durable && reasonCode < 0x80) {
    // The id is stored before PUBREC, so that a repetition after a crash is known as one.
    ticket = Math.max(ticket, core.store.addInboundId(session.number, packetId));
  }
  connection.ackWhenSafe(PacketType.PUBREC, packetId, reasonCode, ticket, message);
  return ticket;
}

/** What the ack says of the fan-out that has just been. */
function outcomeOf(connection: Connection, routeSize: number): number {
  if (connection.version !== 5) return ReasonCode.SUCCESS;
  const { fanout } = connection.services;
  if (routeSize === 0) return ReasonCode.NO_MATCHING_SUBSCRIBERS;
  const isRefused = fanout.reached === 0 && fanout.refused > 0;
  return isRefused ? ReasonCode.QUOTA_EXCEEDED : ReasonCode.SUCCESS;
}

/**
 * In a datacenter a QoS 2 message of a durable session is stored, with its id, before anything of it
 * leaves: the next owner of the session hands it on when this node cannot (DESIGN hard case 10). What
 * the client sends meanwhile stays behind it.
 */
function sendDeferred(
  connection: Connection,
  session: Session,
  inbound: Publication,
  retainTicket: Ticket,
): void {
  const { core, fanout, publisher, sessions } = connection.services;
  const { qos, packetId } = inbound.view;
  const message = inbound.message();
  // What is handed on later is marked with it again.
  message.version ??= inbound.mark?.version ?? null;
  const isStored = qos === 2 && session.durable;
  const identity = isStored ? sessions.tenure!.nameInbound(session) : OWN_IDENTITY;
  let choices: GroupChoices | null = null;
  let places: GroupChoices | null = null;
  const store = (awaited: Awaited): void => {
    places = fanout.choosePlaces(message.topic);
    choices = fanout.chooseMembers(message.topic, connection.clientId, 2);
    if (places !== null) choices = new Map([...choices, ...places]);
    const { publisherSeq } = identity;
    const { tenure } = sessions;
    tenure!.beginInbound(session, packetId, message, choices, publisherSeq, awaited);
  };
  const handOn = (failed: boolean): void => {
    const type = qos === 1 ? PacketType.PUBACK : PacketType.PUBREC;
    if (failed) {
      connection.ackWhenSafe(type, packetId, ReasonCode.QUOTA_EXCEEDED, 0, null);
      return;
    }
    publisher.handOn(message, session, identity, choices);
    const reasonCode = outcomeOf(connection, core.router.match(message.topic).size);
    if (!isStored || reasonCode >= 0x80) {
      connection.ackWhenSafe(type, packetId, reasonCode, retainTicket, message);
      return;
    }
    const bytes = encodeAck(connection.version, type, packetId, reasonCode);
    const answered = (unsafe: boolean): void => {
      if (unsafe) connection.answer(type, packetId, ReasonCode.QUOTA_EXCEEDED);
      else core.bus!.sessions.inboundDone(session.number, packetId);
    };
    connection.sendWhenSafe(type, bytes, retainTicket, answered, message);
  };
  // Who publishes it again goes by what is stored: no session may have moved on since.
  const isStill = (): boolean => !isStored || isSame(places, fanout.choosePlaces(message.topic));
  connection.defer(new DeferredPublish(isStored ? store : null, handOn, isStill));
}

function isSame(places: GroupChoices | null, others: GroupChoices | null): boolean {
  if (places === null || others === null) return places === others;
  if (places.size !== others.size) return false;
  for (const [key, to] of places) if (others.get(key) !== to) return false;
  return true;
}

/** Counts the message against Receive Maximum; false: it is a repetition that has been answered. */
function admit(connection: Connection, packetId: number, qos: number): boolean {
  const session = connection.session!;
  if (qos === 2) {
    session.inboundIds ??= new Set();
    if (session.inboundIds.has(packetId) && repeat(connection, session, packetId)) return false;
    session.inboundIds.add(packetId);
  }
  connection.inboundOpen++;
  if (connection.version === 5 && connection.inboundOpen > connection.receiveMaximum) {
    // [MQTT5-3.3.4-7]
    connection.close('receive_maximum');
    return false;
  }
  return true;
}

/** [MQTT5-4.3.3-10]: PUBREC again, not delivered again; false: it was never taken after all. */
function repeat(connection: Connection, session: Session, packetId: number): boolean {
  const unanswered = session.unanswered?.get(packetId);
  if (unanswered === undefined) {
    // The first one has yet to be stored; its PUBREC follows.
    if (connection.defers) return true;
    // Parked behind the first PUBREC while that waits.
    connection.sendWhenSafe(PacketType.PUBREC, repeatedPubrec(packetId), 0, null);
    return true;
  }
  session.unanswered!.delete(packetId);
  const { reasonCode, ticket, message, failed } = unanswered;
  // The store failed while nobody was there to be told.
  if (failed || connection.services.core.failedTickets.has(ticket) || reasonCode >= 0x80)
    return false;
  connection.ackWhenSafe(PacketType.PUBREC, packetId, reasonCode, ticket, message);
  return true;
}

function repeatedPubrec(packetId: number): Buffer {
  return Buffer.from([PacketType.PUBREC << 4, 2, packetId >>> 8, packetId & 0xff]);
}

/** A publish that is not carried out: v5 says so in the ack, QoS 0 is dropped. */
function refuse(
  connection: Connection,
  qos: number,
  packetId: number,
  reasonCode: number,
  why: string | null,
): void {
  if (reasonCode === ReasonCode.TOPIC_NAME_INVALID && (qos === 0 || connection.version !== 5)) {
    connection.close('topic_name_invalid');
    return;
  }
  if (qos === 0) return;
  if (reasonCode === ReasonCode.QUOTA_EXCEEDED && connection.version !== 5) {
    // 3.x has no negative ack, and an ack would be a lie: it may try again.
    connection.close('quota_exceeded');
    return;
  }
  const type = qos === 1 ? PacketType.PUBACK : PacketType.PUBREC;
  if (why !== null && connection.wantsProblemInformation) {
    const bytes = encodeAck(5, type, packetId, reasonCode, why);
    // [MQTT5-3.4.2-2] [MQTT5-3.5.2-2]
    if (bytes.length <= connection.outlet.packetBytesMax) {
      connection.sendWhenSafe(type, bytes, 0, () => connection.inboundRefused(type, packetId));
      return;
    }
  }
  connection.ackWhenSafe(type, packetId, reasonCode, 0, null);
}

/** Resolves or sets a topic alias [MQTT5-3.3.2-8 … 12]; the view's topic is complete afterwards. */
function topicByAlias(connection: Connection): TopicEntry {
  const { core, inbound } = connection.services;
  const view = inbound.view;
  const alias = view.topicAlias;
  if (alias === 0) {
    if (connection.version !== 5) core.router.lookup(view);
    throw new ProtocolError(ReasonCode.PROTOCOL_ERROR, 'empty topic without topic alias');
  }
  if (alias > connection.topicAliasMax) {
    throw new ProtocolError(ReasonCode.TOPIC_ALIAS_INVALID, 'topic alias is over the maximum');
  }
  connection.aliases ??= new Array<TopicEntry | null>(connection.topicAliasMax + 1).fill(null);
  if (view.topicEnd - view.topicStart > 2) {
    const entry = core.router.lookup(view);
    connection.aliases[alias] = entry;
    return entry;
  }
  const known = connection.aliases[alias] ?? null;
  if (known === null) {
    throw new ProtocolError(ReasonCode.PROTOCOL_ERROR, 'topic alias was never set');
  }
  core.router.refresh(known);
  view.topicBuffer = known.field;
  view.topicStart = 0;
  view.topicEnd = known.field.length;
  return known;
}

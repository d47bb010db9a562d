/** SUBSCRIBE and UNSUBSCRIBE [MQTT5-3.8] [MQTT5-3.10]: one verdict per filter, in order. */
import { PacketType } from '../../wire/packet-type.ts';
import { ProtocolError } from '../../wire/protocol-error.ts';
import { ReasonCode } from '../../wire/reason-code.ts';
import { encodeSuback } from '../../wire/suback.ts';
import { decodeSubscribe, type SubscribeFilter } from '../../wire/subscribe.ts';
import { isValidTopicFilter, parseSharedFilter, topicLevelCount } from '../../wire/topic.ts';
import { encodeUnsuback } from '../../wire/unsuback.ts';
import { decodeUnsubscribe } from '../../wire/unsubscribe.ts';
import { type Connection, Hold } from '../connection.ts';
import { parseLinkFilter } from '../link-names.ts';
import { ALLOW, CLOSE, OVER_QUOTA, type SubscriptionRecord, WAIT } from '../ports.ts';
import type { Session, Subscription } from '../session.ts';

/** Returns false when the gate has not decided: the same packet is handed in again later. */
export function handleSubscribe(
  connection: Connection,
  buffer: Buffer,
  bodyStart: number,
  bodyEnd: number,
): boolean {
  const { core, sessions, replay } = connection.services;
  const { limits } = core;
  const session = connection.session!;
  const packet = decodeSubscribe(connection.version, buffer, bodyStart, bodyEnd, {
    userPropertiesMax: limits.userPropertiesMax,
    filtersMax: limits.filtersPerPacketMax,
  });
  const reasonCodes: number[] = [];
  for (const requested of packet.subscriptions) {
    const reasonCode = check(connection, session, requested);
    if (reasonCode === WAITS) {
      connection.hold(Hold.DECISION);
      return false;
    }
    if (connection.closed) return true;
    reasonCodes.push(reasonCode);
  }
  const replays: Subscription[] = [];
  const added: SubscriptionRecord[] = [];
  let why: string | null = null;
  for (let i = 0; i < packet.subscriptions.length; i++) {
    const requested = packet.subscriptions[i]!;
    if (reasonCodes[i]! >= 0x80) continue;
    const isNew = !session.subscriptions?.has(requested.filter);
    const subscriptionsMax =
      session.link === null ? limits.subscriptionsPerClientMax : limits.linkSubscriptionsMax;
    const isFull =
      isNew &&
      ((session.subscriptions?.size ?? 0) >= subscriptionsMax ||
        session.quota?.subscribe() === false);
    if (isFull) {
      reasonCodes[i] = ReasonCode.QUOTA_EXCEEDED;
      why ??= session.quota?.why ?? null;
      continue;
    }
    const record = { ...requested, subscriptionId: packet.subscriptionId };
    const previous = sessions.subscribe(session, record);
    added.push(record);
    // [MQTT5-3.3.1-9 … 11]; shared subscriptions get no retained messages [MQTT5-4.8.2].
    const subscription = session.subscriptions!.get(requested.filter)!;
    const isReplayed =
      requested.retainHandling === 0 || (requested.retainHandling === 1 && previous === null);
    if (isReplayed && subscription.group === null) replays.push(subscription);
  }
  const ticket = added.length > 0 ? sessions.changed(session, added, []) : 0;
  if (core.observer !== null) {
    for (const [i, { filter, qos }] of packet.subscriptions.entries()) {
      core.observer.subscribed(session.clientId, filter, qos, reasonCodes[i]!);
    }
  }
  const codes =
    connection.version === 5
      ? reasonCodes
      : reasonCodes.map((code) => (code >= 0x80 ? 0x80 : code));
  const reasonString = connection.wantsProblemInformation ? why : null;
  connection.sendWhenSafe(
    PacketType.SUBACK,
    encodeSuback(connection.version, packet.packetId, codes, reasonString),
    ticket,
    (failed) => {
      if (failed) {
        connection.close('store_failed');
        return;
      }
      for (const subscription of replays) replay.start(subscription);
    },
    sessions.known(session),
  );
  return true;
}

/** Not a reason code: the gate has to be asked again. */
const WAITS = -1;

function check(connection: Connection, session: Session, requested: SubscribeFilter): number {
  const { limits } = connection.services.core;
  const { filter } = requested;
  if (
    !isValidTopicFilter(filter) ||
    Buffer.byteLength(filter) > limits.topicBytesMax ||
    topicLevelCount(filter) > limits.topicLevelsMax
  ) {
    return ReasonCode.TOPIC_FILTER_INVALID;
  }
  const shared = parseSharedFilter(filter);
  if (shared !== null && requested.noLocal) {
    // [MQTT5-3.8.3-4]
    throw new ProtocolError(ReasonCode.PROTOCOL_ERROR, 'no-local on a shared subscription');
  }
  const ofLink = session.link === null ? null : parseLinkFilter(filter);
  if (session.link !== null && (shared !== null || ofLink === null)) {
    return ReasonCode.TOPIC_FILTER_INVALID;
  }
  const inner = ofLink?.filter ?? shared?.filter ?? filter;
  if (session.link?.mayWant(inner) === false) return ReasonCode.NOT_AUTHORIZED;
  if (inner.charCodeAt(0) === 0x24 && !isOpenNamespace(inner)) return ReasonCode.NOT_AUTHORIZED;
  if (session.gate === null) return requested.qos;
  const verdict = session.gate.subscribe(inner, requested.qos, connection);
  switch (verdict) {
    case ALLOW:
      return requested.qos;
    case WAIT:
      return WAITS;
    case OVER_QUOTA:
      return ReasonCode.QUOTA_EXCEEDED;
    case CLOSE:
      connection.close(session.gate.closeReason, session.gate.why);
      return ReasonCode.QUOTA_EXCEEDED;
    default:
      return ReasonCode.NOT_AUTHORIZED;
  }
}

/** `$SYS` may be read; every other `$` namespace is the broker's own (FIELD class 10). */
function isOpenNamespace(filter: string): boolean {
  return filter === '$SYS' || filter.startsWith('$SYS/');
}

export function handleUnsubscribe(
  connection: Connection,
  buffer: Buffer,
  bodyStart: number,
  bodyEnd: number,
): void {
  const { core, sessions } = connection.services;
  const session = connection.session!;
  const packet = decodeUnsubscribe(connection.version, buffer, bodyStart, bodyEnd, {
    userPropertiesMax: core.limits.userPropertiesMax,
    filtersMax: core.limits.filtersPerPacketMax,
  });
  const reasonCodes: number[] = [];
  const removed: string[] = [];
  for (const filter of packet.filters) {
    if (!isValidTopicFilter(filter)) {
      reasonCodes.push(ReasonCode.TOPIC_FILTER_INVALID);
    } else if (sessions.unsubscribe(session, filter)) {
      removed.push(filter);
      if (core.observer !== null) core.observer.unsubscribed(session.clientId, filter);
      reasonCodes.push(ReasonCode.SUCCESS);
    } else {
      reasonCodes.push(ReasonCode.NO_SUBSCRIPTION_EXISTED);
    }
  }
  // "No subscription existed" may lean on a removal that is not committed yet.
  const ticket =
    removed.length > 0 ? sessions.changed(session, [], removed) : sessions.pendingSave(session);
  connection.sendWhenSafe(
    PacketType.UNSUBACK,
    encodeUnsuback(connection.version, packet.packetId, reasonCodes),
    ticket,
    (failed) => {
      if (failed) connection.close('store_failed');
    },
    sessions.known(session),
  );
}

/**
 * Every bound of the broker, in one table: name, unit, default, range, whether a reload changes it,
 * and what a client is told when it reaches it. Config, docs, metrics and the code read this table;
 * a number that bounds a buffer, queue, map or walk anywhere else is a bug.
 */

export interface LimitSpec {
  readonly unit: 'bytes' | 'messages' | 'count' | 'ms' | 's' | 'levels';
  readonly default: number;
  readonly min: number;
  readonly max: number;
  /** A reload applies it to connections made from then on (existing ones keep what they were told). */
  readonly reloadable: boolean;
  /** What the client sees when it reaches the bound. */
  readonly told: string;
  readonly help: string;
}

const spec = (
  unit: LimitSpec['unit'],
  fallback: number,
  min: number,
  max: number,
  told: string,
  help: string,
  reloadable = true,
): LimitSpec => ({ unit, default: fallback, min, max, reloadable, told, help });

const U16 = 65_535;
const U32 = 4_294_967_295;
const KIB = 1024;
const MIB = 1024 * KIB;
const GIB = 1024 * MIB;

/** Every limit; the table below must have each. */
export type LimitName =
  | 'packetBytesMax'
  | 'connectBytesMax'
  | 'connectTimeoutMs'
  | 'connectionsMax'
  | 'clientIdBytesMax'
  | 'topicBytesMax'
  | 'topicLevelsMax'
  | 'subscriptionsPerClientMax'
  | 'linkSubscriptionsMax'
  | 'filtersPerPacketMax'
  | 'receiveMaximum'
  | 'inflightMessagesMax'
  | 'queueMessagesMax'
  | 'queueBytesMax'
  | 'outboxBytesMax'
  | 'outboxStallMs'
  | 'keepAliveMaxS'
  | 'sessionExpiryMaxS'
  | 'sessionsMax'
  | 'topicAliasMax'
  | 'topicAliasOutMax'
  | 'userPropertiesMax'
  | 'retainedMessagesMax'
  | 'retainedBytesMax'
  | 'retainedPerTurnMax'
  | 'routeCacheReceiversMax'
  | 'journalMessagesMax'
  | 'journalBytesMax'
  | 'lingerMs';

export const limitTable: { readonly [name in LimitName]: LimitSpec } = {
  packetBytesMax: spec(
    'bytes',
    MIB,
    1 * KIB,
    268_435_460,
    'Maximum Packet Size in CONNACK; DISCONNECT 0x95 beyond it',
    'Largest MQTT packet a client may send, fixed header included.',
  ),
  connectBytesMax: spec(
    'bytes',
    64 * KIB,
    1 * KIB,
    MIB,
    'close: what the client speaks is not known yet',
    'Largest CONNECT packet, and so the most that is buffered for a client not yet accepted.',
  ),
  connectTimeoutMs: spec(
    'ms',
    10_000,
    100,
    600_000,
    'close',
    'Time from the accepted socket to the accepted CONNECT, TLS and WebSocket handshakes included.',
  ),
  connectionsMax: spec(
    'count',
    100_000,
    1,
    10_000_000,
    'CONNACK 0x97 (3.1.1: 0x03), then close',
    'Connections at one time, over all listeners.',
  ),
  clientIdBytesMax: spec(
    'bytes',
    1024,
    23,
    U16,
    'CONNACK 0x85 (3.1.1: 0x02)',
    'Longest client identifier.',
  ),
  topicBytesMax: spec(
    'bytes',
    U16,
    64,
    U16,
    'PUBACK/PUBREC/SUBACK 0x90 or 0x8F; QoS 0: DISCONNECT 0x90',
    'Longest topic name or topic filter.',
  ),
  topicLevelsMax: spec(
    'levels',
    200,
    8,
    1000,
    'PUBACK/PUBREC 0x90, SUBACK 0x8F; QoS 0: DISCONNECT 0x90',
    'Most levels of a topic name or filter; bounds every walk of the subscription tree.',
  ),
  subscriptionsPerClientMax: spec(
    'count',
    10_000,
    1,
    1_000_000,
    'SUBACK 0x97 (3.1.1: 0x80)',
    'Subscriptions of one session.',
  ),
  linkSubscriptionsMax: spec(
    'count',
    1_000_000,
    1,
    100_000_000,
    'SUBACK 0x97: that filter does not come over the link',
    'Subscriptions of the link of one other region.',
  ),
  filtersPerPacketMax: spec(
    'count',
    1024,
    1,
    U16,
    'DISCONNECT 0x97',
    'Topic filters in one SUBSCRIBE or UNSUBSCRIBE.',
  ),
  receiveMaximum: spec(
    'messages',
    1024,
    1,
    U16,
    'Receive Maximum in CONNACK; DISCONNECT 0x93 beyond it',
    'QoS 1 and 2 messages a client may have unacknowledged towards the broker.',
  ),
  inflightMessagesMax: spec(
    'messages',
    1024,
    1,
    32_768,
    'nothing: messages wait in the queue',
    'QoS 1 and 2 messages sent to one client and not acknowledged (its Receive Maximum if lower).',
  ),
  queueMessagesMax: spec(
    'messages',
    100_000,
    0,
    1_000_000_000,
    'by queueOverflow: drop_oldest, drop_newest (PUBACK/PUBREC 0x97), disconnect (0x97)',
    'Messages waiting for one session, online or offline, or for a shared subscription (cluster).',
  ),
  queueBytesMax: spec(
    'bytes',
    256 * MIB,
    0,
    1024 * GIB,
    'as queueMessagesMax',
    'Bytes of the messages waiting for one session, or for a shared subscription (cluster).',
  ),
  outboxBytesMax: spec(
    'bytes',
    MIB,
    16 * KIB,
    GIB,
    'QoS 0 messages are dropped, QoS 1 and 2 wait in the queue',
    'Bytes accepted for one connection and not yet taken by its socket.',
  ),
  outboxStallMs: spec(
    'ms',
    60_000,
    1000,
    3_600_000,
    'DISCONNECT 0x97 attempted, then close',
    'Longest time a connection may take no byte while bytes wait for it.',
  ),
  keepAliveMaxS: spec(
    's',
    U16,
    1,
    U16,
    'Server Keep Alive in CONNACK (MQTT 5); 3.1.1: accepted as asked',
    'Longest keep alive an MQTT 5 client may use; below 65535 it also replaces "none" (0).',
  ),
  sessionExpiryMaxS: spec(
    's',
    2_592_000,
    0,
    U32,
    'Session Expiry Interval in CONNACK',
    'Longest a session is kept without a connection (4294967295: for ever).',
  ),
  sessionsMax: spec(
    'count',
    1_000_000,
    1,
    100_000_000,
    'CONNACK 0x97 (3.1.1: 0x03)',
    'Sessions, connected or not.',
  ),
  topicAliasMax: spec(
    'count',
    32,
    0,
    U16,
    'Topic Alias Maximum in CONNACK; DISCONNECT 0x94 beyond it',
    'Topic aliases a client may set.',
  ),
  topicAliasOutMax: spec(
    'count',
    32,
    0,
    U16,
    'nothing: topics are sent in full',
    'Topic aliases the broker sets towards one client (its Topic Alias Maximum if lower).',
  ),
  userPropertiesMax: spec(
    'count',
    64,
    0,
    10_000,
    'DISCONNECT/CONNACK 0x97',
    'User properties in one packet.',
  ),
  retainedMessagesMax: spec(
    'messages',
    1_000_000,
    0,
    1_000_000_000,
    'PUBACK/PUBREC 0x97 and not delivered; 3.x and QoS 0: delivered, not retained',
    'Retained messages of the broker.',
  ),
  retainedBytesMax: spec(
    'bytes',
    GIB,
    0,
    1024 * GIB,
    'PUBACK/PUBREC 0x97 and not delivered; 3.x and QoS 0: delivered, not retained',
    'Bytes of all retained messages (topics, payloads and properties).',
  ),
  retainedPerTurnMax: spec(
    'messages',
    256,
    1,
    100_000,
    'nothing: the replay goes on in the next turn',
    'Retained messages sent to one new subscription before others get their turn.',
  ),
  routeCacheReceiversMax: spec(
    'count',
    1_000_000,
    1000,
    1_000_000_000,
    'nothing: matching walks the tree again',
    'Receivers held in the match cache, over all topics.',
  ),
  journalMessagesMax: spec(
    'messages',
    500_000,
    1,
    1_000_000_000,
    'nothing: acks wait until Redis is back',
    'Messages for durable sessions, one for each session, in the journal of a node while Redis is away; again as many as copies for other nodes.',
  ),
  journalBytesMax: spec(
    'bytes',
    128 * MIB,
    64 * KIB,
    1024 * GIB,
    'nothing: acks wait until Redis is back',
    'Bytes of these messages, and again of the copies.',
  ),
  lingerMs: spec(
    'ms',
    1000,
    0,
    60_000,
    'time to read the last DISCONNECT or CONNACK',
    'After a final packet the socket is drained this long before it is closed.',
  ),
};

export type Limits = { readonly [name in LimitName]: number };

/** What happens to a message for a full session queue. */
export const queueOverflowPolicies = ['drop_oldest', 'drop_newest', 'disconnect'] as const;
export type QueueOverflow = (typeof queueOverflowPolicies)[number];

/** How a shared subscription chooses its member; `least_inflight` looks at unacknowledged messages. */
export const sharedStrategies = [
  'round_robin',
  'random',
  'sticky',
  'client_id',
  'topic',
  'least_inflight',
] as const;
export type SharedStrategy = (typeof sharedStrategies)[number];

/** What acks of durable messages do without Redis and without any other node. */
export const degradedModes = ['park', 'local'] as const;
export type DegradedMode = (typeof degradedModes)[number];

/** What happens to a client that is online when a subscription of it is no longer allowed. */
export const revokedSubscriptionPolicies = ['disconnect', 'unsubscribe'] as const;
export type RevokedSubscription = (typeof revokedSubscriptionPolicies)[number];

/** Takes overrides and returns a full, frozen table of limits; the caller has checked the ranges. */
export function makeLimits(
  overrides: { readonly [name in LimitName]?: number | undefined } = {},
): Limits {
  const limits: Record<string, number> = {};
  for (const name of Object.keys(limitTable) as LimitName[]) {
    limits[name] = overrides[name] ?? limitTable[name].default;
  }
  return Object.freeze(limits) as Limits;
}

/**
 * Every kind of quota in one table: what is counted, for whom, what can happen at the limit and what a
 * client then sees. Configuration, checks, reports, metrics and docs/reference/limits.md read it.
 */

/** Whose use is added up. */
export const quotaScopes = ['client', 'user', 'tenant', 'listener', 'node'] as const;
export type QuotaScope = (typeof quotaScopes)[number];

/** What happens at the limit. */
export const quotaActions = ['slow', 'drop', 'refuse', 'disconnect'] as const;
export type QuotaAction = (typeof quotaActions)[number];

/** Every kind; the table below must have each. */
export type QuotaKind =
  | 'connections'
  | 'connectsPerS'
  | 'publishMessagesPerS'
  | 'publishBytesPerS'
  | 'deliverBytesPerS'
  | 'subscriptions'
  | 'retainedMessages'
  | 'retainedBytes'
  | 'queueBytes'
  | 'inflightMessages';

export interface QuotaKindSpec {
  readonly unit: 'connections' | 'connects' | 'messages' | 'bytes' | 'subscriptions';
  /** `max` is an amount per second, and `burst` may come at once. */
  readonly isRate: boolean;
  readonly per: readonly QuotaScope[];
  /** Of those, what all nodes of a datacenter count together; the others each node counts by itself. */
  readonly together: readonly QuotaScope[];
  /** What a client sees of each action that makes sense; the first is the default. */
  readonly actions: { readonly [action in QuotaAction]?: string };
  /** The listener is known where it is counted, so that a list of listeners makes sense. */
  readonly knowsListener: boolean;
  /** What is counted, and since when. */
  readonly help: string;
}

const publishers = ['client', 'user', 'tenant', 'listener', 'node'] as const;
const holders = ['client', 'user', 'tenant', 'node'] as const;

const slowPublisher = 'nothing: its socket is not read until there is room again';
const droppedPublish =
  'MQTT 5: PUBACK or PUBREC 0x97; 3.1.1 with QoS 1 and 2: the connection ends (`quota_exceeded`), ' +
  'for an ack would be a lie; QoS 0: nothing. The message is dropped (`publish_quota`)';

export const quotaKinds: { readonly [kind in QuotaKind]: QuotaKindSpec } = {
  connections: {
    unit: 'connections',
    isRate: false,
    per: ['user', 'tenant', 'listener', 'node'],
    together: ['tenant'],
    actions: { refuse: 'CONNACK 0x97 (3.1.1: 0x03), `connections_quota`' },
    knowsListener: true,
    help:
      'Clients connected at one time. A connection that takes over the session of an older one of ' +
      'the same client does not count twice.',
  },
  connectsPerS: {
    unit: 'connects',
    isRate: true,
    per: publishers,
    together: ['client', 'user', 'tenant'],
    actions: { refuse: 'CONNACK 0x9F (3.1.1: 0x03), `connect_rate`' },
    knowsListener: true,
    help:
      'CONNECT packets with proper credentials; per listener and node they are refused before the ' +
      'credentials are looked at, and failed logins are given back. Counted in windows of ' +
      '`burst` / `max` seconds.',
  },
  publishMessagesPerS: {
    unit: 'messages',
    isRate: true,
    per: publishers,
    together: ['tenant'],
    actions: {
      slow: slowPublisher,
      drop: droppedPublish,
      disconnect: 'DISCONNECT 0x96, `message_rate`',
    },
    knowsListener: true,
    help: 'PUBLISH packets of clients, also those that rules then deny. Wills are not counted.',
  },
  publishBytesPerS: {
    unit: 'bytes',
    isRate: true,
    per: publishers,
    together: ['tenant'],
    actions: {
      slow: slowPublisher,
      drop: `${droppedPublish}. A message larger than \`burst\` is always dropped`,
      disconnect: 'DISCONNECT 0x97, `quota_exceeded`',
    },
    knowsListener: true,
    help: 'Payload bytes of PUBLISH packets of clients, also of those that rules then deny.',
  },
  deliverBytesPerS: {
    unit: 'bytes',
    isRate: true,
    per: holders,
    together: ['tenant'],
    actions: {
      slow: 'messages come later: QoS 1 and 2 wait in its queue, QoS 0 is dropped (`delivery_quota`)',
    },
    knowsListener: false,
    help: 'Bytes of the messages sent to subscribers (topic, payload and properties).',
  },
  subscriptions: {
    unit: 'subscriptions',
    isRate: false,
    per: holders,
    together: [],
    actions: { refuse: 'SUBACK 0x97 (3.1.1: 0x80)' },
    knowsListener: false,
    help: 'Subscriptions of sessions, connected or not.',
  },
  retainedMessages: {
    unit: 'messages',
    isRate: false,
    per: holders,
    together: holders,
    actions: {
      drop:
        'MQTT 5: PUBACK or PUBREC 0x97, not delivered either; 3.1.1 and QoS 0: delivered, not ' +
        'retained (`retained_quota`)',
    },
    knowsListener: false,
    help: 'Retained messages by who published them last.',
  },
  retainedBytes: {
    unit: 'bytes',
    isRate: false,
    per: holders,
    together: holders,
    actions: { drop: 'as retainedMessages' },
    knowsListener: false,
    help: 'Bytes of retained messages (topics, payloads and properties) by who published them last.',
  },
  queueBytes: {
    unit: 'bytes',
    isRate: false,
    per: holders,
    together: [],
    actions: {
      drop: 'nothing: the new message is dropped (`queue_quota`)',
      disconnect: 'DISCONNECT 0x97, `queue_overflow`; the new message is dropped (`queue_quota`)',
    },
    knowsListener: false,
    help: 'Bytes of the messages waiting in session queues, connected or not.',
  },
  inflightMessages: {
    unit: 'messages',
    isRate: false,
    per: ['client'],
    together: [],
    actions: { slow: 'nothing: messages wait in its queue' },
    knowsListener: false,
    help:
      'QoS 1 and 2 messages sent to the client and not acknowledged; its own Receive Maximum and ' +
      '`inflightMessagesMax` hold as well. Counts from the next CONNECT.',
  },
};

export const quotaKindNames: readonly QuotaKind[] = Object.keys(quotaKinds) as QuotaKind[];

export function actionsOf(kind: QuotaKind): readonly QuotaAction[] {
  return Object.keys(quotaKinds[kind].actions) as QuotaAction[];
}

/** What a quota does when its action is not given. */
export function defaultAction(kind: QuotaKind): QuotaAction {
  return actionsOf(kind)[0]!;
}

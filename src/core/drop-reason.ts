/**
 * Why a message did not reach a receiver: one closed set of names for the log, the metric
 * `causeway_messages_dropped_total{reason}` and the docs. The index is what the data plane counts by.
 */

export const dropTable = {
  queue_full: 'The session queue was at queueMessagesMax or queueBytesMax.',
  outbox_full: 'QoS 0: the connection was at outboxBytesMax.',
  packet_too_large: 'The packet was over the Maximum Packet Size the client asked for.',
  expired: 'The message expiry interval ran out before delivery.',
  not_authorized_publish: 'The publisher may not publish to the topic.',
  not_authorized_receive: 'The receiver may no longer receive from the topic.',
  will_not_authorized: 'The client may not, or no longer, publish to the topic of its will.',
  retained_source: 'Retained: who published it may no longer publish to the topic.',
  publish_quota: 'The publisher was over a quota with `action: drop`.',
  delivery_quota: 'QoS 0: the receiver was over its quota of delivered bytes.',
  queue_quota: 'The session, its user or its tenant was at a quota of queued bytes.',
  retained_quota: 'Retained: the publisher, its user or its tenant was at a quota.',
  reserved_topic: 'A client published to a topic that starts with $.',
  session_expired: 'The session ended with the message still queued.',
  retained_full: 'Retained: retainedMessagesMax or retainedBytesMax was reached.',
  store_failed: 'The store refused the message (disk full or failing).',
  link_budget: 'Over the budget of a link to another region: too old, or too many bytes.',
  bridge_budget: 'Over the budget of a bridge to another broker: too old, or too many bytes.',
  no_member: 'Shared subscription: no member could take the message.',
} as const;

export type DropReason = keyof typeof dropTable;
export const dropReasons: readonly DropReason[] = Object.keys(dropTable) as DropReason[];

/** Index by reason, so that the data plane counts in a typed array. */
export const Drop: { readonly [reason in DropReason]: number } = Object.fromEntries(
  dropReasons.map((reason, index) => [reason, index]),
) as { readonly [reason in DropReason]: number };

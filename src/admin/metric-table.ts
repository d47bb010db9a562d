/**
 * Every metric that is read from counters: name, type, help, labels and where its value comes from.
 * `/metrics` and docs/reference/metrics.md are made from this table; a test demands that each counter
 * of `Stats` is in it. Names follow Prometheus: units are base units, counters end in `_total`.
 */
import { type CloseReason, closeTable } from '../core/close-reason.ts';
import { dropReasons } from '../core/drop-reason.ts';
import { refuseReasons } from '../core/refuse-reason.ts';
import type { Stats } from '../core/stats.ts';
import { packetTypeName } from '../wire/packet-type.ts';
import {
  type ApiMetrics,
  apiRefusals,
  type ListenerMetrics,
  type MetricSources,
  type StoreMetrics,
} from './metric-sources.ts';

/** Values by label, in the order of `labels`. */
export type Sample = readonly [labels: readonly string[], value: number];

export interface MetricSpec {
  readonly name: string;
  readonly type: 'counter' | 'gauge';
  readonly help: string;
  readonly labels: readonly string[];
  /** Shown only when a store keeps records. */
  readonly needsStore?: true;
  /** Shown only when there is an API. */
  readonly needsApi?: true;
  readonly read: (sources: MetricSources) => readonly Sample[];
}

const NO_LABELS: readonly string[] = [];

type Type = MetricSpec['type'];

function ofStats(
  name: string,
  type: Type,
  help: string,
  read: (stats: Stats) => number,
): MetricSpec {
  return { name, type, help, labels: NO_LABELS, read: ({ stats }) => [[NO_LABELS, read(stats)]] };
}

function ofStore(
  name: string,
  type: Type,
  help: string,
  read: (store: StoreMetrics) => number,
): MetricSpec {
  const samples = ({ store }: MetricSources): Sample[] => {
    const metrics = store();
    return metrics === null ? [] : [[NO_LABELS, read(metrics)]];
  };
  return { name, type, help, labels: NO_LABELS, needsStore: true, read: samples };
}

function perListener(
  name: string,
  type: Type,
  help: string,
  read: (listener: ListenerMetrics) => number,
): MetricSpec {
  return {
    name,
    type,
    help,
    labels: ['listener', 'transport'],
    read: ({ listeners }) =>
      listeners().map((one) => [[one.info.name, one.info.transport], read(one)]),
  };
}

function perPacketType(
  name: string,
  help: string,
  read: (stats: Stats) => Float64Array,
): MetricSpec {
  return {
    name,
    type: 'counter',
    help,
    labels: ['type'],
    read: ({ stats }) =>
      Array.from(
        read(stats),
        (value, type): Sample => [[packetTypeName(type).toLowerCase()], value],
      ).slice(1),
  };
}

function perQos(name: string, help: string, read: (stats: Stats) => Float64Array): MetricSpec {
  return {
    name,
    type: 'counter',
    help,
    labels: ['qos'],
    read: ({ stats }) => Array.from(read(stats), (value, qos): Sample => [[String(qos)], value]),
  };
}

function ofApi(
  name: string,
  type: Type,
  help: string,
  labels: readonly string[],
  read: (api: ApiMetrics) => readonly Sample[],
): MetricSpec {
  const samples = ({ api }: MetricSources): readonly Sample[] => {
    const metrics = api?.() ?? null;
    return metrics === null ? [] : read(metrics);
  };
  return { name, type, help, labels, needsApi: true, read: samples };
}

export const metricTable: readonly MetricSpec[] = [
  {
    name: 'causeway_build_info',
    type: 'gauge',
    help: 'Always 1; the labels say what runs.',
    labels: ['version', 'node'],
    read: ({ version }) => [[[version, process.version], 1]],
  },

  // Connections
  ofStats(
    'causeway_connections',
    'gauge',
    'Open connections, those before CONNECT included.',
    (s) => s.connections,
  ),
  ofStats(
    'causeway_clients_connected',
    'gauge',
    'Clients whose CONNECT was accepted.',
    (s) => s.clientsConnected,
  ),
  ofStats(
    'causeway_clients_connected_highest',
    'gauge',
    'Most clients connected at one time since the start.',
    (s) => s.clientsConnectedMaximum,
  ),
  ofStats(
    'causeway_connections_highest',
    'gauge',
    'Most connections open at one time since the start.',
    (s) => s.connectionsMaximum,
  ),
  ofStats(
    'causeway_sockets',
    'gauge',
    'Open sockets, those included that only let a client read its last packet.',
    (s) => s.sockets,
  ),
  ofStats(
    'causeway_sockets_accepted_total',
    'counter',
    'Sockets handed to the broker by its listeners.',
    (s) => s.socketsAccepted,
  ),
  ofStats(
    'causeway_sockets_refused_total',
    'counter',
    'Sockets closed at once, over a limit of connections or while stopping.',
    (s) => s.socketsRefused,
  ),
  ofStats(
    'causeway_connects_accepted_total',
    'counter',
    'CONNECT packets answered with success.',
    (s) => s.connectsAccepted,
  ),
  {
    name: 'causeway_connects_refused_total',
    type: 'counter',
    help: 'CONNECT packets answered with an error, by reason.',
    labels: ['reason'],
    read: ({ stats }) => refuseReasons.map((reason) => [[reason], stats.refused.get(reason) ?? 0]),
  },
  {
    name: 'causeway_connections_closed_total',
    type: 'counter',
    help: 'Connections ended, by reason.',
    labels: ['reason'],
    read: ({ stats }) =>
      (Object.keys(closeTable) as CloseReason[]).map((reason) => [
        [reason],
        stats.closed.get(reason) ?? 0,
      ]),
  },
  ofStats(
    'causeway_internal_errors_total',
    'counter',
    'Exceptions that ended one connection; the log has their causes.',
    (s) => s.internalErrors,
  ),

  // Traffic
  ofStats(
    'causeway_received_bytes_total',
    'counter',
    'Bytes read from clients.',
    (s) => s.bytesReceived,
  ),
  ofStats('causeway_sent_bytes_total', 'counter', 'Bytes sent to clients.', (s) => s.bytesSent),
  perPacketType(
    'causeway_packets_received_total',
    'MQTT packets received, by type.',
    (s) => s.packetsReceived,
  ),
  perPacketType('causeway_packets_sent_total', 'MQTT packets sent, by type.', (s) => s.packetsSent),
  perQos(
    'causeway_messages_received_total',
    'Messages accepted from clients, by QoS.',
    (s) => s.publishReceived,
  ),
  perQos('causeway_messages_sent_total', 'Messages sent to clients, by QoS.', (s) => s.publishSent),
  ofStats(
    'causeway_messages_received_bytes_total',
    'counter',
    'Payload bytes of the messages accepted from clients.',
    (s) => s.publishBytesReceived,
  ),
  ofStats(
    'causeway_messages_sent_bytes_total',
    'counter',
    'Payload bytes of the messages sent to clients.',
    (s) => s.publishBytesSent,
  ),
  {
    name: 'causeway_messages_dropped_total',
    type: 'counter',
    help: 'Messages that did not reach a receiver, by reason.',
    labels: ['reason'],
    read: ({ stats }) => dropReasons.map((reason, index) => [[reason], stats.dropped[index] ?? 0]),
  },
  ofStats(
    'causeway_messages_unrouted_total',
    'counter',
    'Accepted messages that matched no subscription.',
    (s) => s.unrouted,
  ),
  ofStats(
    'causeway_wills_published_total',
    'counter',
    'Will messages published.',
    (s) => s.willsPublished,
  ),
  ofStats(
    'causeway_publishers_paused_total',
    'counter',
    'Times a publisher was paused because its audience could not keep up.',
    (s) => s.publishersPaused,
  ),
  ofStats(
    'causeway_route_cache_hits_total',
    'counter',
    'Published topics found in the match cache.',
    (s) => s.routeHits,
  ),
  ofStats(
    'causeway_route_cache_misses_total',
    'counter',
    'Published topics for which the subscription tree was walked.',
    (s) => s.routeMisses,
  ),

  // State
  ofStats('causeway_sessions', 'gauge', 'Sessions, connected or not.', (s) => s.sessions),
  ofStats(
    'causeway_sessions_created_total',
    'counter',
    'Sessions that began new.',
    (s) => s.sessionsCreated,
  ),
  ofStats(
    'causeway_sessions_resumed_total',
    'counter',
    'Sessions a client came back to.',
    (s) => s.sessionsResumed,
  ),
  ofStats(
    'causeway_sessions_expired_total',
    'counter',
    'Sessions that ended because nobody came back in time.',
    (s) => s.sessionsExpired,
  ),
  ofStats(
    'causeway_sessions_taken_over_total',
    'counter',
    'Connections replaced by another one with the same client identifier.',
    (s) => s.sessionsTakenOver,
  ),
  ofStats(
    'causeway_clients_moved_total',
    'counter',
    'Clients that were told to go elsewhere while the node was drained.',
    (s) => s.clientsMoved,
  ),
  ofStats('causeway_peers', 'gauge', 'Other nodes of the datacenter.', (s) => s.peers),
  ofStats('causeway_subscriptions', 'gauge', 'Subscriptions.', (s) => s.subscriptions),
  ofStats(
    'causeway_subscriptions_revoked_total',
    'counter',
    'Subscriptions ended because rights were taken back.',
    (s) => s.subscriptionsRevoked,
  ),
  ofStats(
    'causeway_shared_subscriptions',
    'gauge',
    'Shared subscriptions among them.',
    (s) => s.sharedSubscriptions,
  ),
  ofStats(
    'causeway_group_queues',
    'gauge',
    'Queues of shared subscriptions, of a datacenter, that this node owns.',
    (s) => s.groupQueues,
  ),
  ofStats(
    'causeway_group_queued_messages_total',
    'counter',
    'Messages for queues of shared subscriptions, as no member was connected anywhere.',
    (s) => s.groupQueuedMessages,
  ),
  ofStats(
    'causeway_group_moved_messages_total',
    'counter',
    'Messages that queues of shared subscriptions have given to members.',
    (s) => s.groupMovedMessages,
  ),
  ofStats('causeway_retained_messages', 'gauge', 'Retained messages.', (s) => s.retainedMessages),
  ofStats(
    'causeway_retained_bytes',
    'gauge',
    'Bytes of the retained messages.',
    (s) => s.retainedBytes,
  ),
  ofStats(
    'causeway_queued_messages',
    'gauge',
    'Messages waiting in session queues.',
    (s) => s.queuedMessages,
  ),
  ofStats(
    'causeway_queued_bytes',
    'gauge',
    'Bytes of the messages waiting in session queues.',
    (s) => s.queuedBytes,
  ),
  ofStats(
    'causeway_inflight_messages',
    'gauge',
    'Messages sent to clients and not acknowledged.',
    (s) => s.inflightMessages,
  ),
  ofStats(
    'causeway_outbox_bytes',
    'gauge',
    'Bytes accepted for connections and not yet taken by their sockets.',
    (s) => s.outboxBytes,
  ),
  ofStats(
    'causeway_parked_acks',
    'gauge',
    'Acknowledgements held back until a commit is on disk.',
    (s) => s.parkedAcks,
  ),
  ofStats(
    'causeway_acks_elided_total',
    'counter',
    'Messages acknowledged by their receiver before they had to be stored.',
    (s) => s.acksElided,
  ),

  // Listeners
  perListener(
    'causeway_listener_connections',
    'gauge',
    'Open sockets of a listener, those in handshakes included.',
    (l) => l.connections,
  ),
  perListener(
    'causeway_listener_accepted_total',
    'counter',
    'Sockets a listener took from the kernel.',
    (l) => l.counters.accepted,
  ),
  perListener(
    'causeway_listener_refused_total',
    'counter',
    'Sockets closed because the broker took no more, or too many were in handshakes.',
    (l) => l.counters.refused,
  ),
  perListener(
    'causeway_listener_handshakes_failed_total',
    'counter',
    'PROXY headers, TLS and WebSocket handshakes that failed or took too long.',
    (l) => l.counters.handshakesFailed,
  ),
  perListener(
    'causeway_listener_untrusted_total',
    'counter',
    'Sockets closed because they did not come from a trusted proxy.',
    (l) => l.counters.untrusted,
  ),
  perListener(
    'causeway_listener_accept_errors_total',
    'counter',
    'Accepts that failed, as when no descriptor or memory was left.',
    (l) => l.counters.acceptErrors,
  ),

  // Store
  ofStore(
    'causeway_store_commits_total',
    'counter',
    'Commits that reached the disk.',
    (s) => s.commits,
  ),
  ofStore(
    'causeway_store_commits_failed_total',
    'counter',
    'Commits that failed; nothing of theirs was acknowledged.',
    (s) => s.failedCommits,
  ),
  ofStore(
    'causeway_store_commit_seconds_total',
    'counter',
    'Time spent in commits; divided by their number, the mean.',
    (s) => s.commitSecondsTotal,
  ),
  ofStore(
    'causeway_store_last_commit_seconds',
    'gauge',
    'How long the last commit took.',
    (s) => s.lastCommitMs / 1000,
  ),
  ofStore(
    'causeway_store_entries_written_total',
    'counter',
    'Queue entries written.',
    (s) => s.entriesWritten,
  ),
  ofStore(
    'causeway_store_entries_elided_total',
    'counter',
    'Queue entries settled before their commit left, so never written.',
    (s) => s.entriesElided,
  ),
  ofStore(
    'causeway_store_written_bytes_total',
    'counter',
    'Bytes given to the store.',
    (s) => s.bytesWritten,
  ),
  ofStore(
    'causeway_store_quarantined_total',
    'counter',
    'Stored records that could not be decoded and were moved aside.',
    (s) => s.quarantined,
  ),

  // API
  ofApi(
    'causeway_api_requests_total',
    'counter',
    'Calls of the API, by endpoint and HTTP status; those that were asked for.',
    ['route', 'status'],
    ({ requests }) =>
      [...requests].flatMap(([route, byStatus]) =>
        Array.from(byStatus, ([status, count]): Sample => [[route, String(status)], count]),
      ),
  ),
  ofApi(
    'causeway_api_refused_total',
    'counter',
    'Calls of the API that were not let in, by reason.',
    ['reason'],
    ({ refused }) => apiRefusals.map((reason) => [[reason], refused.get(reason) ?? 0]),
  ),
  ofApi('causeway_api_traces', 'gauge', 'Traces that run.', NO_LABELS, ({ traces }) => [
    [NO_LABELS, traces],
  ]),
  ofApi(
    'causeway_api_trace_events_missed_total',
    'counter',
    'Events that did not fit into a trace.',
    NO_LABELS,
    ({ traceEventsMissed }) => [[NO_LABELS, traceEventsMissed]],
  ),
];

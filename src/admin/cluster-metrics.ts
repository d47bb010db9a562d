/**
 * Every metric of a datacenter's node: membership, links to its peers, Redis and the sessions there. A
 * table like `metric-table.ts`, shown only when there is a cluster; a test demands each counter of the
 * rooms behind it.
 */
import { ROUND_TRIP_MS } from '../drivers/redis/redis-counters.ts';
import {
  type ClusterCounts,
  type ClusterReport,
  type ClusterView,
  type JournalCounts,
  type LinkReport,
  nodeStates,
  type SharedStoreCounts,
} from './cluster-view.ts';
import type { HistogramValues } from './event-loop-delay.ts';
import type { Sample } from './metric-table.ts';

export interface ClusterMetricSpec {
  readonly name: string;
  readonly type: 'counter' | 'gauge';
  readonly help: string;
  readonly labels: readonly string[];
  /** `report` is one for all metrics of a scrape. */
  readonly read: (view: ClusterView, report: ClusterReport) => readonly Sample[];
}

const NO_LABELS: readonly string[] = [];

function gauge(
  name: string,
  help: string,
  read: (report: ClusterReport) => number,
): ClusterMetricSpec {
  return {
    name,
    type: 'gauge',
    help,
    labels: NO_LABELS,
    read: (_view, report) => [[NO_LABELS, read(report)]],
  };
}

function counter(
  name: string,
  help: string,
  read: (view: ClusterView) => number,
): ClusterMetricSpec {
  const samples = (view: ClusterView): Sample[] => [[NO_LABELS, read(view)]];
  return { name, type: 'counter', help, labels: NO_LABELS, read: samples };
}

function ofCluster(name: string, help: string, field: keyof ClusterCounts): ClusterMetricSpec {
  return counter(name, help, ({ counters }) => counters[field]);
}

function ofStore(name: string, help: string, field: keyof SharedStoreCounts): ClusterMetricSpec {
  return counter(`causeway_redis_store_${name}_total`, help, ({ store }) => store[field]);
}

function ofJournal(name: string, help: string, field: keyof JournalCounts): ClusterMetricSpec {
  return counter(`causeway_journal_${name}_total`, help, ({ journal }) => journal[field]);
}

/** One series for each direction of the link with each peer. */
function perLink(
  name: string,
  type: 'counter' | 'gauge',
  help: string,
  read: (link: LinkReport) => number,
): ClusterMetricSpec {
  return {
    name,
    type,
    help,
    labels: ['node', 'direction'],
    read: (_view, { links }) =>
      links.map((link): Sample => [[link.nodeId, link.direction], read(link)]),
  };
}

export const clusterMetricTable: readonly ClusterMetricSpec[] = [
  // Membership
  {
    name: 'causeway_cluster_state',
    type: 'gauge',
    help: 'What this node is in its datacenter: 1 for the state it is in, 0 for the others.',
    labels: ['state'],
    read: (_view, { node }) =>
      nodeStates.map((state): Sample => [[state], node.state === state ? 1 : 0]),
  },
  gauge(
    'causeway_cluster_members',
    'Nodes of the datacenter that this one knows, itself included.',
    ({ members }) => members.length + 1,
  ),
  gauge(
    'causeway_cluster_lease_remaining_seconds',
    'How long this node may go on without a renewal; 0: it may not serve.',
    ({ node }) => node.leaseRemainingMs / 1000,
  ),
  ofCluster(
    'causeway_cluster_fenced_total',
    'Times the lease of this node was over before it could be renewed.',
    'timesFenced',
  ),
  ofCluster(
    'causeway_cluster_evicted_total',
    'Times the others gave this node up: it closed its clients and joined anew.',
    'timesLost',
  ),
  gauge(
    'causeway_cluster_degraded',
    '1 while something is missing that the promises need, such as Redis; 0 when all is there.',
    ({ degraded }) => (degraded.isActive ? 1 : 0),
  ),

  // The journal
  gauge(
    'causeway_journal_messages',
    'Messages, and changes to QoS 2 packet ids, in the journal of this node until Redis has them.',
    ({ degraded }) => degraded.journaledMessages,
  ),
  gauge('causeway_journal_bytes', 'Bytes of these.', ({ degraded }) => degraded.journaledBytes),
  gauge(
    'causeway_journal_copies',
    'Messages in the journals of other nodes that this one keeps a copy of.',
    ({ degraded }) => degraded.journalCopies,
  ),
  ofJournal('kept', 'Messages acknowledged because the journal had them.', 'journaled'),
  ofJournal(
    'replayed',
    'Messages of an earlier life, or of another node, that were handed to Redis.',
    'replayed',
  ),
  ofJournal('copied', 'Copies kept for other nodes.', 'copied'),
  ofJournal('full', 'Messages and copies there was no room for.', 'full'),
  ofJournal('damaged', 'Entries that could not be decoded.', 'damaged'),

  // Routes and sessions
  ofCluster(
    'causeway_route_drift_total',
    'Times the routes held of a peer were not what it had announced, and were asked for again.',
    'routeDrifts',
  ),
  gauge(
    'causeway_cluster_barrier_waiting',
    'SUBACKs and other answers that wait until every node has applied something.',
    ({ barrierWaiting }) => barrierWaiting,
  ),
  gauge(
    'causeway_cluster_sessions_owned',
    'Durable sessions that this node owns.',
    ({ sessionsOwned }) => sessionsOwned,
  ),
  gauge(
    'causeway_cluster_sessions_known',
    'Durable sessions of the datacenter that this node knows.',
    ({ sessionsKnown }) => sessionsKnown,
  ),
  ofCluster(
    'causeway_cluster_takeovers_total',
    'Sessions that another live node was asked to let go of.',
    'takeovers',
  ),
  ofCluster(
    'causeway_cluster_opened_without_redis_total',
    'Sessions that end with their connection, opened while Redis was away.',
    'openedWithoutRedis',
  ),
  ofCluster(
    'causeway_cluster_sessions_asserted_total',
    'Sessions written again into a Redis that had lost them.',
    'sessionsAsserted',
  ),
  ofCluster(
    'causeway_cluster_sessions_expired_total',
    'Sessions found to be over while no node owned them.',
    'sessionsExpired',
  ),
  ofCluster(
    'causeway_cluster_wills_of_absent_total',
    'Wills published for clients whose node was gone.',
    'willsOfAbsent',
  ),
  ofCluster(
    'causeway_cluster_retained_skewed_total',
    'Retained messages refused because their version was too far ahead of the clock of this node.',
    'retainedSkewed',
  ),
  ofCluster(
    'causeway_cluster_tombstones_dropped_total',
    'Marks of cleared retained topics that went before their time, for want of room.',
    'tombstonesDropped',
  ),

  // Links
  perLink('causeway_peer_up', 'gauge', '1 while the link is up, else 0.', ({ isUp }) =>
    isUp ? 1 : 0,
  ),
  perLink(
    'causeway_peer_unacked_frames',
    'gauge',
    'Frames handed to the link that the peer has not applied yet.',
    ({ unackedFrames }) => unackedFrames,
  ),
  perLink(
    'causeway_peer_unacked_bytes',
    'gauge',
    'Bytes handed to the link that the peer has not applied yet.',
    ({ unackedBytes }) => unackedBytes,
  ),
  perLink(
    'causeway_peer_frames_total',
    'counter',
    'Frames handed to the link, or applied from it.',
    ({ framesTotal }) => framesTotal,
  ),
  perLink(
    'causeway_peer_bytes_total',
    'counter',
    'Bytes handed to the link, or applied from it.',
    ({ bytesTotal }) => bytesTotal,
  ),
  perLink(
    'causeway_peer_reconnects_total',
    'counter',
    'Times the link came up again.',
    ({ reconnects }) => reconnects,
  ),
  perLink(
    'causeway_peer_dropped_total',
    'counter',
    'QoS 0 publications that were not sent because the peer was behind.',
    ({ dropped }) => dropped,
  ),
  {
    name: 'causeway_peer_round_trip_seconds',
    type: 'gauge',
    help: 'The last round trip of a heartbeat.',
    labels: ['node'],
    read: (_view, { links }) =>
      links
        .filter(({ direction, roundTripMs }) => direction === 'out' && roundTripMs >= 0)
        .map(({ nodeId, roundTripMs }): Sample => [[nodeId], roundTripMs / 1000]),
  },
  ofCluster(
    'causeway_peer_lost_messages_total',
    'Publications for connected clients that went with the link to a peer that was too far behind.',
    'linkLostMessages',
  ),

  // Redis
  gauge('causeway_redis_up', '1 while Redis can be asked, else 0.', ({ redis }) =>
    redis.isUp ? 1 : 0,
  ),
  gauge(
    'causeway_redis_waiting_calls',
    'Calls that Redis has not answered yet.',
    ({ redis }) => redis.waitingCalls,
  ),
  gauge(
    'causeway_redis_waiting_bytes',
    'Bytes of the calls that Redis has not answered yet.',
    ({ redis }) => redis.waitingBytes,
  ),
  gauge(
    'causeway_redis_waiting_messages',
    'Messages for queues of durable sessions that Redis does not have yet.',
    ({ redis }) => redis.waitingMessages,
  ),
  counter('causeway_redis_calls_total', 'Calls made to Redis.', ({ redis }) => redis.calls),
  counter(
    'causeway_redis_batches_total',
    'Writes to Redis that were answered; calls divided by them, the size of a batch.',
    ({ redis }) => redis.batches,
  ),
  {
    name: 'causeway_redis_failures_total',
    type: 'counter',
    help: 'Calls that failed: never executed, executed or not (no answer came), or refused by Redis.',
    labels: ['outcome'],
    read: ({ redis }) => [
      [['not_done'], redis.notDone],
      [['unknown'], redis.unknown],
      [['refused'], redis.refused],
    ],
  },
  counter(
    'causeway_redis_connects_total',
    'Connections made to Redis, the first ones included.',
    ({ redis }) => redis.connects,
  ),
  counter(
    'causeway_redis_connections_lost_total',
    'Connections to Redis that were lost, and attempts that failed.',
    ({ redis }) => redis.losses,
  ),
  counter(
    'causeway_redis_breaker_trips_total',
    'Times calls were stopped because Redis would not or could not do them.',
    ({ redis }) => redis.trips,
  ),
  counter(
    'causeway_redis_repeats_total',
    'Calls sent again because a function was missing or a slot had moved.',
    ({ redis }) => redis.repeats,
  ),
  counter(
    'causeway_redis_waits_short_total',
    'Batches that fewer replicas had in time than `cluster.redis.replicasMin`.',
    ({ redis }) => redis.waitsShort,
  ),
  ofCluster(
    'causeway_redis_lost_messages_total',
    'Queued messages that were only in a Redis that came back empty: acknowledged, and gone.',
    'redisLostMessages',
  ),

  // Sessions in Redis
  ofStore('append_calls', 'Calls that append to queues, answered.', 'appendCalls'),
  ofStore('appends', 'Messages put into queues.', 'appends'),
  ofStore('dedupes', 'Messages appended again that their queue had already.', 'dedupes'),
  ofStore('rewrites', 'Messages appended again after another server took over.', 'rewrites'),
  ofStore('refused', 'Messages a full queue did not take.', 'refused'),
  ofStore('dropped', 'Older messages a full queue dropped.', 'dropped'),
  ofStore('gone', 'Messages whose session had ended.', 'gone'),
  ofStore('failed', 'Messages given up: too many waited, or Redis would not have them.', 'failed'),
  ofStore('settle_calls', 'Calls that take what is acknowledged out of queues.', 'settleCalls'),
  ofStore('settled', 'Queue entries that their receivers acknowledged.', 'settled'),
  {
    name: 'causeway_redis_store_settle_lag',
    type: 'gauge',
    help: 'Acknowledged queue entries that Redis does not know of yet; sent again when the node dies.',
    labels: NO_LABELS,
    read: ({ store }) => [[NO_LABELS, store.settled - store.settleConfirmed]],
  },
  ofStore('reads', 'Reads of queues.', 'reads'),
  ofStore('entries_read', 'Entries read from queues.', 'entriesRead'),
  ofStore('fenced', 'Writes for sessions that another node has taken.', 'fenced'),
  ofStore('quarantined', 'Values that could not be decoded.', 'quarantined'),
  ofStore('unreadable', 'Values that a newer release wrote.', 'unreadable'),
  ofStore(
    'retries',
    'Calls made again because their answer was lost, or Redis would not.',
    'retries',
  ),
];

export const ROUND_TRIP_NAME = 'causeway_redis_round_trip_seconds';
export const ROUND_TRIP_HELP = 'Time from a write to Redis until the last answer to it.';

/** Of the batches since the start. */
export function roundTripHistogram({ redis }: ClusterView): HistogramValues {
  const buckets: [leSeconds: number, count: number][] = [];
  let count = 0;
  for (const [index, ms] of ROUND_TRIP_MS.entries()) {
    count += redis.roundTrips[index] ?? 0;
    buckets.push([ms / 1000, count]);
  }
  count += redis.roundTrips[ROUND_TRIP_MS.length] ?? 0;
  return { buckets, count, sumSeconds: redis.roundTripSumMs / 1000 };
}

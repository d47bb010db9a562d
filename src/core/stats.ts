/**
 * Counters of the data plane: plain numbers that are only ever added to, read by `$SYS`, `/metrics`
 * and the API. One object per broker. A counter that no test moves is a bug.
 */
import { type CloseReason, closeTable } from './close-reason.ts';
import { dropReasons } from './drop-reason.ts';
import { type RefuseReason, refuseReasons } from './refuse-reason.ts';

export class Stats {
  /** Bytes read from and handed to sockets. */
  bytesReceived = 0;
  bytesSent = 0;
  /** Packets by MQTT packet type (index 1-15). */
  readonly packetsReceived: Float64Array = new Float64Array(16);
  readonly packetsSent: Float64Array = new Float64Array(16);
  /** PUBLISH by QoS (index 0-2): accepted from clients, and sent to clients. */
  readonly publishReceived: Float64Array = new Float64Array(3);
  readonly publishSent: Float64Array = new Float64Array(3);
  /** Payload bytes of those. */
  publishBytesReceived = 0;
  publishBytesSent = 0;
  /** Messages that did not reach a receiver, by `Drop[reason]`. */
  readonly dropped: Float64Array = new Float64Array(dropReasons.length);
  /** Accepted messages that matched no subscription. */
  unrouted = 0;
  /** Sockets accepted; CONNECTs answered with success; CONNECTs refused. */
  socketsAccepted = 0;
  socketsRefused = 0;
  connectsAccepted = 0;
  connectsRefused = 0;
  /** Of those, by reason. */
  readonly refused: Map<RefuseReason, number> = new Map(refuseReasons.map((reason) => [reason, 0]));
  /** Connections ended, by reason. */
  readonly closed: Map<CloseReason, number> = new Map(
    (Object.keys(closeTable) as CloseReason[]).map((reason) => [reason, 0]),
  );
  sessionsCreated = 0;
  sessionsResumed = 0;
  sessionsExpired = 0;
  sessionsTakenOver = 0;
  /** Clients told to go elsewhere by a drain. */
  clientsMoved = 0;
  /** Subscriptions ended because rights were taken back. */
  subscriptionsRevoked = 0;
  willsPublished = 0;
  /** Messages for queues of shared subscriptions, as no member was there; and those given to members. */
  groupQueuedMessages = 0;
  groupMovedMessages = 0;
  /** Entries acked before their commit left, so never written. */
  acksElided = 0;
  /** Times a publisher was paused because its audience could not keep up. */
  publishersPaused = 0;
  /** Match cache. */
  routeHits = 0;
  routeMisses = 0;
  /** Exceptions stopped at a connection's boundary. */
  internalErrors = 0;

  // Gauges kept by their owners.
  /** Other nodes of the datacenter that are known. */
  peers = 0;
  /** Accepted sockets that are not gone yet, those that only linger included. */
  sockets = 0;
  connections = 0;
  connectionsMaximum = 0;
  /** Connections whose CONNECT was accepted. */
  clientsConnected = 0;
  clientsConnectedMaximum = 0;
  sessions = 0;
  subscriptions = 0;
  sharedSubscriptions = 0;
  /** Queues of shared subscriptions that are owned here. */
  groupQueues = 0;
  retainedMessages = 0;
  retainedBytes = 0;
  queuedMessages = 0;
  queuedBytes = 0;
  inflightMessages = 0;
  /** Bytes accepted for connections and not yet taken by their sockets (backlogs only). */
  outboxBytes = 0;
  /** Acks held back until a commit. */
  parkedAcks = 0;

  countRefused(reason: RefuseReason): void {
    this.connectsRefused++;
    this.refused.set(reason, (this.refused.get(reason) ?? 0) + 1);
  }

  countClosed(reason: CloseReason): void {
    this.closed.set(reason, (this.closed.get(reason) ?? 0) + 1);
  }
}

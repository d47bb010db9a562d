/**
 * The sending side of one connection: what of this turn's shared buffer belongs to it, and what its
 * socket has not taken yet. State only; `outbox.ts` moves the bytes. Data plane.
 */

import type { ProtocolVersion } from '../wire/protocol-version.ts';
import type { ByteSink } from './ports.ts';

/** Told by the outbox; implemented by the connection. */
export interface OutletOwner {
  /** Everything that waited was taken by the socket. */
  outletDrained(): void;
}

/** A publisher whose reading is paused for its audience. */
export interface PausedPublisher {
  audienceReady(): void;
}

/** A receiver that publishers may have to wait for: a client's outlet, or the link to another node. */
export interface Audience {
  /** Did not keep up when a publisher waited for it: nobody waits again until it has drained. */
  slow: boolean;
  /** Rises with what the receiver takes: 64 for a drained socket, 1 for an ack. */
  progress: number;
  /** Publishers that wait until this receiver has caught up; null: none. */
  waiters: PausedPublisher[] | null;
  /** Nothing more is sent. */
  readonly closed: boolean;
  /** Behind by so much that publishers should wait; clients' outlets are asked elsewhere. */
  readonly pressed?: boolean;
}

/** No client limit on packet size: larger than any packet MQTT can express. */
export const NO_PACKET_LIMIT = 268_435_461;

export class Outlet implements Audience {
  readonly sink: ByteSink;
  readonly owner: OutletOwner;
  /** Protocol and limits of the receiver, from its CONNECT. */
  version: ProtocolVersion = 4;
  packetBytesMax: number = NO_PACKET_LIMIT;
  /** Topics with an outbound alias, in order of use, or null when the client takes none. */
  aliases: Map<string, number> | null = null;
  aliasesMax = 0;

  /** In the outbox' dirty list; then [segmentStart, segmentEnd) is its last piece of the chunk. */
  dirty = false;
  segmentStart = 0;
  segmentEnd = 0;
  /** Earlier pieces of this turn as start, end, start, end …; null when there is none. */
  segments: number[] | null = null;

  /** The socket holds unsent bytes: what comes now goes to the backlog. */
  blocked = false;
  /** Holds one of the outbox' chunks through a write that did not complete. */
  holdsChunk = false;
  /** Of what has not left something says who is there: only a node that may serve lets it go. */
  isPromising = false;
  /** Blocked by that alone. */
  isFenced = false;
  backlog: Buffer[] | null = null;
  /** Filled bytes of the backlog's last buffer. */
  backlogFill = 0;
  /** Bytes in the socket and in the backlog that the kernel has not taken. */
  pendingBytes = 0;
  /** When the socket last took bytes while some waited (monotonic ms). */
  progressMs = 0;
  /** Did not keep up when a publisher waited for it: nobody waits again until it has drained. */
  slow = false;
  /** Rises with what the receiver takes: 64 for a drained socket, 1 for an ack. */
  progress = 0;
  /** Publishers that wait until this receiver has caught up; null: none. */
  waiters: PausedPublisher[] | null = null;
  /** Nothing more is sent: a final packet is on its way, or the socket is gone. */
  closed = false;

  constructor(sink: ByteSink, owner: OutletOwner) {
    this.sink = sink;
    this.owner = owner;
  }
}

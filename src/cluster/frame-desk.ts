/**
 * Where frames of other members arrive: each is decoded and handed to the part of this room, or of the
 * core, that it is for. Called by the mesh, in the order of the peer's stream; what a frame says counts
 * as applied when this returns. Damage is thrown as the codec throws it.
 */
import type { Incarnation, RemoteSide } from '../core/cluster-ports.ts';
import type { Clock } from '../core/ports.ts';
import {
  decodeHeartbeat,
  decodeHint,
  decodeLetGo,
  decodeLetGoDone,
  decodeNeedSession,
  decodeRenewed,
  decodeRenewFor,
  decodeRetainedWant,
  decodeRoam,
} from './link/frame-codec.ts';
import {
  decodeGroupPublished,
  decodePublished,
  decodeRetained,
  decodeRetainedPage,
} from './link/message-codec.ts';
import type { PeerNode } from './peer-node.ts';
import type { PeerTables } from './peer-tables.ts';
import { FrameType } from './ports.ts';
import type { StartedMembership } from './ports-local.ts';
import type { Renewals } from './renewals.ts';
import type { RetainedSync } from './retained-sync.ts';
import type { PeerRoamChannel } from './roam-channel.ts';
import type { RoutesAnnouncer } from './routes-announcer.ts';
import type { Takeover } from './takeover.ts';

/** JOURNAL and JOURNAL_DONE, and who is gone that kept or wrote one. */
export interface JournalPeer {
  frame(from: Incarnation, type: number, buffer: Buffer, start: number, end: number): void;
  memberGone(incarnation: Incarnation): void;
  /** With each heartbeat. */
  heard(from: Incarnation, hasRedis: boolean): void;
}

export interface FrameDeskParts {
  readonly clock: Clock;
  readonly peers: ReadonlyMap<Incarnation, PeerNode>;
  readonly tables: PeerTables;
  readonly announcer: RoutesAnnouncer;
  readonly takeover: Takeover;
  readonly retained: RetainedSync;
  readonly renewals: Renewals;
  readonly roam: PeerRoamChannel;
  readonly membership: () => StartedMembership;
  readonly remote: () => RemoteSide;
  readonly journal: () => JournalPeer | null;
  /** What the peer has told of queues may not have come. */
  readonly hintsLost: () => void;
  /** The peer wants the tables of this node. */
  readonly tell: (peer: PeerNode) => void;
  /** A joiner may have what it waits for. */
  readonly check: () => void;
}

export class FrameDesk {
  readonly #parts: FrameDeskParts;

  constructor(parts: FrameDeskParts) {
    this.#parts = parts;
  }

  frame(from: Incarnation, type: number, buffer: Buffer, start: number, end: number): void {
    const peer = this.#parts.peers.get(from);
    if (peer === undefined) return;
    switch (type) {
      case FrameType.PUBLISH:
      case FrameType.GROUP_PUBLISH:
      case FrameType.RETAINED:
      case FrameType.HINT:
        this.#message(peer, type, buffer, start, end);
        return;
      case FrameType.INTEREST:
        this.#parts.tables.interest(peer, buffer, start, end);
        return;
      case FrameType.GROUP:
        this.#parts.tables.group(peer, buffer, start, end);
        return;
      case FrameType.IMAGE:
        this.#parts.tables.image(peer, buffer, start, end);
        return;
      case FrameType.CHANGE:
        this.#parts.tables.change(peer, buffer, start, end);
        return;
      case FrameType.END:
        this.#parts.tables.ended(peer, buffer, start, end);
        return;
      case FrameType.ROAM:
        this.#parts.roam.said(from, decodeRoam(buffer, start, end));
        return;
      case FrameType.JOURNAL:
      case FrameType.JOURNAL_DONE:
      case FrameType.JOURNAL_OWED:
        this.#parts.journal()?.frame(from, type, buffer, start, end);
        return;
      default:
        this.#control(peer, type, buffer, start, end);
    }
  }

  #message(peer: PeerNode, type: number, buffer: Buffer, start: number, end: number): void {
    const { clock, remote, retained } = this.#parts;
    const wallMs = clock.wallMs();
    if (type === FrameType.PUBLISH) {
      remote().deliver(decodePublished(buffer, start, end, wallMs));
    } else if (type === FrameType.GROUP_PUBLISH) {
      const { message, group, filter } = decodeGroupPublished(buffer, start, end, wallMs);
      remote().deliverToGroup(message, group, filter);
    } else if (type === FrameType.RETAINED) {
      retained.changed(peer, decodeRetained(buffer, start, end, wallMs));
    } else {
      const { clientId, sid, tailSeq } = decodeHint(buffer, start, end);
      remote().hint(clientId, sid, tailSeq);
    }
  }

  #control(peer: PeerNode, type: number, buffer: Buffer, start: number, end: number): void {
    const { tables, announcer, takeover, retained, renewals, clock } = this.#parts;
    const { incarnation } = peer;
    switch (type) {
      case FrameType.HEARTBEAT: {
        const heartbeat = decodeHeartbeat(buffer, start, end);
        peer.heardSentMs = Math.max(peer.heardSentMs, heartbeat.sentMs);
        this.#parts.membership().heard(incarnation, heartbeat);
        this.#parts.journal()?.heard(incarnation, heartbeat.hasRedis);
        tables.compare(peer, heartbeat);
        return;
      }
      case FrameType.LET_GO:
        takeover.asked(incarnation, decodeLetGo(buffer, start, end));
        return;
      case FrameType.LET_GO_DONE:
        takeover.answered(incarnation, decodeLetGoDone(buffer, start, end));
        return;
      case FrameType.TABLES_BEGIN:
        tables.begin(peer);
        if (!peer.isTabled) return;
        // Not the first: what it had answered may be lost with a link session.
        takeover.askAgain(incarnation);
        retained.wantAgain(incarnation);
        this.#parts.hintsLost();
        return;
      case FrameType.TABLES_END:
        tables.end(peer);
        this.#parts.check();
        return;
      case FrameType.COUNTED_IN:
        peer.hasCountedUs = true;
        this.#parts.check();
        return;
      case FrameType.NEED_TABLES:
        this.#parts.tell(peer);
        return;
      case FrameType.NEED_SESSION:
        announcer.asked(incarnation, decodeNeedSession(buffer, start, end));
        return;
      case FrameType.RENEW_FOR:
        renewals.asked(incarnation, decodeRenewFor(buffer, start, end));
        return;
      case FrameType.RENEWED:
        renewals.answered(incarnation, decodeRenewed(buffer, start, end));
        return;
      case FrameType.RETAINED_WANT:
        retained.wanted(incarnation, decodeRetainedWant(buffer, start, end));
        return;
      case FrameType.RETAINED_PAGE:
        retained.paged(incarnation, decodeRetainedPage(buffer, start, end, clock.wallMs()));
        return;
      default:
        // GOODBYE: its death follows at once, by way of Redis.
        return;
    }
  }
}
